# SPDX-License-Identifier: Apache-2.0
"""The cluster becomes what the inventory declares."""

from __future__ import annotations

from deployer.commands.base import Play

EXAMPLES = """\
examples:
  ./scripts/deploy.py up
  ./scripts/deploy.py up -i inventory/mine --limit node3       a single host
  ./scripts/deploy.py up -e cluster_dns_domain=k8s.example     a variable for this run
  ./scripts/deploy.py up --json | jq -r 'select(.type == "failure").message'

Safe to repeat: what already matches is not touched, and an interrupted run resumes.
"""

COMMAND = Play(
    name="up",
    help="create the cluster, or update it to match the inventory",
    examples=EXAMPLES,
    playbook="site.yml",
    next="kubectl -- get nodes",
    claims=True,
    needs_cluster=False,
)
