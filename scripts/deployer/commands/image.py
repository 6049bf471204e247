# SPDX-License-Identifier: Apache-2.0
"""An image of this machine's Docker engine comes to the cluster's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py image push shop:1.4      from the local Docker engine to the cluster's registry
  ./scripts/deploy.py image push team/shop:1.4 -i inventory/mine
"""


def push(request: Request) -> int:
    """Push it."""
    from deployer.cluster import cluster_of
    from deployer.image import push_image

    return push_image(cluster_of(request), request)


COMMAND = Direct(
    name="image",
    help="push an image from the local Docker engine to the cluster's registry",
    examples=EXAMPLES,
    options=(
        option("action", choices=["push"], help="what to do"),
        option("image", metavar="NAME[:TAG]", help="an image in the local Docker engine"),
        option("--json", action="store_true", help="print one JSON object on stdout, without progress"),
    ),
    run=push,
)
