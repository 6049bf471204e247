# SPDX-License-Identifier: Apache-2.0
"""What no cluster uses goes, and nothing else: not what runs, builds or servers use, and no byte that others share."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.build import prune, server
from ansible.module_utils.yunkube.build.bundle import _make as make
from ansible.module_utils.yunkube.build.bundle import damaged
from ansible.module_utils.yunkube.build.cached_bundles import bundles, in_use
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.build.server import process_mark
from ansible.module_utils.yunkube.build.store import Store
from deployer import cluster
from deployer.cli import main
from deployer.cluster import find_cluster
from deployer.commands import bundle_serve
from tiny_bundle import make_bundle, make_cluster, own_cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that the command finds; no state directories of this machine's own."""
    return own_cache(tmp_path, monkeypatch)


@pytest.fixture
def two(cache: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle that a cluster uses, and one that none does."""
    used, unused = make_bundle(cache, tmp_path), make_bundle(cache, tmp_path, "1.36.5")
    make_cluster(tmp_path / "states/prod", cache, used)
    return used, unused


def test_what_a_bundle_costs_counts_a_file_once(cache: Path, two: tuple[Path, Path]) -> None:
    used, unused = two
    programs = len("the program kubectl") + len("the program demo")
    documents = sum(path.stat().st_size for path in unused.glob("*.json"))
    kubelet = len("the kubelet 1.36.5 amd64 ")
    plan = prune.plan(cache, [])
    costs = {cost.bundle.name: cost for cost in plan.costs}
    assert costs[unused.name].size == programs + kubelet + documents
    assert costs[unused.name].alone == plan.freed == costs[unused.name].size  # results of its own
    (unused / "files/shared").hardlink_to(next((used / "files").iterdir()))
    after = prune.plan(cache, [])
    assert after.freed == plan.freed
    assert {cost.bundle.name: cost.alone < cost.size for cost in after.costs} == {used.name: True, unused.name: True}


def test_what_a_build_beside_it_removes_meanwhile_costs_nothing(
    cache: Path, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prune.plan(cache, [])
    going = [cache / "store/.tool-1.part/go", two[1] / "going"]
    for folder in going:
        (folder / "inner").mkdir(parents=True)
        (folder / "file").write_text("a part of a result")
    look = os.scandir

    def scandir(path: str | Path | int) -> Any:
        for folder in going:
            if path in (folder, str(folder)):
                shutil.rmtree(folder)
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    plan = prune.plan(cache, [])
    assert not any(folder.exists() for folder in going)
    assert plan.freed == before.freed
    assert [cost.size for cost in plan.costs] == [cost.size for cost in before.costs]


def test_what_nobody_uses_goes_with_its_results_and_its_link(cache: Path, two: tuple[Path, Path]) -> None:
    used, unused = two
    results = {cost.bundle.name: cost.results for cost in prune.plan(cache, []).costs}
    assert {name: len(paths) for name, paths in results.items()} == {used.name: 1, unused.name: 1}
    prune.remove(cache, [], [used.name, unused.name])
    assert [bundle.name for bundle in bundles(cache)] == [used.name]
    assert damaged(used) == []
    assert (used / "bin/kubectl").read_text() == "the program kubectl"
    assert list(cache.glob("store/[!.]*")) == results[used.name]
    assert [link.resolve() for link in cache.glob("locks/[!.]*")] == [used]


def test_results_that_a_build_noted_go_with_it_and_those_that_others_need_stay(
    cache: Path, two: tuple[Path, Path]
) -> None:
    used, unused = two
    for name in ("go-1", "rootfs-1", "nobodys-1"):
        (cache / "store" / name).mkdir()
        (cache / "store" / name / "content").write_text(name)
    own = {cost.bundle.name: cost.results[0].name for cost in prune.plan(cache, []).costs}
    (unused / "results.json").write_text(json.dumps(["go-1", "rootfs-1", own[unused.name], "long gone"]))
    (used / "results.json").write_text(json.dumps(["go-1", own[used.name]]))
    assert prune.plan(cache, []).others == len("nobodys-1")
    prune.remove(cache, [], [unused.name])
    assert {path.name for path in cache.glob("store/[!.]*")} == {"go-1", "nobodys-1", own[used.name]}


def test_only_what_was_agreed_to_goes(cache: Path, tmp_path: Path, two: tuple[Path, Path]) -> None:
    agreed = prune.plan(cache, [])
    newer = make_bundle(cache, tmp_path, "1.37.3", more="?" * 1000)  # made while the person read the question
    done = prune.remove(cache, [], [two[1].name])
    assert {bundle.name for bundle in bundles(cache)} == {two[0].name, newer.name}
    assert done.freed == agreed.freed
    removed = {cost.about()["name"]: cost.about()["removed"] for cost in done.costs}
    assert removed == {two[0].name: False, two[1].name: True, newer.name: False}


def test_a_cluster_that_came_meanwhile_keeps_its_bundle(cache: Path, tmp_path: Path, two: tuple[Path, Path]) -> None:
    agreed = [cost.bundle.name for cost in prune.plan(cache, []).gone]
    make_cluster(tmp_path / "states/late", cache, two[1])
    prune.remove(cache, [], agreed)
    assert len(bundles(cache)) == 2


def test_unfinished_work_and_notes_of_removed_clusters_go(cache: Path, tmp_path: Path, two: tuple[Path, Path]) -> None:
    (cache / "bundles/0123456789abcdef/files").mkdir(parents=True)
    (cache / "store/.coredns-1.part").mkdir()
    (tmp_path / "states/prod/id").unlink()
    assert len(prune.plan(cache, []).unfinished) == 2
    prune.remove(cache, [], [bundle.name for bundle in two])
    assert not [*cache.glob("bundles/*"), *cache.glob("store/*"), *cache.glob("clusters/*"), *cache.glob("locks/[!.]*")]


def test_downloads_and_folders_of_rebuilds_go_and_locks_stay(cache: Path, two: tuple[Path, Path]) -> None:
    before = prune.plan(cache, []).freed
    downloads = cache / "downloads"
    downloads.mkdir()
    result = next(cost.results[0] for cost in prune.plan(cache, []).costs if cost.bundle.folder == two[1])
    (downloads / ("a" * 64)).hardlink_to(result / "kubectl")  # of a result that goes: its bytes count once
    (downloads / f"{'b' * 64}.part").write_bytes(b"?" * 1000)  # `auto` has built it from source since
    (downloads / f"{'b' * 64}.from").write_text("https")
    (downloads / f".{'b' * 64}.lock").touch()
    (cache / "rebuild-abc/store").mkdir(parents=True)
    (cache / "rebuild-abc/store/half").write_bytes(b"?" * 100)
    assert prune.plan(cache, []).freed == before + 1000 + len("https") + 100
    with held(downloads / f".{'b' * 64}.lock"), pytest.raises(prune.BusyError, match=r"a build holds .*/downloads/"):
        prune.remove(cache, [], [two[1].name])
    prune.remove(cache, [], [two[1].name])
    assert [path.name for path in downloads.iterdir()] == [f".{'b' * 64}.lock"]
    assert not list(cache.glob("rebuild-*"))


def test_the_lock_of_an_upload_is_not_unfinished_work(cache: Path, two: tuple[Path, Path]) -> None:
    lock = two[0].with_name(f".{two[0].name}.upload.lock")
    lock.touch()
    assert prune.plan(cache, []).unfinished == []
    prune.remove(cache, [], [])
    assert lock.exists()


def test_what_a_removed_result_shares_with_a_download_is_freed(cache: Path, two: tuple[Path, Path]) -> None:
    result = next(cost.results[0] for cost in prune.plan(cache, []).costs if cost.bundle.folder == two[1])
    (cache / "downloads").mkdir()
    (cache / "downloads" / ("a" * 64)).hardlink_to(result / "kubelet")
    kubelet = (result / "kubelet").stat()
    assert kubelet.st_nlink > 1
    prune.remove(cache, [], [two[1].name])
    assert not [path for path in cache.rglob("*") if path.lstat().st_ino == kubelet.st_ino]


def test_a_store_knows_what_was_asked_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("made", "1", lambda out: (out / "x").touch())
    assert store.used == {"made-1"}
    again = Store(tmp_path)
    assert again.get("none", "1") is None
    again.put("made", "1", lambda _out: pytest.fail("it is there"))
    assert again.used == {"made-1"}
    third = Store(tmp_path)
    assert third.get("made", "1")
    assert third.used == {"made-1"}


# -- what is in use ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock, as a build does."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    "what",
    [
        "a run",
        "locks/.0123456789abcdef.lock",
        "store/.coredns-1.lock",
        "bundles/.0123456789abcdef.upload.lock",
    ],
)
def test_nothing_goes_while_something_is_built_or_taken(cache: Path, two: tuple[Path, Path], what: str) -> None:
    with in_use(cache) if what == "a run" else held(cache / what), pytest.raises(prune.BusyError) as caught:
        prune.remove(cache, [], [two[1].name])
    assert ("a run builds" if what == "a run" else what) in str(caught.value)
    assert len(bundles(cache)) == 2
    prune.remove(cache, [], [two[1].name])  # once it has ended
    assert len(bundles(cache)) == 1


@pytest.mark.parametrize(
    ("verb", "work"),
    [("export", "archive.export"), ("verify", "cached_bundles.faults"), ("sbom", "sbom.make")],
)
def test_nothing_goes_while_a_command_reads_bundles(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, work: str
) -> None:
    make_bundle(cache, tmp_path)
    seen = []

    def watch(name: str) -> None:
        module, _, function = name.rpartition(".")
        real = getattr(importlib.import_module(module), function)

        def watched(*given: Any) -> Any:
            with pytest.raises(prune.BusyError, match="a run builds a bundle, or a command"):
                prune.remove(cache, [], [])
            seen.append(function)
            return real(*given)

        monkeypatch.setattr(name, watched)

    monkeypatch.setattr(cluster, "ROOT", tmp_path)
    watch("deployer.bundles.chosen")
    watch(f"ansible.module_utils.yunkube.build.{work}")
    main(["bundle", verb, *([str(tmp_path / "out")] if verb == "export" else [])])
    assert seen == ["chosen", work.rpartition(".")[2]]
    prune.remove(cache, [], [])  # once it has ended


def test_nothing_goes_while_bundles_are_served(cache: Path, two: tuple[Path, Path]) -> None:
    mark = process_mark(os.getpid())
    run = cache / f"serve/10.0.0.1-8742/runs/{mark}"
    run.parent.mkdir(parents=True)
    run.touch()
    with pytest.raises(prune.BusyError, match=rf"served at 10\.0\.0\.1-8742 for process {os.getpid()}"):
        prune.remove(cache, [], [two[1].name])
    run.rename(run.with_name("1-1"))  # of a run that was killed
    prune.remove(cache, [], [two[1].name])
    assert len(bundles(cache)) == 1


def test_a_server_of_another_container_is_seen_and_its_runs_stay(cache: Path, two: tuple[Path, Path]) -> None:
    place = cache / "serve/10.0.0.1-8742"
    (place / "runs").mkdir(parents=True)
    run = place / "runs/7-1"  # its pid is that of another namespace
    run.touch()
    with held(place / "server"), pytest.raises(prune.BusyError, match=r"served at 10\.0\.0\.1-8742 for process 7"):
        prune.remove(cache, [], [two[1].name])
    assert run.exists()
    assert len(bundles(cache)) == 2
    with held(place / "guard"), pytest.raises(prune.BusyError, match=r"server at 10\.0\.0\.1-8742 begins or ends"):
        prune.remove(cache, [], [two[1].name])
    prune.remove(cache, [], [two[1].name])
    assert len(bundles(cache)) == 1


# -- the command ----------------------------------------------------------------------------------------------


def test_check_shows_and_changes_nothing(
    cache: Path, two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "prune", "--check"]) == 0
    out = capsys.readouterr().out
    assert "none: to be removed" in out
    assert "prod" in out
    assert "Frees " in out
    assert main(["bundle", "prune", "--check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["removed"] for one in told["bundles"]} == {two[0].name: False, two[1].name: True}
    assert told["would_free"] > 0
    assert len(bundles(cache)) == 2


def test_it_asks_and_takes_no_for_an_answer(
    cache: Path, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "prune"]) == 2
    assert "bundle prune needs --yes when it cannot prompt" in capsys.readouterr().err
    for answer, left in (("n\n", 2), ("y\n", 1)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        assert main(["bundle", "prune"]) == (2 if answer == "n\n" else 0)
        assert len(bundles(cache)) == left
    assert "Freed " in capsys.readouterr().out
    assert two[0].exists()


def test_a_cluster_of_an_older_version_is_found_by_its_inventory(
    cache: Path, tmp_path: Path, two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = make_cluster(tmp_path / "elsewhere/old", cache, two[1])
    shutil.rmtree(cache / "clusters")  # in which it has noted nothing
    make_cluster(tmp_path / "home/.local/state/yunkube/other", cache, two[0])
    inventory = make_inventory(tmp_path, f"cluster_state_dir: {state.parent}/{{{{ cluster_name }}}}\n")
    assert find_cluster(str(inventory), {}).state_dir == state  # as any command reads it
    (cache / "inventories/0.json").write_text("[]")
    assert main(["bundle", "prune", "--yes"]) == 0
    assert "Nothing to remove." in capsys.readouterr().out
    assert len(bundles(cache)) == 2


def make_inventory(folder: Path, settings: str) -> Path:
    """Write an inventory of a cluster `old`."""
    inventory = folder / "inventory"
    (inventory / "group_vars/all").mkdir(parents=True)
    (inventory / "group_vars/all/cluster.yml").write_text(f"cluster_name: old\n{settings}")
    (inventory / "hosts.yml").write_text("masters: {hosts: {master1: }}\n")
    return inventory


def test_yes_needs_no_answer_and_a_second_time_there_is_nothing(
    cache: Path, two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with in_use(cache):
        assert main(["bundle", "prune", "--yes"]) == 3
    assert "Nothing was removed. Wait for it to end" in capsys.readouterr().err
    assert main(["bundle", "prune", "--yes"]) == 0
    capsys.readouterr()
    assert main(["bundle", "prune"]) == 0
    assert "Nothing to remove." in capsys.readouterr().out
    assert not two[1].exists()


# -- serve ------------------------------------------------------------------------------------------------------


def test_the_port_is_that_of_clusters() -> None:
    assert yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text())["cluster_bundle_port"] == (
        bundle_serve.PORT
    )


def answers(port: int) -> bool:
    """Say whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
        return True
    return False


def test_bundles_are_served_until_the_command_is_interrupted(cache: Path, tmp_path: Path) -> None:
    bundle = make_bundle(cache, tmp_path)
    digest = next((bundle / "files").iterdir()).name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, str(ROOT / "scripts/deploy.py"), "bundle", "serve"]
    argv += ["--address", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{port}"
            assert process.stdout.readline() == f"serving bundle {bundle.name} at {url}; Ctrl-C ends it\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{digest}", timeout=30) as answer:
                assert answer.read().startswith(b"the ")
            with pytest.raises(prune.BusyError):
                prune.remove(cache, [], [])
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    deadline = time.monotonic() + 60
    while answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_taken_port_is_said_in_the_words_of_the_command(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(cache, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["bundle", "serve", "--address", "127.0.0.1", "--port", port]) == 3
    assert "end it, or set --port to a free port" in capsys.readouterr().err


def test_what_cannot_be_written_or_locked_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(cache, tmp_path)
    monkeypatch.setattr(server, "START_SECONDS", 0.1)
    (cache / "serve").write_text("no folder")
    assert main(["bundle", "serve", "--address", "127.0.0.1", "--port", "8742"]) == 3
    assert f"{cache}/serve/127.0.0.1-8742/runs: Not a directory" in capsys.readouterr().err
    (cache / "serve").unlink()
    (cache / "serve/127.0.0.1-8742").mkdir(parents=True)
    with held(cache / "serve/127.0.0.1-8742/guard"):
        assert main(["bundle", "serve", "--address", "127.0.0.1", "--port", "8742"]) == 3
    assert "guard has been held by another process for more than 0 s: wait for it" in capsys.readouterr().err


def test_a_build_notes_the_results_that_it_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        """Origins from which nothing comes, so that all is built."""

        programs, images, versions, changes = dict[str, Path](), dict[str, Path](), dict[str, str](), list[str]()
        downloads = SimpleNamespace(clean=lambda: None)

        def bring(self, *_: object) -> Nothing:
            return self

        def said(self) -> list[str]:
            return []

    def build(builder: Builder, *_: object) -> dict[str, Any]:
        return {
            "programs": {"kubectl": builder.store.put("made", "1", lambda out: (out / "kubectl").touch()) / "kubectl"}
        }

    monkeypatch.setattr(Builder, "build", build)
    lock: dict[str, Any] = {"kubernetes": "1.37.2", "architecture": "amd64", "date": "2026-11-18T00:00:00Z"}
    lock |= {"control": ["kubectl"], "packages": {}, "rootfs": {}, "toolchain": {}}
    lock |= {"components": [], "files": [], "images": []}
    monkeypatch.setattr("ansible.module_utils.yunkube.build.bundle.manifest_of", lambda *_: ({"files": []}, {}))
    progress = Progress(tmp_path / "progress.json", 1)
    make(Builder(lock, tmp_path, cache), lock, cache / "locks/0123456789abcdef", [], progress, Nothing())  # type: ignore[arg-type]
    (bundle,) = (cache / "bundles").iterdir()
    assert json.loads((bundle / "results.json").read_text()) == ["made-1"]
    assert [cost.results for cost in prune.plan(cache, []).costs] == [[cache / "store/made-1"]]
