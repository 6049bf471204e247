# SPDX-License-Identifier: Apache-2.0
"""A bundle is complete, or the check lists its missing and damaged files."""

from __future__ import annotations

import json
import os
import socket
import time
import typing as t
from pathlib import Path

import pytest
import real_module
from ansible.module_utils.yunkube.build import bundle as bundles
from ansible.module_utils.yunkube.build.bundle import (
    damaged,
    in_words,
    link_of,
    link_programs,
    point,
    write_bundle,
)
from ansible.module_utils.yunkube.build.components import sha256_text
from ansible.module_utils.yunkube.build.debian_packages import Package
from tiny_bundle import make_bundle

ROOT = Path(__file__).resolve().parents[2]
# Run a module with the project's module_utils in place.
AS_ANSIBLE_DOES = f"""
import runpy, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
runpy.run_path({str(ROOT / "library/bundle_build.py")!r}, run_name="__main__")
"""


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Results of a store, by digest."""
    store = tmp_path / "store"
    store.mkdir()
    paths = {}
    for name in ("kubectl", "kubelet"):
        (store / name).write_text(name)
        paths[sha256_text(name)] = store / name
    return paths


@pytest.fixture
def bundle(tmp_path: Path, sources: dict[str, Path]) -> Path:
    """A whole bundle."""
    return write_bundle(tmp_path / "bundles", {"files": []}, sources, {"kubectl": sources[sha256_text("kubectl")]})


def test_a_bundle_is_whole_after_it_was_written(bundle: Path, sources: dict[str, Path]) -> None:
    assert damaged(bundle) == []
    assert {path.name for path in (bundle / "files").iterdir()} == set(sources)
    assert (bundle / "bin/kubectl").read_text() == "kubectl"


def test_a_bundle_takes_no_room_beside_the_store(bundle: Path, sources: dict[str, Path]) -> None:
    assert all((bundle / "files" / digest).samefile(path) for digest, path in sources.items())


def test_a_bundle_is_named_by_its_content(bundle: Path, sources: dict[str, Path]) -> None:
    programs = {"kubectl": sources[sha256_text("kubectl")]}
    assert write_bundle(bundle.parent, {"files": []}, sources, programs) == bundle  # again, which is harmless
    assert damaged(bundle) == []
    other = write_bundle(bundle.parent, {"files": [1]}, sources, programs)
    assert other != bundle
    assert json.loads((other / "manifest.json").read_text()) == {"files": [1]}


def test_a_repair_does_not_take_a_damaged_program_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder, link = make_bundle(cache, tmp_path), next((tmp_path / "cache/locks").iterdir())
    sound, result = make_bundle(cache, tmp_path, more="sound"), (folder / "bin/demo").resolve()
    point(link, folder)
    bundles._drop_programs(cache, link)
    assert result.exists()
    result.write_text("something else")
    bundles._drop_programs(cache, link)
    assert not result.parent.exists()
    assert (folder / "bin/kubectl").read_text() == "the program kubectl"
    assert (sound / "bin/demo").resolve().exists()
    bundles._drop_programs(cache, tmp_path / "none")


def test_a_lock_leads_to_its_bundle_and_other_packages_to_another(bundle: Path, tmp_path: Path) -> None:
    lock, pins = tmp_path / "kubernetes-1.0.0.yml", tmp_path / "kubernetes-1.0.0.packages"
    lock.write_text("kubernetes: 1.0.0\n")
    without = link_of(tmp_path, lock)
    pins.write_text("# pinned\n")
    link = link_of(tmp_path, lock)
    assert link != without
    point(link, f"../bundles/{bundle.name}")
    assert damaged(link) == []
    assert damaged(without) is None
    assert link.resolve() == bundle
    # As the roles compute it, roles/cluster/vars/main.yml:
    assert link.name == sha256_text(lock.read_text() + pins.read_text())[:16]


def test_packages_other_than_pinned_are_reported() -> None:
    old, new = (Package("nginx", version, "amd64", "0" * 64) for version in ("1.22-1", "1.22-2"))
    assert in_words([]) == []
    (line,) = in_words({(old, new), (old._replace(name="perl"), None)})
    assert line.startswith(
        "use newer packages, because Debian's archive no longer has the pinned ones (make packages-lock)"
    )
    assert line.endswith(": nginx 1.22-2 for 1.22-1, perl (none) for 1.22-1")


def test_no_bundle_is_not_a_damaged_one(tmp_path: Path) -> None:
    assert damaged(tmp_path / "none") is None


def test_a_bundle_without_its_manifest_is_none(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    assert damaged(bundle) is None


def test_a_changed_file_is_found_by_its_time_and_named(bundle: Path) -> None:
    path = bundle / "files" / sha256_text("kubelet")
    path.write_text("KUBELET")  # the same size
    os.utime(path, ns=(time.time_ns() + 1_000_000, time.time_ns() + 1_000_000))
    assert damaged(bundle) == [path.name]


def test_a_file_that_was_only_touched_is_whole(bundle: Path) -> None:
    os.utime(bundle / "files" / sha256_text("kubelet"), (1, 1))
    assert damaged(bundle) == []


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "files" / sha256_text("kubelet")).unlink()
    assert damaged(bundle) == [sha256_text("kubelet")]


def test_a_warm_look_reads_no_file(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: t.Any) -> None:
        raise AssertionError("it read a file")

    monkeypatch.setattr(bundles, "digest_file", refuse)
    assert damaged(bundle) == []


def test_the_link_to_the_programs_follows_the_bundle(bundle: Path, tmp_path: Path) -> None:
    link = str(tmp_path / "state/bin")
    assert link_programs(link, bundle, check_mode=True)
    assert not Path(link).exists()
    assert link_programs(link, bundle, check_mode=False)
    assert not link_programs(link, bundle, check_mode=False)
    assert Path(link, "kubectl").read_text() == "kubectl"
    assert link_programs(link, tmp_path / "bundles/two", check_mode=False)
    assert not link_programs(None, bundle, check_mode=False)


def run_module(**options: t.Any) -> dict[str, t.Any]:
    """Run the module as Ansible does on this machine, and return what it answers."""
    return real_module.answer(AS_ANSIBLE_DOES, 60, **options)


def test_a_bundle_that_cannot_be_served_fails_with_what_to_do(tmp_path: Path, sources: dict[str, Path]) -> None:
    lock = tmp_path / "lock.yml"
    lock.write_text("kubernetes: 1.0.0\n")
    point(link_of(tmp_path / "cache", lock), write_bundle(tmp_path / "cache/bundles", {"files": []}, sources, {}))
    given = {"lock": str(lock), "project": str(ROOT), "cache": str(tmp_path / "cache"), "hosts": ["127.0.0.1"]}
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        assert run_module(**given, port=port, _ansible_check_mode=True)["served"] == []
        failed = run_module(**given, port=port, programs_link=str(tmp_path / "bin"))
    assert failed["msg"] == f"cannot serve the bundle at 127.0.0.1:{port}: Address already in use"
    assert "set cluster_bundle_port" in failed["remedy"]
    assert failed["changed"]  # the link: so the run ends with 3, not with the 2 of an inventory that is wrong
    assert "kind" not in failed
    served = run_module(**given, port=port, run=os.getpid())
    assert served["served"] == ["127.0.0.1"]
    assert not served["changed"]


def test_each_architecture_has_a_bundle_and_the_first_the_programs(tmp_path: Path) -> None:
    cache, lock = tmp_path / "cache", tmp_path / "kubernetes-1.0.0.yml"
    lock.write_text("kubernetes: 1.0.0\n")
    lock.with_suffix(".arm64.packages").write_text("# pinned\n")
    found = {}
    for name in ("arm64", "amd64"):
        found[name] = write_bundle(cache / "bundles", {"architecture": name, "files": []}, {}, {})
        point(link_of(cache, lock, name), found[name])
    given = {"lock": str(lock), "project": str(ROOT), "cache": str(cache), "programs_link": str(tmp_path / "bin")}
    done = run_module(**given, architectures=["arm64", "amd64", "amd64"])
    manifests = [json.loads(Path(path).read_text())["architecture"] for path in done["manifests"]]
    assert (manifests, done["changed"]) == (["amd64", "arm64"], True)
    assert (tmp_path / "bin").resolve() == found["amd64"] / "bin"
    alone = run_module(**given, architectures=["amd64"])
    assert (len(alone["manifests"]), alone["changed"]) == (1, False)
    link_of(cache, lock, "arm64").unlink()
    planned = run_module(**given, architectures=["amd64", "arm64"], _ansible_check_mode=True)
    assert planned["changes"] == ["build the bundle of kubernetes-1.0.0 for arm64"]
