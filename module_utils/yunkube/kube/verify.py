# SPDX-License-Identifier: Apache-2.0
"""The proof that a cluster works: its health, and a probe on every node where that is due."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.file_lock import LockError, locked
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import Problem, Seen, Wanted, address_of, judge, see, wait
from ansible.module_utils.yunkube.kube.probe import Row, ask_all, probes, questions, wait_for_pods

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LOCK_SECONDS = scaled(300.0)  # how long to wait for another proof of the same cluster
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
        if not pod["metadata"].get("deletionTimestamp")
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
    with probes(api, sorted(addresses), options["image"], options["probe_timeout"]) as namespace:
        pods, rows = wait_for_pods(api, namespace, addresses, options["probe_timeout"])
        service = api.get(f"/api/v1/namespaces/{namespace}/services/probe")["spec"]
        asked = questions(
            pods, namespace, options["domain"], service["clusterIP"], service["ports"][0]["nodePort"], options["host"]
        )
        return rows + ask_all(asked, options["probe_timeout"])


class Verify:
    """One look at a cluster, with the proof where that is due; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module = module
        self.options = module.params
        lists = {name: tuple(module.params[name]) for name in ("nodes", "workloads", "namespaces", "only")}
        self.wanted = Wanted(version=module.params["version"], **lists)
        self.passed = RUN / "verified"

    def run(self) -> None:
        """Judge the cluster, prove it where that is due, and say what came of it."""
        if self.module.check_mode:
            self._look()
        started = time.monotonic()
        try:
            api = KubeApi.from_file()
            seen, problems = wait(api, self.wanted, self.options["timeout"])
            rows = health_rows(seen, self.wanted, problems, time.monotonic() - started)
            if problems or not self._probes_are_due(seen):
                self._done("quick", rows)
            with self._alone():
                rows += prove(api, seen, self.options)
                # What was proved, in the lock: what came meanwhile is not, and another proof may come next and fail.
                if all(row.ok for row in rows) and not self.wanted.only:
                    self.passed.write_text(fingerprint(seen))
        except (KubeError, LockError) as error:
            self.module.fail_json(msg=f"the cluster cannot be verified: {error}", rows=[], table=[], lines=[])
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
