# SPDX-License-Identifier: Apache-2.0
"""The bill of materials of a bundle, in CycloneDX JSON: https://cyclonedx.org/docs/1.6/json/.

It follows from the bundle alone, and for the Debian packages that images were made of from the packages pinned beside
the lock that leads to it; so it can be made on any machine that has both, and is the same everywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import re
import tarfile
import typing as t
import uuid
import zlib
from pathlib import Path
from urllib.parse import quote

import zstandard
from ansible.module_utils.yunkube.build.archive import lock_of
from ansible.module_utils.yunkube.build.cached_bundles import Bundle
from ansible.module_utils.yunkube.build.contents import Distribution, GoProgram, go_program, image, licences_of
from ansible.module_utils.yunkube.build.debian_packages import Package, pins_of, read_pins
from ansible.module_utils.yunkube.build.store import digest_file

SPEC = "1.6"
NAMESPACE = uuid.UUID("6f1c1e2a-54f1-5a66-9b1f-0d7c7f4d3b52")  # of serial numbers, which follow from the bundle

Component = dict[str, t.Any]


class Bill:
    """Components, each once, and which need which."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.components: dict[str, Component] = {}
        self.needs: dict[str, set[str]] = {}

    def add(self, component: Component, needed_by: str) -> str:
        """Add a component, or find it; return its reference."""
        reference = str(component["bom-ref"])
        known = self.components.setdefault(reference, component)
        for key in ("licenses", "hashes"):  # one of two places that list it may know more
            if key in component:
                known.setdefault(key, component[key])
        self.needs.setdefault(needed_by, set()).add(reference)
        return reference

    def add_program(self, component: Component, program: GoProgram | None, needed_by: str) -> None:
        """Add a program with the Go modules that it was compiled from."""
        reference = self.add(component, needed_by)
        if program:
            self.add(_library(f"pkg:golang/stdlib@{program.go}", "stdlib", program.go), reference)
        for module in program.modules if program else ():
            library = _library(f"pkg:golang/{quote(module.path)}@{quote(module.version)}", module.path, module.version)
            if module.sum:
                library["properties"] = [{"name": "go:sum", "value": module.sum}]
            self.add(library, reference)


class UnreadableError(Exception):
    """A part of the bundle cannot be read; the text says which, and why."""


@contextlib.contextmanager
def _reading(where: str) -> t.Iterator[None]:
    """Say of whatever goes wrong where it did."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(f"{where} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        why = (
            str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        )  # tarfile goes on with every way it tried
        raise UnreadableError(f"{where} cannot be read: {why}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableError(f"{where} cannot be read: it is not of the form that it should have") from error


def make(bundle: Bundle, project: Path) -> dict[str, t.Any]:
    """Return the bill of materials of a whole bundle; UnreadableError says what is damaged."""
    with _reading("manifest.json"):
        digest = digest_file(bundle.folder / "manifest.json")
    if digest[:16] != bundle.name:
        raise UnreadableError("manifest.json is damaged: its sha256 does not begin with the bundle's name")
    bill = Bill()
    for entry in sorted(bundle.files, key=lambda one: (one["kind"], one["name"], one["sha256"])):
        with _reading(f"files/{entry['sha256'][:16]}… ({entry['name']} {entry['version']})"):
            _add(bill, entry, bundle.folder / "files" / entry["sha256"])
    known = {entry["sha256"] for entry in bundle.files}
    for path in sorted((bundle.folder / "bin").glob("*")):
        with _reading(f"bin/{path.name}"):
            if (digest := digest_file(path)) not in known:
                about = {"name": path.name, "version": bundle.kubernetes, "sha256": digest}
                bill.add_program(
                    _file(about | {"purpose": ["control machine"]}), go_program(path.read_bytes()), "bundle"
                )
    notes = _add_pinned(bill, bundle, project)
    return _document(bill, bundle, notes)


def _add(bill: Bill, entry: dict[str, t.Any], path: Path) -> None:
    if entry["kind"] == "image":
        _add_image(bill, entry, path)
    elif entry["kind"] == "package":
        licences = licences_of(path, entry["package"])
        package = Package(entry["package"], entry["version"], _architecture_of(entry["name"]), entry["sha256"])
        bill.add(_debian(package, entry["distribution"], licences), "bundle")
    else:
        bill.add_program(_file(entry), go_program(path.read_bytes()), "bundle")


def _add_image(bill: Bill, entry: dict[str, t.Any], path: Path) -> None:
    repository, _, tag = entry["reference"].rpartition(":")
    purl = f"pkg:oci/{quote(repository.rpartition('/')[2])}@{quote(entry['target'])}"
    purl += f"?repository_url={quote(repository)}&tag={quote(tag)}"
    about = {"type": "container", "bom-ref": purl, "name": entry["name"], "version": entry["version"], "purl": purl}
    reference = bill.add(about | _hashes(entry["sha256"]), "bundle")
    content = image(path)
    for place, (digest, program) in sorted(content.programs.items()):
        inside = {"type": "application", "bom-ref": f"{purl}#{place}", "name": place.rpartition("/")[2]}
        bill.add_program(inside | _hashes(digest) | _properties(path=place), program, reference)
    for one in content.distributions:
        bill.add(_distribution(one), reference)


def _add_pinned(bill: Bill, bundle: Bundle, project: Path) -> dict[str, str]:
    """Add the packages that images were made of; return what is to be known of them."""
    lock = lock_of(bundle, project)
    pins = read_pins(pins_of(lock, bundle.architecture)) if lock else {}
    pinned = {package.sha256 for packages in pins.values() for package in packages}
    if not lock or not {entry["sha256"] for entry in bundle.files if entry["kind"] == "package"} <= pinned:
        why = "no lock of this checkout leads to it" if not lock else "it was built of newer ones than the pinned"
        return {"incomplete": f"Debian packages that images were made of are not listed: {why}"}
    for name, packages in sorted(pins.items()):
        if distribution := re.fullmatch("image-packages-(.*)", name):
            for package in packages:
                bill.add(_debian(package, distribution[1], []), "bundle")
    return {"lock": lock.name}


# -- components ------------------------------------------------------------------------------------------


def _file(entry: t.Mapping[str, t.Any]) -> Component:
    about = {"type": "application", "bom-ref": f"sha256:{entry['sha256']}", "name": entry["name"]}
    about |= {"version": entry["version"]} | _hashes(entry["sha256"])
    return about | _properties(path=entry.get("path", ""), purpose=", ".join(entry["purpose"]))


def _library(purl: str, name: str, version: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _debian(package: Package, distribution: str, licences: list[str]) -> Component:
    release = re.sub(r"^([a-z]+)(\d)", r"\1-\2", distribution)
    purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version)}?arch={package.architecture}&distro={release}"
    return _library(purl, package.name, package.version) | _hashes(package.sha256) | _licences(licences)


def _distribution(one: Distribution) -> Component:
    if one.kind == "deb":
        purl = f"pkg:deb/debian/{quote(one.name)}@{quote(one.version)}?arch={one.architecture}"
    else:
        purl = f"pkg:pypi/{quote(re.sub('[-_.]+', '-', one.name).lower())}@{quote(one.version)}"
    return _library(purl, one.name, one.version) | _licences(one.licences)


def _hashes(digest: str) -> Component:
    return {"hashes": [{"alg": "SHA-256", "content": digest}]}


def _licences(names: list[str]) -> Component:
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def _properties(**values: str) -> Component:
    found = [{"name": f"yunkube:{name}", "value": value} for name, value in values.items() if value]
    return {"properties": found} if found else {}


def _architecture_of(file: str) -> str:
    return file.removesuffix(".deb").rpartition("_")[2]


def _document(bill: Bill, bundle: Bundle, notes: dict[str, str]) -> dict[str, t.Any]:
    text = (bundle.folder / "manifest.json").read_bytes()
    about = {"type": "application", "bom-ref": "bundle", "name": f"Yunkube bundle of Kubernetes {bundle.kubernetes}"}
    about |= {"version": bundle.name} | _hashes(hashlib.sha256(text).hexdigest())
    order = ["bundle", *sorted(bill.components)]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, hashlib.sha256(text).hexdigest())}",
        "version": 1,
        "metadata": {"component": about | _properties(architecture=bundle.architecture, **notes)},
        "components": [bill.components[reference] for reference in sorted(bill.components)],
        "dependencies": [
            {"ref": reference, **({"dependsOn": sorted(needed)} if (needed := bill.needs.get(reference)) else {})}
            for reference in order
        ],
    }
