# SPDX-License-Identifier: Apache-2.0
"""Ask before something is destroyed, and say what that is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.control.redact import Redactor

from deployer.arguments import Request
from deployer.cluster import ROOT, Cluster
from deployer.commands import PLAYS
from deployer.errors import DeployError
from deployer.kubectl import environment_of
from deployer.limits import with_localhost
from deployer.passwords import vault_problem
from deployer.progress import Progress
from deployer.run import Run, run_playbook
from deployer.session import exit_code, said
from deployer.stop import Reason, Stop
from deployer.views.summary import failure_lines

SYSTEM = ("kube-system", "kube-flannel", "kube-public", "kube-node-lease")
MOST = 12  # names in a line
DATA = ("registry's images", "snapshot")  # of what goes, what nothing brings back: shown first


def confirmed(request: Request, cluster: Cluster) -> bool:
    """Say what would go and ask, on a terminal; without one, only --yes will do."""
    if not sys.stdin.isatty():
        raise DeployError(f"{request.verb} needs --yes when it cannot prompt", "add --yes to skip the confirmation")
    for line in consequences(request, cluster.name, ask(cluster, "nodes"), ask(cluster, "pods")):
        print(line)
    print("Checking the hosts...", flush=True)
    changes = look(request, cluster)
    for line in questions(request, changes):
        print(line if line.endswith("\n") else "", end="")
        if not line.endswith("\n") and not answered(line):
            return False
    return True


def removal_confirmed(names: Sequence[str]) -> bool:
    """Show every object that would be removed, and ask."""
    print("\nNo longer declared in web_services, to be removed:")
    for name in names:
        print(f"  {name}")
    return answered("Go on?")


def answered(question: str) -> bool:
    """Ask, and say whether the answer was yes."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def questions(request: Request, changes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what goes on each host in lines, and questions: one for all, or one a host that is adopted."""
    adopt = bool(request.extra_vars.get("teardown_adopt"))
    for host, lines in changes.items():
        if adopt and host != "localhost":
            yield "".join([f"{host}:\n", *(f"  {line}\n" for line in lines)])
            yield f"Remove all of this from {host}?"
        else:
            more = f"  and {len(lines) - MOST} more\n" if len(lines) > MOST else ""
            first = sorted(lines, key=lambda line: not any(word in line for word in DATA))[:MOST]
            yield "".join([f"{host}:\n", *(f"  {line}\n" for line in first), more])
    yield "Go on?"


def look(request: Request, cluster: Cluster) -> Mapping[str, Sequence[str]]:
    """Run the playbook in check mode; return what it would do to each host. What would stop it is raised."""
    progress, stop = Progress(typed=lambda words: command(words, request.inventory)), Stop(request.timeout)
    redactor = Redactor((*request.passwords.values, *cluster.secrets))

    def handle(event: dict[str, Any]) -> None:
        for _ in progress.feed(redactor.tree(event)):
            pass

    run = Run(
        project=ROOT,
        cluster=cluster.name,
        state_dir=cluster.state_dir,
        playbook=ROOT / PLAYS[request.verb].playbook,
        inventory=cluster.inventory,
        typed=request.inventory,
        extra_vars=request.extra_vars,
        extra_files=request.extra_files,
        passwords=request.passwords,
        limit=with_localhost(request.limit),
        check=True,
    )
    with stop.on_signals():
        status = run_playbook(run, handle, stop, lambda: None)
    for _ in progress.abort() if not progress.finished else ():
        pass
    if error := why_stopped(status, stop.reason, request, progress, cluster):
        raise error
    return progress.changes


def why_stopped(
    status: str, reason: Reason, request: Request, progress: Progress, cluster: Cluster
) -> DeployError | None:
    """Return why there is nothing to ask about, with the exit code that the run itself would have; None if there is."""
    if not reason and not progress.failures and status == "successful":
        return None
    if reason:
        message = "the check of the hosts was " + ("interrupted" if reason == "interrupted" else "stopped by --timeout")
    elif not (message := vault_problem(said(progress), cluster.encrypted)):
        told = [line for failure in progress.failures for line in failure_lines(failure)]
        message = "\n".join(told or progress.errors) or "the check of the hosts did not finish"
    return DeployError(message, "Nothing was changed.", exit_code(status, reason, progress, PLAYS[request.verb]))


def consequences(request: Request, cluster: str, nodes: Sequence[Any] | None, pods: Sequence[Any] | None) -> list[str]:
    """Return what is about to happen, in lines; None is what the API did not answer."""
    if request.hosts:
        lines = [f"This removes {listed(request.hosts)} from the cluster {cluster}, and Kubernetes from it."]
        if after := PLAYS[request.verb].after_removal:
            lines.append(after)
        leaving = {host.lower() for host in request.hosts}  # as nodes are called
        running = [pod for pod in pods or [] if pod["spec"].get("nodeName") in leaving]
        what = "Pods to be evicted or deleted"
    else:
        lines = [f"This removes the cluster {cluster} and everything that runs in it."]
        running, what = list(pods or []), "Pods to be deleted"
        if nodes is not None:
            lines.append(f"Nodes: {listed([node['metadata']['name'] for node in nodes])}")
    if pods is None:
        return [*lines, "Its API does not answer, so its workloads are unknown."]
    names = [name_of(pod["metadata"]) for pod in running if pod["metadata"]["namespace"] not in SYSTEM]
    return [*lines, f"{what}: {listed(names) or 'none'}"]


def name_of(metadata: Mapping[str, Any]) -> str:
    """Return namespace/name."""
    return f"{metadata['namespace']}/{metadata['name']}"


def listed(names: Sequence[str]) -> str:
    """Return names in a line, the first of many."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def ask(cluster: Cluster, kind: str) -> list[Any] | None:
    """Return all objects of a kind; None when there is no cluster, or it does not answer in a few seconds."""
    argv = [str(cluster.kubectl), "--request-timeout=4s", "get", kind, "--all-namespaces", "-o", "json"]
    try:
        done = subprocess.run(argv, env=environment_of(cluster), capture_output=True, check=True, timeout=6)
    except (OSError, subprocess.SubprocessError):
        return None
    found: list[Any] = json.loads(done.stdout)["items"]
    return found
