# SPDX-License-Identifier: Apache-2.0
"""Hosts on Alibaba Cloud, and a cluster on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import WHOLE, YES, Play

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit

EXAMPLES = """\
examples:
  ./scripts/deploy.py cloud up -i inventory/prod
  ./scripts/deploy.py cloud up -i inventory/prod --yes   where fewer hosts are declared than there are: do not ask

Safe to repeat: hosts are found by their tags, and an interrupted run resumes. Credentials come from
ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, the profile of the `aliyun` command, or the RAM role
of the instance on which this runs.
"""


def without_surplus(request: Request, cluster: Cluster) -> tuple[Request, Exit]:
    """Let hosts that are more than declared leave first."""
    from deployer import surplus

    return surplus.without_surplus(request, cluster)


COMMAND = Play(
    name="cloud up",
    help="create the declared hosts on Alibaba Cloud, and the cluster on them",
    examples=EXAMPLES,
    options=(YES,),
    playbook="playbooks/cloud_up.yml",
    next="kubectl -- get nodes",
    limits=False,
    no_limit=WHOLE,
    claims=True,
    before=without_surplus,
)
