# SPDX-License-Identifier: Apache-2.0
"""Calendar events of systemd, as OnCalendar= takes them: systemd.time(7).

The control machine may have no systemd, and a host's refuses a wrong one when the timer is started, in the middle of a
run. What is accepted here, systemd accepts; two-digit years, fractions of seconds and `@` are left out.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Iterator

_SHORTHANDS = (
    "minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
_ITEM = re.compile(r"(\d{1,4})(?:\.\.(\d{1,4}))?(?:/(\d{1,4}))?", re.ASCII)
_SET = r"[0-9*.,/]+"
_DATE = re.compile(rf"(?:({_SET})-)?({_SET})([-~])({_SET})")
_TIME = re.compile(rf"({_SET}):({_SET})(?::({_SET}))?")
_ZONE = re.compile(r"UTC|[A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+")
YEARS = (1970, 2199)
_LAST_DAYS = 28  # that may be counted from the end of a month

Weekdays = set[int]


class CalendarError(Exception):
    """A text is not a calendar event that fires; the message says why."""


def check(text: str, today: dt.date) -> str:
    """Return the time zone that a calendar event names, empty for the host's own; raise where it never fires."""
    if not text.isprintable():
        raise CalendarError("is not a calendar event of systemd")
    words = text.split(" ")
    zone = words.pop() if len(words) > 1 and _ZONE.fullmatch(words[-1]) else ""
    if len(words) == 1 and words[0].lower() in _SHORTHANDS:
        return zone
    weekdays = _weekdays(words.pop(0)) if words and words[0][:1].isalpha() else set(range(7))
    date = _DATE.fullmatch(words[0]) if words else None
    if date:
        words.pop(0)
        if not any(_dates(date, weekdays, today)):
            raise CalendarError("names no date from today on")
    if words:
        found = _TIME.fullmatch(words.pop(0))
        if not found or words:
            raise CalendarError("is not a calendar event of systemd")
        for part, highest in zip(found.groups(), (23, 59, 59), strict=True):
            _numbers(part or "0", 0, highest)
    return zone


def _weekdays(word: str) -> Weekdays:
    """Return the weekdays of a list, such as Mon..Wed,Fri."""
    chosen: Weekdays = set()
    for item in word.lower().split(","):
        ends = item.split("..")
        if len(ends) > 2 or any(end not in _WEEKDAY for end in ends):
            raise CalendarError(f'has "{item}" where a weekday is expected')
        first, last = _WEEKDAY[ends[0]], _WEEKDAY[ends[-1]]
        if first > last:
            raise CalendarError(f"has the weekdays {item}; a week begins with Monday")
        chosen |= set(range(first, last + 1))
    return chosen


def _numbers(component: str, lowest: int, highest: int) -> list[int]:
    """Return the numbers that a component stands for: *, 5, 1..5, 0/15, 1..20/5, and lists of those without *."""
    if component == "*":
        return list(range(lowest, highest + 1))
    chosen: set[int] = set()
    for item in component.split(","):
        found = _ITEM.fullmatch(item)
        if not found:
            raise CalendarError(f'has "{item}", which is not a number, a range (1..5) or a repetition (0/15)')
        first, step = int(found[1]), int(found[3] or 1)
        last = int(found[2]) if found[2] else highest if found[3] else first
        if not lowest <= first <= last <= highest or not step or (found[3] and not found[2] and first + step > last):
            raise CalendarError(f'has "{item}", where {lowest} to {highest} is possible')
        chosen |= set(range(first, last + 1, step))
    return sorted(chosen)


def _dates(date: re.Match[str], weekdays: Weekdays, today: dt.date) -> Iterator[dt.date]:
    """Yield the dates from today on."""
    years, months = _numbers(date[1] or "*", *YEARS), _numbers(date[2], 1, 12)
    from_end = date[3] == "~"
    days = _numbers(date[4], 1, _LAST_DAYS if from_end else 31)
    for year in years:
        for month in months if year >= today.year else ():
            length = calendar.monthrange(year, month)[1]
            for number in days:
                day = length + 1 - number if from_end else number
                if day <= length and (found := dt.date(year, month, day)) >= today and found.weekday() in weekdays:
                    yield found
