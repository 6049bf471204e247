# SPDX-License-Identifier: Apache-2.0
"""Hold the cluster's lock for a playbook that changes something, as deploy.py does for its verbs.

It is the same lock, the file `lock` of the state directory, and it is held by the process of ansible-playbook itself:
the kernel gives it back whatever way that ends. Below deploy.py, which holds it already, nothing is done.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_lock
type: aggregate
short_description: Let one run at a time change a cluster
description:
  - Takes the lock of the cluster's state directory before the first play that changes something.
  - Ends the run where another one holds it.
  - Ends one of deploy.py where the play is about another cluster than deploy.py, which cannot read encrypted files.
author: [The maintainers]
"""

import contextlib
import os
import runpy
import sys
import typing as t
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control import state_lock

PROJECT = Path(__file__).resolve().parents[2]
DEFAULTS = PROJECT / "roles/cluster/defaults/main.yml"
USAGE = 2  # exit code of deploy.py for what the user can correct
# Playbooks that only read, as long as the variable is not true.
READING = {"status.yml": "", "support-bundle.yml": "", "doctor.yml": "troubleshoot_fix"}


def playbook_of(play: t.Any) -> str:
    """Return the name of the project's playbook that a play stands in; empty for others' plays."""
    path = Path(play.get_path().rpartition(":")[0]).resolve()
    return path.name if path.parent in (PROJECT, PROJECT / "playbooks") else ""


def variables_of(play: t.Any) -> t.Callable[[str], t.Any]:
    """Return a function that gives the value of a variable, as a play on this machine sees it."""
    manager = play.get_variable_manager()
    loader = manager._loader  # noqa: SLF001 - there is no public way to either
    host = manager._inventory.get_host("localhost")  # noqa: SLF001
    # Not from the cache nor into it: roles load the same file.
    defaults = loader.load_from_file(str(DEFAULTS), cache="none", trusted_as_template=True)
    found = {**defaults, **manager.get_vars(play=play, host=host)}
    return lambda name: Templar(loader=loader, variables=found).template(found.get(name))


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Listens for the start of plays."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "run_lock"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Hold nothing yet."""
        super().__init__(*args, **kwargs)
        self._held = contextlib.ExitStack()

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Refuse another cluster than the one whose lock and state directory deploy.py uses."""
        plays = playbook.get_plays()
        if state_lock.CLUSTER not in os.environ or not plays:
            return
        with contextlib.suppress(AnsibleError):  # what cannot be read is refused by the first task that wants it
            value = variables_of(plays[0])
            state = Path(str(value("cluster_state_dir"))).expanduser().absolute()
            for key, theirs, ours in (
                ("cluster_name", os.environ[state_lock.CLUSTER], str(value("cluster_name"))),
                ("cluster_state_dir", os.environ[state_lock.STATE_DIR], str(state)),
            ):
                if theirs != ours:
                    self._display.error(
                        f"{key} is {theirs} for deploy.py and {ours or 'empty'} for the play: is it set in an "
                        "encrypted file? Write it in one that is not"
                    )
                    sys.exit(USAGE)

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Take the lock before the first play that may change something."""
        name = playbook_of(play)
        if not name or context.CLIARGS["check"] or state_lock.VARIABLE in os.environ:
            return
        value = variables_of(play)
        if name in READING and not boolean(value(READING[name]) or False, strict=False):
            return
        if not value("cluster_name"):  # it is refused by the first play, and its state directory is nobody's
            return
        state = Path(str(value("cluster_state_dir"))).expanduser().absolute()
        try:
            self._held.enter_context(state_lock.held(state, Path(name).stem))
        except state_lock.HeldError as error:
            self._display.error(f"{error.message}; {error.remedy}")
            sys.exit(USAGE)  # an exception would only be a warning
