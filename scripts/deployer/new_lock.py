# SPDX-License-Identifier: Apache-2.0
"""Write the lock of another patch release, out of the newest lock of its minor release and the Go module proxy.

Go modules are resolved afresh, and verified by Go's checksum database; every other component stays as it is, so a
machine that has built it builds it no second time. Everything is made in a folder of its own and moved to its place
when it is whole.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import tempfile
import typing as t
import urllib.request
from pathlib import Path

from ansible.module_utils.yunkube.build.debian_packages import pins_of
from ansible.module_utils.yunkube.build.store import digest_tree
from ansible.module_utils.yunkube.build.tools import BuildError, Tools
from ansible.module_utils.yunkube.control.locks import PATCH_RELEASE, file_of, locked_releases, minor_of
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ruamel.yaml import YAML

Lock = t.Any  # what ruamel reads: mappings and lists that remember their comments

KUBERNETES = "kubernetes"
# Which images kubeadm asks for by a version of its own, and what that is called in its source.
KUBEADM = "cmd/kubeadm/app/constants/constants.go"
OWN_VERSIONS = {"etcd": "DefaultEtcdVersion", "coredns": "CoreDNSVersion", "pause": "PauseVersion"}
CHECKSUM_SECONDS = 10.0  # for one small file of a release


class Modules:
    """Go's module commands."""

    def __init__(self, go: str, tools: Tools) -> None:
        """Use this Go, with the caches and the proxy of `tools`."""
        self._go, self._tools = go, tools

    def source(self, module: str, version: str) -> Path:
        """Return the folder of a module's source."""
        wanted = f"{module}@v{version}"
        argv = [self._go, "mod", "download"]
        self._tools.ask([*argv, wanted], wanted, cwd=self._tools.cache)
        return Path(json.loads(self._tools.ask([*argv, "-json", wanted], wanted, cwd=self._tools.cache))["Dir"])

    def resolve(self, folder: Path, name: str) -> None:
        """Complete go.mod, write go.sum, and verify what was downloaded."""
        for action in ("tidy", "verify"):
            argv, env = [self._go, "mod", action], {"GOFLAGS": "-mod=mod -modcacherw"}
            self._tools.run(argv, f"modules of {name}", cwd=folder, env=env, tries=2)


class NewLock:
    """A lock that is being made, in a folder beside those of the others."""

    def __init__(self, release: str, components: Path, modules: Modules, folder: Path) -> None:
        """Start from the newest lock of the same minor release."""
        self.release, self._components, self._modules, self._folder = release, components, modules, folder
        self._base_file = file_of(components, base_of(release, components))
        self._yaml = YAML()
        self._yaml.preserve_quotes, self._yaml.explicit_start, self._yaml.width = True, True, 4096
        self._yaml.indent(mapping=2, sequence=4, offset=2)
        self._lock = self._yaml.load(self._base_file.read_text(encoding="utf-8"))
        self._old = str(self._lock[KUBERNETES])
        self.remarks: list[str] = []
        self._made: list[tuple[Path, Path]] = []  # folders of modules, here and at their place
        self._changed: list[str] = []  # components
        self._renamed: list[str] = []  # images
        self._found: dict[str, dict[str, dict[str, str]]] = {}  # sha256 of releases, by component and architecture

    def part(self, name: str) -> Lock:
        """Return a component of the lock."""
        found = next((part for part in self._lock["components"] if part["name"] == name), None)
        if found is None or not str(found["directory"]).startswith("components/go/"):
            names = [
                part["name"] for part in self._lock["components"] if part["directory"].startswith("components/go/")
            ]
            raise BuildError(f"{name} is not a component of Go modules: those are {', '.join(names)}")
        return found

    def fill(self, told: t.Mapping[str, str]) -> None:
        """Change what the release changes, and the components whose version is told."""
        told = {**told, KUBERNETES: self.release}
        for name, version in told.items():
            if not PATCH_RELEASE.fullmatch(version):
                old = self.part(name)["version"]
                raise BuildError(f"{name}={version} is no version of a release: write one such as {old}")
        source = self._modules.source("k8s.io/kubernetes", self.release)
        wanted = own_versions((source / KUBEADM).read_text(encoding="utf-8"))
        upstream = (source / "go.mod").read_text(encoding="utf-8")
        for name in ("etcd", "coredns"):
            _check_minor(self.release, name, wanted[name], told.get(name) or str(self.part(name)["version"]))
        for name, version in told.items():
            self._change(self.part(name), version, upstream if name == KUBERNETES else "")
        pause = next(part for part in self._lock["components"] if part["name"] == "pause")
        pause["version"] = wanted["pause"]  # its source is ours, and says the version that it is built for
        self._lock[KUBERNETES] = self.release
        self._lock["cluster_tested"] = False
        _remark(self._lock, "cluster_tested", "no cluster of this release has been made yet")
        for image in self._lock["images"]:
            self._rename(image, wanted)

    def _change(self, part: Lock, version: str, upstream: str) -> None:
        name, old = str(part["name"]), str(part["version"])
        if version == old:
            return
        if known := self._known(name, version):
            part["directory"], part["sum"] = known
        else:
            folder = self._folder / f"{name}-{version}"
            shutil.copytree(self._components.parent / part["directory"], folder)
            module = folder / "go.mod"
            module.write_text(direct(module.read_text(encoding="utf-8"), old, version, upstream), encoding="utf-8")
            (folder / "go.sum").unlink()
            self._modules.resolve(folder, f"{name} {version}")
            place = self._components / "go" / folder.name
            self._made.append((folder, place))
            part["directory"], part["sum"] = f"components/go/{folder.name}", digest_tree(folder)
        part["version"] = version
        for key in ("variables", "origins"):
            _replace(part.get(key), old, version)
        self._changed.append(name)
        if why := self._digests(part):
            self.remarks.append(f"{name}: the digests of its release are left out, so it is built from source: {why}")

    def _known(self, name: str, version: str) -> tuple[str, str] | None:
        """Return the folder and the digest that another lock has of this very version."""
        for release in locked_releases(self._components):
            lock = YAML(typ="safe").load(file_of(self._components, release))
            for part in lock["components"]:
                if (part["name"], str(part["version"])) == (name, version):
                    return part["directory"], part["sum"]
        return None

    def _digests(self, part: Lock) -> str:
        """Read the digests of a release, which upstream has in files beside its programs; return why it cannot be."""
        release = part["origins"].get("release")
        if not isinstance(release, dict) or "{program}" not in release["url"]:
            return "no file beside it has them in a form that is known"
        found: dict[str, dict[str, str]] = {}
        for architecture in map(str, (self._lock["architecture"], *self._lock.get("cross", {}))):
            for program in map(str, part["programs"]):
                url = f"{release['url'].format(architecture=architecture, program=program)}.sha256"
                try:
                    found.setdefault(architecture, {})[program] = checksum(url)
                except (OSError, ValueError, http.client.HTTPException) as error:
                    return f"{url}: {error}"
        self._found[str(part["name"])] = found
        return ""

    def _rename(self, image: Lock, wanted: t.Mapping[str, str]) -> None:
        """Give an image the tag that kubeadm asks for, or that of its component's version."""
        name, tag = str(image["reference"]).rsplit(":", 1)
        parts = {program: part for part in self._lock["components"] for program in part["programs"]}
        part = parts.get(next(iter(image["programs"]), ""))
        if part is None:
            return
        version = str(part["version"])
        asked = wanted.get(part["name"]) if name.startswith("registry.k8s.io/") else None
        if asked is None and not PATCH_RELEASE.fullmatch(tag.removeprefix("v")):
            return
        new = asked or f"{'v' * tag.startswith('v')}{version}"
        if new == tag:
            return
        image["reference"] = f"{name}:{new}"
        self._renamed.append(str(image["reference"]))
        remark = f"the name that kubeadm {minor_of(self.release)} asks for; {part['name']} inside is {version}"
        _remark(image, "reference", remark if new.removeprefix("v") != version else "")

    def _text(self) -> str:
        """Return the file's text, in which digests of other versions' releases are replaced or dropped.

        This is done line by line: ruamel keeps what stands below a value, empty lines and remarks, with the value.
        """
        stream = io.StringIO()
        self._yaml.dump(self._lock, stream)
        text = stream.getvalue().replace(f"kubernetes-{self._old}.", f"kubernetes-{self.release}.")
        for name in self._changed:
            text = _edit(text, f"name: {name}", "sha256", _lines(self._found.get(name, {})))
        for reference in self._renamed:
            text = _edit(text, f"reference: {reference}", "origins", "")
        made = YAML(typ="safe").load(text)
        for owner in (*made["components"], *made["images"]):
            if owner.get("name") in self._changed or owner.get("reference") in self._renamed:
                release = (owner.get("origins") or {}).get("release")
                known = self._found.get(owner.get("name", ""))
                if isinstance(release, dict) and (release.get("sha256") != known or "digest" in release):
                    raise BuildError(f"{self._base_file}: origins must be written in lines of their own, not in braces")
        return text

    def write(self) -> list[Path]:
        """Move everything to its place, the lock last; return what is new."""
        text = self._text()
        file = file_of(self._components, self.release)
        for here, place in self._made:
            if place.exists() and digest_tree(place) != digest_tree(here):
                raise BuildError(f"{place} belongs to no lock and differs from what was made: delete it")
        new = []
        for here, place in self._made:
            if not place.exists():
                here.rename(place)
                new.append(place)
        for architecture in (self._lock["architecture"], *self._lock.get("cross", {})):
            pins, shared = pins_of(file, architecture), pins_of(self._base_file, architecture)
            pins.unlink(missing_ok=True)
            pins.symlink_to(os.readlink(shared) if shared.is_symlink() else shared.name)  # noqa: PTH115 - as it is
            new.append(pins)
        write_atomic(file, text, 0o644)
        return [*new, file]


def base_of(release: str, components: Path) -> str:
    """Return the release whose lock a new one starts from; refuse what cannot be locked."""
    releases = locked_releases(components)
    if not PATCH_RELEASE.fullmatch(release):
        raise BuildError(f'"{release}" is no patch release of Kubernetes: write one such as {releases[-1]}')
    if release in releases:
        raise BuildError(f"{file_of(components, release)} is there already: delete it to make it again")
    same = [known for known in releases if minor_of(known) == minor_of(release)]
    if not same:
        minors = ", ".join(dict.fromkeys(minor_of(known) for known in releases))
        raise BuildError(
            f"there is no lock of {minor_of(release)} to start from, only of {minors}: what another minor release needs"
            " has to be looked up by a person (docs/versions.md)"
        )
    return same[-1]


def make_lock(release: str, told: t.Mapping[str, str], project: Path, modules: Modules) -> tuple[list[Path], list[str]]:
    """Make the lock of a release; return the new files and folders, and what there is to say of them."""
    components = project / "components"
    base_of(release, components)
    with tempfile.TemporaryDirectory(dir=components, prefix=".lock-") as folder:
        lock = NewLock(release, components, modules, Path(folder))
        lock.fill(told)
        return lock.write(), lock.remarks


def own_versions(source: str) -> dict[str, str]:
    """Return the versions of images that kubeadm has of its own, by component, out of its source."""
    found = {}
    for name, constant in OWN_VERSIONS.items():
        said = re.search(rf'(?m)^\s*{constant}\s*=\s*"([^"]+)"', source)
        if not said:
            raise BuildError(f"kubeadm's source has no {constant} in {KUBEADM}: this release is made in another way")
        found[name] = said[1]
    return found


def _check_minor(release: str, name: str, asked: str, version: str) -> None:
    """Refuse a component of another minor release than kubeadm asks for, since it would go by the name of that one."""
    bare = asked.removeprefix("v").partition("-")[0]
    if minor_of(bare) != minor_of(version):
        raise BuildError(
            f"kubeadm {release} asks for {name} {asked}, and the lock has {version}: name one of that minor release,"
            f" such as {name}={bare}"
        )


def direct(module: str, old: str, new: str, upstream: str = "") -> str:
    """Return a go.mod for another version, without what `go mod tidy` adds; `upstream` is that of Kubernetes itself."""
    module = re.sub(r"(?m)^\t\S+ \S+ // indirect\n", "", module)
    module = re.sub(r"(?m)^require \(\n\)\n\n?", "", module)
    module = re.sub(rf"(?m) v{re.escape(old)}$", f" v{new}", module)
    if not upstream:
        return module
    staging = re.findall(r"(?m)^\t(\S+) => \./staging/", upstream)
    lines = "".join(f"\t{name} => {name} v0.{new.partition('.')[2]}\n" for name in staging)
    module = re.sub(r"(?ms)^replace \(\n.*?^\)\n", f"replace (\n{lines})\n", module)
    for directive in ("go", "godebug"):
        if said := re.search(rf"(?m)^{directive} .*$", upstream):
            module = re.sub(rf"(?m)^{directive} .*$", said[0], module)
    return module


def checksum(url: str) -> str:
    """Return the sha256 that a file of a release's server has."""
    request = urllib.request.Request(url, headers={"User-Agent": "yunkube"})  # noqa: S310 - the lock's own address
    with urllib.request.urlopen(request, timeout=CHECKSUM_SECONDS) as answer:  # noqa: S310
        said = answer.read(1024).decode("ascii").split()
    if not said or not re.fullmatch("[0-9a-f]{64}", said[0]):
        raise ValueError("is no sha256")
    return str(said[0])


def _replace(value: Lock, old: str, new: str) -> None:
    """Replace a version in every text below a value of a lock."""
    items: t.Iterable[tuple[t.Any, t.Any]] = value.items() if isinstance(value, dict) else enumerate(value or ())
    for key, inner in list(items):
        if isinstance(inner, str):
            value[key] = type(inner)(re.sub(rf"(?<!\d){re.escape(old)}(?!\d)", new, inner))
        elif isinstance(inner, (dict, list)):
            _replace(inner, old, new)


def _remark(owner: Lock, key: str, text: str) -> None:
    """Put a remark behind a value, in place of the one that is there; empty lines below it stay."""
    comment = owner.ca.items.get(key)
    if comment and comment[2]:
        comment[2].value = re.sub("^[^\n]*", f"# {text}" if text else "", comment[2].value)
    elif text:
        owner.yaml_add_eol_comment(text, key)


def _lines(digests: t.Mapping[str, t.Mapping[str, str]]) -> str:
    """Return digests as lines of a lock."""
    lines = ["sha256:"] if digests else []
    for architecture, of_programs in digests.items():
        lines += [f"  {architecture}:", *(f"    {program}: {digest}" for program, digest in of_programs.items())]
    return "".join(f"        {line}\n" for line in lines)


def _edit(text: str, head: str, key: str, lines: str) -> str:
    """Drop a key, with what is below it, from the block of a component or an image; put other lines below the URL."""

    def edited(block: re.Match[str]) -> str:
        bare = re.sub(rf"(?m)^( +){key}:.*\n(?:\1 +.*\n)*", "", block[0])
        return re.sub(r"(?m)^ +url: .*\n", lambda url: url[0] + lines, bare)

    return re.sub(rf"(?m)^  - {re.escape(head)}(?=\s).*\n(?:    .*\n)*", edited, text)
