# SPDX-License-Identifier: Apache-2.0
"""Every byte of a bundle is compared with its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.build.cached_bundles import Bundle
    from ansible.module_utils.yunkube.build.rebuild import Rebuilt
    from ansible.module_utils.yunkube.result import Fault

    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle verify            all bundles in the cache; exit code 0: whole, 6: damaged
  ./scripts/deploy.py bundle verify 0123456789abcdef
  ./scripts/deploy.py bundle verify --deep     also build one image again from its source, and compare the bytes

`up` compares only sizes and times of files. After this command has found a damaged file, the next `up` or
`bundle build` makes it again.
"""


def verify(request: Request) -> int:
    """Read them, and show what is damaged."""
    import json

    from ansible.module_utils.yunkube.build import cached_bundles
    from ansible.module_utils.yunkube.result import Report

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.errors import Exit

    found = []
    with cached_bundles.in_use(cache()):
        for bundle in bundles.chosen(request.options["bundle"]):
            if faults := cached_bundles.faults(bundle):
                cached_bundles.distrust(bundle)
            rebuilt = again(bundle) if request.options["deep"] and not faults else None
            faults += [rebuilt.fault] if rebuilt and rebuilt.fault else []
            about = {**bundle.about(), "files": len(bundle.files), "healthy": not faults}
            about |= {**Report(tuple(faults)).as_result(), "rebuilt": rebuilt.reference if rebuilt else ""}
            found.append(about)
            if not request.json:
                told(bundle, faults, about["rebuilt"])
    if request.json:
        print(json.dumps({"bundles": found}))
    return Exit.OK if all(about["healthy"] for about in found) else Exit.UNHEALTHY


def again(bundle: Bundle) -> Rebuilt:
    """Build one of its images again."""
    from ansible.module_utils.yunkube.build.rebuild import rebuild
    from ansible.module_utils.yunkube.build.tools import BuildError

    from deployer.cluster import ROOT
    from deployer.errors import DeployError, Exit

    try:
        return rebuild(bundle, ROOT)
    except (BuildError, OSError) as error:
        raise DeployError(str(error), "without --deep, every byte is compared with the manifest", Exit.FAILED) from None


def told(bundle: Bundle, faults: list[Fault], rebuilt: str) -> None:
    """Print what was found in one."""
    import sys

    from deployer import bundles

    head = f"bundle {bundle.name} (Kubernetes {bundle.kubernetes}, {bundle.architecture})"
    if not faults:
        same = f"; built {rebuilt} again, with the same bytes" if rebuilt else ""
        print(f"{head}: whole, {len(bundle.files)} files, {bundles.size(bundle.size)}{same}")
        return
    print(f"{head}: {len(faults)} damaged")
    for fault in faults:
        print(f"  {fault.check}: {fault.message}")
    print(f"{head}: {faults[0].remedy}", file=sys.stderr)


COMMAND = Direct(
    name="bundle verify",
    help="compare every byte of the bundles in the cache with their manifests",
    examples=EXAMPLES,
    inventory=False,
    options=(
        option("bundle", metavar="BUNDLE", nargs="*", help="name of a bundle, as `bundle list` shows it; default: all"),
        option(
            "--deep", action="store_true", help="also build the smallest image again and compare it; needs a C compiler"
        ),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=verify,
)
