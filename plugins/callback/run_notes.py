# SPDX-License-Identifier: Apache-2.0
"""Note what ansible-runner's events leave out: the hosts of each play, and which host a delegated task could not reach.

When a task of node1 that is delegated to master1 cannot connect, Ansible marks node1 unreachable, which is well, and
names only it. With ansible-playbook the delegate is named in a warning; for deploy.py it is written into a file.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_notes
type: aggregate
short_description: Note the hosts of each play, and delegates that could not be reached
description:
  - Writes a JSON object a line into the file that C(YUNKUBE_RUN_NOTES) names; deploy.py sets it.
author: [The maintainers]
"""

import contextlib
import json
import os
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase


def id_of(thing: t.Any) -> str:
    """Return the id of a play or task that is in ansible-runner's events, too."""
    return str(thing._uuid)  # noqa: SLF001 - there is no other way to it


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    """Listens to plays and to results that end them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "run_notes"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *arguments: t.Any, **named: t.Any) -> None:
        """Open the file where deploy.py asks for it."""
        super().__init__(*arguments, **named)
        path = os.environ.get("YUNKUBE_RUN_NOTES")
        self._file = Path(path).open("a", encoding="utf-8") if path else None  # noqa: SIM115 - as long as the run

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Note all hosts of the play, also those of later batches."""
        if self._file is not None:
            hosts = play.get_variable_manager().get_vars(play=play).get("ansible_play_hosts_all", [])
            # Each batch of `serial` starts its play again, and ansible-runner adds to its id.
            self._note(play=play.get_name(), id=id_of(play).partition("_")[0], hosts=list(map(str, hosts)))

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Note who could not be reached."""
        host = result.host.get_name()
        delegate = str(result.task_fields.get("delegate_to") or host)
        if self._file is None and delegate != host:
            self._display.warning(f"{delegate} is unreachable, to which {host} delegated: {result.task.get_name()}")
        fatal = bool(result.task.any_errors_fatal)
        self._note(unreachable=host, task=id_of(result.task), delegate=delegate, fatal=fatal)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Note whether the failure ends the play for other hosts, too."""
        if not ignore_errors:
            once, fatal = bool(result.task.run_once), bool(result.task.any_errors_fatal)
            self._note(failed=result.host.get_name(), task=id_of(result.task), once=once, fatal=fatal)

    def _note(self, **note: t.Any) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the run
                self._file.write(json.dumps(note) + "\n")
                self._file.flush()
