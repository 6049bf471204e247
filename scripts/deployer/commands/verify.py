# SPDX-License-Identifier: Apache-2.0
"""Proof that the cluster works, by pods of its own."""

from __future__ import annotations

from deployer.commands.base import WHOLE, Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py verify
  ./scripts/deploy.py verify --json | jq 'select(.type == "summary").table'
"""

COMMAND = Play(
    name="verify",
    help="test that the cluster works: nodes, DNS, network, Services",
    examples=EXAMPLES,
    playbook="playbooks/verify.yml",
    report="table",
    limits=False,
    no_limit=WHOLE,
)
