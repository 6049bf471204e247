# SPDX-License-Identifier: Apache-2.0
"""The web services that the inventory declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import WHOLE, YES, Play, option

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.progress import Progress

EXAMPLES = """\
examples:
  ./scripts/deploy.py web apply
  ./scripts/deploy.py web apply --yes          for scripts: prunes without asking
  ./scripts/deploy.py web apply -e 'web_services=[{"name": "shop", "image": "registry.example/shop:2"}]'

Objects no longer declared in web_services are listed and, once confirmed, removed. PersistentVolumeClaims,
PersistentVolumes, CustomResourceDefinitions and Namespaces are kept unless --prune-data is given.
`up` applies the same list and removes nothing.
"""


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Say what may be removed, and whether to ask."""
    variables.setdefault("web_service_prune", "data" if options.pop("prune_data") else "services")
    variables.setdefault("web_service_prune_ask", not options["yes"])


def advice(_code: Exit, _request: Request, progress: Progress, _cluster: Cluster) -> str:
    """Say what to do about objects that would be removed."""
    from deployer.session import removals

    if removals(progress):
        return "Nothing was changed. Declare in web_services what to keep; --yes removes the rest."
    return ""


COMMAND = Play(
    name="web apply",
    help="deploy the web services that the inventory declares, and prune the others",
    examples=EXAMPLES,
    options=(
        option("--prune-data", action="store_true", help="also remove objects that hold data, and namespaces"),
        YES,
    ),
    playbook="playbooks/web_services.yml",
    limits=False,
    no_limit=WHOLE,
    adapt=adapt,
    advice=advice,
)
