# SPDX-License-Identifier: Apache-2.0
"""The verbs of web services."""

from __future__ import annotations

from deployer.commands.base import Group

COMMAND = Group(
    name="web",
    help="deploy web services, or roll one back to its previous version",
    examples="""\
examples:
  ./scripts/deploy.py web apply                deploys web_services of cluster.yml, prunes the others
  ./scripts/deploy.py web rollback shop -n shops
  ./scripts/deploy.py web COMMAND --help
""",
)
