# SPDX-License-Identifier: Apache-2.0
"""The command with an inventory that asks a cloud."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout import Deploy, Result
from cloud_inventory import KEYS, environment, instance, lists, running, write
from deployer import inventory
from deployer.cluster import find_cluster
from fake_alicloud import FakeCloud, RefusedError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
LOCAL = {
    "cluster_provider": "existing",
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
}
Verb = Callable[..., Result]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeCloud]:
    """Start a cloud with a master and a node."""
    with running(tmp_path) as fake:
        lists(fake, [instance("prod-master-1", "master"), instance("prod-node-1", number=2)])
        yield fake


@pytest.fixture
def mine(cloud: FakeCloud, tmp_path: Path) -> Path:
    """Return an inventory that asks it."""
    return write(tmp_path / "mine", cloud, {}, **LOCAL, cluster_state_dir=str(tmp_path / "state"))


@pytest.fixture
def verb(deploy: Deploy, mine: Path) -> Verb:
    """Run a verb with that inventory."""
    return lambda name, **more: deploy("masters", name, "-i", str(mine), **{**KEYS, **more})


def test_hosts_of_the_cloud_are_those_of_the_run(verb: Verb) -> None:
    done = verb("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"(?m)^master-1 +1 ", done.stdout)


@pytest.mark.parametrize("name", ["plan", "status", "verify"])
def test_the_file_of_the_plugin_is_no_fault(verb: Verb, name: str) -> None:
    done = verb(name)
    assert done.returncode != 2
    assert "alicloud.yml" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "plugin: alicloud\n",
        "{plugin: alicloud}\n",
        '"plugin": "alicloud"\n',
        "? plugin\n: alicloud\n",
        "cache: false\nplugin : alicloud\n",
    ],
)
@pytest.mark.parametrize("place", ["alicloud.yml", "of-the-cloud/alicloud.yaml"])
def test_hosts_that_come_are_known_at_once(
    cloud: FakeCloud, mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (mine / "alicloud.yml").unlink()
    (mine / place).parent.mkdir(exist_ok=True)
    (mine / place).write_text(text)
    if "/" in place:
        (mine / "of-the-cloud/group_vars").symlink_to(mine / "group_vars")
    assert list(find_cluster(str(mine), {}).hosts) == ["master-1", "node-1"]
    lists(cloud, [instance("prod-master-1", "master"), instance("prod-node-7", number=7)])
    assert list(find_cluster(str(mine), {}).hosts) == ["master-1", "node-7"]


@pytest.mark.parametrize("name", ["plan", "status", "verify", "kubectl"])
def test_a_cloud_that_does_not_say_ends_the_command_with_one_line(cloud: FakeCloud, verb: Verb, name: str) -> None:
    lists(cloud, [], dry_run="Forbidden.RAM")
    done = verb(name)
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert "mine: cannot list the hosts of prod in cn-hangzhou: DescribeInstances: Forbidden.RAM" in line
    assert line.endswith("allow ecs:DescribeInstances to this user in RAM, see docs/alicloud.md")


def test_without_a_key_the_command_says_what_to_set(verb: Verb, tmp_path: Path) -> None:
    done = verb("status", **dict.fromkeys(KEYS, ""), HOME=str(tmp_path))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "no credentials for Alibaba Cloud" in line


def test_a_cloud_that_stops_to_answer_during_the_run_fails_it(cloud: FakeCloud, verb: Verb) -> None:
    describe, calls = cloud.actions["DescribeInstances"], []

    def once(given: dict[str, str]) -> dict[str, object]:
        calls.append(given)
        if len(calls) > 1:
            raise RefusedError(403, "Forbidden.RAM")
        return describe(given)

    cloud.actions["DescribeInstances"] = once
    done = verb("verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot list the hosts of prod in cn-hangzhou" in done.stderr


def test_options_that_ansible_cannot_use_are_one_line(mine: Path, verb: Verb) -> None:
    (mine / "alicloud.yml").write_text("plugin: alicloud\nstrict: true\ncompose: {x_a: no_such_name + 1}\n")
    done = verb("status")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "Could not set x_a for host master-1" in line


def test_a_name_that_nothing_sets_is_found_beside_it_too(mine: Path, verb: Verb) -> None:
    with (mine / "group_vars/all/cluster.yml").open("a") as file:
        file.write("node_labels: {zone: '{{ alicloud_instance.zone }}', a: '{{ x_a }}', b: '{{ x_bb }}'}\nx_b: c\n")
    with (mine / "alicloud.yml").open("a") as file:
        file.write("compose: {x_a: alicloud_instance.type}\n")
    done = verb("plan")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "node_labels: uses x_bb, which is not set anywhere; did you mean x_b?" in line


def test_a_cluster_without_instances_says_how_they_are_tagged(cloud: FakeCloud, mine: Path) -> None:
    lists(cloud, [])
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/deploy.py", "status", "-i", mine],
        env=environment(mine.parent), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "group masters: has no hosts; tag the control plane's instances" in done.stderr
    assert done.stderr.rstrip().endswith("yunkube-role=master")


def test_what_asks_the_cloud_has_time_to_give_up_by_itself() -> None:
    from ansible.module_utils.yunkube.cloud import client  # noqa: PLC0415 - after conftest's path

    assert inventory.PATIENCE > client.PATIENCE + 30
