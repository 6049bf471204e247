# SPDX-License-Identifier: Apache-2.0
"""Every byte of a bundle is compared with its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.build.cached_bundles import Bundle
    from ansible.module_utils.yunkube.result import Fault

    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle verify            all bundles in the cache; exit code 0: whole, 6: damaged
  ./scripts/deploy.py bundle verify 0123456789abcdef

`up` compares only sizes and times of files. After this command has found a damaged file, the next `up` or
`bundle build` makes it again.
"""


def verify(request: Request) -> int:
    """Read them, and show what is damaged."""
    import json

    from ansible.module_utils.yunkube.build import cached_bundles

    from deployer import bundles
    from deployer.errors import Exit

    found: list[tuple[Bundle, list[Fault]]] = []
    for bundle in bundles.chosen(request.options["bundle"]):
        if faults := cached_bundles.faults(bundle):
            cached_bundles.distrust(bundle)
        found.append((bundle, faults))
        if not request.json:
            told(bundle, faults)
    if request.json:
        about = [
            {**bundle.about(), "files": len(bundle.files), "healthy": not faults,
             "faults": [fault.as_dict() for fault in faults]}
            for bundle, faults in found
        ]  # fmt: skip
        print(json.dumps({"bundles": about}))
    return Exit.UNHEALTHY if any(faults for _, faults in found) else Exit.OK


def told(bundle: Bundle, faults: list[Fault]) -> None:
    """Print what was found in one."""
    import sys

    from deployer import bundles

    head = f"bundle {bundle.name} (Kubernetes {bundle.kubernetes}, {bundle.architecture})"
    if not faults:
        print(f"{head}: whole, {len(bundle.files)} files, {bundles.size(bundle.size)}")
        return
    print(f"{head}: {len(faults)} damaged")
    for fault in faults:
        print(f"  {fault.check}: {fault.message}")
    print(f"Repair it: {faults[0].remedy}", file=sys.stderr)


COMMAND = Direct(
    name="bundle verify",
    help="compare every byte of the bundles in the cache with their manifests",
    examples=EXAMPLES,
    inventory=False,
    options=(
        option("bundle", metavar="BUNDLE", nargs="*", help="name of a bundle, as `bundle list` shows it; default: all"),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=verify,
)
