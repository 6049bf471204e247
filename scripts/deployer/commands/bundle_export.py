# SPDX-License-Identifier: Apache-2.0
"""Bundles leave the cache, in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle export yunkube-1.37.2.tar.zst
  ./scripts/deploy.py bundle export yunkube-1.37.2.tar.zst --sign ~/.minisign/minisign.key

Without names: all bundles that the locks of this checkout lead to, if they are of one Kubernetes version. The same
bundles, of files from the same places, always give the same bytes. `bundle import` reads the file on a machine that
needs no network.
"""


def export(request: Request) -> int:
    """Write the file."""
    import json
    import sys
    from pathlib import Path

    from ansible.module_utils.yunkube.build import archive, signature
    from ansible.module_utils.yunkube.build.cached_bundles import in_use
    from ansible.module_utils.yunkube.result import RefusedError

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.cluster import ROOT
    from deployer.errors import DeployError, Exit

    out, key = Path(request.options["file"]).expanduser(), request.options["sign"]
    if out.exists():
        raise DeployError(f"{out} exists", "delete it, or choose another name")
    if key:
        try:
            signature.signer(key)
        except (signature.SignatureError, OSError) as error:
            raise DeployError(str(error), "Nothing was written.") from None
    try:
        with in_use(cache()):
            found = bundles.chosen(request.options["bundle"])
            picked = found if request.options["bundle"] else archive.choose(found, ROOT)
            total = bundles.size(sum(bundle.size for bundle in picked))
            print(f"exporting {', '.join(bundle.name for bundle in picked)}, {total}", file=sys.stderr)
            digest = archive.export(picked, ROOT, out)
        signed = signature.sign(out, key) if key else None
    except RefusedError as error:
        raise bundles.refuse(error.faults, "Nothing was written.") from None
    except signature.SignatureError as error:
        raise DeployError(str(error), f"{out} is there, without a signature", Exit.FAILED) from None
    except OSError as error:
        path = Path(error.filename or out)
        writing = path.parent == out.parent and out.name in path.name
        failed = f"{out} cannot be written" if writing else f"{path} cannot be read"
        raise DeployError(f"{failed}: {error.strerror}", code=Exit.FAILED) from None
    told = {"file": str(out), "bytes": out.stat().st_size, "sha256": digest, "signature": str(signed) if signed else ""}
    if request.json:
        print(json.dumps(told | {"bundles": [bundle.about() for bundle in picked]}))
    else:
        print(f"File       {out}, {bundles.size(out.stat().st_size)}\nsha256     {digest}")
        print(f"Signature  {signed}" if signed else "Signature  none; --sign KEY makes one")
    return Exit.OK


COMMAND = Direct(
    name="bundle export",
    help="write bundles into one file, for a machine without a network",
    examples=EXAMPLES,
    inventory=False,
    options=(
        option("file", metavar="FILE", completed_by="files", help="the file to write, such as yunkube-1.37.2.tar.zst"),
        option("bundle", metavar="BUNDLE", nargs="*", help="name of a bundle, as `bundle list` shows it"),
        option(
            "--sign",
            metavar="KEY",
            completed_by="files",
            help="also write a signature beside it: minisign's secret key file, or the fingerprint of a key of GnuPG",
        ),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=export,
)
