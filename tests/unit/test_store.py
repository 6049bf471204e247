# SPDX-License-Identifier: Apache-2.0
"""A build result is either complete or missing, and is built once."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build.store import Store, digest_file, digest_of, digest_tree
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.file_lock import LockError, locked


def fill(folder: Path) -> None:
    """Make a result."""
    (folder / "program").write_text("content")


def names(root: Path) -> list[str]:
    """What a reader of the store takes for results."""
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def test_a_result_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made: list[Path] = []

    def make(out: Path) -> None:
        made.append(out)
        fill(out)

    assert store.get("tool", "key") is None
    for _ in range(2):
        folder = store.put("tool", "key", make)
        assert (folder / "program").read_text() == "content"
    assert len(made) == 1
    assert store.get("tool", "key") == folder


def test_other_inputs_are_another_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = (store.put("tool", digest_of({"version": version}), fill) for version in (1, 2))
    assert first != second
    assert len(names(tmp_path)) == 2


def test_what_fails_half_way_is_no_result_and_can_be_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half(out: Path) -> None:
        (out / "half").write_text("")
        raise RuntimeError("the compiler failed")

    with pytest.raises(RuntimeError, match="compiler"):
        store.put("tool", "key", half)
    assert names(tmp_path) == []
    folder = store.put("tool", "key", fill)
    assert [path.name for path in folder.iterdir()] == ["program"]  # nothing of the first try


def hang(root: Path, half_done: Path) -> None:
    """Write half of a result and never come to an end."""

    def make(out: Path) -> None:
        (out / "half").write_text("")
        half_done.touch()
        time.sleep(60)

    Store(root).put("tool", "key", make)


def test_a_killed_build_leaves_no_result_and_no_lock(tmp_path: Path) -> None:
    half_done = tmp_path / "half-done"
    process = multiprocessing.get_context("fork").Process(target=hang, args=(tmp_path / "store", half_done))
    process.start()
    wait_for(half_done)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert names(tmp_path / "store") == []
    folder = Store(tmp_path / "store").put("tool", "key", fill)
    assert [path.name for path in folder.iterdir()] == ["program"]


def count_one(root: Path, log: Path) -> None:
    """Make a result slowly, and leave a line each time it is made."""

    def make(out: Path) -> None:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.3)
        fill(out)

    folder = Store(root).put("tool", "key", make)
    assert (folder / "program").read_text() == "content"


def test_two_builds_at_once_share_the_work(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=count_one, args=(tmp_path / "store", log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [process.exitcode for process in both] == [0, 0]
    assert log.read_text() == "made\n"


def test_a_dropped_result_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("tool", "key", fill)
    store.drop("tool", "key")
    assert store.get("tool", "key") is None


def test_a_file_shows_old_or_new_content_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, "old")

    def cut_off(_descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", cut_off)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_a_digest_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = digest_tree(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, digest_tree(tmp_path)}) == 3
    assert digest_file(tmp_path / "b") == "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"


def test_a_digest_of_inputs_does_not_depend_on_their_order() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})


def wait_for(path: Path) -> None:
    """Wait until another process has made the file."""
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def hold(path: Path, seconds: float) -> None:
    """Hold a lock for a while."""
    with locked(path, 1):
        time.sleep(seconds)


def test_who_waits_too_long_for_a_lock_learns_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = multiprocessing.Process(target=hold, args=(path, 60))
    holder.start()
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    wanted = f"{path} has been held by process {holder.pid} ("
    with pytest.raises(LockError, match=re.escape(wanted)) as refused, locked(path, 0.2):
        pass
    assert str(refused.value).endswith("for more than 0 s: wait for it or end it, then run again")
    holder.kill()
    holder.join()
    with locked(path, 10):  # the kernel frees it
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_lock_is_free_again_although_a_child_still_has_the_file(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", 1):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    with locked(tmp_path / "lock", 0):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
