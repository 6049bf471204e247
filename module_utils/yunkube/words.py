# SPDX-License-Identifier: Apache-2.0
"""Lists of things, as a person says them."""

from __future__ import annotations

import difflib
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


def closest(word: str, words: t.Iterable[str]) -> str | None:
    """Return the word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def one_of(numbers: range) -> str:
    """Return what to do with a number that is not among these: `choose one from 1 to 9`."""
    return f"choose one from {numbers.start} to {numbers.stop - 1}"
