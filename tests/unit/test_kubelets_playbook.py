# SPDX-License-Identifier: Apache-2.0
"""The play that brings a kubelet configuration to one host after the other, with a module that only notes the hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from checkout import ROOT, environment

MODULE = """#!/usr/bin/python
import time
from ansible.module_utils.basic import AnsibleModule

options = ("node", "patches", "fields", "cluster", "cluster_id")
module = AnsibleModule({option: {"type": "raw"} for option in options}, supports_check_mode=True)
with open("LOG", "a") as log:
    log.write(module.params["node"] + " begins\\n")
    log.flush()
    time.sleep(0.2)
    log.write(module.params["node"] + " ends\\n")
if module.params["node"] == "n3":
    module.fail_json(msg="the kubelet does not stay up")
module.exit_json(changed=True, changes=[])
"""


def test_a_dead_host_keeps_none_after_it_out_and_a_configuration_that_fails_goes_no_further(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "library").mkdir()
    (tmp_path / "library/kubelet_rollout.py").write_text(MODULE.replace("LOG", str(log)))
    drift = {"running": {"kubelet": ["maxPods"]}}
    hosts: dict[str, dict[str, Any]] = {f"n{number}": {"host_drift": drift} for number in range(1, 6)}
    hosts["n1"] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    variables = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "cluster_name": "test",
        "cluster_id": "a" * 16,
        "cluster_state_dir": str(tmp_path / "state"),
    }
    groups = {"masters": {"hosts": {"m1": None}}, "nodes": {"hosts": hosts}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"vars": variables, "children": groups}}))
    # Before the first play of a run, Ansible knows no variables of hosts.
    plays = [{"hosts": "localhost", "gather_facts": False}, {"import_playbook": f"{ROOT}/playbooks/kubelets.yml"}]
    (tmp_path / "site.yml").write_text(json.dumps(plays))
    argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "site.yml")]
    more = {
        "XDG_CACHE_HOME": str(tmp_path),
        "ANSIBLE_LIBRARY": f"{tmp_path}/library:{ROOT}/library",
        "ANSIBLE_SSH_RETRIES": "0",
    }
    done = subprocess.run(argv, cwd=ROOT, env=environment() | more, capture_output=True, text=True, check=False)
    told = " ".join(done.stdout.split())
    log.touch()
    assert log.read_text().splitlines() == ["n2 begins", "n2 ends", "n3 begins", "n3 ends"], told
    assert "n1 : ok=0 changed=0 unreachable=1" in told
    for host in ("n4", "n5"):
        assert f"{host} : ok=0 changed=0 unreachable=0 failed=1" in told
    assert "not tried: n3 failed with the same configuration" in told
