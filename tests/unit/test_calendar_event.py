# SPDX-License-Identifier: Apache-2.0
"""A time that is accepted here is one that systemd takes, and at which something happens."""

from __future__ import annotations

import datetime as dt
import random
import shutil
import subprocess

import pytest
from ansible.module_utils.yunkube.control.calendar_event import CalendarError, check

TODAY = dt.date(2026, 11, 30)
SOUND = [
    "minutely", "hourly", "Daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually", "daily UTC",
    "*-*-* 02:30:00", "02:30", "Mon..Fri *-*-* 02:30", "Mon,Wed..fri 1:00,30", "Sunday", "*:0/5", "0/6:15:30", "*:*:*",
    "05-08", "*-*-1..21/7 3:00", "2026..2027-1,7-1", "2025/2-1-1 4:00", "*-*~01 00:00", "*-02~3", "*-02-29 1:0",
    "2026-11-30 1:00", "0..23/3:00", "5/18:00",
]  # fmt: skip
WRONG = [
    "", "every day", "tomorrow", "12", "*", "*/2:00", "24:00", "12:60", "1:2:60", "*-13-01", "*-*-0 1:00", "1969-01-01",
    "2200-1-1", "5..3:00", "0/0:00", "5/19:00", "5/2..7:00", "Sat..Mon 10:00", "Mon..Wed..Fri 1:00", "Tues 1:00",
    "Mon,,Tue 1:00", "1,:00", "*,1:00", "*-*-*T02:30", "*-*~29", " daily", "daily ", "daily\nExecStart=/bin/x",
    "daily; x", "12:00 12:00", "*-*-* *-*-*", "Mon Tue", "UTC", "Europe/Berlin", "1:00 nowhere", "1:00 \u0661:00",
]  # fmt: skip


@pytest.mark.parametrize("text", SOUND)
def test_what_systemd_takes_is_accepted(text: str) -> None:
    assert check(text, TODAY) == ("UTC" if "UTC" in text else "")


@pytest.mark.parametrize("text", WRONG)
def test_what_systemd_does_not_take_is_refused(text: str) -> None:
    with pytest.raises(CalendarError):
        check(text, TODAY)


@pytest.mark.parametrize("text", ["2020-01-01", "2026-11-29 23:59", "*-02-30", "2027-02-29", "Tue 2026-11-30"])
def test_what_never_fires_is_refused(text: str) -> None:
    with pytest.raises(CalendarError, match="no date from today on"):
        check(text, TODAY)


def test_the_time_zone_is_returned_as_a_host_may_lack_it() -> None:
    assert check("Mon..Fri *-*-* 02:30:00 America/Argentina/Buenos_Aires", TODAY) == "America/Argentina/Buenos_Aires"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_all_that_is_accepted_here() -> None:
    dice = random.Random(1)  # noqa: S311  no secret
    pieces = ["*", "0", "1", "5", "12", "23", "28", "31", "59", "2027", "..", "/", "2", ",", ":", "-", "~", " ", "Mon"]
    made = {"".join(dice.choices(pieces, k=dice.randint(1, 9))) for _ in range(40000)}
    accepted = [text for text in sorted(made) if _accepts(text)][:300] + SOUND
    assert len(accepted) > 100
    done = subprocess.run(["systemd-analyze", "calendar", "--", *accepted], capture_output=True, text=True, check=False)
    assert "Failed to parse" not in done.stderr
    assert done.returncode == 0, done.stderr


def _accepts(text: str) -> bool:
    try:
        check(text, TODAY)
    except CalendarError:
        return False
    return True
