# SPDX-License-Identifier: Apache-2.0
"""The parts of the suite: what needs no hosts leaves the processors to the labs, and ends with an interrupt."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / "parts.py"
# Once its priority is set, by who has started it.
SHOW = ("sh", "-c", "sleep 0.5; nice; ps -o sid= -p $$; ! test -e /proc/$$/autogroup || cat /proc/$$/autogroup")


@pytest.fixture(name="parts")
def _parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The suite's program, with a place for results that is this test's own."""
    spec = importlib.util.spec_from_file_location("parts", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "parts", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


def test_what_needs_no_hosts_has_a_session_of_less_weight(parts: Any, tmp_path: Path) -> None:
    both = [parts.Part("lab", (SHOW,), 30), parts.Part("rest", (SHOW,), 30, hosts=False)]
    assert parts.Suite(full=False).all_of(both, alone=False) == [parts.Outcome(0, 0)] * 2
    lab, rest = ((tmp_path / f"results/{name}.log").read_text().split("\n")[1:] for name in ("lab", "rest"))
    assert int(lab[1]) == os.getsid(0)
    assert int(rest[1]) != os.getsid(0)
    assert int(rest[0]) == os.nice(0) + int(parts.BEHIND)  # whoever runs this may be nice itself
    assert [line.rpartition(" ")[2] for line in rest[2:] if line] in ([parts.BEHIND], [])


def test_an_interrupt_ends_what_has_a_session_of_its_own(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = parts.Suite(full=False)
    run = suite.run

    def interrupted(part: Any, **how: bool) -> Any:
        if not part.hosts:
            return run(part, **how)
        deadline = time.monotonic() + 60
        while not suite._behind:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "run", interrupted)
    rest = [parts.Part(name, (("sleep", "300"), ("sleep", "299")), 600, hosts=False) for name in ("first", "second")]
    with pytest.raises(KeyboardInterrupt):
        suite.all_of([parts.Part("lab", (), 30), *rest], alone=False)
    assert [process.returncode for process in suite._behind] == [-signal.SIGINT]


def test_what_is_left_out_is_there_and_runs_in_full(parts: Any) -> None:
    chosen = parts.in_order(list(parts.PARTS))
    names = {part.name for part in chosen}
    omitted = {*parts.SLOW, *parts.REPEATED}
    assert omitted | {*parts.LONGEST} <= names, "a part that was renamed would run unnoticed, or out of its order"
    assert parts.left(chosen, full=True, named=False) == chosen
    assert names - {part.name for part in parts.left(chosen, full=False, named=False)} == omitted
    assert names - {part.name for part in parts.left(chosen, full=False, named=True)} == {*parts.SLOW}
