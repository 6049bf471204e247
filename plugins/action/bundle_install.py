"""Pick a host's entries out of the bundle's manifest, and hand them to the module of this name."""

from __future__ import annotations

import typing as t
from pathlib import Path

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PROJECT = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control machine before the module does on the host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Replace the choice by what was chosen."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        # Modules find these by Ansible's packing, plugins do not.
        ansible.module_utils.__path__.append(str(PROJECT / "module_utils"))
        from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, take_choice  # noqa: PLC0415 - needs that path

        args = dict(self._task.args)
        try:
            chosen = take_choice(args, args.pop("distribution", ""), args.pop("kinds"))
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from error
        if not chosen:
            return result | {"changed": False, "changes": [], "paths": [], "chosen": 0, "bytes": 0}
        result |= self._execute_module(module_args=args | {"files": chosen}, task_vars=task_vars)
        result["chosen"] = len(chosen)
        result.pop("invocation", None)
        return result
