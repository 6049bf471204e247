# SPDX-License-Identifier: Apache-2.0
"""What the account has of this cluster."""

from __future__ import annotations

from deployer.commands.base import WHOLE, Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py cloud status -i inventory/prod
  ./scripts/deploy.py cloud status -i inventory/prod --json | jq 'select(.type == "summary").table'
"""

COMMAND = Play(
    name="cloud status",
    help="show this cluster's resources in the account, and their cost",
    examples=EXAMPLES,
    playbook="playbooks/cloud_status.yml",
    exclusive=False,
    report="table",
    limits=False,
    no_limit=WHOLE,
)
