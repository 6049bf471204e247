# SPDX-License-Identifier: Apache-2.0
"""A web service becomes what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import WHOLE, Play, option

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.progress import Progress

EXAMPLES = """\
examples:
  ./scripts/deploy.py web rollback shop        to the previous version; run again to go forward
  ./scripts/deploy.py web rollback shop -n shops

Then change the image in cluster.yml too; otherwise the next `up` deploys the declared version again.
"""


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Name the service."""
    variables["web_service_rollback_name"] = options["name"]
    variables["web_service_rollback_namespace"] = options["namespace"]


def advice(code: Exit, request: Request, progress: Progress, _cluster: Cluster) -> str:
    """Say that the inventory still declares what was taken back."""
    from deployer.errors import Exit

    if code != Exit.OK:
        return ""
    image = next((str(row["image"]) for row in progress.table if row.get("image")), "the previous one")
    return (
        f"{request.inventory} still declares the other version: set the image of {request.options['name']} to {image} "
        "in web_services, or the next `up` deploys it again."
    )


COMMAND = Play(
    name="web rollback",
    help="roll a web service back to its previous version",
    examples=EXAMPLES,
    options=(
        option("name", metavar="NAME", help="the web service"),
        option("-n", "--namespace", metavar="NAMESPACE", default="default", help="its namespace (%(default)s)"),
    ),
    playbook="playbooks/web_rollback.yml",
    report="table",
    limits=False,
    no_limit=WHOLE,
    adapt=adapt,
    advice=advice,
)
