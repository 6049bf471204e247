# SPDX-License-Identifier: Apache-2.0
"""One run from the lock to the summary."""

from __future__ import annotations

import contextlib
import difflib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control import state_lock
from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.control.redact import Redactor

from deployer.arguments import Request
from deployer.bundle import progress_file, read_progress
from deployer.cluster import ROOT, Cluster
from deployer.commands import PLAYS
from deployer.commands.base import Play
from deployer.errors import DeployError, Exit
from deployer.happenings import Failure, Message, RunStarted, Summary
from deployer.inventory import reason_of
from deployer.keys import refused_login
from deployer.limits import with_localhost
from deployer.logfile import LogFile
from deployer.passwords import Passwords, get_passwords, vault_problem
from deployer.progress import Progress
from deployer.run import Run, check_space, run_playbook
from deployer.stop import Reason, Stop
from deployer.views import View, make_view
from deployer.waits import Waits

# Seconds between two looks of --watch.
INTERVAL = 5.0

# What gives the claim of a run back (module_utils/yunkube/host/run_lock.py), and seconds that it may take.
RELEASE = "playbooks/release.yml"
RELEASE_SECONDS = 10.0

# A failure that is a question: the module would remove what is no longer declared.
REMOVALS = "removals"

GO_ON = "Run the same command again: it continues where it stopped."


def run_verb(request: Request, cluster: Cluster, root: Path = ROOT) -> Exit:
    """Run the verb's playbook and show it; the exit code says how it ended."""
    verb = PLAYS[request.verb]
    if not (root / verb.playbook).is_file():
        raise DeployError(f"{verb.playbook} is missing from this checkout", "is it complete? git status")
    if verb.needs_cluster and not cluster.was_made:
        raise DeployError(
            f"cluster {cluster.name} does not exist",
            f"create it: {command('up', request.inventory)}; if its state directory was lost: "
            f"{command('reattach', request.inventory)}",
        )
    cluster.source.check([*cluster.variables, *request.extra_vars])
    request = with_passwords(request)
    check_space(cluster.state_dir)
    with contextlib.ExitStack() as stack:
        if may_change(verb, request):
            try:
                stack.enter_context(state_lock.held(cluster.state_dir, verb.name))
            except state_lock.HeldError as error:
                raise DeployError(error.message, error.remedy) from None
        log = stack.enter_context(contextlib.closing(LogFile(cluster.state_dir / "logs", verb.name.replace(" ", "-"))))
        if request.watch:
            return _watch(request, cluster, verb, root, log)
        try:
            return _run(request, cluster, verb, root, log)
        except RemovalsFound as found:
            from deployer.confirm import removal_confirmed  # noqa: PLC0415 - rarely needed

            if not removal_confirmed(found.names):
                print("Nothing was changed.")
                return Exit.USAGE
        agreed = replace(request, extra_vars={**request.extra_vars, "web_service_prune_ask": False})
        return _run(agreed, cluster, verb, root, log)


def may_change(verb: Play, request: Request) -> bool:
    """Say whether a run may change something."""
    return (verb.exclusive or request.fix) and not (verb.check or request.dry_run)


class RemovalsFound(Exception):  # noqa: N818 - no error, a question
    """The run would remove objects, and there is a terminal to ask at."""

    def __init__(self, names: Sequence[str]) -> None:
        """Name them."""
        super().__init__()
        self.names = names


def with_passwords(request: Request) -> Request:
    """Return the request with the passwords that it needs; they are asked for once."""
    if request.passwords != Passwords():
        return request
    passwords = get_passwords(
        vault=request.ask_vault_pass,
        become=request.ask_become_pass,
        connection=request.ask_pass,
        files=request.vault_password_file,
    )
    return replace(request, passwords=passwords)


def _watch(request: Request, cluster: Cluster, verb: Play, root: Path, log: LogFile) -> Exit:
    """Run it again and again until Ctrl-C; the exit code is that of the last whole run."""
    code = Exit.INTERRUPTED
    # Also where a shell started this in the background, with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while (latest := _run(request, cluster, verb, root, log)) != Exit.INTERRUPTED:
            code = latest
            log.start_over()
            time.sleep(request.interval or INTERVAL)
    except KeyboardInterrupt:
        pass
    return code


def _run(request: Request, cluster: Cluster, verb: Play, root: Path, log: LogFile) -> Exit:
    began = time.monotonic()
    redactor = Redactor((*request.passwords.values, *cluster.secrets))
    typed = bool(request.passwords.connection)
    progress = Progress(
        lambda host: refused_login(cluster.source.files, host, typed=typed),
        lambda words: command(words, request.inventory),
    )
    stop = Stop(request.timeout)
    bundle = progress_file()
    asking = sys.stdin.isatty() and not request.json
    view = make_view(
        request.json,
        request.verbosity > 0,
        lambda: read_progress(bundle),
        quiet=verb.reports and not request.fix,
        lasting=may_change(verb, request),
    )

    full: list[str] = []
    waits = Waits()

    def handle(event: dict[str, Any]) -> None:
        event = redactor.tree(event)
        for happening in progress.feed(event):
            waits.note(happening)
            if not (isinstance(happening, Failure) and is_told_at_the_end(happening, asking)):
                view.show(happening)
        log.event(event)
        if log.problem and not full:
            full.append(log.problem)
            view.show(Message("notice", log.problem))
        if progress.unknown_hosts and request.limit and not progress.started:
            stop.ask("refused")

    told: list[Reason] = []

    def tick() -> None:
        view.tick(progress.running)
        for waiting in waits.due(progress.running):
            view.show(waiting)
        if stop.reason not in ("", "refused") and not told:
            told.append(stop.reason)
            view.show(Message("notice", "Stopping; press Ctrl-C again to end immediately."))

    try:
        with stop.on_signals():
            log.line(f"deploy.py {verb.name}: cluster {cluster.name}, inventory {cluster.inventory}")
            view.show(RunStarted(verb.name, cluster.name, str(request.inventory), str(log.path), verb.check))
            run = Run(
                project=root,
                cluster=cluster.name,
                state_dir=cluster.state_dir,
                playbook=root / verb.playbook,
                inventory=cluster.inventory,
                typed=request.inventory,
                limit=with_localhost(request.limit),
                extra_vars=request.extra_vars,
                extra_files=request.extra_files,
                passwords=request.passwords,
                check=verb.check or request.dry_run,
                diff=verb.check and request.verbosity > 0,
                verbosity=max(0, request.verbosity - 1),
            )
            status = run_playbook(run, handle, stop, tick)
            for happening in progress.abort() if not progress.finished else ():
                view.show(happening)
    finally:
        view.close()
    if asking and (names := removals(progress)):
        raise RemovalsFound(names)
    code = exit_code(status, stop.reason, progress, verb)
    summary = Summary(
        verb=verb.name,
        exit_code=code,
        seconds=round(time.monotonic() - began, 1),
        stages=tuple(progress.stages),
        hosts=progress.hosts,
        failures=progress.failures,
        table=tuple(progress.table),
        status=progress.status,
        doctor=progress.doctor,
        dry_run=request.dry_run,
        log=str(log.path),
        next=next_step(request, verb, code, progress.table),
        kept=progress.kept,
        plan=dict(sorted((progress.changes if verb.check else progress.drift).items())),
        pending=progress.pending,
    )
    log.line(f"exit code {int(code)} after {summary.seconds}s")
    _report(request, view, summary, advice(code, stop.reason, request, progress, cluster))
    well = code in (Exit.OK, Exit.CHANGES) or (verb.reports and code == Exit.UNHEALTHY)
    if state_lock.VARIABLE in os.environ and verb.claims and progress.reached and not (well or stop.by_force):
        _give_back(run)
    return code


def _give_back(run: Run) -> None:
    """Let other control machines go on at once. Where that fails, or Ctrl-C ends it, the claim expires by itself."""
    playbook = run.project / RELEASE
    stop = Stop(RELEASE_SECONDS)
    if playbook.is_file():
        with stop.on_signals(), contextlib.suppress(DeployError, OSError):
            release = replace(run, playbook=playbook, limit="", diff=False, verbosity=0)
            run_playbook(release, lambda _event: None, stop, lambda: None)


def _report(request: Request, view: View, summary: Summary, last_words: str) -> None:
    from deployer.views.summary import print_failures, print_summary, print_watch_head  # noqa: PLC0415 - slow to import, and only needed here

    if request.watch and summary.exit_code == Exit.INTERRUPTED:
        return
    if request.json:
        view.show(summary)
    else:
        if request.watch:
            print_watch_head(summary, request.interval or INTERVAL)
        print_summary(summary, stages_shown=view.shows_stages)
        if any(vault_problem([failure.message]) for failure in summary.failures):
            summary = replace(summary, failures=())  # the last words say it
    if summary.failures or last_words:
        print_failures(summary, last_words)


def exit_code(status: str, reason: Reason, progress: Progress, verb: Play) -> Exit:
    """Choose by what happened, not by Ansible's rc: 4 means two things there."""
    if reason:
        return {"timeout": Exit.TIMEOUT, "interrupted": Exit.INTERRUPTED}.get(reason, Exit.USAGE)
    if vault_problem(said(progress)) or any(failure.kind in ("config", REMOVALS) for failure in progress.failures):
        return Exit.USAGE
    if progress.failures:  # "try again later" must not hide a host that is half done
        unreachable = all(failure.unreachable for failure in progress.failures)
        return Exit.UNREACHABLE if unreachable else Exit.FAILED
    # Ansible fails where a host is unreachable that has to be created or started first.
    if status == "successful" or (progress.finished and progress.pending):
        if progress.doctor.get("reached") == 0:
            return Exit.UNREACHABLE
        report = getattr(progress, verb.report)
        if not report:  # no data is not good news
            return Exit.USAGE if progress.unmatched or not progress.hosts else Exit.FAILED
        if verb.reports and not report.get("healthy"):
            return Exit.UNHEALTHY
        changes = verb.check and any(count.changed for count in progress.hosts.values())
        drift = verb.reports and any(progress.drift.values())
        return Exit.CHANGES if changes or drift else Exit.OK
    return Exit.FAILED if progress.started else Exit.USAGE


def is_told_at_the_end(failure: Failure, asking: bool) -> bool:
    """Say whether the failure is a question, or has its reason in what Ansible could not decrypt."""
    return (asking and failure.kind == REMOVALS) or bool(vault_problem([failure.message]))


def advice(code: Exit, reason: Reason, request: Request, progress: Progress, cluster: Cluster) -> str:
    """Return the last words about a run that did not end well."""
    if reason in ("interrupted", "timeout"):
        cut = "Interrupted" if reason == "interrupted" else f"Stopped after {request.timeout:g} seconds (--timeout)"
        return f"{cut}. {GO_ON}"
    if reason == "refused" and request.hosts:
        return unknown_hosts(progress.unknown_hosts, request.inventory, cluster.hosts)
    if reason == "refused":
        return f"No host matches --limit {', '.join(progress.unknown_hosts)}; the inventory is {request.inventory}."
    if words := PLAYS[request.verb].advice(code, request, progress, cluster):
        return words
    if problem := vault_problem(said(progress), cluster.encrypted):
        return problem
    return without_failure(request, progress) if code in (Exit.USAGE, Exit.FAILED) and not progress.failures else ""


def said(progress: Progress) -> list[str]:
    """Return what Ansible said of its errors."""
    return [*progress.errors, *(failure.message for failure in progress.failures)]


def without_failure(request: Request, progress: Progress) -> str:
    """Say why a run in which no task failed is no success."""
    if not progress.finished:
        text = (
            "\n".join(progress.errors).removeprefix("[ERROR]: ")
            or "Ansible failed without giving a reason: see the log."
        )
        return f"Ansible cannot start: {reason_of(text)}" if "Traceback (most" in text else text
    groups = ", ".join(dict.fromkeys(progress.unmatched)) or "masters"
    if progress.unmatched or not progress.hosts:
        return (
            f"Nothing was checked: no host matches {groups} in {request.inventory}.\n"
            "List the control plane hosts in the group masters there, the others in nodes."
        )
    return f"`{request.verb}` ended without a report, so the state of the cluster is unknown: see the log."


def removals(progress: Progress) -> list[str]:
    """Return what the run would have removed if it had been allowed to."""
    return [fault.where for failure in progress.failures if failure.kind == REMOVALS for fault in failure.faults]


def unknown_hosts(unknown: Sequence[str], inventory: str, known: Sequence[str]) -> str:
    """Say which hosts the inventory does not name, and which it may be that was meant."""
    lines = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}?" if near else f"add it there first; the inventory contains {', '.join(known)}"
        lines.append(f"{name} is not in {inventory}: {meant}")
    return "\n".join(lines)


def next_step(request: Request, verb: Play, code: Exit, table: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the command to type next, with the inventory of this one."""
    after = {Exit.OK: verb.follow(table) if verb.follow else verb.next, Exit.CHANGES: verb.next_on_changes}.get(
        code, ""
    )
    return command(after, request.inventory) if after else ""
