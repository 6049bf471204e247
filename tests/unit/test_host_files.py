"""Files are written whole, once, and without a word about what is secret."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from host_files import State, UnloggedModule, differences, read_state, wanted_state, write

PROJECT = Path(__file__).resolve().parents[2]


def entry(path: Path, **given: t.Any) -> dict[str, t.Any]:
    """An entry as Ansible hands it to the module."""
    defaults = {
        "content": "text\n",
        "mode": "0644",
        "owner": None,
        "group": None,
        "state": "present",
        "validate": None,
        "sensitive": False,
    }
    return {"path": str(path), **defaults, **given}


def accept(_part: str) -> None:
    """Validate nothing."""


def test_a_written_file_is_as_wanted_and_its_parents_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"
    previous = os.umask(0o077)
    try:
        write(path, wanted_state(entry(path, mode="0640")), accept)
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
    write(path, wanted, accept)
    assert not path.is_symlink()
    assert target.read_text() == "text\n"


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_state(tmp_path)


def test_refused_content_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old\n")

    def refuse(_part: str) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write(path, wanted_state(entry(path)), refuse)
    assert path.read_text() == "old\n"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "rw"}, "write it like '0644'"),
        ({"content": None}, "write content, or state: absent"),
        ({"owner": "nobody-of-this-name"}, "knows no user or group"),
    ],
)
def test_bad_input_says_what_to_write(tmp_path: Path, given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wanted_state(entry(tmp_path / "file", **given))


def test_a_diff_shows_text_and_attributes_but_no_secret() -> None:
    before, after = State(b"old\n", 0o644), State(b"new\n", 0o600)
    text, attributes = differences("/x", before, after, sensitive=False)
    assert (text["before"], text["after"]) == ("old\n", "new\n")
    assert (attributes["before"]["mode"], attributes["after"]["mode"]) == ("0644", "0600")
    assert "new" not in str(differences("/x", before, after, sensitive=True))


def run_module(tmp_path: Path, files: list[dict[str, t.Any]], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the module as Ansible does."""
    argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-c", "local", "-m", "host_files", "-vvv"]
    argv += ["-a", json.dumps({"files": files}), "-e", f"ansible_python_interpreter={sys.executable}"]
    environment = os.environ | {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    return subprocess.run(
        [*argv, *options], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_run_by_ansible_it_changes_nothing_in_check_mode_and_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "etc/file"
    files = [{"path": str(path), "content": "hush-hush\n", "sensitive": True}]
    checked = run_module(tmp_path, files, "--check", "--diff")
    assert "CHANGED" in checked.stdout
    assert not path.exists()
    assert "CHANGED" in run_module(tmp_path, files, "--diff").stdout
    assert path.read_text() == "hush-hush\n"
    again = run_module(tmp_path, files)
    assert "SUCCESS" in again.stdout
    assert "hush-hush" not in checked.stdout + again.stdout


def test_no_content_goes_to_the_log() -> None:
    # Ansible's hook is private: this fails when it gets another name.
    assert "_log_invocation" in vars(AnsibleModule)
    assert "_log_invocation" in vars(UnloggedModule)
