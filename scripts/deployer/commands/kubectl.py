# SPDX-License-Identifier: Apache-2.0
"""The cluster's own kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py kubectl -- get nodes -o wide
  ./scripts/deploy.py kubectl -i inventory/mine -- logs -n kube-system ds/kube-proxy
"""


def become(request: Request) -> int:
    """Replace this process."""
    from deployer.cluster import cluster_of
    from deployer.kubectl import become_kubectl

    become_kubectl(cluster_of(request), request.inventory, request.options["arguments"])


COMMAND = Direct(
    name="kubectl",
    help="run kubectl in the cluster's own version against the cluster",
    examples=EXAMPLES,
    options=(option("arguments", nargs="*", metavar="-- ARGS", completed_by="kubectl", help="arguments for kubectl"),),
    passes_on=True,
    run=become,
)
