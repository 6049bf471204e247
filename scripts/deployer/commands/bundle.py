# SPDX-License-Identifier: Apache-2.0
"""The verbs of bundles, from which hosts install."""

from __future__ import annotations

from deployer.commands.base import Group

COMMAND = Group(
    name="bundle",
    help="make, verify, export, import and remove the bundles that hosts install from",
    examples="""\
examples:
  ./scripts/deploy.py bundle build             make the bundle of an inventory, or see that it is there
  ./scripts/deploy.py bundle list              what the cache holds
  ./scripts/deploy.py bundle COMMAND --help
""",
)
