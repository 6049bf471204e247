# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal of a backup leaves when it is killed goes with the cluster: its etcd, and the image it runs from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import host, paths, processes
from teardown_host import Module, record_of


class Real(Module):
    """A module that runs programs."""

    def get_bin_path(self, name: str, **_more: Any) -> str | None:  # type: ignore[override]
        """Find one."""
        return shutil.which(name)

    def run_command(self, argv: list[str], **_more: Any) -> tuple[int, str, str]:
        """Run one."""
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Something mounted where a rehearsal mounts etcd's image, and a program in it."""
    at = host_state.FOLDER / paths.SNAPSHOTS / "image"
    at.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", at], check=True)
    shutil.copy("/bin/sleep", at / "etcd")
    proc = host_state.FOLDER.parent / "proc"
    proc.mkdir()
    (proc / "1").symlink_to("/proc/self")  # the host's first process, in the namespaces of this one
    monkeypatch.setattr(processes.from_folder, "__defaults__", (proc,))
    yield at
    if at.is_mount():
        subprocess.run(["umount", "--lazy", at], check=True)


def test_its_etcd_ends_and_its_image_is_unmounted(image: Path, tmp_path: Path) -> None:
    host_state.write_record(record_of("ours"))
    with subprocess.Popen([image / "etcd", "600"]) as etcd, subprocess.Popen(["/bin/sleep", "600"]) as other:
        for process in (etcd, other):
            (tmp_path / "proc" / str(process.pid)).symlink_to(f"/proc/{process.pid}")
        looked = host.Host(Real())  # type: ignore[arg-type]
        words = [f"end process {etcd.pid} of a rehearsal", f"unmount {image}"]
        assert [line for line in looked.found() if "rehearsal" in line or "unmount" in line] == words
        looked._end_rehearsal()
        assert etcd.wait(10) == -9
        assert other.poll() is None
        other.kill()
    assert not image.is_mount()
    assert [line for line in looked.found() if "rehearsal" in line or "unmount" in line] == []
    looked.forget()
    assert not image.exists()


def test_a_disk_of_the_host_stays(image: Path) -> None:
    folder = host_state.FOLDER / paths.SNAPSHOTS
    subprocess.run(["umount", image], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        host_state.write_record(record_of("ours"))
        looked = host.Host(Real())  # type: ignore[arg-type]
        looked._end_rehearsal()
        assert folder.is_mount()
    finally:
        subprocess.run(["umount", folder], check=True)


class Shown(Module):
    """A host whose systemd says of every unit that it is in a state."""

    def __init__(self, state: str) -> None:
        super().__init__(services=["own.timer"])
        self.state = state
        self.asked: list[list[str]] = []

    def get_bin_path(self, name: str, **_more: Any) -> str:  # type: ignore[override]
        """Find any program."""
        return name

    def run_command(self, argv: list[str], **_more: Any) -> tuple[int, str, str]:
        """Answer for systemctl."""
        self.asked.append(argv)
        return 0, f"FragmentPath=/etc/systemd/system/own.timer\n{self.state}\n" if "show" in argv else "", ""


@pytest.mark.parametrize(
    ("state", "there", "up"),
    [
        ("LoadState=loaded\nActiveState=inactive", True, True),
        ("LoadState=bad-setting\nActiveState=inactive", True, False),
        ("LoadState=error\nActiveState=active", True, True),
        ("LoadState=not-found\nActiveState=inactive", False, False),
    ],
)
def test_a_unit_that_systemd_refuses_is_disabled_as_well(state: str, there: bool, up: bool) -> None:
    module = Shown(state)
    looked = host.Host(module)  # type: ignore[arg-type]
    assert looked.services == (["own.timer"] if there else [])
    looked._end_services()
    argv = [words for words in module.asked if "disable" in words]
    assert argv == ([["systemctl", "disable", *(["--now"] if up else []), "own.timer"]] if there else [])
