# SPDX-License-Identifier: Apache-2.0
"""Which cluster an inventory means, what the command line asks for, and the small promises around a run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from ansible.module_utils.yunkube.control import state_lock
from ansible.module_utils.yunkube.control.commands import command
from deployer import bundle
from deployer.arguments import parse
from deployer.cli import main
from deployer.cluster import check_inventory, find_cluster
from deployer.commands import PLAYS
from deployer.errors import DeployError
from deployer.happenings import Failure, Happening, HostCount, Summary
from deployer.logfile import KEPT, LogFile
from deployer.views.jsonlines import type_name
from deployer.views.live import bundle_text
from deployer.views.text import download_text

ROOT = Path(__file__).parents[2]


def inventory(root: Path, **files: str) -> Path:
    folder = root / "inventory" / "mine" / "group_vars" / "all"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    return folder.parents[1]


def test_name_and_state_directory_come_from_the_group_vars(tmp_path: Path) -> None:
    path = inventory(tmp_path, cluster="cluster_name: prod\n", paths="cluster_state_dir: ~/k8s/{{ cluster_name }}\n")
    cluster = find_cluster(str(path), {})
    assert (cluster.name, cluster.state_dir) == ("prod", Path("~/k8s/prod").expanduser())


def test_extra_variables_win_and_defaults_are_those_of_the_role(tmp_path: Path) -> None:
    path = inventory(
        tmp_path,
        cluster="cluster_name: prod\nx_secret: !vault |\n  $ANSIBLE_VAULT;1.1\n",
        vault="$ANSIBLE_VAULT;1.1;AES256\n61\n",
    )
    assert find_cluster(str(path), {}).state_dir == Path("~/.local/state/yunkube/prod").expanduser()
    assert find_cluster(str(path), {"cluster_name": "other"}).state_dir.name == "other"


def test_an_inventory_of_the_project_is_found_from_elsewhere(tmp_path: Path) -> None:
    path = inventory(tmp_path, cluster="cluster_name: mine\n")
    assert find_cluster("inventory/mine", {}, root=tmp_path).inventory == path
    with pytest.raises(DeployError, match="no inventory at inventory/nine") as error:
        find_cluster("inventory/nine", {}, root=tmp_path)
    assert "inventory/mine" in error.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\nc: [\n", r"cluster\.yml:3: YAML: "),
        ("- a\n", r"cluster\.yml:1: YAML: is a list, and files of variables hold"),
        ("cluster_name: '{{ x }}'\n", r"cluster\.yml:1: cluster_name: 'x' is undefined"),
        ("cluster_name: a\ncluster_state_dir: '{{ x }}/y'\n", r"cluster\.yml:2: cluster_state_dir: 'x' is undefined"),
        ("cluster_provider: existing\n", r"cluster\.yml: cluster_name: has no value"),
        ('---\n\ncluster_name: ""\n', r"cluster\.yml:3: cluster_name: has no value"),
        ("cluster_name:\n", r"cluster\.yml:1: cluster_name: has no value"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        find_cluster(str(inventory(tmp_path, cluster=text)), {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: b\nc: [\n", r"more\.yml:3: is not valid YAML: "),
        (b"a: 1\nb: 2026-02-30\n", r"more\.yml:2: is not valid YAML: 2026-02-30 is no timestamp"),
        (b"a: 1\nb: x\x07y\n", r"more\.yml:2: is not valid YAML: holds a control character"),
        (b"a: !mine 1\n", r"more\.yml:1: is not valid YAML: could not determine a constructor"),
        (b"a: \xff\n", r"more\.yml: is not UTF-8 text"),
        (b"- a\n", r"more\.yml:1: must be"),
    ],
)
def test_a_file_of_extra_variables_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "more.yml").write_bytes(content)
    with pytest.raises(DeployError, match=message):
        find_cluster(str(inventory(tmp_path, cluster="cluster_name: a\n")), {}, [tmp_path / "more.yml"])


def test_the_sample_is_refused_until_it_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-i", "inventory/sample"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"inventory/sample/group_vars/all/cluster\.yml:\d+: cluster_name: has no value", said)


def test_two_inventories_of_one_name_share_no_state_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = f"cluster_name: prod\ncluster_state_dir: {tmp_path}/state\n"
    first, second = (inventory(tmp_path / name, cluster=settings) for name in ("a", "b"))
    (tmp_path / "state").mkdir()
    (tmp_path / "state/id").write_text("0123456789abcdef\n")
    (tmp_path / "state/inventory").write_text(f"{first.resolve()}\n")
    check_inventory(find_cluster(str(first), {}))
    for verb in ("up", "plan", "down --yes", "kubectl", "status", "web apply", "image push x"):
        assert main([*verb.split(), "-i", str(second)]) == 2
        said = capsys.readouterr().err
        for words in (str(first), str(second), "0123456789abcdef", "a unique cluster_name"):
            assert words in said, verb
    moved = first.rename(tmp_path / "moved")
    with pytest.raises(DeployError) as error:
        check_inventory(find_cluster(str(moved), {}))
    assert f"./scripts/deploy.py reattach -i {moved}" in error.value.hint


def test_extra_variables_are_words_unless_they_are_json_lists_or_objects() -> None:
    request = parse(["up", "-e", "a=1.37", "-e", "b=[1, 2]", "-e", "c={{ d }}"])
    assert request.extra_vars == {"a": "1.37", "b": [1, 2], "c": "{{ d }}"}


@pytest.mark.parametrize(
    "argv",
    [["up", "-e", "novalue"], ["up", "-e", "a={no"], ["up", "-e", "@/nonexistent"]],
    ids=lambda argv: str(argv[-1]),
)
def test_extra_variables_that_make_no_sense_are_refused(argv: list[str]) -> None:
    with pytest.raises(DeployError):
        parse(argv)


@pytest.mark.parametrize(
    "argv", [[], ["sideways"], ["up", "--timeout", "0"], ["up", "--", "x"], ["completion", "tcsh"]]
)
def test_wrong_usage_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse(argv)
    assert error.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["down", "--limit", "node1"], ["down", "--limit=node1", "--yes"], ["remove", "a", "--limit", "a"]]
)
def test_a_verb_that_destroys_takes_no_limit(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse(argv)
    assert error.value.code == 2
    assert "`deploy.py remove" in capsys.readouterr().err


def test_a_whole_cluster_may_have_lost_hosts() -> None:
    request = parse(["down", "--dead", "a", "--dead", "b", "--force"])
    assert request.extra_vars == {"teardown_dead": ["a", "b"], "teardown_force": True}
    assert request.limit == ""


def test_kubectl_gets_what_follows_the_dashes_word_for_word() -> None:
    request = parse(["kubectl", "-i", "inventory/mine", "--", "exec", "-it", "pod", "--", "sh", "-c", "a b"])
    assert request.options["arguments"] == ("exec", "-it", "pod", "--", "sh", "-c", "a b")
    assert request.inventory == "inventory/mine"


@pytest.mark.parametrize("verb", [*PLAYS, "kubectl", "completion"])
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*verb.split(), "--help"])
    assert f"deploy.py {verb}" in capsys.readouterr().out.partition("examples:")[2]


def test_a_rollback_names_its_service() -> None:
    request = parse(["web", "rollback", "shop", "-n", "shops", "-i", "inventory/mine"])
    assert (request.verb, request.options["name"], request.inventory) == ("web rollback", "shop", "inventory/mine")
    wanted = {"web_service_rollback_name": "shop", "web_service_rollback_namespace": "shops"}
    assert wanted.items() <= request.extra_vars.items()
    assert parse(["web", "apply"]).verb == "web apply"


def test_the_next_step_keeps_the_inventory() -> None:
    assert command("kubectl -- get nodes", "inventory/docker") == "./scripts/deploy.py kubectl -- get nodes"
    assert command("up", "inventory/mine") == "./scripts/deploy.py up -i inventory/mine"
    assert command("web apply", "my inventory") == "./scripts/deploy.py web apply -i 'my inventory'"


def test_a_second_run_on_the_cluster_names_the_holder_of_the_lock(tmp_path: Path) -> None:
    with (
        state_lock.held(tmp_path, "up"),
        pytest.raises(state_lock.HeldError, match=rf"`up` \(pid {os.getpid()}\) .* since 20"),
        state_lock.held(tmp_path, "down"),
    ):
        pass
    with state_lock.held(tmp_path, "down"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_only_the_last_logs_are_kept_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    for _ in range(KEPT + 3):
        log = LogFile(tmp_path / "logs", "up")
        log.close()
    assert len(list((tmp_path / "logs").iterdir())) == KEPT
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_the_log_of_a_watch_does_not_grow_without_end(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs", "status")
    for number in range(200):
        log.line(f"look {number} of many")
        log.start_over(1000)
        assert log.path.stat().st_size < 1200
    text = log.path.read_text()
    assert "look 199" in text
    assert "look 0 of" not in text
    assert "was removed" in text.splitlines()[0]
    log.close()


def test_bundle_progress_is_shown_while_its_writer_lives(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    told = '{"what": "build kubelet", "done": 3, "total": 19, "started": 100, "updated": 150, "pid": %d}'
    file.write_text(told % os.getpid())
    progress = bundle.read_progress(file, now=160)
    assert progress is not None
    assert (progress.what, progress.done, progress.seconds) == ("build kubelet", 3, 60)
    assert bundle.read_progress(file, now=1e6) is None, "stale"
    assert (progress.received, progress.left) == (0, None)
    file.write_text((told % os.getpid())[:-1] + ', "received": 250000000, "size": 0, "rate": 0, "left": null}')
    progress = bundle.read_progress(file, now=160)
    assert progress is not None
    assert download_text(progress) == "250 MB"
    file.write_text((told % os.getpid())[:-1] + ', "received": 1000000, "size": 9000000, "rate": 2000000, "left": 4.0}')
    progress = bundle.read_progress(file, now=160)
    assert progress is not None
    assert download_text(progress) == "1 of 9 MB, 2.0 MB/s, 4.0s left"
    assert "1 of 9 MB, 2.0 MB/s, 4.0s left" in bundle_text(progress).plain
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file.write_text(told % ended.pid)
    assert bundle.read_progress(file, now=160) is None, "its writer is dead"
    file.write_text("{")
    assert bundle.read_progress(file, now=160) is None


def test_the_schema_of_json_events_is_documented() -> None:
    document = (ROOT / "docs" / "events.md").read_text()
    for kind in get_args(Happening):
        assert f"`{type_name(kind)}`" in document
    for kind in (*get_args(Happening), HostCount, Failure, Summary):
        assert all(f"`{field.name}`" in document for field in fields(kind)), kind


def test_a_second_inventory_is_refused_and_not_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(inventory(tmp_path, cluster="cluster_name: mine\n"))
    assert main(["plan", "-i", path, "--inventory", "inventory/docker"]) == 2
    (line, hint) = capsys.readouterr().err.strip().splitlines()
    assert line == f"deploy.py: -i is given twice: {path} and inventory/docker"
    assert "one directory" in hint
    assert main(["plan", "-i", ""]) == 2
    assert "-i has no value" in capsys.readouterr().err


def test_an_inventory_of_the_shell_is_named_by_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(inventory(tmp_path, cluster="cluster_name: mine\n"))
    monkeypatch.setenv("ANSIBLE_INVENTORY", path)
    for argv in (["kubectl", "--", "get", "nodes"], ["plan"], ["web", "apply"], ["dashboard"]):
        assert main(argv) == 2
        assert f"ANSIBLE_INVENTORY is set to {path}, but deploy.py ignores it" in capsys.readouterr().err
    assert main(["kubectl", "-i", path, "--", "get", "nodes"]) == 3, "there is no such cluster yet"
    assert main(["completion", "bash"]) == 0
    assert parse(["up", "-i", "inventory/docker"]).inventory == "inventory/docker"
