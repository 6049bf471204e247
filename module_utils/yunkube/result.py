# SPDX-License-Identifier: Apache-2.0
"""What is wrong and what to do about it: the one form in which modules return it and in which everybody reads it.

docs/events.md describes the form as data. As text a fault is one line, in the `msg` of plain Ansible and in deploy.py.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field, replace

CONFIG, PREFLIGHT, REMOVALS = "config", "preflight", "removals"  # kinds of a report; docs/events.md says what they mean


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where, and what to do about it."""

    check: str  # what was compared: a check by its name, or a key of the configuration
    message: str
    remedy: str = ""
    host: str = ""  # or what else has the fault: a service (namespace/name), an object
    file: str = ""  # where the key is set
    line: int = 0
    # Of deploy.py, that the remedy names: a verb and its arguments, without an inventory.
    commands: tuple[str, ...] = ()
    where: str = field(init=False, compare=False, default="")  # all of that as one reads it

    def __post_init__(self) -> None:
        """Say once where it is, so that no reader has to put it together."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or self.host
        object.__setattr__(self, "where", ": ".join(part for part in (place, self.check) if part))

    def __str__(self) -> str:
        """Return the line that a person reads."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}; {self.remedy}" if self.remedy else text

    def on(self, host: str) -> Fault:
        """Return it as a fault of this host."""
        return replace(self, host=host)

    def as_dict(self) -> dict[str, t.Any]:
        """Return what a module returns: where, message, remedy, and of the other fields those that are set."""
        found = {key: value for key, value in asdict(self).items() if value or key in ("where", "message", "remedy")}
        return {**found, "commands": list(self.commands)} if self.commands else found

    @classmethod
    def of(cls, data: t.Mapping[str, t.Any]) -> Fault:
        """Return what a module returned, of which nothing is taken on trust."""
        text = {key: str(data.get(key) or "") for key in ("check", "message", "remedy", "host", "file")}
        line = data.get("line")
        return cls(**text, line=line if isinstance(line, int) else 0, commands=commands_of(data))


def commands_of(data: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """Return the commands of a fault or of a failure without faults."""
    commands = data.get("commands")
    return tuple(map(str, commands)) if isinstance(commands, (list, tuple)) else ()


@dataclass(frozen=True)
class Report:
    """All the faults of one look."""

    faults: tuple[Fault, ...] = ()
    kind: str = ""

    def __str__(self) -> str:
        """Return a line for each."""
        return "\n".join(map(str, self.faults))

    def as_result(self) -> dict[str, t.Any]:
        """Return what a module returns that does not fail because of them."""
        return {"faults": [fault.as_dict() for fault in self.faults]}

    def as_failure(self, msg: str = "") -> dict[str, t.Any]:
        """Return what `fail_json` takes; its message is the lines, unless another one says it better."""
        return {"msg": msg or str(self), **({"kind": self.kind} if self.kind else {}), **self.as_result()}

    @classmethod
    def of(cls, result: t.Mapping[str, t.Any]) -> Report:
        """Read the result of a module, ours or another's."""
        faults = result.get("faults")
        found = [one for one in faults if isinstance(one, t.Mapping)] if isinstance(faults, (list, tuple)) else []
        return cls(tuple(map(Fault.of, found)), str(result.get("kind") or ""))


class RefusedError(Exception):
    """Something is not begun, for these reasons."""

    def __init__(self, faults: t.Iterable[Fault], kind: str = PREFLIGHT) -> None:
        """Keep every fault, and say them in lines."""
        self.report = Report(tuple(faults), kind)
        super().__init__(str(self.report))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All the reasons."""
        return self.report.faults
