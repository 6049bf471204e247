# SPDX-License-Identifier: Apache-2.0
"""What a bundle is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle sbom | tee sbom.cdx.json
  ./scripts/deploy.py bundle sbom 0123456789abcdef | jq -r '.components[].purl'

CycloneDX 1.6: programs with the Go modules that they were compiled from, images with what is in them, Debian packages,
Python packages. It reads the bundle, and needs neither a network nor Go.
"""


def sbom(request: Request) -> int:
    """Print it."""
    import json

    from ansible.module_utils.yunkube.build.cached_bundles import in_use
    from ansible.module_utils.yunkube.build.sbom import UnreadableError, make

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.cluster import ROOT
    from deployer.errors import DeployError, Exit

    with in_use(cache()):
        found = bundles.chosen([name for name in [request.options["bundle"]] if name])
        if len(found) > 1:
            names = ", ".join(f"{bundle.name} ({bundle.kubernetes}, {bundle.architecture})" for bundle in found)
            raise DeployError("the cache has several bundles", f"name one: {names}")
        try:
            print(json.dumps(make(found[0], ROOT), indent=1))
        except UnreadableError as error:
            raise DeployError(f"bundle {found[0].name}: {error}", "see `bundle verify`", Exit.FAILED) from None
    return Exit.OK


COMMAND = Direct(
    name="bundle sbom",
    help="print what a bundle is made of: a bill of materials in CycloneDX JSON",
    examples=EXAMPLES,
    inventory=False,
    options=(option("bundle", metavar="BUNDLE", nargs="?", help="name of a bundle, as `bundle list` shows it"),),
    run=sbom,
)
