# SPDX-License-Identifier: Apache-2.0
"""Other machines take the place of hosts, under the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import HOSTS, Play
from deployer.commands.remove import DRAIN

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.progress import Progress

EXAMPLES = """\
examples:
  ./scripts/deploy.py replace node3            asks first; node3's line in hosts.yml has the new machine's address
  ./scripts/deploy.py replace master2 -i inventory/mine
  ./scripts/deploy.py replace node3 --yes --drain-timeout 600

The new machine is checked before the node is drained. The same machine may be meant: it is reset, and joins again.
"""


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Name the hosts that leave, and make them the limit."""
    options["hosts"] = tuple(dict.fromkeys(options["hosts"]))
    options["limit"] = ",".join(options["hosts"])
    variables["node_leaving"] = list(options["hosts"])


def advice(code: Exit, request: Request, progress: Progress, _cluster: Cluster) -> str:
    """Say how a run continues, and what must not happen to a former machine."""
    from deployer.errors import Exit

    hosts = ", ".join(request.hosts)
    if code == Exit.OK:
        return (
            f"If {hosts} had another machine before: reinstall it before it is started again. It still has the "
            "certificate of its node, and would register under the same name."
        )
    return "The replacement has begun, and continues with the same command." if progress.changes else ""


COMMAND = Play(
    name="replace",
    help="remove hosts, and add the machines that the inventory has under their names now",
    examples=EXAMPLES,
    options=(HOSTS, *DRAIN),
    playbook="playbooks/replace.yml",
    next="status",
    claims=True,
    limits=False,
    no_limit="name the hosts themselves, as in `deploy.py replace node3`",
    asks=True,
    after_removal="Then the machines that the inventory has under these names are added.",
    adapt=adapt,
    advice=advice,
)
