# SPDX-License-Identifier: Apache-2.0
"""The bundle of an inventory is made, and no host is touched."""

from __future__ import annotations

from deployer.commands.base import Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle build
  ./scripts/deploy.py bundle build -i inventory/mine

Makes what `up` makes first, for every processor that the inventory's hosts have. Connects to no host.
"""

COMMAND = Play(
    name="bundle build",
    help="make the bundle of an inventory, or see that it is whole, without touching hosts",
    examples=EXAMPLES,
    playbook="playbooks/bundle.yml",
    exclusive=False,
    limits=False,
    no_limit="bundle build touches no hosts: omit --limit",
    needs_cluster=False,
)
