# SPDX-License-Identifier: Apache-2.0
"""Run a module as a host does, with Ansible's own AnsibleModule, and catch what it writes to the journal."""

from __future__ import annotations

import atexit
import contextlib
import copy
import json
import subprocess
import sys
import typing as t

import pytest
from ansible import constants  # noqa: F401 - what it leaves for the end of the process is not a module's
from ansible.module_utils import basic

Json = dict[str, t.Any]


def answer(program: str, seconds: float, **options: t.Any) -> Json:
    """Return what a module answers that a Python program runs as Ansible does on this machine."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.stdout, done.stderr
    found: Json = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def ending(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    """Do at the end of this what a module leaves for the end of its process, such as giving up the host's lock."""
    at_end: list[t.Callable[[], t.Any]] = []
    with monkeypatch.context() as patch:
        patch.setattr(atexit, "register", lambda call, *given: at_end.append(lambda: call(*given)))
        yield
    for call in at_end:
        call()


def run(
    main: t.Callable[[], None], arguments: Json, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[str, Json]:
    """Return what went to the journal, and the result as the control machine gets it."""
    journal: list[str] = []
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy")
    init = basic.AnsibleModule.__init__

    def start(self: t.Any, argument_spec: Json, **more: t.Any) -> None:
        init(self, copy.deepcopy(argument_spec), **more)  # it fills the defaults of dictionaries in the spec itself

    monkeypatch.setattr(basic.AnsibleModule, "__init__", start)
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, **more: journal.append(f"{text} {more}"))
    capsys.readouterr()
    with ending(monkeypatch), pytest.raises(SystemExit):
        main()
    assert journal
    return "\n".join(journal), json.loads(capsys.readouterr().out)
