#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Prove that the cluster works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_verify
short_description: Verify that the cluster works
description:
  - Waits until all nodes are ready and the cluster's own workloads run. Then puts a probe on every node and checks
    DNS, connections between pods of different nodes, Services and node ports, and removes the probes.
  - Runs on a master. Changes nothing that stays, so it is never C(changed).
  - In mode C(auto) the probes are skipped when exactly these nodes and system pods have passed since the master's last
    start.
author: [Yunkube]
options:
  nodes: {description: Nodes that must be there, by name, type: list, elements: str, required: true}
  only:
    description: Test only these nodes. The result then does not count for the whole cluster, and is not recorded.
    type: list
    elements: str
    default: []
  version: {description: Version that the kubelet of every node must have, type: str, default: ""}
  workloads:
    description: What must be rolled out, such as C(DaemonSet kube-system/kube-proxy).
    type: list
    elements: str
    default: []
  namespaces: {description: Namespaces whose pods must all run, type: list, elements: str, default: []}
  image: {description: The probe's image, type: str, required: true}
  domain: {description: The domain of Services, type: str, default: cluster.local}
  host: {description: Name of the node that this runs on, type: str, required: true}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  mode: {description: How much to prove, type: str, choices: [auto, full, quick], default: auto}
  timeout: {description: Seconds to wait for nodes and workloads, type: int, default: 180}
  probe_timeout: {description: Seconds for the probes to start and for each check to succeed, type: int, default: 30}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [Looks once and proves nothing; a host without an API is passed over.]}
"""
EXAMPLES = r"""
- name: Verify the cluster, with probes where they have not passed before
  cluster_verify:
    nodes: [master1, node1]
    version: 1.37.2
    workloads: [Deployment kube-system/coredns, DaemonSet kube-system/kube-proxy]
    namespaces: [kube-system, kube-flannel]
    image: docker.io/yunkube/probe:0.1.1
    host: master1
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Verify a node that was added
  cluster_verify:
    nodes: [master1, node2]
    only: [master1, node2]
    image: docker.io/yunkube/probe:0.1.1
    host: master1
    mode: full
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
rows: {description: "Every check: check, target, ok, seconds, detail", returned: always, type: list, elements: dict}
table: {description: The same with what went well summed up, returned: always, type: list, elements: dict}
lines: {description: The table as text, returned: always, type: list, elements: str}
mode: {description: "What was done: full, quick or none", returned: always, type: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import contextlib
import hashlib
import json
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.file_lock import LockError, locked
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import Problem, Seen, Wanted, address_of, judge, see, wait
from ansible.module_utils.yunkube.kube.probe import Row, ask_all, probes, questions, wait_for_pods

LOCK_SECONDS = 300.0  # how long to wait for another proof of the same cluster
RUN = Path("/run/yunkube")  # gone after a start of the host: a started host is proved again


def fingerprint(seen: Seen) -> str:
    """Return what changes with every node, start of a host, and start of a system pod."""
    nodes = [
        [node["metadata"]["uid"], node["status"]["nodeInfo"]["bootID"], node["status"]["nodeInfo"]["kubeletVersion"]]
        for node in seen.nodes
    ]
    pods = [
        [pod["metadata"]["uid"], sum(entry["restartCount"] for entry in pod["status"].get("containerStatuses") or [])]
        for pod in seen.pods
    ]
    return hashlib.sha256(json.dumps([sorted(nodes), sorted(pods)]).encode()).hexdigest()


def health_rows(seen: Seen, wanted: Wanted, problems: list[Problem], seconds: float) -> list[Row]:
    """Return a row for each node and workload, and for each pod that does not run."""
    bad = {(problem.check, problem.target): problem.detail for problem in problems}
    spent = round(seconds, 1)
    names = [("node", name) for name in dict.fromkeys([*wanted.nodes, *(n["metadata"]["name"] for n in seen.nodes)])]
    names += [("workload", name) for name in wanted.workloads]
    names += [key for key in bad if key not in names]
    return [
        Row(check, target, (check, target) not in bad, spent, bad.get((check, target), "")) for check, target in names
    ]


def summed_up(rows: list[Row]) -> list[Row]:
    """Return one row for each check that went well everywhere, and every row that did not."""
    result: list[Row] = []
    for check in dict.fromkeys(row.check for row in rows):
        same = [row for row in rows if row.check == check]
        bad = [row for row in same if not row.ok]
        if len(same) == 1 or bad:
            result += bad or same
        if len(same) > len(bad) and len(same) > 1:
            good = [row for row in same if row.ok]
            result.append(Row(check, f"{len(good)} of {len(same)}", ok=True, seconds=max(row.seconds for row in good)))
    return result


def as_lines(rows: list[Row]) -> list[str]:
    """Return a table as lines of text."""
    checks = max((len(row.check) for row in rows), default=0)
    targets = max((len(row.target) for row in rows), default=0)
    return [
        f"{'ok    ' if row.ok else 'FAILED'}  {row.check:<{checks}}  {row.target:<{targets}}"
        f"  {row.seconds:>5.1f} s  {row.detail}".rstrip()
        for row in rows
    ]


def prove(api: KubeApi, seen: Seen, options: dict[str, t.Any]) -> list[Row]:
    """Check with a probe on every node what only a pod can tell."""
    addresses = {node["metadata"]["name"]: address_of(node) for node in seen.nodes}
    with probes(api, sorted(addresses), options["image"]) as namespace:
        pods, rows = wait_for_pods(api, namespace, addresses, options["probe_timeout"])
        service = api.get(f"/api/v1/namespaces/{namespace}/services/probe")["spec"]
        asked = questions(
            pods, namespace, options["domain"], service["clusterIP"], service["ports"][0]["nodePort"], options["host"]
        )
        return rows + ask_all(asked, options["probe_timeout"])


class Verify:
    """The module's work."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        lists = {name: tuple(module.params[name]) for name in ("nodes", "workloads", "namespaces", "only")}
        self.wanted = Wanted(version=module.params["version"], **lists)
        self.passed = RUN / "verified"

    def run(self) -> None:
        """Judge the cluster, prove it where that is due, and say what came of it."""
        identity.refuse_another(self.module)
        if self.module.check_mode:
            self._look()
        host_lock.claim_only(self.module, last=True)
        started = time.monotonic()
        try:
            api = KubeApi.from_file()
            seen, problems = wait(api, self.wanted, self.options["timeout"])
            rows = health_rows(seen, self.wanted, problems, time.monotonic() - started)
            if problems or not self._probes_are_due(seen):
                self._done("quick", rows)
            with self._alone():
                rows += prove(api, seen, self.options)
        except (KubeError, LockError) as error:
            self.module.fail_json(msg=f"the cluster cannot be verified: {error}", rows=[], table=[], lines=[])
        if all(row.ok for row in rows) and not self.wanted.only:
            self.passed.write_text(fingerprint(see(api, self.wanted)))
        self._done("full", rows)

    def _look(self) -> t.NoReturn:
        try:
            seen = see(KubeApi.from_file(), self.wanted)
            rows = health_rows(seen, self.wanted, judge(seen, self.wanted), 0)
        except KubeError as error:
            self.module.exit_json(changed=False, mode="none", rows=[], table=[], lines=[f"not verified: {error}"])
        self._done("quick", rows, judge_it=False)

    def _probes_are_due(self, seen: Seen) -> bool:
        if self.options["mode"] != "auto":
            return bool(self.options["mode"] == "full")
        return not self.passed.exists() or self.passed.read_text() != fingerprint(seen)

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        """Only one proof at a time: what another left in the cluster is then known to be forgotten."""
        RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(RUN / "verify.lock", LOCK_SECONDS):
            self.passed.unlink(missing_ok=True)
            yield

    def _done(self, mode: str, rows: list[Row], *, judge_it: bool = True) -> t.NoReturn:
        table = summed_up(rows)
        result: dict[str, t.Any] = {
            "mode": mode,
            "rows": [row._asdict() for row in rows],
            "table": [row._asdict() for row in table],
            "lines": as_lines(table),
        }
        bad = [row for row in rows if not row.ok]
        if bad and judge_it:
            first = "; ".join(f"{row.check} {row.target}: {row.detail}" for row in bad[:3])
            more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
            self.module.fail_json(msg=f"{len(bad)} of {len(rows)} checks failed: {first}{more}", **result)
        self.module.exit_json(changed=False, **result)


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    Verify(
        AnsibleModule(
            argument_spec={
                "nodes": {"type": "list", "elements": "str", "required": True},
                "only": names,
                "version": {"type": "str", "default": ""},
                "workloads": names,
                "namespaces": names,
                "image": {"type": "str", "required": True},
                "domain": {"type": "str", "default": "cluster.local"},
                "host": {"type": "str", "required": True},
                "mode": {"type": "str", "choices": ["auto", "full", "quick"], "default": "auto"},
                "timeout": {"type": "int", "default": 180},
                "probe_timeout": {"type": "int", "default": 30},
                **identity.OPTIONS,
                **host_lock.RUN_SPEC,
            },
            supports_check_mode=True,
        )
    ).run()


if __name__ == "__main__":
    main()
