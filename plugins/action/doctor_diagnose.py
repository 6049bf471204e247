# SPDX-License-Identifier: Apache-2.0
"""Diagnose the facts of all hosts and the API: on the control machine, where unreachable hosts are known, too."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import sys
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.doctor.diagnose import as_lines, diagnose
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts, from_json
from ansible.module_utils.yunkube.doctor.next_repair import Options, next_repair, unhealthy
from ansible.module_utils.yunkube.doctor.rules.data_plane import unjudged

PROJECT = Path(__file__).resolve().parents[2]
PAUSE = 0.5  # seconds before a look that waits for something; the look itself takes longer

SPEC = {
    "hosts": {"type": "dict", "required": True},  # what doctor_host said, by host
    "clusters": {"type": "list", "elements": "dict", "required": True},  # what doctor_cluster said, of each master
    "masters": {"type": "list", "elements": "str", "required": True},
    "cloud": {"type": "dict", "default": {}},  # whose VPC routes pods' addresses; empty where flannel does
    "fix": {"type": "bool", "default": False},
    "only": {"type": "list", "elements": "str", "default": []},
    "allow": {"type": "list", "elements": "str", "default": []},
    "most": {"type": "int", "default": 20},
    "state": {"type": "dict", "default": {}},  # of the step before
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """`doctor_diagnose`: changes nothing; says what is wrong, and which repair comes next."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return findings, lines, the next repair, and whether to look again."""
        super().run(tmp, task_vars)

        # What came out of templates carries marks of where it came from; plain values are wanted.
        _, given = self.validate_argument_spec(SPEC)
        given = json.loads(json.dumps(given, default=str))
        facts = collect(given["hosts"], given["clusters"], given["masters"])
        facts.cloud = ask_cloud(given["cloud"], facts.cluster.nodes)
        inventory = inventory_of((task_vars or {}).get("ansible_inventory_sources") or [])
        findings = diagnose(facts, typed=lambda words: command(words, inventory))
        options = Options(
            given["fix"], tuple(given["only"]), tuple(given["allow"]), bool(self._task.check_mode), given["most"]
        )
        now = next_repair(findings, options, given["state"], time.time())
        if now.again and not now.next:
            time.sleep(PAUSE)
        found = [{**dataclasses.asdict(one), "key": one.key} for one in findings]
        doctor = {"healthy": not unhealthy(findings), "reached": len(facts.reached), "findings": found}
        early = unjudged(facts)
        doctor |= {"repaired": now.state["tried"], "stopped": now.stopped, "unjudged": early}
        doctor["not_compared"] = facts.cluster.not_printed
        lines = ([] if findings or early else ["healthy"]) + as_lines(findings, early, facts.cluster.not_printed)
        return {"changed": False, "doctor": doctor, "lines": lines, **now._asdict()}


def inventory_of(sources: t.Sequence[str]) -> str:
    """Return the inventory as a person types it: deploy.py tells; of ansible-playbook's, the first."""
    if typed := os.environ.get("YUNKUBE_INVENTORY"):
        return typed
    path = Path(str(sources[0])).absolute() if sources else PROJECT / "inventory/docker"
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def collect(hosts: dict[str, t.Any], clusters: list[t.Any], masters: list[str]) -> t.Any:
    """Return the facts: of a host without any, why it has none; of the masters' answers, the first that is one."""
    known = []
    # A master that could not be asked for the API was not asked again.
    first = dict(zip([name for name in masters if name in hosts], clusters, strict=False))
    for name, result in hosts.items():
        if facts := (result or {}).get("facts"):
            known.append(from_json(HostFacts, facts))
        else:
            asked = first.get(name) if (result or {}).get("skipped") else result
            said = str((asked or {}).get("msg") or "it was not queried").strip().splitlines()
            known.append(HostFacts(name, master=name in masters, unreachable=said[-1]))
    answers = [from_json(ClusterFacts, result["facts"]) for result in clusters if (result or {}).get("facts")]
    chosen = next((one for one in answers if one.answers), answers[0] if answers else ClusterFacts())
    return Facts(known, chosen, time.time())


def ask_cloud(cloud: dict[str, t.Any], nodes: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return which nodes' routes the VPC lacks, or why that is not known; nothing is asked without nodes."""
    known = [one for one in nodes if one["pod_cidr"] and not one["removing"]]
    if not cloud or not known:
        return {}
    from ansible.module_utils.yunkube.cloud import credentials  # noqa: PLC0415 - only where a VPC routes
    from ansible.module_utils.yunkube.cloud.client import Client  # noqa: PLC0415
    from ansible.module_utils.yunkube.cloud.errors import CloudError  # noqa: PLC0415
    from ansible.module_utils.yunkube.cloud.routes import Node, Routes, RoutesError, absences  # noqa: PLC0415

    wanted = [Node(one["name"], one["pod_cidr"], one["address"]) for one in known]
    try:
        client = Client(cloud["region"], lambda: credentials.find(os.environ), cloud["endpoints"], cloud["ca"])
        routes = Routes(client, cloud["cluster"], cloud["cluster_id"])
        return {"missing": absences(routes, wanted, int(cloud["quota"]))}
    except RoutesError as error:
        return {"problem": str(error), "severity": "error"}
    except (CloudError, credentials.CredentialsError) as error:
        return {"problem": str(error)}
    except ModuleNotFoundError as error:
        return {"problem": f"{error.name} is not installed for {sys.executable}: run ./scripts/setup"}
