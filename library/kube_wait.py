#!/usr/bin/python
"""Wait until nodes are ready and workloads are rolled out."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_wait
short_description: Wait until nodes are ready and workloads are rolled out
description:
  - Runs on a master. When the time is over, says what is missing and why, in the words of the cluster's own events.
author: [Yunkube]
options:
  nodes: {description: Nodes that must be ready, by name, type: list, elements: str, default: []}
  version: {description: Version that the kubelet of every node must have; any when empty, type: str, default: ""}
  workloads:
    description: What must be rolled out, such as C(DaemonSet kube-system/kube-proxy).
    type: list
    elements: str
    default: []
  namespaces: {description: Namespaces whose pods must all run, type: list, elements: str, default: []}
  timeout: {description: Seconds to wait, type: int, default: 120}
attributes:
  check_mode: {support: full, details: [Does not wait.]}
"""
RETURN = r"""
problems: {description: What is missing and why, returned: always, type: list, elements: dict}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube_api import KubeApi, KubeError
from ansible.module_utils.yunkube.kube_health import PATHS, Wanted, wait


def wanted_of(options: dict[str, object]) -> Wanted:
    """Return what the options ask for; a workload that is none is refused."""
    fields = {name: tuple(str(entry) for entry in options[name]) for name in ("nodes", "workloads", "namespaces")}  # type: ignore[attr-defined]
    for name in fields["workloads"]:
        kind, _, place = name.partition(" ")
        if kind not in PATHS or place.count("/") != 1:
            raise ValueError(f"{name!r} is no workload; write DaemonSet or Deployment, a space, namespace/name")
    return Wanted(version=str(options["version"]), **fields)


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "nodes": names,
            "version": {"type": "str", "default": ""},
            "workloads": names,
            "namespaces": names,
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, problems=[])
    try:
        problems = wait(KubeApi.from_file(), wanted_of(module.params), module.params["timeout"])[1]
    except (KubeError, ValueError) as error:
        module.fail_json(msg=str(error))
    listed = [problem._asdict() for problem in problems]
    if problems:
        first = "; ".join(f"{problem.target} {problem.detail}" for problem in problems[:3])
        module.fail_json(msg=f"not healthy after {module.params['timeout']} s: {first}", problems=listed)
    module.exit_json(changed=False, problems=listed)


if __name__ == "__main__":
    main()
