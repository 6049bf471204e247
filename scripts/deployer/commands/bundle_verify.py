# SPDX-License-Identifier: Apache-2.0
"""Every byte of a bundle is compared with its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

With --deep, exit code 3: all are whole, but one has no image that can be built again here; the output says why.
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
            rebuilt, why_not = again(bundle) if request.options["deep"] and not faults else (None, "")
            faults += [rebuilt.fault] if rebuilt and rebuilt.fault else []
            about = {**bundle.about(), "files": len(bundle.files), "healthy": not faults}
            about |= {**Report(tuple(faults)).as_result(), "rebuilt": rebuilt.reference if rebuilt else ""}
            about["not_rebuilt"] = why_not
            found.append(about)
            if not request.json:
                told(bundle, faults, about)
    if request.json:
        print(json.dumps({"bundles": found}))
    if not all(about["healthy"] for about in found):
        return Exit.UNHEALTHY
    return Exit.FAILED if any(about["not_rebuilt"] for about in found) else Exit.OK


def again(bundle: Bundle) -> tuple[Rebuilt | None, str]:
    """Build one of its images again, or say why it cannot be done."""
    from ansible.module_utils.yunkube.build.rebuild import rebuild
    from ansible.module_utils.yunkube.build.tools import BuildError

    from deployer.cluster import ROOT

    try:
        return rebuild(bundle, ROOT), ""
    except (BuildError, OSError) as error:
        return None, "; ".join(str(error).splitlines())


def told(bundle: Bundle, faults: list[Fault], about: dict[str, Any]) -> None:
    """Print what was found in one."""
    import sys

    from deployer import bundles

    head = f"bundle {bundle.name} (Kubernetes {bundle.kubernetes}, {bundle.architecture})"
    if not faults:
        same = f"; built {about['rebuilt']} again, with the same bytes" if about["rebuilt"] else ""
        print(f"{head}: whole, {len(bundle.files)} files, {bundles.size(bundle.size)}{same}")
        if about["not_rebuilt"]:
            print(f"{head}: not built again: {about['not_rebuilt']}", file=sys.stderr)
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
