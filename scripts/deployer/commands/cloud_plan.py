# SPDX-License-Identifier: Apache-2.0
"""What `cloud up` would create, and its cost."""

from __future__ import annotations

from deployer.commands.base import WHOLE, Play
from deployer.commands.cloud_up import without_surplus
from deployer.commands.plan import render

EXAMPLES = """\
examples:
  ./scripts/deploy.py cloud plan -i inventory/prod       exit code 0: no changes; 5: changes pending
"""

COMMAND = Play(
    name="cloud plan",
    help="show which hosts `cloud up` would create and their cost, without changing anything",
    examples=EXAMPLES,
    playbook="playbooks/cloud_hosts.yml",
    check=True,
    limits=False,
    no_limit=WHOLE,
    next_on_changes="cloud up",
    before=without_surplus,
    render=render,
)
