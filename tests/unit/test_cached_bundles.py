# SPDX-License-Identifier: Apache-2.0
"""What a cache holds is listed with those who use it, and every damaged byte is found."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build.bundle import damaged, link_of, point
from ansible.module_utils.yunkube.build.cached_bundles import (
    PRUNE_LOCK,
    bundles,
    distrust,
    faults,
    in_use,
    remember,
    users,
)
from deployer.cli import main
from tiny_bundle import make_bundle, make_cluster, own_cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that the command finds; no state directories of this machine's own."""
    return own_cache(tmp_path, monkeypatch)


def test_an_empty_cache_has_no_bundles(cache: Path) -> None:
    assert bundles(cache) == []


def test_a_bundle_is_listed_with_the_clusters_that_use_it(cache: Path, tmp_path: Path) -> None:
    first, second = make_bundle(cache, tmp_path), make_bundle(cache, tmp_path, architecture="arm64")
    make_cluster(tmp_path / "states/prod", cache, first, second)
    make_cluster(tmp_path / "states/test", cache, first)
    found = {bundle.name: bundle for bundle in bundles(cache)}
    assert found[first.name].clusters == ["prod", "test"]
    assert found[second.name].clusters == ["prod"]  # no link leads there, as its programs are not this machine's
    assert (found[second.name].kubernetes, found[second.name].architecture) == ("1.37.2", "arm64")


def test_a_size_counts_a_file_once_however_many_names_it_has(cache: Path, tmp_path: Path) -> None:
    bundle = make_bundle(cache, tmp_path)
    contents = ["the program kubectl", "the program demo", "the kubelet 1.37.2 amd64 "]
    documents = sum(path.stat().st_size for path in bundle.glob("*.json"))
    assert bundles(cache)[0].size == sum(map(len, contents)) + documents


def test_a_cluster_that_was_removed_uses_nothing(cache: Path, tmp_path: Path) -> None:
    state = make_cluster(tmp_path / "states/prod", cache, make_bundle(cache, tmp_path))
    (state / "id").unlink()  # as `down` does
    assert users(cache, [state]) == {}


def test_a_cluster_without_a_note_uses_what_its_link_leads_to(cache: Path, tmp_path: Path) -> None:
    bundle = make_bundle(cache, tmp_path)
    state = make_cluster(tmp_path / "states/old", cache, bundle)
    next((cache / "clusters").iterdir()).unlink()
    assert users(cache) == {}
    assert users(cache, [state, tmp_path / "states/none"]) == {bundle.name: ["old"]}


def test_a_link_that_leads_elsewhere_is_no_use(cache: Path, tmp_path: Path) -> None:
    make_bundle(cache, tmp_path)
    state = make_cluster(tmp_path / "states/old", cache, make_bundle(tmp_path / "other", tmp_path))
    next((cache / "clusters").glob("*")).unlink()
    assert users(cache, [state]) == {}


def test_a_note_says_what_the_last_run_used(cache: Path, tmp_path: Path) -> None:
    first, second = make_bundle(cache, tmp_path), make_bundle(cache, tmp_path, more="newer")
    state = make_cluster(tmp_path / "states/prod", cache, first)
    (state / "bin").unlink()
    remember(cache, state / "bin", [second.name])
    assert users(cache) == {second.name: ["prod"]}


def test_a_damaged_note_is_passed_over(cache: Path, tmp_path: Path) -> None:
    make_cluster(tmp_path / "states/prod", cache, make_bundle(cache, tmp_path))
    (cache / "clusters/0.json").write_text("[1]")
    assert len(users(cache)) == 1


def test_bundles_in_use_keep_prune_away_and_not_each_other(cache: Path) -> None:
    with in_use(cache), in_use(cache), (cache / PRUNE_LOCK).open() as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (cache / PRUNE_LOCK).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_module_notes_the_bundles_of_a_cluster(cache: Path, tmp_path: Path) -> None:
    bundle = make_bundle(cache, tmp_path)
    arguments = {"lock": str(tmp_path / "components/kubernetes-1.37.2.yml"), "project": str(tmp_path)}
    arguments |= {"cache": str(cache), "programs_link": str(tmp_path / "states/prod/bin")}
    program = (
        "import runpy, sys, ansible.module_utils;"
        f"ansible.module_utils.__path__.append({str(ROOT / 'module_utils')!r});"
        f"runpy.run_path({str(ROOT / 'library/bundle_build.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["changed"] is True  # the link
    (tmp_path / "states/prod/id").write_text("0123456789abcdef\n")
    assert users(cache) == {bundle.name: ["prod"]}


# -- verify ----------------------------------------------------------------------------------------


def change_in_place(path: Path) -> None:
    """Turn one bit, and leave size and time as they were."""
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_bundle_as_it_was_made_has_no_faults(cache: Path, tmp_path: Path) -> None:
    make_bundle(cache, tmp_path)
    assert faults(bundles(cache)[0]) == []


def test_every_damaged_file_is_named(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    (bundle,) = bundles(cache)
    kubectl, kubelet = (folder / "files" / entry["sha256"] for entry in bundle.files)
    change_in_place(kubectl)
    kubelet.unlink()
    (folder / "bin/demo").unlink()
    (folder / "bin/demo").symlink_to("nowhere")
    text = "\n".join(map(str, faults(bundle)))
    assert f"files/{kubectl.name[:16]}… (kubectl 1.37.2): is damaged: its sha256 is" in text
    assert f"files/{kubelet.name[:16]}… (kubelet 1.37.2): cannot be read: No such file" in text
    assert "bin/demo: leads to nowhere, which is not there" in text
    assert "bin/kubectl: is not the program that the bundle was made with" in text
    assert len(text.splitlines()) == 4


def test_the_remedy_for_a_program_names_the_build_result_that_has_the_same_fault(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    result = (folder / "bin/kubectl").resolve()
    result.with_name("demo").unlink()
    change_in_place(result)
    found = {fault.check: fault.remedy for fault in faults(bundles(cache)[0])}
    remedy = f"delete {folder} and {result.parent}, then make or import the bundle again"
    assert (found["bin/kubectl"], found["bin/demo"]) == (remedy, remedy)


def test_a_file_of_another_size_is_not_read(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    (bundle,) = bundles(cache)
    (folder / "files" / bundle.files[1]["sha256"]).write_text("short")
    assert [fault.message for fault in faults(bundle)] == ["has 5 bytes, not 25"]


@pytest.mark.parametrize(("architecture", "name"), [("amd64", "demo"), ("arm64", "kubectl"), ("arm64", "demo")])
def test_a_program_that_the_manifest_does_not_name_is_compared_too(
    cache: Path, tmp_path: Path, architecture: str, name: str
) -> None:
    folder = make_bundle(cache, tmp_path, architecture=architecture)
    change_in_place(folder / "bin" / name)
    found = {fault.check: fault.message for fault in faults(bundles(cache)[0])}
    assert found[f"bin/{name}"] == "is not the program that the bundle was made with"
    (folder / "bin" / name).unlink()
    found = {fault.check: fault.message for fault in faults(bundles(cache)[0])}
    assert found[f"bin/{name}"] == "is missing"


def test_nothing_is_said_of_programs_whose_digests_no_build_noted(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path, architecture="arm64")
    (folder / "programs.json").unlink()  # as bundles of older versions
    (folder / "bin/kubectl").unlink()
    (folder / "bin/kubectl").write_text("for this machine")
    assert faults(bundles(cache)[0]) == []
    for text in ("", "[]", '{"demo": 1}'):
        (folder / "programs.json").write_text(text)
        (fault,) = faults(bundles(cache)[0])
        assert str(fault).startswith(f"bundle {folder.name}: programs.json: is damaged")


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON"])
def test_a_damaged_manifest_is_the_one_fault(cache: Path, tmp_path: Path, text: str) -> None:
    (make_bundle(cache, tmp_path) / "manifest.json").write_text(text)
    (fault,) = faults(bundles(cache)[0])
    assert fault.check == "manifest.json"
    assert f"delete {cache}/bundles/" in fault.remedy


def test_what_was_found_is_found_by_the_next_build_too(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    (bundle,) = bundles(cache)
    digest = bundle.files[0]["sha256"]
    change_in_place(folder / "files" / digest)
    assert damaged(folder) == []  # size and time say nothing
    distrust(bundle)
    assert damaged(folder) == [digest]


# -- the command ---------------------------------------------------------------------------------------


def test_list_shows_what_there_is(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "list"]) == 0
    assert f"There is no bundle in {cache}." in capsys.readouterr().out
    folder = make_bundle(cache, tmp_path)
    make_cluster(tmp_path / "home/.local/state/yunkube/prod", cache, folder)
    assert main(["bundle", "list"]) == 0
    head, row = capsys.readouterr().out.strip().splitlines()
    assert head.split() == ["Bundle", "Kubernetes", "Architecture", "Clusters", "Size"]
    assert row.split()[:4] == [folder.name, "1.37.2", "amd64", "prod"]
    assert main(["bundle", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cache"] == str(cache)
    assert told["bundles"][0] | {"bytes": 0} == {
        "name": folder.name, "kubernetes": "1.37.2", "architecture": "amd64", "bytes": 0, "clusters": ["prod"],
    }  # fmt: skip


def test_verify_ends_with_a_code_that_says_what_it_found(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "verify"]) == 2
    assert "make one: ./scripts/deploy.py bundle build" in capsys.readouterr().err
    folder = make_bundle(cache, tmp_path)
    make_bundle(cache, tmp_path, "1.36.5")
    assert main(["bundle", "verify"]) == 0
    assert capsys.readouterr().out.count(": whole, 2 files, ") == 2
    change_in_place(next((folder / "files").iterdir()))
    assert main(["bundle", "verify", folder.name]) == 6
    said = capsys.readouterr()
    assert f"bundle {folder.name} (Kubernetes 1.37.2, amd64): " in said.out
    assert ": run `bundle build` or `up`, or import the bundle again" in said.err
    assert main(["bundle", "verify", "--json"]) == 6
    told = {one["kubernetes"]: one for one in json.loads(capsys.readouterr().out)["bundles"]}
    assert told["1.36.5"]["healthy"] is True
    assert told["1.37.2"]["faults"][0]["host"] == f"bundle {folder.name}"


def test_verify_refuses_a_name_that_no_bundle_has(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = make_bundle(cache, tmp_path).name
    assert main(["bundle", "verify", name[:-1]]) == 2
    assert f"did you mean {name}?" in capsys.readouterr().err


# -- build, without hosts ------------------------------------------------------------------------------


def test_build_finds_the_bundle_of_an_inventory_and_makes_nothing_of_a_cluster(cache: Path, tmp_path: Path) -> None:
    lock = ROOT / "components/kubernetes-1.37.2.yml"
    point(link_of(cache, lock), make_bundle(cache, tmp_path))
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/deploy.py", "bundle", "build", "-i", ROOT / "inventory/docker", "--json"],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {host: count["changed"] for host, count in summary["hosts"].items()} == {"localhost": 0}
    assert not {path.name for path in (tmp_path / "home/.local/state/yunkube/docker").iterdir()} & {"id", "bin"}
