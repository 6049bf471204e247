# SPDX-License-Identifier: Apache-2.0
"""What happened so far: a pure fold over ansible-runner's events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from deployer.failures import failure_of, merged, unreachable_of
from deployer.fates import Stage, fates
from deployer.happenings import (
    Diff,
    Failure,
    Happening,
    HostCount,
    Message,
    Outcome,
    Result,
    StageEnded,
    StageStarted,
    TaskEnded,
    TaskStarted,
)
from deployer.unreachable import Explanation

Event = Mapping[str, Any]

# How the stats event names its counts, by our names.
STATS = {
    "ok": "ok",
    "changed": "changed",
    "skipped": "skipped",
    "failed": "failures",
    "unreachable": "dark",
    "rescued": "rescued",
}
NO_SUCH_HOST = "Could not match supplied host pattern, ignoring: "


class Progress:
    """Feed it events; it yields what views show, and keeps what the end needs."""

    def __init__(
        self, refused: Callable[[str], Explanation | None] = lambda _: None, typed: Callable[[str], str] = str
    ) -> None:
        """Begin with nothing; see failures.py for `refused` and `typed`."""
        self._refused, self._typed = refused, typed
        self.stages: list[StageEnded] = []
        self.hosts: dict[str, HostCount] = {}
        self.failures: tuple[Failure, ...] = ()
        self.table: list[Mapping[str, Any]] = []
        self.status: Mapping[str, Any] = {}
        self.doctor: Mapping[str, Any] = {}
        self.changes: dict[str, tuple[str, ...]] = {}  # what each host's tasks did or would do, in words
        self.drift: dict[str, tuple[str, ...]] = {}  # in which ways each host is not as declared
        self.kept: tuple[str, ...] = ()  # objects of the cluster that are no longer declared and stay
        self.pending: tuple[str, ...] = ()  # hosts that a check cannot reach, as `up` would create or start them
        self.running: tuple[str, ...] = ()
        self.unknown_hosts: list[str] = []
        self.unmatched: list[str] = []  # patterns of plays that no host matched
        self.errors: list[str] = []
        self.reached = False  # whether a host beside this one has answered
        self.finished = False
        self.started = False
        self._last: dict[str, Failure] = {}
        self._failed_in: dict[str, str] = {}  # play by host
        self._plays: dict[str, Stage] = {}  # by id
        self._play = ""
        self._answers: dict[str, set[str]] = {}  # hosts by task
        self._stage: tuple[str, float] | None = None
        self._stage_changed = 0
        self._stage_failed: set[str] = set()
        self._task: tuple[TaskStarted, float] | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._task_changes: dict[str, tuple[str, ...]] = {}
        self._now = 0.0

    def feed(self, event: Event) -> Iterator[Happening]:
        """Take one event in and yield what it means."""
        data: Event = event.get("event_data") or {}
        if created := event.get("created"):
            self._now = max(self._now, datetime.fromisoformat(created).timestamp())
        kind = str(event.get("event"))
        if kind.startswith("runner_"):
            yield from self._on_host(kind, data, str(event.get("stdout") or ""))
        match kind:
            case "playbook_on_play_start":
                self._play = str(data.get("uuid", "")).partition("_")[0]
                self._plays.setdefault(self._play, Stage(str(data.get("name", ""))))
                yield from self._start_stage(str(data.get("name", "")))
            case "playbook_on_task_start" | "playbook_on_handler_task_start":
                yield from self._start_task(data)
            case "playbook_on_no_hosts_matched":
                self.unmatched.append(str(data.get("play_pattern") or data.get("pattern") or ""))
            case "runner_on_file_diff":
                yield from _diff(event, data)
            case "playbook_on_stats":
                yield from self._finish(data)
            case "verbose" | "warning" | "system_warning" | "deprecated" | "error":
                yield from self._message(kind, str(event.get("stdout") or "").replace("\r", "").rstrip())

    def _on_host(self, kind: str, data: Event, printed: str) -> Iterator[Happening]:
        match kind:
            case "runner_on_start":
                self.running = (*self.running, str(data.get("host", "")))
            case "runner_on_ok":
                yield self._result(data, "changed" if (data.get("res") or {}).get("changed") else "ok")
                for text in (data.get("res") or {}).get("notices") or ():
                    yield Message("notice", str(text))
            case "runner_on_skipped":
                yield self._result(data, "skipped")
            case "runner_on_failed" if data.get("ignore_errors"):
                yield self._result(data, "ignored")
            case "runner_on_failed":
                # Provisional: a rescue may follow, and only the closing stats tell.
                yield self._result(data, "failed")
                yield self._fail(str(data.get("host", "")), failure_of(data, printed, self._typed))
            case "runner_on_unreachable" if str(data.get("delegate") or data.get("host", "")) in self.pending:
                yield self._result(data, "skipped")
            case "runner_on_unreachable":
                yield self._result(data, "unreachable")
                yield self._fail(str(data.get("host", "")), unreachable_of(data, printed, self._refused))

    def abort(self) -> Iterator[Happening]:
        """Close what is open, for a run that was cut short: there will be no stats."""
        self.reached |= any(host != "localhost" for host in self.running)
        yield from self._end_stage(cut_short=True)
        self.failures = merged(self._last.values())

    def _start_stage(self, name: str) -> Iterator[Happening]:
        yield from self._end_stage()
        self.started = True
        self._stage = (name, self._now)
        yield StageStarted(name)

    def _end_stage(self, *, cut_short: bool = False) -> Iterator[Happening]:
        yield from self._end_task()
        if self._stage is not None:
            name, began = self._stage
            ended = StageEnded(
                name, round(self._now - began, 1), self._stage_changed, len(self._stage_failed), cut_short
            )
            self._stage, self._stage_changed, self._stage_failed = None, 0, set()
            self.stages.append(ended)
            yield ended

    def _start_task(self, data: Event) -> Iterator[Happening]:
        yield from self._end_task()
        name, role, path, action = (str(data.get(key, "")) for key in ("name", "role", "task_path", "task_action"))
        task = TaskStarted(name, role, path, action)
        self._task = (task, self._now)
        yield task

    def _end_task(self) -> Iterator[Happening]:
        if self._task is not None and self._outcomes:
            task, began = self._task
            yield TaskEnded(task.name, task.path, round(self._now - began, 2), dict(self._outcomes), self._task_changes)
        self._task, self._outcomes, self._task_changes, self.running = None, {}, {}, ()

    def _result(self, data: Event, outcome: Outcome) -> Result:
        host = str(data.get("host", ""))
        self.running = tuple(name for name in self.running if name != host)
        self._outcomes[host] = outcome
        self._plays.setdefault(self._play, Stage()).answered.add(host)
        self._answers.setdefault(str(data.get("task_uuid", "")).partition("_")[0], set()).add(host)
        self._stage_changed += outcome == "changed"
        result = data.get("res") or {}
        if isinstance(pending := result.get("pending"), list):
            self.pending = tuple(map(str, pending))
        answered = outcome != "unreachable" and host not in self.pending
        self.reached |= answered and (host != "localhost" or "_ansible_delegated_vars" in result)
        if isinstance(table := result.get("table"), list):
            self.table += [row for row in table if isinstance(row, Mapping)]
        if isinstance(status := result.get("status"), Mapping) and "nodes" in status:
            self.status = status
        if isinstance(doctor := result.get("doctor"), Mapping):
            self.doctor = doctor
        if isinstance(drift := result.get("drift"), list):
            self.drift[host] = tuple(map(str, drift))
        if isinstance(kept := result.get("kept"), list):
            self.kept = tuple(map(str, kept))
        task = str(data.get("task", ""))
        changes = _changes(result, task) if outcome == "changed" else ()
        if changes:
            self._task_changes[host] = changes
            self.changes[host] = tuple(dict.fromkeys((*self.changes.get(host, ()), *changes)))
        seconds = round(float(data.get("duration") or 0), 2)
        return Result(host, task, outcome, seconds, str(data.get("task_path", "")), changes)

    def _fail(self, host: str, failure: Failure) -> Failure:
        self._stage_failed.add(host)
        self._last[host] = failure
        self._failed_in[host] = self._play
        return failure

    def _finish(self, data: Event) -> Iterator[Happening]:
        yield from self._end_stage()
        self.finished = True
        names = sorted(data.get("processed") or {})
        counts = {ours: data.get(theirs) or {} for ours, theirs in STATS.items()}
        hosts = {host: _count_of(host, counts) for host in names}
        failed = {
            host: failure
            for host, failure in self._last.items()
            if host in counts["failed"] or host in counts["unreachable"]
        }
        self.failures = merged(failed.values())
        for host in counts["unreachable"].keys() - self._last.keys():  # it, or the one that it asked, is pending
            hosts[host] = replace(hosts[host], unreachable=0)
        for host, failure in failed.items():
            if failure.origin:  # it is well; the one that it asked is not
                hosts[host] = replace(hosts[host], unreachable=0)
                hosts[failure.host] = replace(hosts.get(failure.host, HostCount()), unreachable=1, fate="unreachable")
        for host, fate in self._fates(failed, data.get("notes") or []).items():
            hosts[host] = replace(hosts.get(host, HostCount()), fate=hosts.get(host, HostCount()).fate or fate)
        self.hosts = dict(sorted(hosts.items()))

    def _fates(self, failed: Mapping[str, Failure], notes: list[Event]) -> dict[str, str]:
        play = ""
        for note in notes:
            if "play" in note:
                play = note["id"]
                self._plays.setdefault(play, Stage(note["play"])).hosts = tuple(note["hosts"])
            elif note.get("once") or note.get("fatal"):
                host = str(note.get("failed") or note.get("unreachable"))
                if host in failed and self._failed_in[host] == play:
                    self._plays[play].ended.append(note)
        for host in failed:
            self._plays[self._failed_in[host]].failed.add(host)
        unreachable = {host: failure.host for host, failure in failed.items() if failure.unreachable}
        return fates(self._plays.values(), unreachable, self._answers)

    def _message(self, kind: str, text: str) -> Iterator[Happening]:
        if NO_SUCH_HOST in text:
            self.unknown_hosts.append(text.split(NO_SUCH_HOST, 1)[1].strip())
        if not text:
            return
        # A playbook or inventory that does not parse says so line by line, before any play.
        if not self.started or kind == "error":
            self.errors.append(text)
        level = "error" if kind == "error" or "[ERROR]" in text else "verbose" if kind == "verbose" else "warning"
        yield Message(level, text)  # type: ignore[arg-type]


def _count_of(host: str, counts: Mapping[str, Mapping[str, Any]]) -> HostCount:
    numbers: dict[str, Any] = {name: int(count.get(host, 0)) for name, count in counts.items()}
    return HostCount(**numbers)


def _changes(result: Event, task: str) -> tuple[str, ...]:
    """Return what a module did or would do in its own words; of another project's module, the task's name."""
    said = result.get("changes")
    if isinstance(said, list):
        return tuple(map(str, said))
    name = task.rpartition("| ")[2]
    return (name[:1].lower() + name[1:],)


def _diff(event: Event, data: Event) -> Iterator[Happening]:
    text = str(event.get("stdout") or "").replace("\r", "").strip("\n")
    lines = text.splitlines()
    if lines and lines[0].startswith(("TASK [", "RUNNING HANDLER [")):
        lines = lines[1:]
    if lines:
        yield Diff(str(data.get("host", "")), str(data.get("task", "")), "\n".join(lines))
