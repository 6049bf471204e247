# SPDX-License-Identifier: Apache-2.0
"""Builds for other processors than the control machine's: what a lock says of them, and the C compiler for each."""

from __future__ import annotations

import os
import platform
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.tools import BuildError, Tools
from ansible.module_utils.yunkube.constants import ARCHITECTURES

NATIVE = "amd64"  # of control machines, as the Go tools of the lock
# How Debian's packages and GNU's tools name an architecture that is compiled for.
TRIPLETS = {"arm64": "aarch64-linux-gnu"}

Lock = dict[str, t.Any]


def lock_for(lock: Lock, architecture: str) -> Lock:
    """Return what a lock says of one architecture: its own, or what stands under `cross` and in components."""
    if architecture == lock.get("architecture", architecture):
        return lock
    if architecture not in lock.get("cross", {}):
        known = ", ".join([str(lock["architecture"]), *lock.get("cross", {})])
        raise BuildError(f"the lock has nothing for {architecture}, only for {known}")
    components = [part | part.get(architecture, {}) for part in lock["components"]]
    toolchain = lock["toolchain"] | lock["cross"][architecture]
    return lock | {"architecture": architecture, "toolchain": toolchain, "components": components}


def check_machine() -> None:
    """Refuse to build where the compilers would make something else than the bundle says."""
    machine = platform.machine()
    if ARCHITECTURES.get(machine) != NATIVE:
        raise BuildError(
            f"bundles are built on {NATIVE} machines, also those for other architectures, and this one is {machine}:"
            " run it on another control machine"
        )


def c_compiler(tools: Tools, lock: Lock, sysroot: Path | None = None) -> list[str]:
    """Return what C programs are made of: the compiler's version and the libraries that they hold.

    Installs what is missing where we may. `sysroot` holds libseccomp where it is not this machine's own.
    """
    packages, gcc = lock["toolchain"]["c"], gcc_of(lock["architecture"])
    missing = lacks_c_compiler(lock["architecture"], sysroot)
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        tools.run(["apt-get", "update", "-q"], "C compiler", tries=3)
        wait = "-oDPkg::Lock::Timeout=120"
        tools.run(["apt-get", "install", "-qy", wait, "--no-install-recommends", *packages], "C compiler")
    elif missing:
        raise BuildError(f"the build needs a C compiler, pkg-config and libseccomp: install {' '.join(packages)}")
    made_of = [tools.ask([gcc, "--version"], "C compiler").partition("\n")[0]]
    for library in ("libc.a", "libseccomp.a"):
        path = Path(tools.ask([gcc, f"-print-file-name={library}"], "C compiler").strip())
        if sysroot and library == "libseccomp.a":
            path = libraries(sysroot, lock["architecture"]) / library
        if not path.is_absolute():
            raise BuildError(f"the C compiler finds no {library}: install {' '.join(packages)}")
        made_of.append(f"{library} {digest_file(path)}")
    return made_of


def lacks_c_compiler(architecture: str, sysroot: Path | None = None) -> bool:
    """Say whether something is missing here that C programs are made of."""
    header = (sysroot or Path("/")) / "usr/include/seccomp.h"
    return not shutil.which(gcc_of(architecture)) or not shutil.which("pkg-config") or not header.exists()


def gcc_of(architecture: str) -> str:
    """Return the name of the compiler for an architecture."""
    return f"{TRIPLETS[architecture]}-gcc" if architecture in TRIPLETS else "gcc"


def libraries(sysroot: Path, architecture: str) -> Path:
    """Return the folder of a sysroot that holds libraries."""
    return sysroot / "usr/lib" / TRIPLETS[architecture]


def go_environment(architecture: str, sysroot: Path | None) -> dict[str, str]:
    """Return the environment in which Go compiles for an architecture; nothing for this machine's own."""
    if architecture == NATIVE:
        return {}
    about = {"GOARCH": architecture, "CC": gcc_of(architecture)}
    if sysroot:
        folder = libraries(sysroot, architecture)
        about |= {"PKG_CONFIG_LIBDIR": f"{folder}/pkgconfig"}
        about |= {"CGO_CFLAGS": f"-O2 -I{sysroot}/usr/include", "CGO_LDFLAGS": f"-O2 -L{folder}"}
    return about
