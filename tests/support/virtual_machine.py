# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as a host: QEMU on a bridge that Docker made, with an own kernel, a user with sudo and known keys.

The disk is written to a file without a name and the tap belongs to the process, so both are gone with it; QEMU ends
with the thread that started it. Nothing of the machine that it runs on is set, no sysctl and no rule of the firewall:
Docker lets pass what stays on one of its bridges.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from laboratory import CACHE, ROOT, Json, docker, start_engine
from machine_image import Image, Recipe, call, image

# A guest whose first process ends restarts at once, and QEMU ends with it: proof that the processor works.
PROBE = ("-no-reboot", "-append", "console=ttyS0 rdinit=/bin/true panic=-1")
PROBE_SECONDS = 20
BOOT_SECONDS = 600  # 20 s without acceleration on two idle cores, 220 s beside a load of 40
NETWORK = "[Match]\nMACAddress={mac}\n[Network]\nAddress={address}/24\nGateway={gateway}\nLinkLocalAddressing=no\n"
SSH = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5")


@dataclass(frozen=True)
class Machine:
    """What a machine is before it boots."""

    name: str
    address: str
    gateway: str
    first_boot: str = ""  # shell, as root, before the network and sshd start
    memory_mb: int = 2048
    processors: int = 2
    disks: tuple[str, ...] = ()  # sizes of further ones, from /dev/vdc
    data: tuple[Path, str] | None = None  # a folder to have on one more disk after those, and that disk's size
    kernel: str = ""  # further parameters of its kernel
    user: str = "ops"
    password: str = ""  # what sudo asks for

    @property
    def mac(self) -> str:
        """An address of its own, out of the one that it has in the network."""
        return "52:54:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))


@dataclass
class Running:
    """A machine that runs, and how it is reached."""

    machine: Machine
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> Json:
        """What an inventory says of it."""
        return {
            "ansible_host": self.machine.address,
            "ansible_user": self.machine.user,
            "ansible_ssh_private_key_file": str(self.folder / "id"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.folder}/known_hosts",
        }

    def run(self, script: str, *, check: bool = True, seconds: int = BOOT_SECONDS) -> str:
        """Run a shell's script as root; return what it prints."""
        argv = ["ssh", *SSH, "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-i", str(self.folder / "id")]
        argv += [f"{self.machine.user}@{self.machine.address}", f"sudo -S -p '' sh -c {shlex.quote(script)}"]
        given = f"{self.machine.password}\n"
        done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=seconds)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def fingerprint(self) -> Json:
        """Return all that the machine is, as it says itself."""
        script = (ROOT / "tests/support/fingerprint.py").read_text()
        found: Json = json.loads(self.run(f"cat <<'END' | python3 -\n{script}\nEND"))
        return found

    def reboot(self) -> None:
        """Restart it, and wait until it answers again."""
        ask = "cat /proc/sys/kernel/random/boot_id"
        before = self.run(ask)
        self.run("systemctl reboot", check=False)
        deadline = time.monotonic() + BOOT_SECONDS
        while self.run(ask, check=False) in {"", before}:
            assert time.monotonic() < deadline, f"{self.machine.name} does not come back"
            time.sleep(0.5)

    def answers(self) -> bool:
        """Say whether it can be worked on: SSH takes a login, and its first boot is behind it."""
        return self.run("test -e /etc/first-boot-done && echo yes", check=False) == "yes"

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + BOOT_SECONDS
        while not self.answers():
            console = (self.folder / "console").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"QEMU ended: {(self.folder / 'qemu').read_text()}{console}"
            assert time.monotonic() < deadline, f"{self.machine.name} does not answer by SSH; its console:\n{console}"
            time.sleep(0.5)


@functools.cache
def acceleration(kernel: Path, initrd: Path) -> tuple[str, ...]:
    """Return KVM where a kernel boots with it (its device alone proves nothing), emulation otherwise."""
    argv = ["-accel", "kvm", "-cpu", "host"]
    probe = ["timeout", str(PROBE_SECONDS), "qemu-system-x86_64", *argv, "-m", "512", "-nographic", "-nodefaults"]
    probe += ["-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd), *PROBE]
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode == 0 and b"Kernel panic" in done.stdout:
            return tuple(argv)
    return ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off")


def bridge(name: str) -> str:
    """Return the bridge of one of Docker's networks."""
    return f"br-{docker('network', 'inspect', '--format', '{{.Id}}', name)[:12]}"


@contextlib.contextmanager
def network(name: str, prefix: str) -> Iterator[str]:
    """Make a network of Docker's for machines alone; `prefix` is the first three bytes of its /24."""
    start_engine()
    docker("network", "rm", name, check=False)  # of a run that was killed
    docker("network", "create", "--subnet", f"{prefix}.0/24", "--gateway", f"{prefix}.1", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


def prefer(process: subprocess.Popen[bytes]) -> None:
    """Give a process more of the processor than other sessions; its own niceness counts within its session alone."""
    group = Path(f"/proc/{process.pid}/autogroup")  # sched(7)
    if group.exists():
        group.write_text("-10")


def _seed(folder: Path, machine: Machine) -> Path:
    """Make the disk of what the machine has of its own, and the keys on both sides."""
    seed = folder / "seed"
    seed.mkdir()
    for path in (folder / "id", seed / "ssh_host_ed25519_key"):
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", str(path))
    (folder / "known_hosts").write_text(f"{machine.address} {(seed / 'ssh_host_ed25519_key.pub').read_text()}")
    (seed / "network").write_text(
        NETWORK.format(**{name: getattr(machine, name) for name in ("mac", "address", "gateway")})
    )
    (seed / "authorized_keys").write_text((folder / "id.pub").read_text())
    (seed / "first-boot").write_text(f"""
install -m 600 /mnt/ssh_host_ed25519_key /mnt/ssh_host_ed25519_key.pub /etc/ssh/
install -d -m 700 -o {machine.user} -g {machine.user} /home/{machine.user}/.ssh
install -m 600 -o {machine.user} -g {machine.user} /mnt/authorized_keys /home/{machine.user}/.ssh/
install -m 644 /mnt/network /etc/systemd/network/10-lab.network
echo {machine.name} > /etc/hostname
hostname {machine.name}
printf '127.0.0.1 localhost\\n127.0.1.1 {machine.name}\\n' > /etc/hosts
echo nameserver {machine.gateway} > /etc/resolv.conf
{machine.first_boot}
""")
    disk = folder / "seed.img"
    call("mke2fs", "-q", "-t", "ext2", "-d", str(seed), str(disk), "4M")
    return disk


def _command(booted: Image, machine: Machine, folder: Path, tap: str) -> list[str]:
    argv = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-name", machine.name]
    argv += [*acceleration(booted.kernel, booted.initrd), "-smp", str(machine.processors), "-m", str(machine.memory_mb)]
    argv += ["-nographic", "-nodefaults", "-serial", f"file:{folder}/console", "-device", "virtio-rng-pci"]
    argv += ["-kernel", str(booted.kernel), "-initrd", str(booted.initrd)]
    # What guards against the processor's own faults has none to guard against where it is emulated, and costs time.
    argv += ["-append", f"root=/dev/vda rw console=ttyS0 quiet mitigations=off {machine.kernel}"]
    argv += ["-drive", f"file={booted.disk},format=raw,if=virtio,cache=unsafe,snapshot=on"]
    argv += ["-drive", f"file={_seed(folder, machine)},format=raw,if=virtio,readonly=on"]
    for number, size in enumerate(machine.disks):
        disk = folder / f"disk{number}"
        call("truncate", "--size", size, str(disk))
        argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    if machine.data:
        disk = folder / "data"
        call("mke2fs", "-q", "-t", "ext4", "-d", str(machine.data[0]), str(disk), machine.data[1])
        argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    argv += ["-netdev", f"tap,id=lan,ifname={tap},script=no,downscript=no"]
    return [*argv, "-device", f"virtio-net-pci,netdev=lan,mac={machine.mac},romfile="]


@contextlib.contextmanager
def running(machine: Machine, network: str, folder: Path, recipe: Recipe | None = None) -> Iterator[Running]:
    """Boot a machine on one of Docker's networks and end it afterwards; it may not answer yet, see wait().

    `folder` is empty, and gets the keys, the log and the further disks.
    """
    booted = image(recipe or Recipe())
    tap = f"vm{os.getpid() % 100000}-{machine.address.rpartition('.')[2]}"
    environment = os.environ | {"TMPDIR": str(CACHE / "machines")}  # for what it writes: /tmp may be memory
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "qemu").open("wb"))
        (folder / "console").touch()
        process = subprocess.Popen(
            _command(booted, machine, folder, tap), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.kill)
        prefer(process)
        deadline = time.monotonic() + BOOT_SECONDS
        while not Path(f"/sys/class/net/{tap}").exists():
            assert process.poll() is None, (folder / "qemu").read_text()
            assert time.monotonic() < deadline, "QEMU made no tap"
            time.sleep(0.05)
        call("ip", "link", "set", tap, "master", bridge(network), "up")
        yield Running(machine, folder, process)
