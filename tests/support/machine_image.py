# SPDX-License-Identifier: Apache-2.0
"""The disk that virtual machines boot from: Debian by debootstrap with the distribution's own kernel, made once.

Nothing is mounted and no loop device is used: mke2fs copies a folder into the file system. What one machine has of its
own comes at its first boot from a second disk, the seed: a script, and the files that it puts in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible.module_utils.yunkube.build.system_packages import APT_INDEXES, debian_archive, missing
from ansible.module_utils.yunkube.docker.host_image import CONTAINED, KEYRING
from ansible.module_utils.yunkube.host.file_lock import locked
from host_packages import fetch
from laboratory import CACHE

PROGRAMS = {
    "qemu-system-x86_64": ["qemu-system-x86"],
    "debootstrap": ["debootstrap"],
    "mke2fs": ["e2fsprogs"],
    KEYRING: ["debian-archive-keyring"],
}
# What Debian's cloud image has of what matters here: roles must bring the rest.
STOCK = (
    "apparmor", "ca-certificates", "curl", "dbus", "initramfs-tools", "iproute2", "iputils-ping", "kmod", "less",
    "linux-image-cloud-amd64", "openssh-server", "procps", "python3", "python3-apt", "sudo", "systemd", "systemd-sysv",
    "systemd-timesyncd", "udev",
)  # fmt: skip
DISTRIBUTIONS = {"bookworm": "debian12", "trixie": "debian13"}  # as the lock of packages names them
DISK = "12G"  # sparse: what is written counts
SEED_UNIT = """[Unit]
Description=What this machine has of its own, at its first boot
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target sysinit.target
Wants=network-pre.target
ConditionPathExists=!/etc/first-boot-done

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -o ro /dev/vdb /mnt && sh -eu /mnt/first-boot && umount /mnt && touch /etc/first-boot-done'
StandardError=journal+console

[Install]
WantedBy=sysinit.target
"""
BUILD_SECONDS = 1800
SELINUX = "selinux-policy-default"  # a recipe with it has labels on every file, and a policy that is enforced


@dataclass(frozen=True)
class Recipe:
    """What an image holds; another recipe is another image."""

    suite: str = "bookworm"
    packages: tuple[str, ...] = STOCK
    more: tuple[str, ...] = ()  # those whose scripts need a system that is there; debootstrap knows no order
    disabled: tuple[str, ...] = ()  # units that a package enables, and a machine starts only where it is said
    disk: str = DISK
    unit: str = SEED_UNIT
    user: str = "ops"

    @property
    def key(self) -> str:
        """Name the image by its recipe."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Image:
    """What QEMU boots; the disk is never written to."""

    disk: Path
    kernel: Path
    initrd: Path


def call(*argv: str, seconds: int = BUILD_SECONDS) -> str:
    """Run a program and return what it prints; fail with what it said."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def install_programs() -> None:
    """Install what is missing here from the distribution's packages."""
    packages = [package for names in missing(PROGRAMS).values() for package in names]
    if packages:
        call("apt-get", "--quiet", "update")
        call("apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", "install", "--yes", "--no-install-recommends",
             *packages)  # fmt: skip


def image(recipe: Recipe) -> Image:
    """Return the image of a recipe out of the cache; make it where it is missing."""
    install_programs()
    folder = CACHE / "machines" / recipe.key
    with locked(folder.with_suffix(".lock"), BUILD_SECONDS):
        if not folder.exists():
            _build(recipe, folder)
    return Image(folder / "disk", folder / "vmlinuz", folder / "initrd")


def _build(recipe: Recipe, folder: Path) -> None:
    """Install the system and make the disk of it; the folder appears only when whole."""
    root, part = (folder.with_name(f".{folder.name}.{kind}") for kind in ("root", "part"))
    for left in (root, part):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        argv = ["debootstrap", "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}"]
        argv += [f"--include={','.join(recipe.packages)}", recipe.suite, str(root)]
        archive = debian_archive(call("apt-get", *APT_INDEXES))
        call(*CONTAINED, *argv, *([archive] if archive else []))
        if recipe.more:
            _add(root, recipe)
        _settle(root, recipe)
        for kind, name in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
            [file] = root.glob(f"boot/{kind}-*")
            shutil.copyfile(file, part / name)
        call("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(part / "disk"), recipe.disk)
        part.rename(folder)
    finally:
        for left in (root, part):
            shutil.rmtree(left, ignore_errors=True)


def _add(root: Path, recipe: Recipe) -> None:
    """Install the further packages of a recipe, each after those that it needs."""
    folder = fetch((root / "var/lib/dpkg/status").read_text(), recipe.more, DISTRIBUTIONS[recipe.suite])
    place = root / "var/cache/apt/archives"
    for path in folder.glob("*.deb"):
        shutil.copy(path, place)
    call(*CONTAINED, "chroot", str(root), "sh", "-c", "dpkg --force-unsafe-io --install /var/cache/apt/archives/*.deb")


def _settle(root: Path, recipe: Recipe) -> None:
    """Make a machine of an installed system: no identity, a user with sudo, the unit that reads the seed."""
    call(*CONTAINED, "chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", recipe.user)
    for path in [*root.glob("etc/ssh/ssh_host_*"), *root.glob("var/cache/apt/archives/*.deb")]:
        path.unlink()
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)  # else every copy takes its id from here
    for name, text in {
        "etc/machine-id": "",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        "etc/resolv.conf": "",  # debootstrap copies the one of the machine that it runs on
        f"etc/sudoers.d/{recipe.user}": f"{recipe.user} ALL=(ALL) NOPASSWD: ALL\n",
        "etc/systemd/system/first-boot.service": recipe.unit,
    }.items():
        (root / name).unlink(missing_ok=True)  # a link of systemd-resolved
        (root / name).write_text(text)
    (root / f"etc/sudoers.d/{recipe.user}").chmod(0o440)
    call("systemctl", f"--root={root}", "enable", "first-boot.service", "systemd-networkd.service")
    for unit in recipe.disabled:
        call("systemctl", f"--root={root}", "disable", unit)
    if SELINUX in recipe.more:
        (root / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
        contexts = "/etc/selinux/default/contexts/files/file_contexts"
        label = f"mount -t proc proc /proc && setfiles -F -e /proc {contexts} /"  # it names files by their descriptors
        call(*CONTAINED, "chroot", str(root), "sh", "-c", label)
