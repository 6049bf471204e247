# SPDX-License-Identifier: Apache-2.0
"""Keep the cluster's id in Ansible's own process: the module of this name would be a process more in every run."""

from __future__ import annotations

import json
import runpy
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.cluster_identity import SPEC, IdentityError, failure, run


class ActionModule(ActionBase):  # type: ignore[misc]
    """Does what the module does."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Compare, make or forget the id, or fail with the reason."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)

        _, given = self.validate_argument_spec(SPEC)
        # What came out of templates carries marks of where it came from; plain values are wanted.
        given = json.loads(json.dumps(given, default=str))
        try:
            return result | run(given, dry_run=bool(self._task.check_mode))
        except IdentityError as error:
            return result | failure(error) | {"failed": True}
