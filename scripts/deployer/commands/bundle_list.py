# SPDX-License-Identifier: Apache-2.0
"""Which bundles this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle list
  ./scripts/deploy.py bundle list --json | jq '.bundles[].name'
"""


def show_list(request: Request) -> int:
    """Show them."""
    import json

    from deployer import bundles
    from deployer.bundle import cache

    found = [bundle.about() for bundle in bundles.known()]
    if request.json:
        print(json.dumps({"cache": str(cache()), "bundles": found}))
    elif not found:
        print(f"There is no bundle in {cache()}. Make one: {bundles.BUILD}")
    else:
        rows = [
            {**about, "bytes": "", "size": bundles.size(about["bytes"]), "clusters": ", ".join(about["clusters"])}
            for about in found
        ]
        bundles.show(rows)
    return 0


COMMAND = Direct(
    name="bundle list",
    help="list the bundles in the cache: version, processor, size, and the clusters that use them",
    examples=EXAMPLES,
    inventory=False,
    options=(option("--json", action="store_true", help="print one JSON object on stdout"),),
    run=show_list,
)
