# SPDX-License-Identifier: Apache-2.0
"""The bundle's own etcd and kube-apiserver on the loopback: what modules ask is answered as on a cluster.

There are no controllers and no kubelets: pods do not start, namespaces do not end by themselves. Admission that needs
them is off. Connections that break and answers that no API server gives are made by `fake_kube_api`.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import http.client
import json
import os
import socket
import subprocess
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import copy_certificates, kubeconfig
from lock_files import LOCK_FILE

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds to start, on a machine that builds beside it; alone it takes about four

# Etcd's keys of everything that the API keeps, https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
REGISTRY, REGISTRY_END = "/registry/", "/registry0"
# Leases that the server renews. A multiple of three bytes each, so in base64 they are prefixes, too.
OWN_LEASES = ("/registry/leases/kube-system/apiserver-", "/registry/peerserverleases/")
POD = {"containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 0}


def programs(*names: str) -> dict[str, Path]:
    """Return the paths of programs of the bundle; missing ones are built, or awaited if another process builds them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yunkube"
    builder = Builder(yaml.safe_load(LOCK_FILE.read_text()), ROOT, cache)
    parts = {program: part["name"] for part in builder.lock["components"] for program in part["programs"]}
    return {name: builder.programs(parts[name]) / name for name in names}


class Etcd:
    """What a test needs to know of etcd, by its gateway."""

    def __init__(self, port: int) -> None:
        """Prepare; nothing is asked yet."""
        self.port = port

    def keys(self) -> dict[str, tuple[str, str]]:
        """Return the value and the revision of each key of the API's, all in base64 as they come."""
        found = self._ask("range", {"key": _coded(REGISTRY), "range_end": _coded(REGISTRY_END)})
        own = tuple(_coded(lease) for lease in OWN_LEASES)
        return {
            entry["key"]: (entry["value"], entry["mod_revision"])
            for entry in found.get("kvs") or []
            if not entry["key"].startswith(own)
        }

    def restore(self, before: dict[str, tuple[str, str]]) -> None:
        """Bring back what the API kept at another time."""
        now = self.keys()
        changes: list[Json] = [{"requestDeleteRange": {"key": key}} for key in now if key not in before]
        changes += [
            {"requestPut": {"key": key, "value": value}}
            for key, (value, revision) in before.items()
            if now.get(key, ("", ""))[1] != revision and now.get(key, ("", ""))[0] != value
        ]
        for start in range(0, len(changes), 100):  # etcd takes 128 changes at once
            self._ask("txn", {"success": changes[start : start + 100]})

    def _ask(self, what: str, body: Json) -> Json:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "code" in answer:
            raise RuntimeError(f"etcd: {answer}")
        return t.cast("Json", answer)


class ApiServer:
    """An API server and its etcd, with what a test does to them beside the module that it tests."""

    def __init__(self, folder: Path, etcd: int, port: int) -> None:
        """Ask the API at `port` with the certificates in `folder`."""
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.etcd = Etcd(etcd)
        self.api = KubeApi(parse_kubeconfig(self.kubeconfig), timeout=PATIENCE)
        self._kinds: dict[str, dict[str, Json]] = {}

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig for it, of an administrator."""
        return kubeconfig(self.folder, f"https://{self.address}")

    def get(self, path: str) -> Json:
        """Return an object."""
        return self.api.get(path)

    def names(self, path: str) -> list[str]:
        """Return the names of the objects of a collection."""
        return sorted(item["metadata"]["name"] for item in self.api.items(path))

    def put(self, path: str, **content: t.Any) -> Json:
        """Put an object at a path, its status too: the place of controllers, kubelets and people."""
        parts = path.strip("/").split("/")
        root = f"/{'/'.join(parts[:3] if parts[0] == 'apis' else parts[:2])}"
        plural, name = parts[-2:]
        if "namespaces" in parts[:-2]:
            space = f"/api/v1/namespaces/{parts[parts.index('namespaces') + 1]}"
            if not self.api.find(space):
                self.put(space)
        body: Json = copy.deepcopy(content)
        body |= {"apiVersion": root.split("/", 2)[2], "kind": self._resources(root)[plural]["kind"]}
        body["metadata"] = {**body.get("metadata", {}), "name": name}
        if plural == "pods":
            body["spec"] = POD | body.get("spec", {})
        there = self.api.find(path)
        if there is None:
            made = self.api.post(path.rsplit("/", 1)[0], body)
        else:
            body["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"]
            made = self.api.request("PUT", path, body)
        if "status" in content and f"{plural}/status" in self._resources(root):
            made = self.set_status(path, content["status"])
        return made

    def set_status(self, path: str, status: Json) -> Json:
        """Report of an object, as its controller or kubelet does."""
        return self.api.request("PUT", f"{path}/status", self.get(path) | {"status": status})

    def end_namespace(self, name: str) -> None:
        """Do what the controller does with a namespace that was deleted and is empty."""
        there = self.get(f"/api/v1/namespaces/{name}")
        self.api.request("PUT", f"/api/v1/namespaces/{name}/finalize", there | {"spec": {"finalizers": []}})

    def _resources(self, root: str) -> dict[str, Json]:
        if root not in self._kinds:
            self._kinds[root] = {entry["name"]: entry for entry in self.api.get(root)["resources"]}
        return self._kinds[root]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Run an API server with its state in a folder, for as long as the `with` lasts."""
    found = programs("etcd", "kube-apiserver")
    copy_certificates(folder)
    key = folder / "tokens.key"
    subprocess.run(["openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", key], check=True)
    clients, peers, port = free_ports(3)
    at, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    etcd = [
        found["etcd"], f"--data-dir={folder}/etcd", "--unsafe-no-fsync", f"--listen-client-urls={at}",
        f"--advertise-client-urls={at}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}", "--log-level=warn",
    ]  # fmt: skip
    server = [
        found["kube-apiserver"], f"--etcd-servers={at}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        f"--tls-cert-file={folder}/server.crt", f"--tls-private-key-file={folder}/server.key",
        f"--client-ca-file={folder}/ca.crt", "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/16", "--enable-bootstrap-token-auth", "--authorization-mode=AlwaysAllow",
        "--allow-privileged=true",
        "--anonymous-auth=false", "--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1",
        # The first needs a controller that makes service accounts, the second a kubelet that reports.
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    ]  # fmt: skip
    with started(folder, etcd), started(folder, server) as process:
        api = ApiServer(folder, clients, port)
        _wait(api, process, folder / "kube-apiserver.log")
        yield api
        api.api.close()


@contextlib.contextmanager
def started(folder: Path, argv: list[t.Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that ends with this process, also where that is killed."""
    with (folder / f"{argv[0].name}.log").open("wb") as log:
        process = subprocess.Popen(["setpriv", "--pdeathsig=KILL", *argv], cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()  # nothing of it is kept, and an orderly end takes seconds
            process.wait()


def _wait(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            server.api.get("/readyz")
            server.get("/api/v1/namespaces/default/services/kubernetes")  # the last that it makes for itself
        except KubeError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API server does not start: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.05)
        else:
            return


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
