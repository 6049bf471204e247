# SPDX-License-Identifier: Apache-2.0
"""What no cluster uses leaves the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import YES, Direct, option

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.build.prune import Plan

    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle prune --check     what each bundle costs, and what would go
  ./scripts/deploy.py bundle prune             asks first
  ./scripts/deploy.py bundle prune --yes       for scripts

Removes bundles that no cluster of this machine uses, with the build results that no other bundle was made of. Refuses
while a run builds, takes or serves bundles.
"""


def prune(request: Request) -> int:
    """Show it, ask, and remove it."""
    import json
    import sys

    from ansible.module_utils.yunkube.build import prune as pruning

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.confirm import answered
    from deployer.errors import DeployError, Exit

    check, asks = request.options["check"], not request.yes
    found = pruning.plan(cache(), bundles.states())
    if not request.json:
        told(found)
    nothing = not found.gone and not found.unfinished
    if not check and not nothing:
        if asks and (request.json or not sys.stdin.isatty()):
            raise DeployError("bundle prune needs --yes when it cannot prompt", "add --yes to skip the confirmation")
        if asks and not answered("Remove them?"):
            print("Nothing was changed.")
            return Exit.USAGE
        try:
            found = pruning.remove(cache(), bundles.states(), [cost.bundle.name for cost in found.gone])
        except pruning.BusyError as error:
            hint = "Nothing was removed. Wait for it to end, then run again."
            raise DeployError(str(error), hint, Exit.FAILED) from None
        except OSError as error:
            raise DeployError(f"{error.filename}: {error.strerror}", "run it again", Exit.FAILED) from None
    if request.json:
        told_as = {"freed" if not check else "would_free": found.freed, "others": found.others}
        print(json.dumps({"bundles": [cost.about() for cost in found.costs], **told_as}))
    elif not check and not nothing:
        print(f"Freed {bundles.size(found.freed)}.")
    return Exit.OK


def told(found: Plan) -> None:
    """Print what there is, and what would go."""
    from deployer import bundles

    rows = [
        {"bundle": cost.bundle.name, "kubernetes": cost.bundle.kubernetes, "architecture": cost.bundle.architecture,
         "clusters": ", ".join(cost.bundle.clusters) or "none: to be removed", "size": bundles.size(cost.size),
         "only_it_has": bundles.size(cost.alone)}
        for cost in found.costs
    ]  # fmt: skip
    if rows:
        bundles.show(rows)
        print()
    if found.unfinished:
        print(f"Left by unfinished builds, imports and downloads, to be removed: {len(found.unfinished)}")
    if found.others:
        print(f"Build results of no bundle, which stay for the next build: {bundles.size(found.others)}")
    if found.gone or found.unfinished:
        print(f"Frees {bundles.size(found.freed)}.")
    else:
        print("Nothing to remove.")


COMMAND = Direct(
    name="bundle prune",
    help="show what each bundle costs, and remove those that no cluster of this machine uses",
    examples=EXAMPLES,
    inventory=False,
    options=(
        YES,
        option("--check", action="store_true", help="only show what would be removed"),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=prune,
)
