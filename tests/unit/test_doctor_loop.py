# SPDX-License-Identifier: Apache-2.0
"""The role's rounds of repairs, with modules that only count: each repair once, and one report at the end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from checkout import ROOT, environment

MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({OPTIONS: {"type": "raw"} for OPTIONS in OPTIONS_OF}, supports_check_mode=True)
RETURN
"""
ROUNDS = """
n = (module.params["state"] or {}).get("n", 0)
following = {"id": "x", "name": "repair", "host": "a", "target": "", "arguments": {}} if n < 3 else {}
module.exit_json(state={"n": n + 1}, again=n < 4, next=following, lines=["round %d" % n])
"""
MODULES = {
    "doctor_host": (["host", "master", "plan", "cluster", "cluster_id"], "module.exit_json(facts={})"),
    "doctor_cluster": (["host", "declared", "addons", "proxy", "patches", "address"], "module.exit_json(facts={})"),
    "doctor_repair": (
        ["id", "repair", "target", "arguments", "cluster", "cluster_id", "patches"],
        "module.exit_json(changed=True)",
    ),
    "run_claim": (["run", "state", "cluster", "cluster_id"], "module.exit_json(changed=False)"),
    "bundle_install": (["url", "port", "store", "manifest", "purposes", "kinds"], "module.exit_json(changed=True)"),
    "doctor_diagnose": (["hosts", "clusters", "masters", "cloud", "fix", "only", "allow", "most", "state"], ROUNDS),
}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    cluster_is_master: true
    cluster_bundle_manifest: /no/such/manifest.json
    cluster_name: test
    cluster_addon_workloads: []
    cluster_kube_proxy_config: {}
    cluster_addon_patches: []
    cluster_node_ip: 10.0.0.1
    cluster_control_plane_host: a
    cluster_run: {}
    cluster_routed_pods: false
    cluster_id: "{{ 'a' * 32 }}"
  tasks:
    - ansible.builtin.import_role: {name: troubleshoot}
"""


def test_repairs_follow_one_another_and_the_report_stands_once_at_the_end(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "roles/troubleshoot", tmp_path / "roles/troubleshoot")
    defaults = tmp_path / "roles/troubleshoot/defaults/main.yml"
    defaults.write_text(defaults.read_text().partition("# Where the support")[0])
    shutil.rmtree(tmp_path / "roles/troubleshoot/meta")
    (tmp_path / "library").mkdir()
    for name, (options, returns) in MODULES.items():
        text = MODULE.replace("OPTIONS_OF", str(options)).replace("OPTIONS", "option").replace("RETURN", returns)
        (tmp_path / f"library/{name}.py").write_text(text)
    (tmp_path / "hosts").write_text("[masters]\na\nb\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts", "play.yml", "-e", '{"troubleshoot_fix": true}']
    more = {"ANSIBLE_LIBRARY": str(tmp_path / "library")}
    done = subprocess.run(argv, cwd=tmp_path, env=environment() | more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.replace("\n", " ")
    assert told.count("TASK [troubleshoot : Repair]") == 4
    claims = [line for line in told.split("TASK [troubleshoot : ") if "laim" in line.partition("]")[0]]
    assert [line.partition("]")[0] for line in claims if "ok: [a" in line] == [
        *["Claim the cluster for this run"] * 4,
        "Release the claim",
    ]
    assert told.count("changed: [a]") == 3
    assert "changed: [b]" not in told
    assert told.count("TASK [troubleshoot : Show what was found]") == 1
    assert "round 4" in told.rpartition("Show what was found")[2]
