# SPDX-License-Identifier: Apache-2.0
"""A small client of the Kubernetes API: HTTPS and JSON with the standard library alone.

Modules use it on a host of the control plane, with a kubeconfig that kubeadm wrote. One connection is
kept open for all requests, so that a module's ten questions cost one handshake.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import http.client
import json
import os
import re
import socket
import ssl
import time
import typing as t
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from ansible.module_utils.yunkube.host.patience import scaled

ADMIN_CONF = "/etc/kubernetes/admin.conf"
FIELD_MANAGER = "yunkube"

Json = dict[str, t.Any]

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"  # a label, with which kubeadm marks masters


def is_master(node: Json) -> bool:
    """Say whether a node is of the control plane."""
    return CONTROL_PLANE in (node.get("metadata", {}).get("labels") or {})


_FIELD = re.compile(
    r'"?(server|certificate-authority-data|certificate-authority|client-certificate-data|client-certificate'
    r'|client-key-data|client-key)"?:\s*"?([^\s",]+)'
)


# Reasons of an error: a server that another CA signed, and one of ours whose certificate is of no use.
OTHER_CLUSTER, CERTIFICATE = "OtherCluster", "Certificate"
NO_MASTER = "NoMaster"  # there is no kubeconfig
DAMAGED = "Damaged"  # there is one, which cannot be used
# OpenSSL's codes for a certificate that our CA signed: not valid yet, expired, without the host's name or address.
_OF_NO_USE = (9, 10, 62, 64)


class KubeError(Exception):
    """The API said no, or nothing at all; `status` is 0 when no answer came."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        """Say what happened in one line."""
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def silent(self) -> bool:
        """True when nobody answered, so that asking again may help."""
        return self.status == 0 and self.reason != DAMAGED


class Kubeconfig(t.NamedTuple):
    """What a kubeconfig of kubeadm says: one cluster, one user."""

    server: str
    ca: bytes
    certificate: bytes
    key: bytes


def parse_kubeconfig(text: str) -> Kubeconfig:
    """Read the kubeconfig that kubeadm writes, without a YAML parser: it holds one cluster and one user."""
    fields = dict(reversed(_FIELD.findall(text)))

    def content(name: str) -> bytes:
        if f"{name}-data" not in fields:
            return Path(fields[name]).read_bytes()
        try:
            return base64.b64decode(fields[f"{name}-data"])
        except ValueError as error:
            raise KubeError(f"{name}-data of the kubeconfig is not base64: {error}", reason=DAMAGED) from error

    try:
        return Kubeconfig(
            fields["server"], content("certificate-authority"), content("client-certificate"), content("client-key")
        )
    except KeyError as error:
        raise KubeError(f"the kubeconfig has no {error.args[0]}", reason=DAMAGED) from error
    except OSError as error:
        message = f"the kubeconfig names {error.filename}, which cannot be read: {error.strerror}"
        raise KubeError(message, reason=DAMAGED) from error


def read_kubeconfig(path: str = ADMIN_CONF) -> Kubeconfig:
    """Read a kubeconfig file."""
    with _errors_of(path):
        return parse_kubeconfig(Path(path).read_text())


@contextlib.contextmanager
def _errors_of(path: str) -> t.Iterator[None]:
    """Let errors of what a kubeconfig file holds say which file it is, and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise KubeError(f"{path} does not exist: this host is not a master yet", reason=NO_MASTER) from error
    except OSError as error:
        raise KubeError(f"{path} cannot be read: {error.strerror}") from error
    except (KubeError, UnicodeDecodeError) as error:
        why = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        remedy = "restore it from a backup"
        if path == ADMIN_CONF:
            remedy += ", or move it away and see docs/faults/kubeconfig-missing.md, which writes it again"
        raise KubeError(f"{path} cannot be used: {why}; {remedy}", reason=DAMAGED) from error


def _client_context(config: Kubeconfig) -> ssl.SSLContext:
    """Trust the cluster's CA alone and show the client certificate; the key never touches a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=config.ca.decode())
    except (ssl.SSLError, ValueError) as error:
        raise KubeError("the kubeconfig's CA certificate does not parse", reason=DAMAGED) from error
    memory = os.memfd_create("client")
    try:
        os.write(memory, config.certificate + b"\n" + config.key)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    except ssl.SSLError as error:
        message = "the kubeconfig's client certificate and key do not parse, or are of two pairs"
        raise KubeError(message, reason=DAMAGED) from error
    finally:
        os.close(memory)
    return context


class KubeApi:
    """One API server, spoken to as one user."""

    def __init__(self, config: Kubeconfig, timeout: float = 10) -> None:
        """Prepare; nothing is sent before the first request."""
        self.server = config.server
        self._context = _client_context(config)
        self._timeout = scaled(timeout)
        self._connection: http.client.HTTPSConnection | None = None
        self._kinds: dict[str, dict[str, Json]] = {}

    @classmethod
    def from_file(cls, path: str = ADMIN_CONF, timeout: float = 10) -> KubeApi:
        """Use the kubeconfig at `path`."""
        config = read_kubeconfig(path)
        with _errors_of(path):
            return cls(config, timeout)

    def get(self, path: str, **query: str) -> Json:
        """Read an object or a list."""
        return self.request("GET", path, query=query)

    def find(self, path: str) -> Json | None:
        """Read an object that may not be there."""
        try:
            return self.get(path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Json]:
        """Read a list's items."""
        return t.cast("list[Json]", self.get(path, **query).get("items") or [])

    def post(self, path: str, body: Json, **query: str) -> Json:
        """Create an object."""
        return self.request("POST", path, body, query=query)

    def patch(self, path: str, body: Json | str, kind: str = "application/merge-patch+json", **query: str) -> Json:
        """Change an object."""
        return self.request("PATCH", path, body, kind=kind, query=query)

    def delete(self, path: str, **options: t.Any) -> bool:
        """Delete an object or a collection; False when it was not there."""
        try:
            self.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None)
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return True

    def apply(self, manifest: Json, *, text: str = "", dry_run: bool = False) -> Json:
        """Apply a manifest on the server's side: fields that it names become ours, others stay as they are.

        With its text in YAML, that is sent, and the manifest need only name the object.
        """
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        return self.patch(self.path_of(manifest), text or manifest, "application/apply-patch+yaml", **query)

    def path_of(self, manifest: Json) -> str:
        """Return the path of the object that a manifest describes, asking the API how its kind is called."""
        root, resource = self._resource(manifest)
        metadata = manifest["metadata"]
        place = f"/namespaces/{metadata.get('namespace', 'default')}" if resource["namespaced"] else ""
        return f"{root}{place}/{resource['name']}/{quote(metadata['name'])}"

    def in_namespace(self, manifest: Json) -> bool:
        """Say whether objects of a manifest's kind stand in a namespace."""
        return bool(self._resource(manifest)[1]["namespaced"])

    def forget_kinds(self) -> None:
        """Ask for kinds again: a definition was applied."""
        self._kinds.clear()

    def _resource(self, manifest: Json) -> tuple[str, Json]:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._kinds:
            found = self.get(root)["resources"]
            self._kinds[version] = {entry["kind"]: entry for entry in found if "/" not in entry["name"]}
        resource = self._kinds[version].get(kind)
        if resource is None:
            raise KubeError(f"the API server has no kind {kind} in {version}", status=404, reason="NotFound")
        return root, resource

    def watch(self, path: str, seconds: float, **query: str) -> t.Iterator[Json]:
        """Yield the events of a path as they come, for so many seconds; on a connection of its own."""
        deadline = time.monotonic() + seconds
        query = {**query, "watch": "1", "timeoutSeconds": str(max(1, int(seconds)))}
        connection = self._connect(timeout=seconds + 1)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}", headers={"Accept": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response.status, response.read(), "GET", path)
            while time.monotonic() < deadline and (line := response.readline()):
                yield t.cast("Json", json.loads(line))
        except (OSError, http.client.HTTPException) as error:
            raise self._silence(error) from error
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Json | str | None = None,
        *,
        kind: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Json:
        """Send one request and return the answer's JSON; `/livez` and the like come as {"text": ...}."""
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        status, content = self._exchange(method, target, data, {"Accept": "application/json", "Content-Type": kind})
        if status >= 300:
            raise _refusal(status, content, method, path)
        try:
            answer = json.loads(content)
        except ValueError:
            return {"text": content.decode(errors="replace")}
        return answer if isinstance(answer, dict) else {"text": str(answer)}

    def __enter__(self) -> KubeApi:  # noqa: PYI034 - Self came with Python 3.11
        """Be closed at the end of a `with`."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the connection go."""
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, target: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        for last in (False, True):
            fresh = self._connection is None
            try:
                self._connection = self._connection or self._connect(self._timeout)
                self._connection.request(method, target, data, headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection may have been closed by the other side; a POST may have been heard.
                if fresh or last or method == "POST" or isinstance(error, (TimeoutError, socket.timeout)):
                    raise self._silence(error) from error
        raise AssertionError("the second round returns or raises")

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        where = urlsplit(self.server)
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port or 443, timeout=timeout, context=self._context
        )
        with contextlib.suppress(AttributeError):
            # Small requests on a kept connection: do not wait to fill a packet.
            connection._create_connection = _without_delay  # type: ignore[attr-defined]  # noqa: SLF001
        return connection

    def _silence(self, error: Exception) -> KubeError:
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OF_NO_USE:
            message = f"{self.server} shows a certificate that cannot be used: {error.verify_message}"
            return KubeError(message, reason=CERTIFICATE)
        if isinstance(error, ssl.SSLCertVerificationError):
            return KubeError(
                f"{self.server} shows a certificate that this cluster's CA did not sign: {error.verify_message}",
                reason=OTHER_CLUSTER,
            )
        return KubeError(f"{self.server} does not answer: {str(error) or type(error).__name__}")


def instant(text: str) -> dt.datetime:
    """Read a time as the API writes it; Python reads no Z before 3.11."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _without_delay(*args: t.Any, **kwargs: t.Any) -> socket.socket:
    connection = socket.create_connection(*args, **kwargs)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _refusal(status: int, content: bytes, method: str, path: str) -> KubeError:
    """Make an error of a Status object, or of whatever came instead."""
    try:
        answer = json.loads(content)
        message, reason = str(answer["message"]), str(answer.get("reason") or "")
    except (ValueError, KeyError, TypeError):
        message, reason = content.decode(errors="replace").strip()[:200] or f"HTTP status {status}", ""
    return KubeError(f"{method} {path}: {message}", status, reason)
