# SPDX-License-Identifier: Apache-2.0
"""Run kubeadm so that nothing is lost when whoever started it is killed, and say why it failed.

kubeadm gets a session of its own and holds the lock itself: a module that comes after a killed one waits
for the kubeadm that is still running, and only then looks at what is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report

RUN = Path("/run/yunkube")
MANIFESTS = "etc/kubernetes/manifests"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")

# Who may hold a port that kubeadm wants free: the process that an earlier run of kubeadm started.
# The kernel keeps 15 letters of a process's name.
PORTS = {
    constants.API_PORT: "kube-apiserver",
    constants.KUBELET_PORT: "kubelet",
    constants.CONTROLLER_MANAGER_PORT: "kube-controller",
    constants.SCHEDULER_PORT: "kube-scheduler",
    **dict.fromkeys(constants.ETCD_PORTS, "etcd"),
}

Json = dict[str, t.Any]

_CHECK = re.compile(r"\[ERROR ([^\]]+)\]: (.+)")
_ERROR = re.compile(
    r"^(?:(?:error: )?error execution phase [\w/-]+|error|E\d{4} [\d:.]+\s+\d+ [\w.]+:\d+\]):?\s*(.+)", re.IGNORECASE
)
_KUBELET_ERROR = re.compile(r'^[EF]\d{4} .*?\] "(.+?)"(?: .*?err="(.+?)"(?:\s|$))?')
# In kubeadm's own words: it waited for something, as long as it waits.
_LATE = re.compile(r"timed? ?out|deadline exceeded|check failed at|while waiting for", re.IGNORECASE)
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_CERTIFICATE_KEY = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")
TIMED_OUT = 124


class Outcome(t.NamedTuple):
    """What one run of kubeadm came to."""

    rc: int
    output: str
    seconds: float


class BusyError(Exception):
    """Another kubeadm runs on this host, and did not end in time."""


@contextlib.contextmanager
def exclusive(seconds: float, folder: Path = RUN) -> t.Iterator[int]:
    """Be the only one who runs kubeadm here; yield the lock for kubeadm to hold as well."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "kubeadm.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(f"another kubeadm still runs on this host after {seconds:.0f} s") from None
                time.sleep(0.2)
        yield lock
    finally:
        os.close(lock)  # not unlocked: kubeadm's own copy of the lock counts until it ends


def run(argv: t.Sequence[str], config: str, lock: int, seconds: float, folder: Path = RUN) -> Outcome:
    """Run kubeadm with a configuration that never touches a disk, and wait for its end.

    It calls only hosts of the cluster, and would write a proxy of the login (/etc/environment) into the manifests of
    the control plane: https://github.com/kubernetes/kubeadm/issues/324
    """
    memory = os.memfd_create("kubeadm")
    log = folder / "kubeadm.log"
    started = time.monotonic()
    try:
        os.write(memory, config.encode())
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            process = subprocess.Popen(
                [*argv, "--config", f"/proc/self/fd/{memory}"],
                stdin=subprocess.DEVNULL,
                stdout=stream,  # a file, so that a broken pipe cannot end kubeadm half way
                stderr=subprocess.STDOUT,
                pass_fds=(lock, memory),
                start_new_session=True,
                env={
                    **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
                    "LC_ALL": "C",
                    "PATH": f"/usr/local/bin:/usr/local/sbin:{os.environ.get('PATH', '')}",
                },
            )
        try:
            rc = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            rc = TIMED_OUT
        return Outcome(rc, _TOKEN.sub("(token)", log.read_text(errors="replace")), time.monotonic() - started)
    finally:
        os.close(memory)
        log.unlink(missing_ok=True)


def write_patches(patches: t.Sequence[Json], folder: Path = RUN) -> None:
    """Write kubeadm's patches, {target: strategic merge patch} each, where the configuration names them."""
    place = folder / "patches"
    place.mkdir(mode=0o700, exist_ok=True)
    for stale in place.iterdir():
        stale.unlink()
    for number, layer in enumerate(patches):
        for target, patch in layer.items():
            (place / f"{target}{number}+strategic.json").write_text(json.dumps(patch))


def preflight_faults(output: str) -> list[Fault]:
    """Return kubeadm's failed checks."""
    return [
        Fault(check, message.strip(), f"fix it, or accept it by adding {check} to cluster_ignore_preflight_errors")
        for check, message in _CHECK.findall(output)
    ]


def cause(outcome: Outcome) -> str:
    """Return the one line that says why kubeadm failed."""
    if outcome.rc == TIMED_OUT:
        return f"timed out after {outcome.seconds:.0f} s"
    faults = preflight_faults(outcome.output)
    if faults:
        return "; ".join(f"{fault.where}: {fault.message}" for fault in faults)
    lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    errors = [found.group(1) for line in lines if (found := _ERROR.match(line))]
    return errors[-1] if errors else (lines[-1] if lines else f"exit code {outcome.rc} without any output")


def without_secrets(text: str) -> str:
    """Return the text without tokens and certificate keys: Ansible prints the reason of a task with no_log, too."""
    return _CERTIFICATE_KEY.sub("[redacted]", _TOKEN.sub("[redacted]", text))


def kubelet_active() -> bool:
    """Say whether systemd runs the kubelet."""
    return subprocess.run(["systemctl", "is-active", "--quiet", "kubelet"], check=False).returncode == 0


def start_kubelet(*, again: bool = False, seconds: float = 2) -> str:
    """Start the kubelet, or start it again; return why it does not run, also when it ends within a few seconds."""
    verb = "restart" if again else "start"
    done = subprocess.run(["systemctl", verb, "kubelet"], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        return f"systemctl {verb} kubelet: {(done.stderr or done.stdout).strip() or f'exit code {done.returncode}'}"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not kubelet_active():
            return (
                f"the kubelet does not stay up: {kubelet_cause(kubelet_journal()) or 'journalctl -u kubelet says why'}"
            )
        time.sleep(0.2)
    return ""


def kubelet_journal(lines: int = 20) -> list[str]:
    """Return the last lines of the kubelet's journal."""
    argv = ["journalctl", "--unit", "kubelet", "--lines", str(lines), "--no-pager", "--output", "cat"]
    try:
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=scaled(10)).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return []


def kubelet_cause(journal: list[str]) -> str:
    """Return the last error of a kubelet that ended, or nothing."""
    found = [match for line in journal if (match := _KUBELET_ERROR.match(line))]
    return ": ".join(part for part in found[-1].groups() if part) if found else ""


def failure(verb: str, outcome: Outcome, limit: str = "") -> Json:
    """Return what `fail_json` takes after kubeadm failed; `limit` is the variable that sets how long it may take."""
    result: Json = {
        "msg": f"kubeadm {verb}: {cause(outcome)}",
        "rc": outcome.rc,
        "kubeadm_output": outcome.output.splitlines()[-40:],
    }
    if outcome.rc == TIMED_OUT or (limit and _LATE.search(result["msg"])):
        raised = f"; if it times out every time, raise {limit}" if limit else ""
        result["remedy"] = f"run the same command again: it continues where this one stopped{raised}"
    faults = preflight_faults(outcome.output)
    if faults:
        result = {**Report(tuple(faults), PREFLIGHT).as_failure(), **result}
    elif not kubelet_active() or "kubelet is not" in outcome.output:
        result["kubelet_journal"] = kubelet_journal()
        why = kubelet_cause(result["kubelet_journal"])
        if why:  # what kubeadm saw follows from it
            result["msg"] = f"kubeadm {verb}: the kubelet does not stay up: {why} ({cause(outcome)})"
    return result


def listeners(proc: Path = Path("/proc")) -> dict[int, str]:
    """Return who listens on the TCP ports that kubeadm asks for, {port: name of the process}."""
    sockets: dict[str, int] = {}
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / table).read_text().splitlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                if fields[3] == "0A" and port in PORTS:
                    sockets[f"socket:[{fields[9]}]"] = port
    found: dict[int, str] = {}
    for process in proc.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):
            for handle in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    name = str(handle.readlink())
                    if name in sockets:
                        found[sockets[name]] = (process / "comm").read_text().strip()
    return found


def init_leftovers(root: Path, listening: dict[int, str]) -> list[str]:
    """Name the checks that fail because an earlier `kubeadm init` of this cluster got so far, and only those."""
    manifests = [name for name in COMPONENTS if (root / MANIFESTS / f"{name}.yaml").exists()]
    checks = [f"FileAvailable--etc-kubernetes-manifests-{name}.yaml" for name in manifests]
    etcd_is_ours = (root / "etc/kubernetes/pki/etcd/ca.crt").exists() and "etcd" in manifests
    if etcd_is_ours and any((root / "var/lib/etcd").glob("*")):
        checks.append("DirAvailable--var-lib-etcd")
    return checks + _held_ports(listening, [*(name[:15] for name in manifests), "kubelet"])


def join_leftovers(root: Path, listening: dict[int, str]) -> list[str]:
    """Name the checks that fail because an earlier `kubeadm join` got so far, and only those."""
    files = ("etc/kubernetes/bootstrap-kubelet.conf", "etc/kubernetes/kubelet.conf", "etc/kubernetes/pki/ca.crt")
    checks = [f"FileAvailable--{name.replace('/', '-')}" for name in files if (root / name).exists()]
    if not checks:
        return []
    return list(dict.fromkeys(checks + init_leftovers(root, listening)))


def _held_ports(listening: dict[int, str], owners: list[str]) -> list[str]:
    # Also a port that is free now: what an earlier run started crashes and comes back while it waits for the others.
    return [f"Port-{port}" for port, name in PORTS.items() if name in owners and listening.get(port, name) == name]
