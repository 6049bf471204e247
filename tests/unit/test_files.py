# SPDX-License-Identifier: Apache-2.0
"""What writes the small files of a host."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.files import State, bring, differences, read_state, wanted_state, write


def entry(path: Path, **given: t.Any) -> dict[str, t.Any]:
    """An entry as Ansible hands it to the module."""
    return {"path": str(path), "content": "text\n", "mode": "0644", "restart": True, **given}


def test_a_written_file_is_as_wanted_and_its_parents_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"
    previous = os.umask(0o077)
    try:
        write(path, wanted_state(entry(path, mode="0640")))
    finally:
        os.umask(previous)
    assert read_state(path) == wanted_state(entry(path, mode="0640"))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert [found.name for found in path.parent.iterdir()] == ["file"]  # no temporary file stays


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "link"
    target.write_text("text\n")
    path.symlink_to(target)
    wanted = wanted_state(entry(path))
    assert read_state(path) != wanted
    write(path, wanted)
    assert not path.is_symlink()
    assert target.read_text() == "text\n"


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_state(tmp_path)


def test_a_bad_mode_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write it like '0644'"):
        wanted_state(entry(tmp_path / "file", mode="rw"))


def test_a_diff_shows_text_and_attributes() -> None:
    before, after = State(b"old\n", 0o644), State(b"new\n", 0o600)
    text, attributes = differences("/x", before, after)
    assert (text["before"], text["after"]) == ("old\n", "new\n")
    assert (attributes["before"]["mode"], attributes["after"]["mode"]) == ("0644", "0600")


def test_nothing_is_written_in_check_mode_and_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "etc/file"
    files = [entry(path)]
    assert bring(files, check_mode=True)[0] == [str(path)]
    assert not path.exists()
    assert bring(files, check_mode=False)[0] == [str(path)]
    assert path.read_text() == "text\n"
    assert bring(files, check_mode=False) == ([], [])


def test_a_file_of_the_hosts_own_is_kept_before_it_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("own\n")
    host_state.write_record({"cluster": "ours", "trees": [], "files": {str(path): "644"}})
    bring([entry(path)], check_mode=True)
    assert not originals.is_kept(path)
    bring([entry(path)], check_mode=False)
    bring([entry(path, content="more\n")], check_mode=False)
    (copy,) = originals.kept().values()
    assert copy.read_text() == "own\n"
