# SPDX-License-Identifier: Apache-2.0
"""Completion scripts of shells, generated from the parser by shtab."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  eval "$(./scripts/deploy.py completion bash)"        in ~/.bashrc, with the path to the checkout
  eval "$(./scripts/deploy.py completion zsh)"         in ~/.zshrc
  ./scripts/deploy.py completion fish | source         in ~/.config/fish/config.fish
"""

SHELLS = ("bash", "zsh", "fish")
FUNCTIONS = Path(__file__).parents[2] / "completion"


def script(shell: str) -> str:
    """Return the completion script of `bash`, `zsh` or `fish`."""
    import shtab

    from deployer.arguments import make_parser

    functions = (FUNCTIONS / f"functions.{shell}").read_text(encoding="utf-8")
    return shtab.complete(make_parser(), shell, preamble=functions)


def write(request: Request) -> int:
    """Print it."""
    sys.stdout.write(script(request.options["shell"]))
    return 0


COMMAND = Direct(
    name="completion",
    help="print the completion script for a shell",
    examples=EXAMPLES,
    options=(option("shell", choices=SHELLS),),
    inventory=False,
    run=write,
)
