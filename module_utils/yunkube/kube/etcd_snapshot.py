# SPDX-License-Identifier: Apache-2.0
"""Snapshots of etcd: whether a file is whole, what it holds, and which cluster it is of."""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.etcd import MANIFEST, EtcdError, refuse_full

REGISTRY = "/registry/"  # where the API keeps its objects: its --etcd-prefix, which kubeadm leaves alone
IDENTITY = "/registry/configmaps/kube-system/yunkube"  # cluster_identity_manifest of role cluster
AUTHORITY = "/registry/configmaps/kube-system/kube-root-ca.crt"  # of the controller manager, in every namespace
SYSTEM = "/registry/namespaces/kube-system"
CA = Path("/etc/kubernetes/pki/ca.crt")
# In a ConfigMap as the API stores it (protobuf), an entry `id` of 16 letters in the map `data`.
_ID = re.compile(rb"\x0a\x02id\x12\x10([0-9a-f]{16})")
_UID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = 32  # bytes of the sha256 at the end of a snapshot
_PAGE = 512  # what is before it is a whole number of these
PATIENCE = scaled(60.0)  # seconds for an etcd to start from a snapshot
OLD = 3600.0  # seconds after which what passes through belongs to no run: each copies it within minutes
ROOM = 2.5  # times the size of a snapshot: its data, and what is written beside it
LOG = 128 << 20  # bytes of etcd's write-ahead log, which is there from the start
# What programs say when the host is at fault, not the file.
_HOST = re.compile(
    r"no space left|quota exceeded|read-only file system|input/output error|permission denied|cannot allocate memory",
    re.IGNORECASE,
)

Run = t.Callable[[list[str]], tuple[int, str, str]]
Ask = t.Callable[..., str]  # what etcdctl prints, by its words


class SnapshotError(EtcdError):
    """A file is no snapshot that can be used; the message says why."""


class Static(t.NamedTuple):
    """What the manifest of this host's etcd says."""

    name: str
    peer: str  # its URL
    image: str


class Cluster(t.NamedTuple):
    """Which cluster an etcd holds; what is unknown is empty."""

    id: str = ""  # Yunkube's
    ca: str = ""  # the certificate that pods trust, as PEM
    uid: str = ""  # of the namespace kube-system


def read_manifest(path: Path | None = None) -> Static:
    """Return name, peer URL and image of this host's etcd."""
    where = path or MANIFEST
    try:
        text = where.read_text()
    except FileNotFoundError:
        raise EtcdError(f"{where} is not on this host: it runs no etcd of its own") from None
    found = {key: re.search(rf"(?m)^\s*- --{key}=(\S+)\s*$", text) for key in ("name", "initial-advertise-peer-urls")}
    image = re.search(r"(?m)^\s*(?:- )?image: (\S+)\s*$", text)
    name, peer = found["name"], found["initial-advertise-peer-urls"]
    if not name or not peer or not image:
        raise EtcdError(f"{where} does not say name, peer URL and image of etcd, as kubeadm writes them")
    return Static(name[1], peer[1].split(",")[0], image[1])


def refuse_damaged(path: Path, name: str = "") -> str:
    """Return the sha256 that a snapshot ends with; raise where the file is not what etcd wrote."""
    name = name or path.name
    size = path.stat().st_size
    if size % _PAGE != _DIGEST:
        raise SnapshotError(f"{name} is not a whole snapshot of etcd: its digest is missing at the end")
    found = hashlib.sha256()
    left = size - _DIGEST
    with path.open("rb") as stream:
        while left and (block := stream.read(min(1 << 20, left))):
            found.update(block)
            left -= len(block)
        digest = stream.read()
    if found.digest() != digest:
        raise SnapshotError(f"{name} is damaged: its content does not have the digest that it ends with")
    return found.hexdigest()


def room_for(path: Path) -> float:
    """Return the bytes that etcd needs to start from a snapshot."""
    return path.stat().st_size * ROOM + LOG


def resource_of(key: str) -> str:
    """Return the resource of a key, with its group where the key has one: pods, example.org/shops."""
    parts = key[len(REGISTRY) :].split("/")
    nested = len(parts) > 2 and ("." in parts[0] or parts[0] in ("services", "ranges"))
    return "/".join(parts[:2]) if nested else parts[0]


def count(keys: t.Iterable[str]) -> dict[str, int]:
    """Return how many objects of each resource there are."""
    found = collections.Counter(resource_of(key) for key in keys if key.startswith(REGISTRY))
    return dict(sorted(found.items()))


def objects(ask: Ask, revision: int = 0) -> dict[str, int]:
    """Return how many objects of each resource an etcd has, now or at a revision."""
    at = [f"--rev={revision}"] if revision else []
    return count(ask("get", REGISTRY, "--prefix", "--keys-only", *at).splitlines())


def value(ask: Ask, key: str) -> bytes:
    """Return the value of a key, empty where there is none."""
    found = json.loads(ask("get", key, "--write-out=json")).get("kvs") or [{}]
    return base64.b64decode(found[0].get("value") or "")


def cluster_of(ask: Ask) -> Cluster:
    """Return which cluster an etcd holds, as far as it says."""
    ours = _ID.search(value(ask, IDENTITY))
    begin, _, rest = value(ask, AUTHORITY).partition(b"-----BEGIN CERTIFICATE-----")
    pem = rest.rpartition(b"-----END CERTIFICATE-----")[0]
    uid = _UID.search(value(ask, SYSTEM))
    return Cluster(
        ours[1].decode() if ours else "",
        f"-----BEGIN CERTIFICATE-----{pem.decode(errors='replace')}-----END CERTIFICATE-----" if begin and pem else "",
        uid[0].decode() if uid else "",
    )


def objection(found: Cluster, cluster_id: str, ca: str) -> str:
    """Return why a snapshot is not of the cluster with this id and CA; empty where it is."""
    if not found.id and not found.uid:
        return "holds no cluster of Kubernetes"
    if not found.id:
        return "does not say which cluster it is of (ConfigMap kube-system/yunkube)"
    if found.id != cluster_id:
        return f"is of another cluster, with the id {found.id}, not of this one ({cluster_id})"
    if found.ca and ca and found.ca.split() != ca.split():
        return f"is of a cluster with another certificate authority than this host's {CA}"
    return ""


def minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version; zeros where it has none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Programs:
    """The programs of etcd's image, in a folder where it is mounted."""

    def __init__(self, folder: Path, run: Run) -> None:
        """Find them in a folder."""
        self.folder = folder
        self.run = run

    def call(self, name: str, *words: str) -> str:
        """Return what a program prints."""
        code, out, err = self.run([str(self.folder / name), *words])
        if code != 0:
            lines = (err or out).strip().splitlines() or ["no message"]
            raise EtcdError(f"{name} {' '.join(words[:2])}: {lines[0][-300:]}")
        return out

    def version(self) -> str:
        """Return etcd's version."""
        found = re.search(r"etcd Version: (\S+)", self.call("etcd", "--version"))
        return found[1] if found else ""

    def status(self, path: Path, name: str = "") -> dict[str, t.Any]:
        """Return hash, revision, number of keys and version of a snapshot; raise where this etcd cannot use it."""
        try:
            found = json.loads(self.call("etcdutl", "snapshot", "status", str(path), "--write-out=json"))
        except (EtcdError, ValueError) as error:
            raise _blame(f"{name or path.name} cannot be read as a snapshot of etcd: {error}") from error
        mine, theirs = self.version(), str(found.get("version") or "")
        if minor(theirs) > minor(mine):
            message = f"was saved by etcd {theirs}, and this host's is {mine}, which cannot start with it"
            raise SnapshotError(f"{name or path.name} {message}")
        return {
            "hash": f"{int(found['hash']):08x}",
            "revision": int(found["revision"]),
            "keys": int(found["totalKey"]),
            "etcd": theirs,
        }

    @contextlib.contextmanager
    def started(self, path: Path, folder: Path) -> t.Iterator[Ask]:
        """Start an etcd from a snapshot, which ends with the `with`, and by itself when this process is killed.

        It listens on sockets in the folder, which is root's alone: what it holds are all Secrets of the cluster.
        """
        refuse_full(folder, room_for(path), "an etcd with the snapshot")
        peer, client = f"unix://{folder}/peer.sock", f"unix://{folder}/client.sock"
        named = ["--name=rehearsal", f"--initial-cluster=rehearsal={peer}", f"--initial-advertise-peer-urls={peer}"]
        try:
            self.call("etcdutl", "snapshot", "restore", str(path), f"--data-dir={folder}/data", *named)
        except EtcdError as error:
            raise _blame(f"{path.name} cannot be restored: {error}") from error
        argv = [
            "timeout", "--kill-after=5", str(int(PATIENCE * 10)), str(self.folder / "etcd"),
            f"--data-dir={folder}/data",
            f"--listen-peer-urls={peer}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            "--unsafe-no-fsync", "--log-level=warn", *named,
        ]  # fmt: skip
        log = folder / "etcd.log"
        environment = {key: text for key, text in os.environ.items() if not key.startswith("ETCD")}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment
            )

        def ask(*words: str) -> str:
            return self.call("etcdctl", f"--endpoints={client}", f"--command-timeout={scaled(30):g}s", *words)

        try:
            self._wait(process, ask, log)
            yield ask
        finally:
            process.terminate()
            try:
                process.wait(scaled(10))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], ask: Ask, log: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                ask("endpoint", "health")
            except EtcdError as error:
                if (code := process.poll()) is not None:
                    if code < 0 or code > 123:  # as by the kernel, when memory runs out
                        raise EtcdError(f"etcd was killed, code {code}: {_reason(log)}") from error
                    raise _blame(f"etcd {self.version()} does not start with it: {_reason(log)}") from error
                if time.monotonic() > deadline:
                    raise EtcdError(
                        f"etcd has not started with it within {PATIENCE:g} s: {_reason(log)}; on slow hosts, "
                        "set cluster_slow_factor higher"
                    ) from error
                time.sleep(0.2)
            else:
                return


def _blame(message: str) -> EtcdError:
    """Return an error of the host where a program says so, else of the snapshot."""
    return EtcdError(message) if _HOST.search(message) else SnapshotError(message)


def _reason(log: Path) -> str:
    """Return the last words of etcd's log."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    with contextlib.suppress(ValueError, AttributeError):
        last = json.loads(lines[-1])
        return f"{last.get('msg', '')} {last.get('error', '')}".strip()[:300]
    return lines[-1][:300]


@contextlib.contextmanager
def orderly_end() -> t.Iterator[None]:
    """Have SIGTERM end this process as an exception does, so that what it started and mounted goes with it."""

    def leave(number: int, _frame: object) -> t.NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def mounted(run: Run, ctr: str, image: str, folder: Path) -> t.Iterator[Programs]:
    """Mount etcd's image, which this host has also while no container of it runs, in a folder of this project's."""
    call = [ctr, "--namespace", "k8s.io", "images"]
    for left in folder.glob("image*"):  # of a run that was killed
        _unmount(run, call, left)
    # containerd may still know a mount by its folder a moment after it was taken away, and refuses that folder then.
    at = folder / f"image-{secrets.token_hex(4)}"
    at.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        code, out, err = run([*call, "mount", image, str(at)])
        if code != 0:
            raise EtcdError(f"the image {image} cannot be mounted: {(err or out).strip()[-300:]}")
        yield Programs(at / "usr/local/bin", run)
    finally:
        _unmount(run, call, at)


def _unmount(run: Run, call: list[str], at: Path) -> None:
    if at.is_dir():
        if at.is_mount():
            run([*call, "unmount", "--rm", str(at)])
        if not at.is_mount():
            with contextlib.suppress(OSError):
                at.rmdir()


def sweep(folder: Path, name: re.Pattern[str]) -> list[str]:
    """Delete what killed runs left in a folder, by exact names and only where it is old; return the names."""
    gone = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if name.fullmatch(path.name) and time.time() - path.lstat().st_mtime > OLD:
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                gone.append(path.name)
    return gone


@contextlib.contextmanager
def workshop(folder: Path) -> t.Iterator[Path]:
    """Return a new folder for root alone, which is removed after the `with`; what killed runs left goes first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob("rehearsal-*"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
