# SPDX-License-Identifier: Apache-2.0
"""The command line: what all verbs have, and the parser, made of what each verb's file declares."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control.commands import DEFAULT_INVENTORY

from deployer.commands import COMMANDS, GROUPS, NAMES
from deployer.commands.base import Command, Group, Option, Play, option, seconds
from deployer.options import NoLimit, OneInventory, default_inventory
from deployer.passwords import Passwords

OVERVIEW = """\
examples:
  ./scripts/deploy.py up                        create a cluster on Docker hosts on this machine
  ./scripts/deploy.py up -i inventory/mine      the same on your own hosts
  ./scripts/deploy.py plan                      show what `up` would change
  ./scripts/deploy.py kubectl -- get nodes      kubectl in the cluster's own version
  ./scripts/deploy.py COMMAND --help            options and more examples

exit codes:
  0 success     1 a bug in Yunkube     2 wrong usage or configuration     3 a task failed
  4 a host is unreachable; nothing else failed     5 `plan` found changes, or `status` hosts not as declared
  6 `status`, `doctor` or `bundle verify` found faults     124 timeout     130 interrupted
"""

INVENTORY = option(
    "-i",
    "--inventory",
    metavar="PATH",
    action=OneInventory,
    completed_by="inventories",
    help=f"inventory directory or file ({DEFAULT_INVENTORY})",
)
LIMIT = option(
    "--limit", metavar="PATTERN", default="", help="limit the run to these hosts or groups, as in ansible-playbook"
)
# Of every verb that is a playbook.
COMMON = (
    option(
        "-e",
        dest="extra",
        metavar="KEY=VALUE",
        action="append",
        help="set a variable for this run, or read several from @FILE; put secrets in a file",
    ),
    option("-J", "--ask-vault-pass", action="store_true", help="ask for the vault password"),
    option(
        "--vault-password-file",
        metavar="FILE",
        action="append",
        default=[],
        completed_by="files",
        help="file with the vault password, or a program that prints it; may be repeated",
    ),
    option("-k", "--ask-pass", action="store_true", help="ask for the SSH password of the hosts"),
    option("-K", "--ask-become-pass", action="store_true", help="ask for the sudo password of the hosts"),
    option("--timeout", metavar="SECONDS", type=seconds, help="stop the run after this time"),
    option("--json", action="store_true", help="print one JSON event per line on stdout (docs/events.md)"),
    option(
        "-v",
        "--verbose",
        dest="verbosity",
        action="count",
        default=0,
        help="show every task; -vv and above: also Ansible's own verbose output",
    ),
)


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    verb: str
    inventory: str = DEFAULT_INVENTORY
    limit: str = ""
    json: bool = False
    verbosity: int = 0
    yes: bool = False
    hosts: tuple[str, ...] = ()
    timeout: float | None = None
    extra_vars: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra_files: tuple[Path, ...] = ()
    watch: bool = False
    fix: bool = False
    dry_run: bool = False
    interval: float | None = None
    ask_vault_pass: bool = False
    ask_become_pass: bool = False
    ask_pass: bool = False
    vault_password_file: tuple[str, ...] = ()
    passwords: Passwords = field(default=Passwords(), repr=False)
    # What the verb alone reads.
    options: Mapping[str, Any] = field(default_factory=dict)


SHARED = {known.name for known in fields(Request)} - {"options"}


def parse(argv: Sequence[str]) -> Request:
    """Turn the command line into a Request; argparse itself ends on wrong usage, with exit code 2."""
    argv, passed_on = _split(list(argv))
    word = argv[0] if argv else ""
    parser = make_parser(word if word in NAMES else "", overview=word in ("-h", "--help"))
    options = vars(parser.parse_args(argv))
    if options["verb"] in GROUPS:
        options["verb"] += f" {options.pop('action')}"
    command = COMMANDS[options["verb"]]
    if command.passes_on:
        options["arguments"] = (*options["arguments"], *passed_on)
    elif passed_on:
        parser.error(f"{options['verb']} takes no arguments after `--`")
    variables: dict[str, Any] = {}
    files: tuple[Path, ...] = ()
    if extra := options.pop("extra", None):
        from deployer.extra import extra_vars  # noqa: PLC0415 - what it needs is slow to import

        variables, files = extra_vars(extra)
    try:
        command.adapt(options, variables)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    if options.get("inventory", "") is None:
        options["inventory"] = default_inventory()
    for name in filter(None, (declared.variable for declared in command.options)):
        if (value := options.pop(name)) is not None and value is not False:
            variables[name] = value
    own = {name: options.pop(name) for name in [*options] if name not in SHARED}
    return Request(**options, extra_vars=variables, extra_files=files, options=own)


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the command line at the first `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def make_parser(word: str = "", *, overview: bool = False) -> argparse.ArgumentParser:
    """Make the parser, one subparser a verb: of all, or of those that begin with a word; an overview has no options."""
    parser = argparse.ArgumentParser(
        prog="deploy.py",
        description="Create, maintain and remove a Kubernetes cluster on Linux hosts.",
        epilog=OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for full_name in NAMES:
        name, _, second = full_name.partition(" ")
        if word not in ("", name):
            continue
        if group := GROUPS.get(full_name):
            sub = _add(verbs, name, group)
            groups[name] = sub.add_subparsers(dest="action", metavar="COMMAND", required=True)
        else:
            command = COMMANDS[full_name]
            sub = _add(groups[name] if second else verbs, second or name, command)
            if not overview:
                _add_options(sub, command)
    return parser


def _add(verbs: Any, word: str, declared: Command | Group) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(
        word,
        help=declared.help,
        description=declared.help[0].upper() + declared.help[1:] + ".",
        epilog=declared.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return added


def _add_options(sub: argparse.ArgumentParser, command: Command) -> None:
    """Add what all verbs have, then the verb's own."""
    common = [INVENTORY] if command.inventory else []
    if isinstance(command, Play):
        refused = option(
            "--limit", nargs="?", action=NoLimit, const=command.no_limit, default="", help=argparse.SUPPRESS
        )
        common += [LIMIT] if command.limits else [refused] if command.no_limit else []
        common += COMMON
    alternatives: dict[str, Any] = {}
    for declared in (*common, *command.options):
        place: Any = sub
        if word := declared.alternative:
            place = alternatives[word] = alternatives.get(word) or sub.add_mutually_exclusive_group()
        _completed_by(place.add_argument(*declared.names, **declared.settings), declared)


def _completed_by(action: argparse.Action, declared: Option) -> None:
    """Name what completes an argument, a function of scripts/completion; shtab reads the attribute."""
    if declared.completed_by:
        name = f"_yunkube_{declared.completed_by}"
        action.complete = {"bash": name, "zsh": name, "fish": f"({name})"}  # type: ignore[attr-defined]
