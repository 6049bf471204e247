# SPDX-License-Identifier: Apache-2.0
"""An inventory of another project becomes one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py import kubespray ~/kubespray/inventory/prod -i inventory/prod
  ./scripts/deploy.py import kubeasz /etc/kubeasz/clusters/prod -i inventory/prod
  ./scripts/deploy.py import k3s-ansible ~/k3s-ansible/inventory.yml -i inventory/prod

Writes a new inventory, changes nothing else, and lists settings without a counterpart. For a new cluster on the same or
other hosts: `plan` and `up` refuse a host that runs another project's cluster.
"""

PROJECTS = ("kubespray", "kubeasz", "k3s-ansible")


def convert(request: Request) -> int:
    """Write it."""
    from deployer.import_inventory import import_inventory

    return import_inventory(request)


COMMAND = Direct(
    name="import",
    help="convert an inventory of Kubespray, kubeasz or k3s-ansible",
    examples=EXAMPLES,
    options=(
        option("action", choices=PROJECTS, metavar="PROJECT", help="%(choices)s"),
        option("name", metavar="PATH", completed_by="files", help="the inventory to convert: a directory or a file"),
    ),
    run=convert,
)
