# SPDX-License-Identifier: Apache-2.0
"""The cluster goes, and all that was created for it."""

from __future__ import annotations

from deployer.commands.base import YES, Play
from deployer.commands.down import NO_LIMIT, distrust

EXAMPLES = """\
examples:
  ./scripts/deploy.py cloud down -i inventory/prod       lists the resources and asks first
  ./scripts/deploy.py cloud down -i inventory/prod --yes
"""

COMMAND = Play(
    name="cloud down",
    help="remove the cluster and every resource created for it in the account",
    examples=EXAMPLES,
    options=(YES,),
    playbook="playbooks/down.yml",
    next="cloud up",
    limits=False,
    claims=True,
    no_limit=NO_LIMIT,
    asks=True,
    after=distrust,
)
