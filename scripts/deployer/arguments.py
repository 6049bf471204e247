"""The command line: verbs, options, help."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control.commands import DEFAULT_INVENTORY, GROUPS

from deployer.errors import DeployError
from deployer.examples import EXAMPLES, OVERVIEW
from deployer.extra import extra_vars
from deployer.options import NoLimit, OneInventory, default_inventory
from deployer.passwords import Passwords
from deployer.verbs import VERBS, Verb

FAULTS = Path(__file__).parents[2] / "docs/faults"
PROJECTS = ("kubespray", "kubeasz", "k3s-ansible")
SHELLS = ("bash", "zsh", "fish")

# Options that are a role's variable: option -> variable, kind, help.
FLAGS: dict[str, dict[str, tuple[str, type, str]]] = {
    "remove": {
        "--force": (
            "node_leave_force",
            bool,
            "delete unmanaged pods, ignore PodDisruptionBudgets, delete registry images",
        ),
        "--delete-emptydir-data": (
            "node_leave_delete_emptydir_data",
            bool,
            "evict pods with data on the host: in emptyDir, hostPath or node-local volumes",
        ),
        "--dead": ("node_leave_dead", bool, "the hosts are permanently unreachable; nothing on them is cleaned up"),
        "--drain-timeout": (
            "node_drain_timeout_seconds",
            int,
            "how long to wait for a host's pods to be evicted (120)",
        ),
    },
    "doctor": {
        "--fix": ("troubleshoot_fix", bool, "apply safe repairs, one at a time"),
        "--only": ("troubleshoot_only", list, "with --fix: repair only this fault; may be repeated"),
        "--allow": ("troubleshoot_allow", list, "with --fix: also repair this fault, although its repair is not safe"),
    },
    "support-bundle": {"--output": ("troubleshoot_support_file", Path, "the archive to write, ending in .tar.gz")},
    "down": {
        "--adopt": ("teardown_adopt", bool, "also remove a cluster that Yunkube did not create"),
        "--dead": ("teardown_dead", list, "this host is permanently unreachable; may be repeated"),
        "--force": ("teardown_force", bool, "also delete the images in the cluster's registry"),
    },
}


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
    arguments: tuple[str, ...] = ()
    shell: str = ""
    watch: bool = False
    fix: bool = False
    dry_run: bool = False
    interval: float | None = None
    action: str = ""
    image: str = ""
    name: str = ""
    print: bool = False
    admin: bool = False
    viewer: bool = False
    ask_vault_pass: bool = False
    ask_become_pass: bool = False
    ask_pass: bool = False
    vault_password_file: tuple[str, ...] = ()
    passwords: Passwords = field(default=Passwords(), repr=False)


def parse(argv: Sequence[str]) -> Request:
    """Turn the command line into a Request; argparse itself ends on wrong usage, with exit code 2."""
    argv, passed_on = _split(list(argv))
    parser = make_parser()
    options = vars(parser.parse_args(argv))
    if options.get("arguments") is not None:
        options["arguments"] = (*options["arguments"], *passed_on)
    elif passed_on:
        parser.error(f"{options['verb']} takes no arguments after `--`")
    if options.get("interval") and not options["watch"]:
        parser.error("--interval requires --watch")
    options["verb"] += f" {options['action']}" if options["verb"] in GROUPS else ""
    if options["verb"] == "doctor":
        _check_repairs(parser, options)
    if options.get("inventory", "") is None:
        options["inventory"] = default_inventory()
    variables, files = extra_vars(options.pop("extra", None) or [])
    for variable, kind, _ in FLAGS.get(options["verb"], {}).values():
        if value := options.pop(variable):
            whole = int(value) if kind is int else value  # the check wants a whole number of seconds
            variables[variable] = str(Path(value).expanduser().absolute()) if kind is Path else whole
    if hosts := tuple(dict.fromkeys(options.get("hosts") or ())):
        options |= {"hosts": hosts, "limit": ",".join(hosts) if options["verb"] == "add" else ""}
    if options["verb"] == "remove":
        variables["node_leaving"] = list(hosts)
    if options["verb"] == "web apply":
        variables.setdefault("web_service_prune", "data" if options.pop("prune_data") else "services")
        variables.setdefault("web_service_prune_ask", not options["yes"])
    if options["verb"] == "web rollback":
        variables["web_service_rollback_name"] = options["name"]
        variables["web_service_rollback_namespace"] = options.pop("namespace")
    return Request(**{**options, "extra_vars": variables, "extra_files": files})


def _check_repairs(parser: argparse.ArgumentParser, options: dict[str, Any]) -> None:
    """Refuse options of a repair without one, and faults that nobody knows."""
    options["fix"] = options["troubleshoot_fix"]
    for flag, name in (
        ("--only", "troubleshoot_only"),
        ("--allow", "troubleshoot_allow"),
        ("--dry-run", "dry_run"),
    ):
        if options[name] and not options["fix"]:
            parser.error(f"{flag} requires --fix")
    known = sorted(page.stem for page in FAULTS.glob("*.md") if page.stem != "README")
    for name in [*(options["troubleshoot_only"] or []), *(options["troubleshoot_allow"] or [])]:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/faults lists all faults"
            raise DeployError(f"unknown fault: {name}", hint)


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the command line at the first `--`."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser, one subparser a verb."""
    parser = argparse.ArgumentParser(
        prog="deploy.py",
        description="Create, maintain and remove a Kubernetes cluster on Linux hosts.",
        epilog=OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        group, _, word = name.rpartition(" ")
        sub = (groups[group] if group else verbs).add_parser(
            word,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name not in ("completion", *GROUPS):
            inventory = sub.add_argument(
                "-i",
                "--inventory",
                metavar="PATH",
                action=OneInventory,
                help=f"inventory directory or file ({DEFAULT_INVENTORY})",
            )
            completed_by(inventory, "inventories")
        return sub

    groups: dict[str, Any] = {}
    for verb in VERBS.values():
        group = verb.name.partition(" ")[0]
        if group in GROUPS and group not in groups:  # here, so that help lists it in its place
            sub = add(group, GROUPS[group])
            groups[group] = sub.add_subparsers(dest="action", metavar="COMMAND", required=True)
        _add_options(add(verb.name, verb.help), verb)
    _add_direct(add)
    return parser


def _add_limit(sub: argparse.ArgumentParser, verb: Verb) -> None:
    if verb.limits:
        text = "limit the run to these hosts or groups, as in ansible-playbook"
        sub.add_argument("--limit", metavar="PATTERN", default="", help=text)
    else:
        sub.add_argument("--limit", nargs="?", action=NoLimit, default="", help=argparse.SUPPRESS)


def _add_options(sub: argparse.ArgumentParser, verb: Verb) -> None:
    """Add the options of a verb that is a playbook."""
    if verb.name in ("add", "remove"):
        sub.add_argument("hosts", metavar="HOST", nargs="+", help="host name in the inventory")
    if verb.name != "add":  # its hosts are the limit
        _add_limit(sub, verb)
    sub.add_argument(
        "-e",
        dest="extra",
        metavar="KEY=VALUE",
        action="append",
        help="set a variable for this run, or read several from @FILE; put secrets in a file",
    )
    sub.add_argument("-J", "--ask-vault-pass", action="store_true", help="ask for the vault password")
    vault = sub.add_argument(
        "--vault-password-file",
        metavar="FILE",
        action="append",
        default=[],
        help="file with the vault password, or a program that prints it; may be repeated",
    )
    completed_by(vault, "files")
    sub.add_argument("-k", "--ask-pass", action="store_true", help="ask for the SSH password of the hosts")
    sub.add_argument("-K", "--ask-become-pass", action="store_true", help="ask for the sudo password of the hosts")
    sub.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=None, help="stop the run after this time")
    sub.add_argument("--json", action="store_true", help="print one JSON event per line on stdout (docs/events.md)")
    sub.add_argument(
        "-v",
        "--verbose",
        dest="verbosity",
        action="count",
        default=0,
        help="show every task; -vv and above: also Ansible's own verbose output",
    )
    if verb.name == "web rollback":
        sub.add_argument("name", metavar="NAME", help="the web service")
        sub.add_argument(
            "-n", "--namespace", metavar="NAMESPACE", default="default", help="its namespace (%(default)s)"
        )
    if verb.name == "web apply":
        sub.add_argument("--prune-data", action="store_true", help="also remove objects that hold data, and namespaces")
    if verb.name in ("down", "cloud up", "cloud down", "remove", "web apply"):
        sub.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _add_flags(sub, verb)
    if verb.name == "doctor":
        sub.add_argument("--dry-run", action="store_true", help="with --fix: show the repairs without applying them")
    if verb.name == "status":
        sub.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")
        sub.add_argument(
            "--interval",
            metavar="SECONDS",
            type=_seconds,
            default=None,
            help="with --watch: time between refreshes (5)",
        )


def _add_flags(sub: argparse.ArgumentParser, verb: Verb) -> None:
    """Add the options that are a role's variable."""
    for flag, (variable, kind, text) in FLAGS.get(verb.name, {}).items():
        if kind is bool:
            sub.add_argument(flag, dest=variable, action="store_true", help=text)
        elif kind is Path:
            completed_by(sub.add_argument(flag, dest=variable, metavar="PATH", default=None, help=text), "files")
        elif kind is list:
            metavar = "HOST" if flag == "--dead" else "ID"
            added = sub.add_argument(flag, dest=variable, metavar=metavar, action="append", default=None, help=text)
            if metavar == "ID":
                completed_by(added, "faults")
        else:
            sub.add_argument(flag, dest=variable, metavar="SECONDS", type=_seconds, default=None, help=text)


def _add_direct(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands that run no playbook."""
    dashboard = add("dashboard", "show the dashboard's address and login, and open it in a browser")
    dashboard.add_argument("--print", action="store_true", help="do not open a browser")
    rights = dashboard.add_mutually_exclusive_group()
    rights.add_argument("--admin", action="store_true", help="use a token with full access (Headlamp)")
    rights.add_argument("--viewer", action="store_true", help="use a read-only token, the default (Headlamp)")
    dashboard.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    image = add("image", "push an image from the local Docker engine to the cluster's registry")
    image.add_argument("action", choices=["push"], help="what to do")
    image.add_argument("image", metavar="NAME[:TAG]", help="an image in the local Docker engine")
    image.add_argument("--json", action="store_true", help="print one JSON object on stdout, without progress")
    theirs = add("import", "convert an inventory of Kubespray, kubeasz or k3s-ansible")
    theirs.add_argument("action", choices=PROJECTS, metavar="PROJECT", help="%(choices)s")
    completed_by(
        theirs.add_argument("name", metavar="PATH", help="the inventory to convert: a directory or a file"), "files"
    )
    kubectl = add("kubectl", "run kubectl in the cluster's own version against the cluster")
    passed_on = kubectl.add_argument("arguments", nargs="*", metavar="-- ARGS", help="arguments for kubectl")
    completed_by(passed_on, "kubectl")
    completion = add("completion", "print the completion script for a shell")
    completion.add_argument("shell", choices=SHELLS)


def completed_by(action: argparse.Action, function: str) -> None:
    """Name what completes an argument, a function of scripts/completion; shtab reads the attribute."""
    name = f"_yunkube_{function}"
    action.complete = {"bash": name, "zsh": name, "fish": f"({name})"}  # type: ignore[attr-defined]


def _seconds(text: str) -> float:
    seconds = float(text)
    if seconds <= 0:
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # argparse says: invalid number of seconds value
