"""Lists of things, as a person says them."""

from __future__ import annotations

import typing as t

MOST = 8  # names in a line; of more, the first ones and how many there are


def joined(names: t.Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def counted(names: t.Sequence[str], thing: str) -> str:
    """Return `2 images: a, b`; of a single one, `image a`."""
    if len(names) == 1:
        return f"{thing} {names[0]}"
    shown = names if len(names) <= MOST else [*names[: MOST - 1], f"{len(names) - MOST + 1} more"]
    return f"{len(names)} {thing}s: {', '.join(shown)}"


def one_of(numbers: range) -> str:
    """Return what to do with a number that is not among these: `choose one from 1 to 9`."""
    return f"choose one from {numbers.start} to {numbers.stop - 1}"
