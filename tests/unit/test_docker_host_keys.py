# SPDX-License-Identifier: Apache-2.0
"""The folder of keys: made once, kept, and what is in it known."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.yunkube.docker import host_keys as keys

HOSTS = {"master1": "10.77.0.11", "node1": "10.77.0.21"}


class Module(SimpleNamespace):
    """What KeyFolder uses of AnsibleModule."""

    check_mode = False

    def get_bin_path(self, name: str) -> str:
        return name

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def fail_json(self, msg: str) -> None:
        raise AssertionError(msg)


def present(folder: Path, hosts: dict[str, str], *, check: bool = False) -> bool:
    made = keys.KeyFolder(Module(check_mode=check), folder)  # type: ignore[arg-type]
    made.present(hosts)
    return bool(made.changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "state/ssh"
    assert present(path, HOSTS)
    return path


def test_keys_are_made_once_and_for_their_owner_alone(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not present(folder, HOSTS)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all((folder / name).stat().st_mode & 0o777 == 0o600 for name in ("id_ed25519", "hosts/node1", "known_hosts"))


def test_each_host_is_known_by_its_own_key(folder: Path) -> None:
    lines = (folder / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["10.77.0.11", "10.77.0.21"]
    assert len({line.split()[2] for line in lines}) == 2


def test_a_host_that_comes_back_has_the_key_it_had(folder: Path) -> None:
    known = (folder / "known_hosts").read_text()
    assert present(folder, {"master1": "10.77.0.11"})
    assert "10.77.0.21" not in (folder / "known_hosts").read_text()
    assert present(folder, HOSTS)
    assert (folder / "known_hosts").read_text() == known


def test_a_lost_public_half_is_made_of_the_private_one(folder: Path) -> None:
    public = folder / "hosts/node1.pub"
    key = public.read_text().split()[1]
    public.unlink()
    assert present(folder, HOSTS)
    assert public.read_text().split()[1] == key


def test_a_mode_that_others_could_read_is_corrected(folder: Path) -> None:
    (folder / "id_ed25519").chmod(0o644)
    assert present(folder, HOSTS)
    assert (folder / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    assert present(tmp_path / "ssh", HOSTS, check=True)
    assert not (tmp_path / "ssh").exists()


def test_absent_removes_the_folder_once(folder: Path) -> None:
    for expected in (True, False):
        gone = keys.KeyFolder(Module(), folder)  # type: ignore[arg-type]
        gone.absent()
        assert bool(gone.changes) is expected
    assert not folder.exists()
