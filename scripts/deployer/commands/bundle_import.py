# SPDX-License-Identifier: Apache-2.0
"""Bundles come into the cache, out of one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle import yunkube-1.37.2.tar.zst
  ./scripts/deploy.py bundle import yunkube-1.37.2.tar.zst --verify-key minisign.pub

Needs no network and no compiler. Everything in the file is checked before the first write; after an interruption,
import it again. `up` then finds the bundle by the lock of this checkout.
"""


def bring(request: Request) -> int:
    """Read the file."""
    import json
    import sys
    from pathlib import Path

    from ansible.module_utils.yunkube.build import archive_import, cached_bundles, signature
    from ansible.module_utils.yunkube.host.file_lock import LockError
    from ansible.module_utils.yunkube.result import RefusedError

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.errors import DeployError, Exit

    path, key = Path(request.options["file"]).expanduser(), request.options["verify_key"]
    try:
        if key:
            signature.verify(path, Path(key).expanduser())
        elif there := signature.signature_of(path):
            print(f"not verified: {there}; --verify-key FILE does it", file=sys.stderr)
        done = archive_import.bring(path, cache())
    except signature.SignatureError as error:
        raise DeployError(str(error), "Nothing was imported.") from None
    except RefusedError as error:
        raise bundles.refuse(error.faults, "Nothing was imported.") from None
    except LockError as error:
        raise DeployError(str(error), "Nothing was imported.", Exit.FAILED) from None
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename == str(path):
            raise DeployError(f"there is no file {path}") from None
        reason = f"{error.filename or path}: {error.strerror}"
        raise DeployError(reason, "What was imported stays; run it again when this is solved.", Exit.FAILED) from None
    names = [bundle["name"] for bundle in done.content.bundles]
    found = [bundle for bundle in cached_bundles.bundles(cache()) if bundle.name in names]
    if request.json:
        print(json.dumps({"imported": done.written, "bundles": [bundle.about() for bundle in found]}))
    else:
        for bundle in found:
            new = "imported" if bundle.name in done.written else "is there already"
            print(f"bundle {bundle.name} (Kubernetes {bundle.kubernetes}, {bundle.architecture}): {new}")
    for line in bundles.unreachable(found):
        print(line, file=sys.stderr)
    return Exit.OK


COMMAND = Direct(
    name="bundle import",
    help="take bundles out of a file that `bundle export` wrote",
    examples=EXAMPLES,
    inventory=False,
    options=(
        option("file", metavar="FILE", completed_by="files", help="the file to read"),
        option(
            "--verify-key",
            metavar="FILE",
            completed_by="files",
            help="refuse the file unless this key signed it: minisign's public key file, or a key exported by GnuPG",
        ),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=bring,
)
