# SPDX-License-Identifier: Apache-2.0
"""The verbs of a cluster on Alibaba Cloud."""

from __future__ import annotations

from deployer.commands.base import Group

COMMAND = Group(
    name="cloud",
    help="create and remove the hosts of a cluster on Alibaba Cloud",
    examples="""\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       what would be created, and its hourly cost
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud COMMAND --help
""",
)
