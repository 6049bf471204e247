# SPDX-License-Identifier: Apache-2.0
"""The verbs of certificates."""

from __future__ import annotations

from deployer.commands.base import Group

COMMAND = Group(
    name="certs",
    help="renew certificates before they expire",
    examples="""\
examples:
  ./scripts/deploy.py certs renew              what expires within 90 days, one master at a time
  ./scripts/deploy.py certs COMMAND --help
""",
)
