# SPDX-License-Identifier: Apache-2.0
"""What the command reads in an inventory is what Ansible reads, wherever it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deployer import inventory
from deployer.cli import main
from deployer.cluster import Cluster, find_cluster
from deployer.errors import DeployError
from deployer.inventory import Source, cache_folder
from processes import processes_with, wait_until

ROOT = Path(__file__).parents[2]
HOSTS = {"children": {"masters": {"hosts": {"master1": {"ansible_host": "192.0.2.11"}}}}}
YAML = {"hosts.yml": json.dumps({"all": HOSTS})}
VAULT = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"
PRODUCTION = "cluster_name: prod\ncluster_provider: existing\n"

# Each names the cluster prod in a place that Ansible reads.
PLACES = {
    "vars of hosts.yml": {"hosts.yml": json.dumps({"all": {"vars": {"cluster_name": "prod"}, **HOSTS}})},
    "[all:vars]": {"hosts": "[masters]\nmaster1 ansible_host=192.0.2.11\n[all:vars]\ncluster_name=prod\n"},
    "a file without extension": {**YAML, "group_vars/all": PRODUCTION},
    "JSON": {**YAML, "group_vars/all.json": json.dumps({"cluster_name": "prod"})},
    "a folder in the folder": {**YAML, "group_vars/all/k8s/cluster.yml": PRODUCTION},
    "a template": {**YAML, "group_vars/all/a.yml": "cluster_name: '{{ x_stage }}'\nx_stage: prod\n"},
    "beside a vault": {**YAML, "group_vars/all/a.yml": PRODUCTION, "group_vars/all/vault.yml": VAULT},
    "beside a vaulted value": {
        **YAML,
        "group_vars/all/a.yml": f"{PRODUCTION}x_a: !vault |\n  {VAULT.splitlines()[0]}\n",
    },
    "the later file": {**YAML, "group_vars/all/a.yml": "cluster_name: a\n", "group_vars/all/b.yml": PRODUCTION},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep answers in a place of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write an inventory."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_the_name_is_found_where_ansible_finds_it(tmp_path: Path, place: str) -> None:
    folder = write(tmp_path / "mine", PLACES[place])
    for _ in ("asked", "kept"):
        cluster = find_cluster(str(folder), {})
        assert (cluster.name, cluster.state_dir.name, list(cluster.hosts)) == ("prod", "prod", ["master1"])


@pytest.mark.parametrize("place", PLACES)
def test_the_command_line_wins(tmp_path: Path, place: str) -> None:
    folder = write(tmp_path / "mine", PLACES[place])
    for _ in ("asked", "kept"):
        assert find_cluster(str(folder), {"cluster_name": "other"}).name == "other"
    assert find_cluster(str(folder), {}).name == "prod"


def test_a_template_gets_the_variables_of_the_command_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", PLACES["a template"])
    assert [find_cluster(str(folder), {"x_stage": stage}).name for stage in ("a", "b")] == ["a", "b"]


def test_ansible_is_asked_again_only_when_a_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    assert find_cluster(str(folder), {}).name == "prod"
    monkeypatch.setattr(inventory, "READER", tmp_path / "no reader")
    with pytest.raises(OSError, match="no reader"):
        find_cluster(str(folder), {})
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert find_cluster(str(folder), {}).name == "prod"
    write(folder, {"group_vars/all/b.yml": "cluster_name: later\n"})
    with pytest.raises((OSError, DeployError), match="nonexistent"):
        find_cluster(str(folder), {})
    monkeypatch.setattr(sys, "executable", python)
    assert find_cluster(str(folder), {}).name == "later"


@pytest.mark.parametrize(
    ("link", "given"), [("group_vars", "."), ("group_vars/all", "hosts.yml"), ("group_vars/all/shared", ".")]
)
def test_ansible_is_asked_again_when_a_file_in_a_linked_folder_changed(tmp_path: Path, link: str, given: str) -> None:
    folder = write(tmp_path / "mine", YAML)
    place = folder / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "shared")
    file = tmp_path / "shared" / "/".join(["all", "a.yml"][len(place.relative_to(folder).parts) > 1 :])
    write(file.parent, {file.name: f"{PRODUCTION}x_token: canary-77\n"})
    cluster = find_cluster(str(folder / given), {})
    assert (cluster.name, cluster.secrets) == ("prod", ("canary-77",))
    file.write_text(PRODUCTION.replace("prod", "later"))
    assert find_cluster(str(folder / given), {}).name == "later"


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"files": 1, "answer": {}}'])
def test_a_damaged_note_is_ignored(tmp_path: Path, damage: str) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    find_cluster(str(folder), {})
    [note] = cache_folder().iterdir()
    assert (note.stat().st_mode & 0o777, cache_folder().stat().st_mode & 0o777) == (0o600, 0o700)
    note.write_text(damage)
    assert find_cluster(str(folder), {}).name == "prod"


def test_no_secret_is_kept(tmp_path: Path) -> None:
    secrets = "cluster_name: prod\nansible_become_password: canary-77\nx_url: https://a:canary-77@b/\n"
    folder = write(
        tmp_path / "mine", {**YAML, "group_vars/all/a.yml": secrets, "host_vars/master1": "x_token: canary-78\n"}
    )
    found = find_cluster(str(folder), {"x_password": "canary-79"})
    assert {"canary-77", "canary-78"} <= set(found.secrets)
    assert not any(b"canary" in note.read_bytes() for note in cache_folder().iterdir())
    assert "canary" not in repr(found)


def test_an_inventory_script_is_asked_each_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"group_vars/all/a.yml": PRODUCTION, "names": '["m1"]'})
    script = folder / "hosts"
    script.write_text(
        f"#!{sys.executable}\nimport json\n"
        f"hosts = json.load(open({str(folder.parent / 'names')!r}))\n"
        'print(json.dumps({"masters": {"hosts": hosts}, "_meta": {"hostvars": {}}}))\n'
    )
    script.chmod(0o755)
    (folder / "names").rename(folder.parent / "names")
    assert list(find_cluster(str(folder), {}).hosts) == ["m1"]
    (folder.parent / "names").write_text('["m1", "m2"]')
    assert list(find_cluster(str(folder), {}).hosts) == ["m1", "m2"]


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ("all:\n  children:\n\tmasters:\n", r"hosts\.yml:3: YAML: a tab where YAML requires spaces"),
        ("all: {children: {masters: {hosts: {1: {}}}}}\n", r'hosts\.yml:1: host 1: .* write it in quotes, "1"'),
        ("all: {children: {masters: {hosts: [master1]}}}\n", r"hosts\.yml:1: hosts: a list"),
    ],
)
def test_hosts_that_ansible_cannot_read_are_an_error(
    tmp_path: Path, hosts: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "mine", {"hosts.yml": hosts, "group_vars/all/a.yml": PRODUCTION})
    with pytest.raises(DeployError, match=words):
        find_cluster(str(folder), {})
    assert main(["kubectl", "-i", str(folder), "--", "get", "nodes"]) == 2
    assert "hosts.yml:" in capsys.readouterr().err


def test_a_name_for_some_hosts_is_none_of_the_cluster(tmp_path: Path) -> None:
    children = {"k8s_cluster": HOSTS}
    folder = write(
        tmp_path / "mine",
        {"hosts.yml": json.dumps({"all": {"children": children}}), "group_vars/k8s_cluster/cluster.yml": PRODUCTION},
    )
    with pytest.raises(DeployError, match=r"k8s_cluster/cluster\.yml:1: cluster_name: is set for k8s_cluster") as error:
        find_cluster(str(folder), {})
    assert "group_vars/all" in error.value.hint


def test_a_single_file_has_the_variables_beside_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    found: Cluster = find_cluster(str(folder / "hosts.yml"), {})
    assert (found.name, Source(folder / "hosts.yml").place("cluster_name")) == (
        "prod",
        str(folder / "group_vars/all/a.yml:1"),
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("$HOME/x", r"\$HOME/x: shell variables are not expanded"),
        ("~/${USER}/x", r"shell variables are not expanded"),
        ("state/x", r"state/x: is not absolute"),
        ("./{{ cluster_name }}", r"\./prod: is not absolute"),
        ("~nosuchuser4711/x", r"~nosuchuser4711/x: the user does not exist on this machine"),
        ("INVENTORY/state", r"mine/state: is inside the inventory"),
        ("INVENTORY/group_vars/../x", r"is inside the inventory"),
        ("INVENTORY", r"is inside the inventory"),
    ],
)
def test_a_state_directory_that_means_another_place_is_refused(
    tmp_path: Path, state: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = state.replace("INVENTORY", str(tmp_path / "mine"))
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": f"{PRODUCTION}cluster_state_dir: '{state}'\n"})
    before = sorted(tmp_path.rglob("*"))
    for verb in (["plan"], ["kubectl", "--", "get", "nodes"]):
        assert main([verb[0], "-i", str(folder), *verb[1:]]) == 2
        assert re.search(rf"mine/group_vars/all/a\.yml:3: cluster_state_dir: .*{words}", capsys.readouterr().err)
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    with pytest.raises(DeployError, match="-e: cluster_state_dir: "):
        find_cluster(str(folder), {"cluster_state_dir": state})


def test_a_state_directory_may_lie_beside_a_single_file_but_not_among_its_variables(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    file = str(folder / "hosts.yml")
    assert find_cluster(file, {"cluster_state_dir": str(folder / "state")}).state_dir == folder / "state"
    with pytest.raises(DeployError, match="is inside the inventory"):
        find_cluster(file, {"cluster_state_dir": str(folder / "group_vars/state")})


ENCRYPTED = f"!vault |\n  {VAULT.splitlines()[0]}\n  6162\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            f"cluster_name: {ENCRYPTED}",
            r"a\.yml:1: cluster_name: is encrypted, but deploy.py reads it without a password",
        ),
        (f"{PRODUCTION}cluster_registry_ca: {ENCRYPTED}", r"a\.yml:3: cluster_registry_ca: is encrypted"),
        (f"cluster_name: '{{{{ x_a }}}}'\nx_a: {ENCRYPTED}", r"a\.yml:1: cluster_name: .*encrypted"),
        ("cluster_name: '{{ cluster_name }}'\n", r"a\.yml:1: cluster_name: .*[Rr]ecursi"),
        ("cluster_name: 'a{{cluster_name}}'\n", r"a\.yml:1: cluster_name: .*[Rr]ecursi"),
        (
            "cluster_state_dir: '/a/{{ cluster_name }}'\ncluster_name: '{{ cluster_state_dir }}'\n",
            r"a\.yml:2: .*[Rr]ecursi",
        ),
    ],
)
def test_values_that_cannot_be_determined_are_named(tmp_path: Path, settings: str, words: str) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": settings})
    with pytest.raises(DeployError, match=words) as error:
        find_cluster(str(folder), {})
    assert "\n" not in error.value.message


def test_a_name_in_an_encrypted_file_is_said_to_be_encrypted(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/cluster.yml": VAULT})
    with pytest.raises(DeployError, match=r"cluster\.yml: is encrypted, but deploy.py .*cluster_name") as error:
        find_cluster(str(folder), {})
    assert "a file that is not encrypted" in error.value.hint
    with pytest.raises(DeployError, match="-e: cluster_name: has no value"):
        find_cluster(str(folder), {"cluster_name": ""})
    assert find_cluster(str(folder), {"cluster_name": "a"}).name == "a"


def test_encrypted_extra_variables_are_named_where_no_password_was_given(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    (tmp_path / "x.yml").write_text(VAULT)
    (tmp_path / "y.yml").write_text(f"a: 1\nx_b: {ENCRYPTED}")
    assert find_cluster(str(folder), {}, [tmp_path / "x.yml", tmp_path / "y.yml"]).encrypted == [
        f"{tmp_path}/x.yml:1",
        f"{tmp_path}/y.yml:2",
    ]


def test_full_names_of_ansibles_own_plugins_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_STAGE", "prod")
    constructed = (
        "plugin: ansible.builtin.constructed\nstrict: true\ngroups: {web: \"inventory_hostname == 'master1'\"}\n"
    )
    name = "cluster_name: \"{{ lookup('ansible.builtin.env', 'X_STAGE') }}\"\n"
    folder = write(tmp_path / "mine", {**YAML, "z.yml": constructed, "group_vars/all/a.yml": name})
    found = find_cluster(str(folder), {})
    assert (found.name, list(found.hosts)) == ("prod", ["master1"])


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ANSIBLE_FORKS", "many", "ANSIBLE_FORKS.*Invalid value provided for 'integer': 'many'"),
        ("ANSIBLE_VERBOSITY", "lots", "ANSIBLE_VERBOSITY.*Invalid value"),
        ("ANSIBLE_HOME", "/proc/nope", "ANSIBLE_HOME.*/proc/nope"),
        ("HOME", "/proc/nope", "HOME.*/proc/nope"),
        ("ANSIBLE_LOCAL_TEMP", "/proc/nope", "ANSIBLE_LOCAL_TEMP.*/proc/nope"),
        ("ANSIBLE_VARS_ENABLED", "nosuch", "ANSIBLE_VARS_ENABLED.*nosuch"),
    ],
)
def test_a_variable_that_ansible_cannot_use_is_one_line(
    tmp_path: Path, variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    monkeypatch.setenv(variable, value)
    with pytest.raises(DeployError, match=words) as error:
        find_cluster(str(folder), {})
    assert "\n" not in error.value.message
    assert "Traceback" not in error.value.message


@pytest.mark.parametrize(
    ("variable", "value"), [("ANSIBLE_FORKS", "many"), ("ANSIBLE_HOME", "/proc/nope"), ("HOME", "/proc/nope")]
)
def test_a_variable_that_ansible_cannot_use_is_one_line_also_where_the_answer_is_kept(
    tmp_path: Path, variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = PRODUCTION if variable == "HOME" else f"{PRODUCTION}cluster_state_dir: {tmp_path}/state\n"
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": settings})
    find_cluster(str(folder), {})
    monkeypatch.setenv(variable, value)
    assert main(["verify", "-i", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(rf"{variable}.*{value}|{value}.*HOME", said, re.DOTALL)


@pytest.mark.parametrize("variable", ["ANSIBLE_DEBUG", "ANSIBLE_VERBOSITY"])
def test_what_ansible_prints_is_not_in_the_answer(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION})
    monkeypatch.setenv(variable, "4")
    if variable == "ANSIBLE_DEBUG":
        monkeypatch.setenv(variable, "1")
    assert find_cluster(str(folder), {}).name == "prod"


@pytest.mark.parametrize("name", ["hosts", "group_vars/all/pipe.yml", "more/pipe"])
def test_what_is_neither_file_nor_directory_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "mine", {**YAML, "group_vars/all/a.yml": PRODUCTION, ".git/x": "", "more/x": ""})
    os.mkfifo(folder / ".git/pipe")
    assert find_cluster(str(folder), {}).name == "prod"
    os.mkfifo(folder / name)
    for read in (lambda: find_cluster(str(folder), {}), lambda: Source(folder).everything({})):
        with pytest.raises(DeployError, match=rf"{name}: is neither a file nor a directory"):
            read()


def test_a_pipe_is_no_inventory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeployError, match="pipe: is neither a file nor a directory"):
        find_cluster(str(tmp_path / "pipe"), {})


def test_the_reader_ends_with_the_command_that_is_killed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"group_vars/all/a.yml": PRODUCTION})
    script = folder / "hosts"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 73.{os.getpid()}\n")
    script.chmod(0o755)
    argv = [sys.executable, str(ROOT / "scripts/deploy.py"), "kubectl", "-i", str(folder), "--", "get", "nodes"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "asked").exists)
        process.kill()
    wait_until(lambda: not processes_with(f"ansible_inventory.py {folder}"))
