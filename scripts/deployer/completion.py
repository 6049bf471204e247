"""Completion scripts of shells, generated from the parser by shtab."""

from __future__ import annotations

from pathlib import Path

import shtab

from deployer.arguments import make_parser

FUNCTIONS = Path(__file__).parents[1] / "completion"


def script(shell: str) -> str:
    """Return the completion script of `bash`, `zsh` or `fish`."""
    functions = (FUNCTIONS / f"functions.{shell}").read_text(encoding="utf-8")
    return shtab.complete(make_parser(), shell, preamble=functions)
