# SPDX-License-Identifier: Apache-2.0
"""Pick a host's entries out of the bundle's manifest, and hand them to the module of this name."""

from __future__ import annotations

import os
import runpy
import sys
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, take_choice


def addresses(url: str, store: dict[str, str], chosen: list[dict[str, t.Any]]) -> dict[str, str]:
    """Return an address for each file of a bucket, signed with the key of this machine, that lasts for an hour."""
    from ansible.module_utils.yunkube.cloud import credentials  # noqa: PLC0415
    from ansible.module_utils.yunkube.cloud.oss import Bucket  # noqa: PLC0415

    try:
        with Bucket(url, store["region"], store["fetch"], lambda: credentials.find(os.environ)) as bucket:
            return {digest: bucket.sign(digest) for digest in {str(entry["sha256"]) for entry in chosen}}
    except (credentials.CredentialsError, ValueError) as error:
        raise AnsibleActionFail(str(error)) from error
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed for {sys.executable}: run ./scripts/setup"
        raise AnsibleActionFail(text) from error


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control machine before the module does on the host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Replace the choice by what was chosen."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)

        args = dict(self._task.args)
        store, names = args.pop("store", None), args.pop("names", None)
        try:
            chosen = take_choice(args, args.pop("distribution", ""), args.pop("kinds"))
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from error
        chosen = [entry for entry in chosen if not names or entry["name"] in names]
        if not chosen:
            return result | {"changed": False, "changes": [], "paths": [], "chosen": 0, "bytes": 0}
        if str(args.get("url") or "").startswith("oss://") and not self._task.check_mode:
            args["signed"] = addresses(args["url"], store, chosen)
        result |= self._execute_module(module_args=args | {"files": chosen}, task_vars=task_vars)
        result["chosen"] = len(chosen)
        result.pop("invocation", None)
        return result
