# SPDX-License-Identifier: Apache-2.0
"""What a verb's file declares; the parser, the runner, the summary and the completions read nothing else of a verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.happenings import Summary
    from deployer.progress import Progress
    from deployer.views.summary import Printer

MOST = 1e9  # seconds that an option takes: a clock counts no further
WHOLE = "this command always applies to the whole cluster: omit --limit"


@dataclass(frozen=True, eq=False, repr=False)
class Option:
    """An option or an argument, with what argparse takes for it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    completed_by: str = ""  # a function of scripts/completion
    variable: str = ""  # of a role, which the option sets
    alternative: str = ""  # of several options with the same word, one may be given


def option(*names: str, completed_by: str = "", variable: str = "", alternative: str = "", **settings: Any) -> Option:
    """Return an option, written as for argparse."""
    return Option(names, {**settings, "dest": variable} if variable else settings, completed_by, variable, alternative)


def seconds(text: str) -> float:
    """Read a time."""
    number = float(text)
    if not 0 < number < MOST:  # neither is nan
        raise ValueError
    return number


def whole_seconds(text: str) -> int:
    """Read a time for a role that takes whole numbers; less than one second is one."""
    return max(1, int(seconds(text)))


# argparse says: invalid number of seconds value
seconds.__name__ = whole_seconds.__name__ = "number of seconds"


def absolute(text: str) -> str:
    """Read a path, which a play would look for elsewhere."""
    return str(Path(text).expanduser().absolute())


HOSTS = option("hosts", metavar="HOST", nargs="+", help="host name in the inventory")
YES = option("--yes", action="store_true", help="do not ask for confirmation")


def _nothing(_options: dict[str, Any], _variables: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Group:
    """The first of two words."""

    name: str
    help: str
    examples: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Command:
    """A verb."""

    name: str
    help: str
    # What --help shows below the options.
    examples: str
    options: tuple[Option, ...] = ()
    inventory: bool = True
    # Whether what follows `--` belongs to it, as the option `arguments`.
    passes_on: bool = False
    # Checks the options, or makes variables of them: ArgumentError is wrong usage.
    adapt: Callable[[dict[str, Any], dict[str, Any]], None] = _nothing


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Direct(Command):
    """A verb that runs no playbook."""

    run: Callable[[Request], int]


def _no_advice(_code: Exit, _request: Request, _progress: Progress, _cluster: Cluster) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Play(Command):
    """A verb that is a playbook."""

    playbook: str
    # What to type after a success, and after a run that found changes.
    next: str = ""
    # The same by the rows of the run's table, in place of `next`.
    follow: Callable[[Sequence[Mapping[str, Any]]], str] | None = None
    next_on_changes: str = ""
    check: bool = False
    # Reading verbs may run beside a run that changes things.
    exclusive: bool = True
    # What it finds decides the exit code, and is all that it shows.
    reports: bool = False
    # What a run must have brought to be a success: a field of Progress. Without it, nothing was looked at.
    report: str = "hosts"
    # Whether it takes --limit; if not, why, for those who try.
    limits: bool = True
    no_limit: str = ""
    # Whether a run that fails may leave its claim on the control plane host; with others, their last module has it.
    claims: bool = False
    # Whether there must be a cluster: hosts in Docker that nobody made would be waited for.
    needs_cluster: bool = True
    # Whether the state directory must be that of the inventory.
    needs_inventory: bool = True
    # Whether it says what would go, and asks.
    asks: bool = False
    after_removal: str = ""  # what the run does then, as the question says
    # What comes first: another request in place of this one, and an exit code that ends it.
    before: Callable[[Request, Cluster], tuple[Request, Exit]] | None = None
    # What comes after a success.
    after: Callable[[Cluster], None] | None = None
    # The last words about a run that Ansible ended, if the verb has its own.
    advice: Callable[[Exit, Request, Progress, Cluster], str] = _no_advice
    # Shows the result, in place of the tables of stages and hosts.
    render: Callable[[Printer, Summary], None] | None = None
