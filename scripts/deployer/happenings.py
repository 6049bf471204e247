# SPDX-License-Identifier: Apache-2.0
"""What a run tells its views, in the order it happens. docs/events.md documents the same for --json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ansible.module_utils.yunkube.result import Fault

Outcome = Literal["ok", "changed", "skipped", "failed", "unreachable", "ignored"]


@dataclass(frozen=True)
class RunStarted:
    """The run begins."""

    verb: str
    cluster: str
    inventory: str
    log: str
    check: bool = False


@dataclass(frozen=True)
class StageStarted:
    """A play begins."""

    name: str


@dataclass(frozen=True)
class StageEnded:
    """A play has ended, or was cut short; `failed` counts hosts that had a failure."""

    name: str
    seconds: float
    changed: int
    failed: int
    cut_short: bool = False


@dataclass(frozen=True)
class TaskStarted:
    """A task begins on the first of its hosts."""

    name: str
    role: str
    path: str
    action: str = ""  # the module


@dataclass(frozen=True)
class Waiting:
    """A task goes on, and some hosts have not answered yet."""

    task: str
    path: str
    hosts: tuple[str, ...]
    seconds: float
    awaits: str  # what its module waits for, "X to do Y"; empty where nothing can be said beside the task's name


@dataclass(frozen=True)
class Result:
    """A host answered."""

    host: str
    task: str
    outcome: Outcome
    seconds: float
    path: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskEnded:
    """Every host of a task answered."""

    name: str
    path: str
    seconds: float
    hosts: Mapping[str, Outcome]
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Diff:
    """What a task changed, or would change in check mode."""

    host: str
    task: str
    text: str


@dataclass(frozen=True)
class Failure:
    """A task failed on a host, or the host could not be reached; a rescue may still follow."""

    host: str
    task: str
    path: str
    message: str
    remedy: str = ""
    kind: str = ""
    commands: tuple[str, ...] = ()  # command lines that the remedies name
    faults: tuple[Fault, ...] = ()
    unreachable: bool = False
    origin: str = ""  # whose task was delegated to a host that is unreachable; several are joined


@dataclass(frozen=True)
class Message:
    """A line that Ansible printed outside of any task, or a notice of the deployer."""

    level: Literal["notice", "warning", "error", "verbose"]
    text: str


@dataclass(frozen=True)
class BundleProgress:
    """How far the making of the bundle is."""

    what: str
    done: int
    total: int
    seconds: float
    received: int = 0  # bytes, while something is downloaded
    size: int = 0  # bytes in all; 0 while it is not known
    rate: int = 0  # bytes a second
    left: float | None = None  # seconds of downloads, once it is known
    percent: int | None = None  # of all that is built, once something is
    time_left: float | None = None  # seconds until all is built, once it is known

    @property
    def mark(self) -> tuple[str, int, int, int]:
        """What is different once there is something new to say: a step, or a tenth of a download or of the build."""
        return self.what, self.done, self.received * 10 // self.size if self.size else 0, (self.percent or 0) // 10


@dataclass(frozen=True)
class HostCount:
    """How a host's tasks ended, and, in a run with failures, what became of the host."""

    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    unreachable: int = 0
    rescued: int = 0
    fate: str = ""


@dataclass(frozen=True)
class Summary:
    """The run has ended."""

    verb: str
    exit_code: int
    seconds: float
    stages: tuple[StageEnded, ...]
    hosts: Mapping[str, HostCount]
    failures: tuple[Failure, ...]
    table: tuple[Mapping[str, Any], ...]
    status: Mapping[str, Any]
    log: str
    next: str
    plan: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: tuple[str, ...] = ()  # objects of the cluster that are no longer declared and stay
    doctor: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    pending: tuple[str, ...] = ()  # hosts that a plan could not look at, as they have to be created or started first


Happening = (
    RunStarted
    | StageStarted
    | StageEnded
    | TaskStarted
    | Waiting
    | Result
    | TaskEnded
    | Diff
    | Failure
    | Message
    | BundleProgress
    | Summary
)
