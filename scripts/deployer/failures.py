"""Read a failed result: which line to show, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployer.happenings import Failure, Fault
from deployer.unreachable import explain_unreachable

LONGEST = 600


def failure_of(data: Mapping[str, Any]) -> Failure:
    """Make a Failure of the data of a failed result."""
    result: Mapping[str, Any] = data.get("res") or {}
    faulty = _failed_item(result)
    return Failure(
        host=str(data.get("host", "")),
        task=str(data.get("task", "")),
        path=str(data.get("task_path", "")),
        message=_message(faulty),
        remedy=str(faulty.get("remedy") or ""),
        kind=str(faulty.get("kind") or ""),
        faults=tuple(_fault(fault) for fault in faulty.get("faults") or () if isinstance(fault, Mapping)),
    )


def unreachable_of(data: Mapping[str, Any]) -> Failure:
    """Make a Failure of the data of an unreachable host."""
    result: Mapping[str, Any] = data.get("res") or {}
    host = str(data.get("host", ""))
    explained = explain_unreachable(host, _text(result.get("msg")))
    return Failure(
        host=host,
        task=str(data.get("task", "")),
        path=str(data.get("task_path", "")),
        message=explained.cause,
        remedy=explained.remedy,
        unreachable=True,
    )


def _failed_item(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the first failed item of a loop, which holds the reason; without a loop, the result."""
    items = result.get("results")
    if isinstance(items, list):
        for item in items:
            if isinstance(item, Mapping) and (item.get("failed") or "censored" in item):
                return item
    return result


def _message(result: Mapping[str, Any]) -> str:
    # no_log leaves only `censored`, so what it hides cannot get from here to the screen.
    censored = result.get("censored")
    if censored:
        return "the reason is hidden, for it may hold a secret (no_log)"
    message = _text(result.get("msg"))
    # A command's own words say more than "non-zero return code".
    output = _text(result.get("stderr")) or _text(result.get("stdout"))
    if output and message in ("", "non-zero return code"):
        message = f"exit code {result.get('rc')}: {output}" if "rc" in result else output
    for prefix in ("Task failed: ", "Module failed: ", "Action failed: "):
        message = message.removeprefix(prefix)
    return message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    return str(value).strip() if value else ""


def _fault(fault: Mapping[str, Any]) -> Fault:
    if fault.get("file"):
        parts = [f"{fault['file']}:{fault['line']}" if fault.get("line") else fault["file"], fault.get("key")]
    else:
        parts = [fault.get("host"), fault.get("check"), fault.get("key")]
    where = ": ".join(str(part) for part in parts if part)
    return Fault(where, _text(fault.get("message")), _text(fault.get("remedy")))
