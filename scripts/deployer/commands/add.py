# SPDX-License-Identifier: Apache-2.0
"""More hosts for the cluster."""

from __future__ import annotations

from typing import Any

from deployer.commands.base import HOSTS, Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py add node3                node3 must be listed in the inventory's hosts.yml
  ./scripts/deploy.py add node3 node4 -i inventory/mine

Existing hosts are not touched; the cluster is queried through the API.
"""


def adapt(options: dict[str, Any], _variables: dict[str, Any]) -> None:
    """Make the hosts the limit."""
    options["hosts"] = tuple(dict.fromkeys(options["hosts"]))
    options["limit"] = ",".join(options["hosts"])


COMMAND = Play(
    name="add",
    help="add hosts listed in the inventory; other hosts are not touched",
    examples=EXAMPLES,
    options=(HOSTS,),
    playbook="playbooks/add.yml",
    next="status",
    claims=True,
    limits=False,
    adapt=adapt,
)
