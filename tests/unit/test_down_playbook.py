# SPDX-License-Identifier: Apache-2.0
"""What `down` and `remove` refuse before any host is changed; the kubeconfig is the sign that nothing was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Nobody answers there.
CLOSED = {
    "ansible_port": 1,
    "ansible_ssh_common_args": "-o BatchMode=yes -o ConnectTimeout=2",
    "ansible_ssh_retries": 0,
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Write the inventory of a cluster whose hosts do not answer; return its kubeconfig."""
    hosts = {"masters": {"m1": "127.0.0.9"}, "nodes": {"n1": "127.0.0.8"}}
    children = {
        group: {"hosts": {name: {"ansible_host": address, **CLOSED} for name, address in members.items()}}
        for group, members in hosts.items()
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": children}}))
    (tmp_path / "kubeconfig").touch()
    return tmp_path / "kubeconfig"


# In place of the module: it says that all is well, and leaves a file where it would have changed something.
TEARDOWN = """#!/usr/bin/python
import pathlib
from ansible.module_utils.basic import AnsibleModule
OPTIONS = "cluster cluster_id adopt force services paths links chain_prefixes nft_tables shared_sysctls accept run"
module = AnsibleModule({name: {"type": "raw"} for name in OPTIONS.split()}, supports_check_mode=True)
if not module.check_mode:
    pathlib.Path("TORN_DOWN").touch()
module.exit_json(changed=False, changes=[], faults=[], audit="passed")
"""


@pytest.mark.parametrize("answers", [True, False])
def test_no_host_is_torn_down_where_another_does_not_answer(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    torn_down, library = kubeconfig.parent / "torn_down", kubeconfig.parent / "library"
    library.mkdir()
    (library / "host_teardown.py").write_text(TEARDOWN.replace("TORN_DOWN", str(torn_down)))
    monkeypatch.setenv("ANSIBLE_LIBRARY", f"{library}:{ROOT / 'library'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(kubeconfig.parent / "cache"))  # where packed modules are kept
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    inventory = json.loads((kubeconfig.parent / "hosts.json").read_text())
    inventory["all"]["children"]["masters"]["hosts"]["m1"] = here
    (kubeconfig.parent / "hosts.json").write_text(json.dumps(inventory))
    done = play(kubeconfig, "down.yml", teardown_dead=["n1"] if answers else [])
    assert done.returncode == (0 if answers else 4), done.stdout
    assert (torn_down.exists(), kubeconfig.exists()) == (answers, not answers)


def play(kubeconfig: Path, playbook: str, *options: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a playbook as a user would without deploy.py."""
    extra = {"cluster_name": "t", "cluster_provider": "existing", "cluster_state_dir": str(kubeconfig.parent)}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(kubeconfig.parent / "hosts.json")]
    argv += [str(ROOT / "playbooks" / playbook), "-e", json.dumps({**extra, **variables}), *options]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("limit", ["n1", "n1,localhost"])
def test_down_takes_no_limit(kubeconfig: Path, limit: str) -> None:
    done = play(kubeconfig, "down.yml", "--limit", limit)
    assert done.returncode == 2
    assert "down removes the whole cluster" in " ".join(done.stdout.split())
    assert kubeconfig.exists()


def test_remove_takes_no_limit(kubeconfig: Path) -> None:
    done = play(kubeconfig, "remove.yml", "--limit", "n1", node_leaving=["n1"])
    assert done.returncode == 2  # 4: it went on and tried to reach n1
    assert "without --limit" in " ".join(done.stdout.split())


@pytest.mark.parametrize("limit", [(), ("--limit", "n1,m1,localhost")])
def test_replace_needs_its_hosts_as_its_limit(kubeconfig: Path, limit: tuple[str, ...]) -> None:
    done = play(kubeconfig, "replace.yml", *limit, node_leaving=["n1"])
    assert done.returncode == 2  # 4: it went on and tried to reach n1
    assert "replace needs its hosts twice" in " ".join(done.stdout.split())


@pytest.mark.parametrize("dead", [[], ["m1"]])
def test_a_host_that_does_not_answer_stops_down_and_the_kubeconfig_stays(kubeconfig: Path, dead: list[str]) -> None:
    done = play(kubeconfig, "down.yml", teardown_dead=dead)
    assert done.returncode == 4
    assert kubeconfig.exists()


def test_lost_hosts_are_named_and_left_out(kubeconfig: Path) -> None:
    assert play(kubeconfig, "down.yml", teardown_dead=["m1", "n2"]).returncode == 2
    assert kubeconfig.exists()
    authorities = [kubeconfig.with_name(name) for name in ("ca.crt", "dashboard-ca.crt")]
    for authority in authorities:
        authority.touch()
    assert play(kubeconfig, "down.yml", teardown_dead=["m1", "n1"]).returncode == 0
    assert not [path for path in (kubeconfig, *authorities) if path.exists()]
