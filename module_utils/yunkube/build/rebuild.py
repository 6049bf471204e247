# SPDX-License-Identifier: Apache-2.0
"""Build one image of a bundle again, from its source to its archive, and compare the bytes.

The smallest one whose programs are C: it takes a second, needs neither a network nor Go's tools, and goes all the way
that larger ones go.
"""

from __future__ import annotations

import shutil
import tempfile
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.architectures import gcc_of, lock_for
from ansible.module_utils.yunkube.build.archive import lock_of
from ansible.module_utils.yunkube.build.cached_bundles import ORIGINS, Bundle, origins_of
from ansible.module_utils.yunkube.build.components import Builder, Lock
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.tools import BuildError
from ansible.module_utils.yunkube.result import Fault


class Rebuilt(t.NamedTuple):
    """What was built again, and whether it is the same."""

    reference: str
    fault: Fault | None


class _Rebuilder(Builder):
    """Builds into a folder of its own, where nothing was built before."""

    def again(self, image: Lock) -> Path:
        """Build an image with its programs; return its archive."""
        self._cc = [""]  # part of a result's name only
        parts = [part for part in self.lock["components"] if set(part["programs"]) & set(image["programs"])]
        programs = {name: self.component(part) / name for part in parts for name in part["programs"]}
        return self.image(image, programs) / "image.tar"


def rebuild(bundle: Bundle, project: Path) -> Rebuilt:
    """Build the smallest image of a bundle again; BuildError says why it cannot be done."""
    lock_file = lock_of(bundle, project)
    if lock_file is None:
        raise BuildError("no lock of this checkout leads to it, so nothing can be built again")
    lock = lock_for(yaml.safe_load(lock_file.read_text()), bundle.architecture)
    entry, image = _smallest(bundle, lock)
    compiler = gcc_of(bundle.architecture)
    if not shutil.which(compiler):
        packages = " ".join(lock["toolchain"]["c"])
        raise BuildError(f"{image['reference']} cannot be built again without {compiler}: apt-get install {packages}")
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=bundle.folder.parents[1]) as folder:
        builder = _Rebuilder(lock, project, Path(folder))
        if faults := builder.faults():
            raise BuildError("the components are not what the lock names:\n" + "\n".join(faults))
        actual = digest_file(builder.again(image))
    if actual == entry["sha256"]:
        return Rebuilt(image["reference"], None)
    message = f"has the sha256 {entry['sha256'][:16]}…, and built again from its source {actual[:16]}…"
    remedy = "on the machine that made the bundle, this means that it was changed; elsewhere, another compiler can be "
    remedy += "why, or that the image was downloaded there"
    return Rebuilt(image["reference"], Fault(image["reference"], message, remedy, f"bundle {bundle.name}"))


def _smallest(bundle: Bundle, lock: Lock) -> tuple[dict[str, t.Any], Lock]:
    """Return the manifest's entry and the lock's of the smallest image that C programs alone make."""
    in_c = {name for part in lock["components"] if part.get("language") == "c" for name in part["programs"]}
    images = {
        image["reference"]: image
        for image in lock["images"]
        if "rootfs" not in image and image["programs"] and set(image["programs"]) <= in_c
    }
    origins = bundle.folder / ORIGINS  # not there where a bundle comes from an older version
    try:
        told = origins_of(origins.read_bytes()) if origins.exists() else {}
        fetched = {digest for digest, record in told.items() if record["from"] != "source"}
    except ValueError:
        raise BuildError(f"{origins} cannot be read, so nothing says what was built from source") from None
    entries = [entry for entry in bundle.files if entry.get("reference") in images and entry["sha256"] not in fetched]
    if not entries:
        raise BuildError("it has no image of C programs alone that was built from source")
    entry = min(entries, key=lambda one: int(one["size"]))
    return entry, images[entry["reference"]]
