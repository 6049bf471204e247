# SPDX-License-Identifier: Apache-2.0
"""Read a failed result: which line to show, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.constants import PYTHON_NEEDED
from ansible.module_utils.yunkube.control.host_python import OLDEST
from ansible.module_utils.yunkube.result import Report, commands_of

from deployer.happenings import Failure
from deployer.inventory import shown
from deployer.unreachable import Explanation, explain_unreachable

LONGEST = 600


# What Ansible prints of an error, up to the place it quotes; it does so for tasks with no_log, too.
_PRINTED = re.compile(
    r"^\[ERROR\]: (?P<reason>.*?)(?=\n(?:Origin: |fatal: |failed: |<<< caused by)|\n\n|\Z)", re.DOTALL | re.MULTILINE
)
# How Ansible leads up to the words of a lookup of ours, which it then gives twice, and once more what they came from.
_LOOKUP = re.compile(r"^Finalization of task args .*?The lookup plugin '\w+' failed: ", re.DOTALL)
_TWICE = re.compile(r"(?P<words>.{20,}?): (?P=words)(: .*)?", re.DOTALL)
# What Ansible says of a connection variable that it cannot use, by the name that the variable has in a play, and where
# it prints that the variable stands.
_KEYWORD = re.compile(r"Error processing keyword '(\w+)'")
_ORIGIN = re.compile(r"^Origin: (?P<file>/.+?):(?P<line>\d+)(?::\d+)?$", re.MULTILINE)
# What it says where a module's output is none of a module, or where the module was not even begun.
_NO_ANSWER = "Module result deserialization failed"
_NO_PYTHON = re.compile(rf"{_NO_ANSWER}|The module interpreter '.*' was not found")
# How a Python says that it is too old: for any module, for Ansible, for the modules of this project.
_OLD_PYTHON = re.compile(
    r"future feature annotations is not defined"
    r"|ansible-core requires a minimum of Python version .*?Current version: (?P<ansible>[\d.]+)"
    r"|Python (?P<ours>[\d.]+) is too old"
)
_KILLED = (137, -9)
_SSH_HIDDEN = "<error censored due to no log>"


def failure_of(data: Mapping[str, Any], printed: str = "", typed: Callable[[str], str] = str) -> Failure:
    """Make a Failure of the data of a failed result, and of what Ansible printed of it.

    `typed` makes a command line of a verb and its arguments: a module does not know the inventory as the user typed it.
    """
    result: Mapping[str, Any] = data.get("res") or {}
    faulty = _failed_item(result)
    message = _message(faulty, printed)
    report = Report.of(faulty)
    faults = tuple(replace(fault, commands=tuple(map(typed, fault.commands))) for fault in report.faults)
    commands = [*map(typed, commands_of(faulty)), *(command for fault in faults for command in fault.commands)]
    return Failure(
        host=str(data.get("host", "")),
        task=str(data.get("task", "")),
        path=str(data.get("task_path", "")),
        message=message,
        remedy=str(faulty.get("remedy") or "") or _remedy(faulty, message, printed.replace("\r", "")),
        kind=report.kind,
        commands=tuple(dict.fromkeys(commands)),
        faults=faults,
    )


def unreachable_of(
    data: Mapping[str, Any], printed: str = "", refused: Callable[[str], Explanation | None] = lambda _: None
) -> Failure:
    """Make a Failure of the data of an unreachable host, and of what Ansible printed of it.

    `refused` explains why a host refused the login, where more is known than ssh says.
    """
    result: Mapping[str, Any] = data.get("res") or {}
    origin = str(data.get("host", ""))
    host = str(data.get("delegate") or origin)  # whom the task went to, if not to its own host
    said = _printed_reason(printed) if result.get("censored") else _text(result.get("msg"))
    explained = explain_unreachable(host, said.replace(_SSH_HIDDEN, "ssh's error is hidden by the task (no_log)"))
    if explained.refused:
        explained = refused(host) or explained
    return Failure(
        host=host,
        task=str(data.get("task", "")),
        path=str(data.get("task_path", "")),
        message=explained.cause,
        remedy=explained.remedy,
        unreachable=True,
        origin="" if host == origin else origin,
    )


def merged(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """Return the failures; a host that several others could not get to is told once, with all of them."""
    found: dict[tuple[str, str], Failure] = {}
    for number, failure in enumerate(failures):
        key = (failure.host, failure.message) if failure.origin else (failure.host, str(number))
        before = found.get(key)
        origins = sorted([*before.origin.split(", "), failure.origin]) if before else []
        found[key] = replace(before, origin=", ".join(origins)) if before else failure
    return tuple(found.values())


def _failed_item(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first failed item of a loop, which holds the reason; without a loop, the result."""
    items = result.get("results")
    if isinstance(items, list):
        for item in items:
            if isinstance(item, Mapping) and (item.get("failed") or "censored" in item):
                return item
    return result


def _printed_reason(printed: str) -> str:
    """Return the reason of an error out of what Ansible printed."""
    found = _PRINTED.search(printed.replace("\r", ""))
    return found["reason"].strip() if found else ""


def _message(result: Mapping[str, Any], printed: str) -> str:
    # no_log hides the result, which may hold a secret, and not the reason: modules write none into it.
    if result.get("censored"):
        message = _printed_reason(printed) or "the reason is hidden because it may contain a secret (no_log)"
        return _shortened(message)
    if isinstance(modules := result.get("failed_modules"), Mapping):  # of gathering facts
        return _shortened("; ".join(f"{name}: {_reason(failed)}" for name, failed in modules.items()))
    message = _reason(result)
    # A command's own words say more than "non-zero return code".
    output = _text(result.get("stderr")) or _text(result.get("stdout"))
    if output and message in ("", "non-zero return code"):
        message = f"exit code {result.get('rc')}: {output}" if "rc" in result else output
    return _shortened(message)


def _reason(result: Mapping[str, Any]) -> str:
    """Return why a module failed: what its interpreter said last, where the module said nothing."""
    message = _text(result.get("msg"))
    if _NO_ANSWER in message:
        said = _text(result.get("module_stderr")).splitlines()
        message = said[-1].strip() if said else f"the module returned no result (exit code {result.get('rc')})"
    if found := _OLD_PYTHON.search(message):
        version = found["ansible"] or found["ours"]
        return f"Python{f' {version}' if version else ''} is too old: {PYTHON_NEEDED}"
    return message


def _remedy(result: Mapping[str, Any], message: str, printed: str) -> str:
    """Return what to do about a connection variable, for Ansible names neither the variable nor its place."""
    if found := _KEYWORD.search(message):
        from ansible.constants import MAGIC_VARIABLE_MAPPING  # noqa: PLC0415 - slow, and seldom needed

        names = " or ".join(reversed(MAGIC_VARIABLE_MAPPING.get(found[1], ())))
        origin = _ORIGIN.search(printed.rpartition(found[0])[2])  # Ansible names the task's place before
        place = f"{shown(Path(origin['file']))}:{origin['line']}" if origin else "the inventory"
        return f"correct {names} in {place}" if names else ""
    modules = result.get("failed_modules")
    failed = list(modules.values()) if isinstance(modules, Mapping) else [result]
    for one in failed:
        said = message if one.get("censored") else _text(one.get("msg"))
        if _OLD_PYTHON.search(said + _text(one.get("module_stderr"))):
            return f"install Python {OLDEST} or newer on this host, and set ansible_python_interpreter to it"
        if _NO_PYTHON.search(said) and one.get("rc") not in _KILLED:
            return "set ansible_python_interpreter to a working Python on this host"
    return ""


def _shortened(message: str) -> str:
    for prefix in ("Task failed: ", "Module failed: ", "Action failed: "):
        message = message.removeprefix(prefix)
    if (words := _LOOKUP.sub("", message)) != message:
        twice = _TWICE.fullmatch(words)
        message = twice["words"] if twice else words
    return message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    return str(value).strip() if value else ""
