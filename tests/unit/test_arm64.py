# SPDX-License-Identifier: Apache-2.0
"""Programs that are compiled for arm64 here start under QEMU's emulation of a process.

Slow: a cold cache compiles Kubernetes and all others a second time, half an hour of two processors. Nothing is
registered with the kernel, so what a program starts itself would not run; a whole host is not emulated.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.build.architectures import lock_for
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.debian_packages import pins_of, read_pins
from lock_files import LOCK_FILE

ROOT = Path(__file__).resolve().parents[2]
LOCK: dict[str, t.Any] = lock_for(yaml.safe_load(LOCK_FILE.read_text()), "arm64")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
EMULATOR = "qemu-aarch64"
AARCH64 = 183  # e_machine of an ELF header, elf.h

# How each program is asked for its version; what is not here takes --version. Plugins of CNI take an environment.
ASKED = {
    "kubeadm": ["version", "--output=short"],
    "kubectl": ["version", "--client"],
    "etcdctl": ["version"],
    "etcdutl": ["version"],
    "coredns": ["-version"],
    "pause": ["-v"],
    "containerd-shim-runc-v2": ["-v"],
}
SILENT = {"probe", "demo", "install-conf"}  # have no version
PROGRAMS = [
    (part["name"], program)
    for part in LOCK["components"]
    if part.get("language") != "python"
    for program in part["programs"]
]

pytestmark = pytest.mark.skipif(
    not os.environ.get("YUNKUBE_FULL"), reason="compiles everything for arm64: tests/run unit --full"
)


@functools.cache
def emulator() -> str:
    """Return the emulator, installed if it is not there."""
    if not shutil.which(EMULATOR):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for argv in (["update", "-qq"], ["install", "-qqy", "--no-install-recommends", "qemu-user"]):
            subprocess.run(["apt-get", *argv], check=True, env=environment, capture_output=True, timeout=600)
    return EMULATOR


@functools.cache
def builder() -> Builder:
    """Return what builds for arm64 in the cache of this machine."""
    return Builder(LOCK, ROOT, CACHE, read_pins(pins_of(LOCK_FILE, "arm64")))


@functools.cache
def built(component: str) -> Path:
    """Return the folder of a component's programs, built if they are not in the cache."""
    return builder().programs(component)


def emulated(program: Path, *arguments: str, root: str = "/", said: str = "", **environment: str) -> str:
    """Run a program that must succeed, with its libraries below `root`; return what it prints."""
    argv = [emulator(), "-L", root, str(program), *arguments]
    environment |= {"PATH": os.environ["PATH"]}
    done = subprocess.run(argv, input=said, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("component", "program"), PROGRAMS)
def test_a_program_for_arm64_starts(component: str, program: str) -> None:
    path = built(component) / program
    header = path.read_bytes()[:20]
    assert (header[:4], int.from_bytes(header[18:20], "little")) == (b"\x7fELF", AARCH64)
    if component.startswith("cni-"):
        config = '{"cniVersion": "1.0.0", "name": "test", "type": "test"}'
        assert "supportedVersions" in emulated(path, said=config, CNI_COMMAND="VERSION")
    elif program not in SILENT:
        version = next(part["version"] for part in LOCK["components"] if part["name"] == component)
        assert version in emulated(path, *ASKED.get(program, ["--version"]))


@pytest.mark.parametrize(
    ("name", "program", "argument", "answer"),
    [
        ("iptables", "usr/bin/kmod", "--version", "kmod version"),
        ("nginx", "usr/sbin/nginx", "-v", "nginx version"),
        ("python", "usr/bin/python3", "--version", "Python 3.13"),
        ("registry", "usr/bin/docker-registry", "--version", "docker/distribution"),
    ],
)
def test_a_root_file_system_for_arm64_has_all_that_its_programs_need(
    name: str, program: str, argument: str, answer: str, tmp_path: Path
) -> None:
    subprocess.run(["tar", "-xf", str(builder().rootfs(name) / "layer.tar"), "-C", str(tmp_path)], check=True)
    assert answer in emulated(tmp_path / program, argument, root=str(tmp_path))
