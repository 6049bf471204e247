# SPDX-License-Identifier: Apache-2.0
"""Settings are written for the boot and made now, once, and only shown in check mode."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host import settings as host_settings
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.settings import Settings, modules_text, sysctls_text, without_swap
from ansible.module_utils.yunkube.host.sysctls import sysctl_path

SYSCTL_PATH = sysctl_path


class Module:
    """As much of a module as Settings uses; remembers what was run."""

    def __init__(self, *, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.ran: list[list[str]] = []

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        self.ran.append(argv)
        return 0, "", ""


def settings(module: Module) -> Settings:
    """Settings on a stand-in."""
    return Settings(t.cast("t.Any", module))


@pytest.fixture(name="sysctls")
def _sysctls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net/ipv4").mkdir(parents=True)
    (tmp_path / "net/ipv4/ip_forward").write_text("0\n")
    (tmp_path / "net/ipv4/ping_group_range").write_text("1\t0\n")
    monkeypatch.setattr(host_settings, "sysctl_path", lambda name: tmp_path / name.replace(".", "/"))
    return tmp_path


def test_swap_is_commented_out_of_fstab_once() -> None:
    before = "/dev/vda1 / ext4 defaults 0 1\n/swapfile\tnone\tswap sw 0 0\n# /dev/old none swap sw 0 0\n"
    after = without_swap(before)
    assert after.splitlines()[1] == "# /swapfile\tnone\tswap sw 0 0"
    assert without_swap(after) == after
    assert after.splitlines()[0] == before.splitlines()[0]


def test_a_line_of_fstab_may_begin_with_a_space() -> None:
    assert without_swap("  \t/dev/sda2 none swap sw 0 0\n") == "#   \t/dev/sda2 none swap sw 0 0\n"
    apart = "/dev/sda1\n/mnt swap here\n"  # no entry of swap: fields are of one line
    assert without_swap(apart) == apart


@pytest.fixture(name="units")
def _units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of systemd's units; swap is off, and nothing in fstab."""
    units = [tmp_path / "etc", tmp_path / "generator", tmp_path / "lib"]
    for folder in units:
        folder.mkdir()
    monkeypatch.setattr(host_settings, "UNITS", units)
    monkeypatch.setattr(host_settings, "FSTAB", tmp_path / "fstab")
    return units


def test_swap_that_is_not_in_fstab_stays_off_at_the_next_boot(units: list[Path]) -> None:
    (units[1] / "dev-zram0.swap").write_text("[Swap]\nWhat=/dev/zram0\n")
    (units[0] / "swapfile.swap").write_text("[Swap]\nWhat=/swapfile\n")
    planned = Module(check_mode=True)
    made = settings(planned)
    made.turn_swap_off()
    assert (made.changes, planned.ran) == (["mask swap.target, which starts swapfile.swap, dev-zram0.swap"], [])
    module = Module()
    settings(module).turn_swap_off()
    assert module.ran == [["systemctl", "mask", "swap.target"]]
    undo = host_state.read_changes()["undo"]
    assert undo == [["systemctl", "unmask", "swap.target"], ["systemctl", "start", "swap.target"]]


def test_swap_is_remembered_with_its_priority_before_it_is_turned_off(
    units: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert units
    monkeypatch.setattr(host_settings, "swap_priorities", lambda: [("/dev/zram0", 100), ("/swapfile", -2)])
    made = settings(planned := Module(check_mode=True))
    made.turn_swap_off()
    assert (made.changes, planned.ran, host_state.read_changes()["swaps"]) == (["turn swap off"], [], [])
    module = Module()
    settings(module).turn_swap_off()
    assert module.ran == [["swapoff", "--all"]]
    assert host_state.read_changes()["swaps"] == [["/dev/zram0", 100], ["/swapfile", -2]]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_what_is_written_does_not_depend_on_the_logins_umask(units: list[Path], tmp_path: Path, umask: int) -> None:
    assert units
    fstab = tmp_path / "fstab"
    fstab.write_text("/swapfile none swap sw 0 0\n")
    fstab.chmod(0o664)
    former = os.umask(umask)
    try:
        settings(Module()).write(tmp_path / "new/folder/99-kubernetes.conf", "a = 1\n")
        settings(Module()).turn_swap_off()
    finally:
        os.umask(former)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "new", tmp_path / "new/folder", fstab)]
    assert [*map(oct, modes)] == ["0o755", "0o755", "0o664"]
    assert (tmp_path / "new/folder/99-kubernetes.conf").stat().st_mode & 0o777 == 0o644
    assert fstab.read_text().startswith("# ")


def test_swap_of_fstab_and_what_is_masked_already_need_no_mask(units: list[Path], tmp_path: Path) -> None:
    (units[1] / "swapfile.swap").write_text(f"[Unit]\nSourcePath={tmp_path / 'fstab'}\n[Swap]\nWhat=/swapfile\n")
    made = settings(Module())
    made.turn_swap_off()
    assert made.changes == []
    (units[2] / "dev-vda9.swap").write_text("[Swap]\nWhat=/dev/vda9\n")
    (units[0] / "swap.target").symlink_to("/dev/null")
    made.turn_swap_off()
    assert made.changes == []


def test_the_files_of_the_boot_are_in_the_words_of_systemd() -> None:
    assert modules_text(["overlay", "br_netfilter"]).splitlines()[1:] == ["overlay", "br_netfilter"]
    assert sysctls_text({"net.b": 1, "net.a": "2 3"}).splitlines()[1:] == ["net.a = 2 3", "net.b = 1"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_a_name_is_read_as_sysctl_reads_it(name: str, path: str) -> None:
    assert SYSCTL_PATH(name) == Path("/proc/sys", path)


def test_a_value_is_set_when_it_differs_in_more_than_spaces(sysctls: Path) -> None:
    made = settings(Module())
    made.set_sysctl("net.ipv4.ip_forward", "1")
    made.set_sysctl("net.ipv4.ping_group_range", "1 0")
    assert made.changes == ["set net.ipv4.ip_forward to 1"]
    assert (sysctls / "net/ipv4/ip_forward").read_text() == "1"


def test_check_mode_says_what_it_would_do_and_does_nothing(sysctls: Path, tmp_path: Path) -> None:
    module = Module(check_mode=True)
    made = settings(module)
    made.set_sysctl("net.ipv4.ip_forward", "1")
    made.set_sysctl("net.bridge.not-there-yet", "1")
    made.write(tmp_path / "new/file", "text\n")
    made.load("no_such_module")
    assert len(made.changes) == len(made.diff) == 4
    assert (sysctls / "net/ipv4/ip_forward").read_text() == "0\n"
    assert not (tmp_path / "new").exists()
    assert module.ran == []


def test_a_feature_of_the_kernel_is_not_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host_settings.FEATURES, "br_netfilter", tmp_path)
    module = Module()
    made = settings(module)
    made.load("br_netfilter")
    made.load("proc")  # a file system that every kernel lists
    assert made.changes == []
    assert module.ran == []
    made.load("no_such_module")
    assert module.ran == [["modprobe", "no_such_module"]]


def test_a_file_of_the_hosts_own_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "99-kubernetes.conf"
    path.write_text("net.own = 1\n")
    host_state.write_record({"cluster": "ours", "trees": [], "files": {str(path): "644"}})
    settings(Module()).write(path, "net.ours = 1\n")
    assert [copy.read_text() for copy in originals.kept().values()] == ["net.own = 1\n"]
