# SPDX-License-Identifier: Apache-2.0
"""The module that makes hosts on Alibaba Cloud, and the role that calls it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import alicloud_hosts
import fake_alicloud_instances
import fake_alicloud_network
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.cloud import reach
from ansible.module_utils.yunkube.control.config import check_entry
from ansible.module_utils.yunkube.control.inventory_files import Entry, role_options
from cloud_hosts import KEY, REGION
from fake_alicloud import KEY_ID, SECRET, Json, RefusedError
from fake_alicloud_account import Account
from real_module import run
from role_values import Derived

ROOT = Path(__file__).resolve().parents[2]
# The SDK makes a session for each call and closes none: the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


@pytest.fixture
def quick(account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Return an account in which nothing takes time, and credentials for it in the environment."""
    monkeypatch.setattr(fake_alicloud_network, "VPC_READY", 0)
    monkeypatch.setattr(fake_alicloud_instances, "RELEASE", 0)
    account.boot_seconds = {"": 0}
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
    monkeypatch.setenv("ALIBABA_CLOUD_CA_BUNDLE", "")
    return account


def arguments(account: Account, folder: Path, **more: object) -> Json:
    """Return the arguments for three hosts."""
    (folder / "id.pub").write_text(f"{KEY}\n")
    return {
        "region": REGION,
        "endpoints": dict.fromkeys(("ecs", "vpc"), account.cloud.address),
        "ca": str(account.cloud.ca),
        "cluster": "prod",
        "cluster_id": "0123456789abcdef",
        "nodes": 2,
        "master_type": "ecs.g7.large",
        "node_type": "ecs.g7.large",
        "image": "debian12",
        "public_key_file": str(folder / "id.pub"),
        "ssh_dir": str(folder / "ssh"),
        "admin_cidrs": ["203.0.113.7/32"],
        "cluster_networks": {"cluster_pod_cidr": "10.244.0.0/16"},
        **more,
    }


def test_it_plans_makes_and_removes(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(quick, tmp_path)
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warned.append(text))

    def module(**more: object) -> Json:
        journal, result = run(alicloud_hosts.main, {**given, **more}, monkeypatch, capsys)
        assert SECRET not in journal + json.dumps(result)
        return result

    planned = module(_ansible_check_mode=True, cluster_id="")
    assert planned["changed"]
    assert planned["changes"][-1] == "new hosts, 3 of them: 1.50 CNY an hour, without traffic and public addresses"
    assert planned["diff"]["after"].splitlines() == planned["changes"]
    assert quick.left() == {}

    made = module()
    assert made["changes"] == planned["changes"]
    assert [(host["name"], host["role"]) for host in made["hosts"]] == [
        ("master-1", "master"),
        ("node-1", "node"),
        ("node-2", "node"),
    ]
    again = module()
    assert (again["changed"], again["changes"], again["calls"]) == (False, [], 9)
    assert again["hosts"] == made["hosts"]

    fewer = module(nodes=1)
    assert (fewer["changed"], fewer["surplus"]) == (False, ["node-2"])
    assert "more than declared" in warned[0]
    gone = module(_ansible_check_mode=True, state="absent")["changes"]
    assert module(state="absent")["changes"] == gone
    assert quick.left() == {}
    assert not module(state="absent")["changed"]


@pytest.mark.parametrize(
    ("state", "cluster_id"),
    [("listed", ""), ("absent", ""), ("present", "fedcba9876543210")],
)
def test_a_machine_without_the_clusters_id_does_not_mistake_its_hosts_for_an_empty_account(
    quick: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    cluster_id: str,
) -> None:
    given = arguments(quick, tmp_path)
    run(alicloud_hosts.main, given, monkeypatch, capsys)
    before = quick.left()
    other = {"state": state, "cluster_id": cluster_id, "ssh_dir": str(tmp_path / "other/ssh")}
    for check in (True, False):
        _, result = run(alicloud_hosts.main, {**given, **other, "_ansible_check_mode": check}, monkeypatch, capsys)
        assert "the account has a cluster prod whose id this machine does not have: i-" in result["msg"]
        assert "0123456789abcdef: copy the state directory" in result["msg"]
    assert quick.left() == before


@pytest.mark.parametrize("missing", ["footmark", "aliyunsdkcore"])
def test_without_a_library_it_says_what_to_install(account: Account, tmp_path: Path, missing: str) -> None:
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError('gone', name={missing!r})\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport runpy, ansible.module_utils\n"
    program += f"ansible.module_utils.__path__.append({str(ROOT / 'module_utils')!r})\n"
    program += f"runpy.run_path({str(ROOT / 'library/alicloud_hosts.py')!r}, run_name='__main__')\n"
    env = {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET, "PATH": os.environ["PATH"]}
    data = json.dumps({"ANSIBLE_MODULE_ARGS": arguments(account, tmp_path)})
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, input=data, capture_output=True, text=True, check=False, env=env)
    told = json.loads(done.stdout)
    assert told["failed"]
    assert told["msg"] == f"{missing} is not installed for {sys.executable}: run ./scripts/setup"


def test_a_cluster_is_not_left_behind_in_another_region(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def module(**more: object) -> Json:
        return run(alicloud_hosts.main, {**arguments(quick, tmp_path), **more}, monkeypatch, capsys)[1]

    assert "no network may reach" in module(region="cn-beijing", admin_cidrs=[])["msg"]
    module(region="cn-beijing", _ansible_check_mode=True)
    assert module()["changed"]  # nothing was created there
    before, calls = quick.left(), len(quick.cloud.log)
    for state in ("present", "listed", "absent"):
        for check in (True, False):
            refused = module(state=state, region="cn-beijing", _ansible_check_mode=check)
            assert refused["msg"].startswith(
                "this cluster is in cn-hangzhou, and alicloud_region is cn-beijing: set it back"
            )
    assert (quick.left(), len(quick.cloud.log)) == (before, calls)
    assert not module()["changed"]
    assert module(state="absent")["changed"]


def test_a_region_in_which_nothing_was_made_can_be_corrected(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(quick, tmp_path)
    quick.failing["DescribeAvailableResource"] = [RefusedError(403, "InvalidInstanceType.ValueNotSupported")]
    _, result = run(alicloud_hosts.main, {**given, "region": "cn-beijing"}, monkeypatch, capsys)
    assert "InvalidInstanceType.ValueNotSupported" in result["msg"]
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert result.get("changed"), result


@pytest.mark.parametrize(("action", "stays"), [("CreateVpc", False), ("CreateSecurityGroup", True)])
def test_a_region_whose_first_write_is_refused_can_be_corrected(
    quick: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    action: str,
    stays: bool,
) -> None:
    given = arguments(quick, tmp_path)
    quick.failing[action] = [RefusedError(403, "Forbidden.RAM")]
    _, result = run(alicloud_hosts.main, {**given, "region": "cn-beijing"}, monkeypatch, capsys)
    assert "Forbidden.RAM" in result["msg"]
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    if stays:
        assert "this cluster is in cn-beijing" in result["msg"]
    else:
        assert result.get("changed"), result


def test_hosts_that_the_account_does_not_know_are_not_forgotten_silently(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warned.append(text))
    given = {**arguments(quick, tmp_path), "state": "absent"}
    run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert warned == []
    run(alicloud_hosts.main, arguments(quick, tmp_path), monkeypatch, capsys)
    for kind in ("instances", "groups", "keys", "vswitches", "vpcs"):  # as the key of another account sees it
        quick.state[kind].clear()
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert not result["changed"]
    (words,) = warned
    assert words.startswith(
        "this machine created hosts of prod (yunkube-id 0123456789abcdef), and this account has none"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"public_key_file": "/nowhere/id.pub"}, "/nowhere/id.pub cannot be read"),
        ({"admin_cidrs": []}, "no network may reach the hosts over SSH"),
        ({"cluster_id": ""}, "cluster_id is empty"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_what_is_wrong_is_one_line(
    quick: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Json,
    words: str,
) -> None:
    _, result = run(alicloud_hosts.main, {**arguments(quick, tmp_path), **change}, monkeypatch, capsys)
    assert result["failed"]
    assert words in result["msg"]
    assert quick.left() == {}


def test_without_credentials_it_says_where_they_belong(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    _, result = run(alicloud_hosts.main, arguments(quick, tmp_path), monkeypatch, capsys)
    assert "export ALIBABA_CLOUD_ACCESS_KEY_ID" in result["msg"]


def test_what_is_left_fails_with_a_list(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(quick, tmp_path)
    run(alicloud_hosts.main, given, monkeypatch, capsys)
    (vpc,) = quick.left()["vpcs"]
    quick.state["groups"]["sg-theirs"] = {**next(iter(quick.state["groups"].values())), "Tags": {}, "rules": []}
    monkeypatch.setattr("ansible.module_utils.yunkube.cloud.removal.PATIENCE", 0)
    _, result = run(alicloud_hosts.main, {**given, "state": "absent"}, monkeypatch, capsys)
    assert result["msg"].startswith(f"not removed, and may still cost money: VPC yunkube-prod ({vpc}): DeleteVpc")
    assert quick.left() == {"vpcs": [vpc], "groups": ["sg-theirs"]}


def test_a_host_that_does_not_answer_over_ssh_is_named(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reach, "_speaks_ssh", lambda address, _port: not address.endswith(".2"))
    monkeypatch.setattr(reach, "PAUSE_SECONDS", 1.5)
    given = arguments(quick, tmp_path, ssh_timeout_seconds=1)
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert result["msg"].startswith("node-1 (10.20.0.2): SSH does not answer after 1 s: admin_cidrs must hold")
    monkeypatch.setattr(reach, "_speaks_ssh", lambda _address, _port: True)
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert not result["changed"]
    _, result = run(alicloud_hosts.main, {**given, "state": "absent"}, monkeypatch, capsys)
    assert quick.left() == {}


def test_an_ssh_server_is_distinguished_from_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            for words in (b"HTTP/1.1 400\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(words)

        thread = threading.Thread(target=greet)
        thread.start()
        assert reach.silent({"a": "127.0.0.1"}, 0, port) == ["a"]
        assert reach.silent({"a": "127.0.0.1"}, 0, port) == []
        thread.join()


SSH = """#!/bin/sh
echo "$@" >> "$0.log"
for last; do test "$last" = true || address=$last; done
if test -e "$0.silent"; then
  echo "channel 0: open failed: connect failed: Connection timed out" >&2
  echo "ops@bastion: Permission denied (publickey)." >&2
else
  echo "root@$address: Permission denied (publickey)." >&2
fi
exit 255
"""


def test_hosts_behind_a_jump_host_are_asked_by_it(
    quick: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(reach, "_speaks_ssh", lambda *_: pytest.fail("it was asked directly"))
    jump = "-o UserKnownHostsFile=/x/known_hosts -o ProxyJump=ops@bastion"
    given = arguments(quick, tmp_path, ssh_timeout_seconds=1, ssh_arguments=jump)
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert result["changed"]
    asked = Path(f"{ssh}.log").read_text().splitlines()
    assert len(asked) == 3
    assert all(line.startswith(f"{jump} -o BatchMode=yes") and "StrictHostKeyChecking" not in line for line in asked)
    Path(f"{ssh}.silent").touch()
    monkeypatch.setattr(reach, "PAUSE_SECONDS", 1.5)
    _, result = run(alicloud_hosts.main, given, monkeypatch, capsys)
    assert "SSH does not answer after 1 s: admin_cidrs must hold the jump host's address" in result["msg"]
    assert f"try `ssh {jump} root@10.20.0.1`" in result["msg"]


def play(account: Account, folder: Path, *arguments: str) -> str:
    """Run the role, and return what it prints."""
    entry = "absent.yml" if "absent" in arguments else "main.yml"
    task = {"name": "Hosts", "ansible.builtin.include_role": {"name": "alicloud_hosts", "tasks_from": entry}}
    content = {"name": "Hosts", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    variables = {
        "cluster_name": "prod",
        "cluster_state_dir": str(folder),
        "alicloud_region": REGION,
        "alicloud_endpoints": dict.fromkeys(("ecs", "vpc"), account.cloud.address),
        "alicloud_ca": str(account.cloud.ca),
        "alicloud_hosts_public_key_file": str(folder / "id.pub"),
        "alicloud_hosts_admin_cidrs": ["203.0.113.7/32"],
        "alicloud_hosts_ssh_timeout_seconds": 0,
        "cluster_registry_host": "node-2",  # which is no host yet
    }
    (folder / "id").write_text("0123456789abcdef\n")
    (folder / "id.pub").write_text(f"{KEY}\n")
    (folder / "play.yml").write_text(json.dumps([content]))
    (folder / "hosts.yml").write_text(json.dumps({"all": {"vars": variables}}))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    done = subprocess.run(
        [
            program,
            "-i",
            f"{folder}/hosts.yml",
            f"{folder}/play.yml",
            "-vvv",
            *(one for one in arguments if one != "absent"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return str(done.stdout)


def test_the_role_makes_hosts_once_and_removes_them(quick: Account, tmp_path: Path) -> None:
    assert "create host node-2, ecs.g7.large" in play(quick, tmp_path, "--check", "--diff")
    assert quick.left() == {}
    assert "changed=1" in play(quick, tmp_path)
    assert len(quick.left()["instances"]) == 3
    for group in quick.state["groups"].values():
        ports = {rule["PortRange"] for rule in group["rules"] if rule["Description"].endswith("registry")}
        assert ports == {"5000/5000", "5001/5001"}
    assert "changed=0" in play(quick, tmp_path)
    assert "changed=2" in play(quick, tmp_path, "absent")  # the hosts, and their keys
    assert quick.left() == {}
    assert "changed=0" in play(quick, tmp_path, "absent")


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({"cluster_registry_host": "node-1", "cluster_registry_address": "10.20.0.9:5000"}, [5000, 5001]),
        ({"cluster_registry_host": "node-1", "cluster_registry_address": "registry.example:6000"}, [6000, 6001]),
        ({"cluster_registry_host": "", "cluster_registry_address": "harbor.example:443"}, []),
        ({"cluster_registry_host": "", "cluster_registry_address": ""}, []),
    ],
)
def test_the_ports_of_the_registry_are_those_at_which_it_listens(values: Json, ports: list[int]) -> None:
    derived = Derived(values, alicloud_hosts=("__alicloud_hosts_ports",), cluster=("cluster_registry_pull_address",))
    assert derived.text("{{ __alicloud_hosts_ports }}") == str(ports)


def test_what_this_machine_reads_is_not_set_for_some_hosts() -> None:
    options = role_options(ROOT / "roles")
    entry = Entry(ROOT / "group_vars/nodes.yml", 2, "alicloud_hosts_nodes", 3, "nodes")
    (fault,) = check_entry(entry, options, ROOT)
    assert str(fault).startswith("group_vars/nodes.yml:2: alicloud_hosts_nodes: is set for nodes alone")
