# SPDX-License-Identifier: Apache-2.0
"""The plays that renew certificates: all masters are checked before the first is changed, and one at a time is.

The module only notes the hosts; the playbook, the roles and Ansible are real.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, environment

MODULE = """#!/usr/bin/python
import time
from ansible.module_utils.basic import AnsibleModule

names = ("state", "node", "masters", "days", "all", "kubeconfig_server", "cluster", "cluster_id", "run")
module = AnsibleModule({name: {"type": "raw"} for name in names}, supports_check_mode=True)
node, state = module.params["node"], module.params["state"] or "renewed"
with open("LOG", "a") as log:
    log.write(f"{state} {node}\\n")
    log.flush()
    if state == "renewed":
        time.sleep(0.2)
        log.write(f"end {node}\\n")
if f"{state} {node}" in FAIL:
    module.fail_json(msg=f"{node} is not well")
row = {"check": "apiserver.crt", "target": node, "ok": True, "before": 1, "after": 364, "detail": ""}
table = [row] if state == "renewed" else []
module.exit_json(changed=state == "renewed", changes=[], due=[], table=table, kubeconfig_digest="DIGEST")
"""
CLAIM = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

names = ("run", "state", "cluster", "cluster_id")
module = AnsibleModule({name: {"type": "raw"} for name in names}, supports_check_mode=True)
module.exit_json(changed=False, claimed=False)
"""
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of a kubeconfig that is not there


def run(tmp_path: Path, failing: tuple[str, ...] = (), unreachable: str = "") -> tuple[list[str], str]:
    """Run the playbook on three masters; return what was done in its order, and what Ansible printed."""
    log = tmp_path / "log"
    log.touch()
    (tmp_path / "library").mkdir()
    module = MODULE.replace("LOG", str(log)).replace("FAIL", repr(failing)).replace("DIGEST", NOTHING)
    (tmp_path / "library/kubeadm_certs.py").write_text(module)
    (tmp_path / "library/run_claim.py").write_text(CLAIM)
    inventory = tmp_path / "inventory"
    (inventory / "group_vars/all").mkdir(parents=True)
    hosts: dict[str, dict[str, Any]] = {
        f"m{number}": {"ansible_host": f"192.0.2.{number}", "ansible_connection": "local"} for number in (1, 2, 3)
    }
    if unreachable:
        hosts[unreachable] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"children": {"masters": {"hosts": hosts}}}}))
    state = tmp_path / "state"
    values = {"cluster_name": "test", "cluster_provider": "existing", "dashboard_provider": "none"}
    variables = json.dumps({**values, "cluster_state_dir": str(state)})
    (inventory / "group_vars/all/cluster.yml").write_text(variables)
    argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(inventory), str(ROOT / "playbooks/certs_renew.yml")]
    argv += ["-e", "ansible_become=false", "-e", "ansible_python_interpreter={{ansible_playbook_python}}"]
    more = {
        "XDG_CACHE_HOME": str(tmp_path),
        "ANSIBLE_LIBRARY": f"{tmp_path}/library:{ROOT}/library",
        "ANSIBLE_SSH_RETRIES": "0",
    }
    done = subprocess.run(argv, cwd=ROOT, env=environment() | more, capture_output=True, text=True, check=False)
    return log.read_text().splitlines(), " ".join((done.stdout + done.stderr).split())


def test_all_masters_are_checked_and_then_renewed_one_after_the_other(tmp_path: Path) -> None:
    done, told = run(tmp_path)
    assert sorted(done[:3]) == ["checked m1", "checked m2", "checked m3"], told
    assert done[3:] == [f"{word} m{number}" for number in (1, 2, 3) for word in ("renewed", "end")], told


@pytest.mark.parametrize(("failing", "unreachable"), [(("checked m2", "checked m3"), ""), ((), "m2")])
def test_one_that_is_not_well_or_does_not_answer_keeps_all_as_they_are(
    tmp_path: Path, failing: tuple[str, ...], unreachable: str
) -> None:
    done, told = run(tmp_path, failing, unreachable)
    assert sorted(done) == [f"checked m{number}" for number in (1, 2, 3) if f"m{number}" != unreachable], told
    if unreachable:
        assert "m2 : ok=0 changed=0 unreachable=1" in told
    else:
        assert "m2 is not well" in told
        assert "m3 is not well" in told


def test_after_one_that_failed_the_others_are_not_tried(tmp_path: Path) -> None:
    done, told = run(tmp_path, ("renewed m2",))
    assert done[3:] == ["renewed m1", "end m1", "renewed m2", "end m2"], told
    assert "not tried, because m2 failed: its certificates are as before" in told
