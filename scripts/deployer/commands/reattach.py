# SPDX-License-Identifier: Apache-2.0
"""An inventory and its cluster find each other."""

from __future__ import annotations

from deployer.commands.base import WHOLE, Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py reattach -i inventory/mine

Takes the cluster's id from the hosts, which must all agree, and gives hosts in Docker new keys. Then `up` brings the
kubeconfig back. For a state directory that was lost, an inventory that was moved or renamed, and hosts of before
clusters had ids.
"""

COMMAND = Play(
    name="reattach",
    help="reattach an inventory to its cluster after it was moved or its state directory was lost",
    examples=EXAMPLES,
    playbook="playbooks/reattach.yml",
    next="up",
    limits=False,
    no_limit=WHOLE,
    claims=True,
    needs_cluster=False,
    needs_inventory=False,
)
