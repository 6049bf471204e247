# SPDX-License-Identifier: Apache-2.0
"""Host keys of new instances, as the real ssh-keygen reads them."""

from __future__ import annotations

import concurrent.futures
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.cloud import host_keys


def keygen(*arguments: str | Path) -> str:
    """Return what ssh-keygen prints."""
    done = subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout


def mode(file: Path) -> int:
    """Return a file's permissions."""
    return file.stat().st_mode & 0o777


def test_a_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ssh"
    first = host_keys.ensure(folder, "node-1")
    assert host_keys.ensure(folder, "node-1") == first == host_keys.read(folder, "node-1")
    assert first != host_keys.ensure(folder, "node-2")
    assert (mode(folder), mode(folder / "hosts"), mode(folder / "hosts/node-1")) == (0o700, 0o700, 0o600)
    assert sorted(file.name for file in (folder / "hosts").iterdir()) == ["node-1", "node-2"]
    assert keygen("-y", "-f", folder / "hosts/node-1").split()[:2] == first.public.split()[:2]
    assert first.private not in repr(first)


def test_of_two_that_make_it_at_once_both_get_the_same(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: host_keys.ensure(tmp_path, "node-1"), range(32)))
    assert len(set(keys)) == 1


def test_a_permission_that_was_widened_is_taken_back(tmp_path: Path) -> None:
    host_keys.ensure(tmp_path, "node-1")
    (tmp_path / "hosts/node-1").chmod(0o644)
    host_keys.ensure(tmp_path, "node-1")
    assert mode(tmp_path / "hosts/node-1") == 0o600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing: restore it, or replace the host node-1"),
        ("", "is not an SSH key"),
        ("-----BEGIN\n", "not an SSH key"),
    ],
)
def test_a_key_that_is_none_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    (tmp_path / "hosts").mkdir()
    if content is not None:
        (tmp_path / "hosts/node-1").write_text(content)
    with pytest.raises(host_keys.HostKeyError, match=words):
        host_keys.read(tmp_path, "node-1")


def test_a_host_that_is_gone_leaves_no_key(tmp_path: Path) -> None:
    old = host_keys.ensure(tmp_path, "node-1")
    host_keys.forget(tmp_path, "node-1")
    host_keys.forget(tmp_path, "node-1")
    assert host_keys.ensure(tmp_path, "node-1") != old


def test_known_hosts_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    keys = {name: host_keys.ensure(tmp_path, name) for name in ("node-2", "node-1", "node-3")}
    text = host_keys.known_hosts(keys, {"node-1": ["10.0.0.1", "192.0.2.1"], "node-2": ["10.0.0.2", ""], "node-3": []})
    assert [line.split()[0] for line in text.splitlines()] == ["10.0.0.1,192.0.2.1", "10.0.0.2"]
    assert host_keys.write_known_hosts(tmp_path, text)
    assert not host_keys.write_known_hosts(tmp_path, text)
    assert mode(tmp_path / "known_hosts") == 0o600
    assert host_keys.write_known_hosts(tmp_path, "")
    assert (tmp_path / "known_hosts").read_text() == ""


def test_ssh_finds_the_key_that_the_instance_is_given(tmp_path: Path) -> None:
    key = host_keys.ensure(tmp_path, "node-1")
    text = host_keys.known_hosts({"node-1": key}, {"node-1": ["10.0.0.1", "192.0.2.1"]}, port=2222)
    host_keys.write_known_hosts(tmp_path, text)
    data = host_keys.user_data(key, {"ssh_pwauth": False})
    assert data.startswith("#cloud-config\n")
    given = yaml.safe_load(data)
    assert (given["ssh_pwauth"], given["ssh_deletekeys"]) == (False, True)
    (tmp_path / "given").write_text(given["ssh_keys"]["ed25519_private"])
    (tmp_path / "given").chmod(0o600)
    public = keygen("-y", "-f", tmp_path / "given").split()[:2]
    assert given["ssh_keys"]["ed25519_public"].split()[:2] == public
    for place in ("[10.0.0.1]:2222", "[192.0.2.1]:2222"):
        assert keygen("-F", place, "-f", tmp_path / "known_hosts").splitlines()[-1].split()[1:] == public


def test_user_data_is_as_small_as_it_must_be(tmp_path: Path) -> None:
    assert len(host_keys.user_data(host_keys.ensure(tmp_path, "node-1"))) < 16 << 10


def test_the_way_in_is_made_once_and_in_the_clusters_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ssh"
    file = folder / "id_ecdsa.pub"
    assert host_keys.client_key(file, folder, dry_run=True).startswith("ecdsa-sha2-nistp256 ")
    assert not folder.exists()
    public = host_keys.client_key(file, folder)
    assert host_keys.client_key(file, folder) == public
    private = file.with_suffix("")
    assert mode(private) == 0o600
    assert keygen("-y", "-f", private).split()[:2] == public.split()[:2]
    with pytest.raises(FileNotFoundError):
        host_keys.client_key(tmp_path / "elsewhere/id.pub", folder)


def test_the_public_half_that_a_killed_run_did_not_write_is_made_of_the_private_one(tmp_path: Path) -> None:
    file = tmp_path / "ssh/id_ecdsa.pub"
    public = host_keys.client_key(file, file.parent)
    private = file.with_suffix("").read_text()
    file.unlink()
    assert host_keys.client_key(file, file.parent, dry_run=True) == public
    assert not file.exists()
    assert host_keys.client_key(file, file.parent) == public
    assert (file.read_text().strip(), file.with_suffix("").read_text()) == (public, private)
    file.unlink()
    file.with_suffix("").write_text("nothing\n")
    with pytest.raises(host_keys.HostKeyError, match="is not an SSH key that can be read"):
        host_keys.client_key(file, file.parent)
