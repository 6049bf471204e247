# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API of one's own: real TLS with client certificates, objects in memory, answers of one's choice.

What a sound API server answers is asked of a real one, `kube_api_server`.

It knows discovery, get, list, create, server-side apply with dry run, merge patches and delete.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import ssl
import subprocess
import tempfile
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Json = dict[str, t.Any]

# apiVersion -> kind -> (plural, namespaced)
KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "Namespace": ("namespaces", False),
        "PersistentVolume": ("persistentvolumes", False),
        "PersistentVolumeClaim": ("persistentvolumeclaims", True),
        "Node": ("nodes", False),
        "ConfigMap": ("configmaps", True),
        "Secret": ("secrets", True),
        "Service": ("services", True),
        "Pod": ("pods", True),
        "ServiceAccount": ("serviceaccounts", True),
        "Event": ("events", True),
        "ReplicationController": ("replicationcontrollers", True),
    },
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": ("customresourcedefinitions", False)},
    "coordination.k8s.io/v1": {"Lease": ("leases", True)},
    "discovery.k8s.io/v1": {"EndpointSlice": ("endpointslices", True)},
    "apps/v1": {
        "DaemonSet": ("daemonsets", True),
        "Deployment": ("deployments", True),
        "ReplicaSet": ("replicasets", True),
    },
    "rbac.authorization.k8s.io/v1": {
        "ClusterRole": ("clusterroles", False),
        "ClusterRoleBinding": ("clusterrolebindings", False),
        "Role": ("roles", True),
        "RoleBinding": ("rolebindings", True),
    },
    "admissionregistration.k8s.io/v1": {
        "ValidatingWebhookConfiguration": ("validatingwebhookconfigurations", False),
        "MutatingWebhookConfiguration": ("mutatingwebhookconfigurations", False),
    },
    "apiregistration.k8s.io/v1": {"APIService": ("apiservices", False)},
}


def make_certificates(folder: Path) -> None:
    """Make a CA, a server's and a client's certificate, as kubeadm does with elliptic keys."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=kubernetes", "-days", "3650")
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    (folder / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for name, subject in (
        ("server", "/CN=kube-apiserver"),
        ("client", "/O=kubeadm:cluster-admins/CN=kubernetes-admin"),
    ):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "365", "-extfile", f"{name}.ext")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)


@functools.cache
def _certificates() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def copy_certificates(folder: Path) -> None:
    """Give a folder certificates as `make_certificates` does, but those of every other folder: they are made once."""
    for name, content in _certificates().items():
        (folder / name).write_bytes(content)


def kubeconfig(folder: Path, server: str) -> str:
    """Return a kubeconfig as kubeadm writes it."""
    ca, certificate, key = (
        base64.b64encode((folder / name).read_bytes()).decode() for name in ("ca.crt", "client.crt", "client.key")
    )
    return (
        f"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n"
        "  name: test\ncontexts:\n- context:\n    cluster: test\n    user: kubernetes-admin\n"
        "  name: kubernetes-admin@test\ncurrent-context: kubernetes-admin@test\nkind: Config\nusers:\n"
        f"- name: kubernetes-admin\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
    )


class FakeKubeApi:
    """The server: `objects` by path, `refuse` for answers of one's choice, `log` of what was asked."""

    def __init__(self, folder: Path, authority: Path | None = None) -> None:
        """Start on a free port; with `authority`, under the CA of that folder, else under that of all others."""
        self.folder = authority or folder
        if authority is None:
            copy_certificates(folder)
        self.objects: dict[str, Json] = {}
        self.refuse: dict[str, tuple[int, str]] = {}  # "METHOD path" -> status, message
        self.log: list[str] = []
        self.connections = 0
        # Called after a change, as controllers hear of it; they may change more.
        self.changed: t.Callable[[FakeKubeApi, str], None] = lambda _api, _path: None
        self.asked: t.Callable[[str], None] = lambda _request: None  # called before each answer, which it may hold up
        self.establishing = 0  # how often it is asked for a new CustomResourceDefinition's kind before it knows it
        self._version = 0
        fake = self

        class Handler(_Handler):
            api = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        context.load_verify_locations(self.folder / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens, host:port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig for it."""
        return kubeconfig(self.folder, f"https://{self.address}")

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def kinds(self) -> dict[str, dict[str, tuple[str, bool]]]:
        """Return KINDS and those that CustomResourceDefinitions have brought."""
        found = {version: dict(kinds) for version, kinds in KINDS.items()}
        for path, definition in self.objects.items():
            spec = definition.get("spec") or {}
            if "/customresourcedefinitions/" in path and "group" in spec:
                for version in spec["versions"]:
                    kinds = found.setdefault(f"{spec['group']}/{version['name']}", {})
                    kinds[spec["names"]["kind"]] = (spec["names"]["plural"], spec["scope"] == "Namespaced")
        return found

    def plurals(self) -> dict[str, str]:
        """Return the kind by the name that it has in paths."""
        return {plural: kind for kinds in self.kinds().values() for kind, (plural, _) in kinds.items()}

    def put(self, path: str, **content: t.Any) -> Json:
        """Put an object at a path, with what every object has."""
        parts = path.strip("/").split("/")
        version = "/".join(parts[1:3]) if parts[0] == "apis" else parts[1]
        metadata: Json = {"name": parts[-1], **content.pop("metadata", {})}
        if "namespaces" in parts[:-2]:
            metadata["namespace"] = parts[parts.index("namespaces") + 1]
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", "2026-11-23T00:00:00Z")
        self.objects[path] = {"apiVersion": version, "kind": self.plurals()[parts[-2]], **content, "metadata": metadata}
        return self.objects[path]


def merged(base: t.Any, over: t.Any) -> t.Any:
    """Lay one value over another, as an apply does in simple cases."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
    return copy.deepcopy(over)


def fields_of(body: Json) -> Json:
    """Return the fields of a manifest as the server notes them; every list counts as one value."""
    named = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "name", "namespace")}
    found = {f"f:{key}": fields_of(value) if isinstance(value, dict) else {} for key, value in named.items()}
    return {key: value for key, value in found.items() if value or not isinstance(named[key[2:]], dict)}


def without_nulls(value: t.Any) -> t.Any:
    """Return the value without the keys that a merge patch takes out, https://www.rfc-editor.org/rfc/rfc7386."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    api: FakeKubeApi
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: sent apart, the body waits 40 ms until the head is acknowledged
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.api.connections += 1

    def log_message(self, *_arguments: t.Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        where = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(where.query).items()}
        self.api.log.append(f"{method} {self.path}")
        self.api.asked(f"{method} {self.path}")
        if not self.connection.getpeercert():
            self._say(401, {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized"})
        elif f"{method} {where.path}" in self.api.refuse:
            status, message = self.api.refuse[f"{method} {where.path}"]
            self._say(status, {"kind": "Status", "message": message, "reason": "Refused"})
        else:
            self._say(*getattr(self, f"_{method.lower()}")(where.path, query, body))

    def _say(self, status: int, answer: Json) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _get(self, path: str, query: dict[str, str], _body: Json) -> tuple[int, Json]:
        version = path.removeprefix("/apis/").removeprefix("/api/")
        known = self.api.kinds()
        if version in known and version not in KINDS and self.api.establishing:
            self.api.establishing -= 1
        elif version in known:
            verbs = ["get", "list", "patch"]
            listed = [{"name": p, "kind": k, "namespaced": n, "verbs": verbs} for k, (p, n) in known[version].items()]
            log = {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]}
            return 200, {"kind": "APIResourceList", "resources": [*listed, log]}
        if path == "/apis":
            groups = [{"preferredVersion": {"groupVersion": version}} for version in known if "/" in version]
            return 200, {"kind": "APIGroupList", "groups": groups}
        if path == "/version":
            return 200, {"gitVersion": "v1.37.2"}
        if path in self.api.objects:
            return 200, self.api.objects[path]
        if path.rpartition("/")[2] in self.api.plurals():
            items = [found for key, found in list(self.api.objects.items()) if self._listed(path, key, query)]
            # As the real one: the items of a list do not say what they are.
            bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
            return 200, {"kind": "List", "items": bare}
        return 404, {"kind": "Status", "message": f"{path} not found", "reason": "NotFound"}

    def _listed(self, path: str, key: str, query: dict[str, str]) -> bool:
        folder = key.rpartition("/")[0]
        plural = path.rpartition("/")[2]
        everywhere = folder.endswith(f"/{plural}") and "/namespaces/" not in path and plural != "namespaces"
        if folder != path and not everywhere:
            return False
        field, _, node = query.get("fieldSelector", "").partition("=")
        if field == "spec.nodeName" and self.api.objects[key].get("spec", {}).get("nodeName") != node:
            return False
        labels = self.api.objects[key]["metadata"].get("labels") or {}
        chosen = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        return chosen.items() <= labels.items()

    def _patch(self, path: str, query: dict[str, str], body: Json) -> tuple[int, Json]:
        space = path.partition("/namespaces/")[2].split("/")
        if len(space) > 1 and f"/api/v1/namespaces/{space[0]}" not in self.api.objects:
            return 404, {"kind": "Status", "message": f'namespaces "{space[0]}" not found', "reason": "NotFound"}
        before = self.api.objects.get(path)
        after = merged(before or {}, body)
        if "merge-patch" in self.headers["Content-Type"]:
            after = without_nulls(after)
        if before is not None and before == after:
            return 200, before
        if query.get("dryRun"):
            applied = {"manager": query["fieldManager"], "operation": "Apply", "fieldsV1": fields_of(body)}
            after["metadata"]["managedFields"] = [applied]
            return 200, after
        made = self.api.put(path, **{key: value for key, value in after.items() if key not in ("kind", "apiVersion")})
        self.api.changed(self.api, path)
        return (200 if before else 201), made

    def _post(self, path: str, _query: dict[str, str], body: Json) -> tuple[int, Json]:
        own = f"{path}/{body['metadata']['name']}"
        if own in self.api.objects:
            return 409, {"kind": "Status", "message": f"{own} already exists", "reason": "AlreadyExists"}
        if "resourceVersion" in body["metadata"]:
            message = "resourceVersion should not be set on objects to be created"
            return 400, {"kind": "Status", "message": message, "reason": "BadRequest"}
        made = self.api.put(own, **{key: value for key, value in body.items() if key not in ("kind", "apiVersion")})
        self.api.changed(self.api, own)
        return 201, made

    def _delete(self, path: str, _query: dict[str, str], _body: Json) -> tuple[int, Json]:
        if path not in self.api.objects:
            return 404, {"kind": "Status", "message": f"{path} not found", "reason": "NotFound"}
        for key in [key for key in self.api.objects if key == path or key.startswith(f"{path}/")]:
            del self.api.objects[key]
        self.api.changed(self.api, path)
        return 200, {"kind": "Status", "status": "Success"}
