# SPDX-License-Identifier: Apache-2.0
"""The Docker engine's HTTP API over its Unix socket, with nothing but the standard library."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import tarfile
import typing as t
from pathlib import Path
from urllib.parse import urlencode

DEFAULT_SOCKET = "/var/run/docker.sock"

Body = dict[str, t.Any] | bytes | t.BinaryIO | None


class DockerError(Exception):
    """What the engine answered, in one line; `status` is HTTP's, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status


def socket_path(environ: t.Mapping[str, str] = os.environ) -> str:
    """Return the engine's socket: that of DOCKER_HOST, else the usual one."""
    host = environ.get("DOCKER_HOST", "")
    if not host:
        return DEFAULT_SOCKET
    if not host.startswith("unix://"):
        raise DockerError(
            f"DOCKER_HOST is {host}, and hosts made by an engine elsewhere cannot be reached from here; unset it"
        )
    return host.removeprefix("unix://")


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Docker:
    """An engine that answered when this was made. Threads may share it: each request has its own connection."""

    def __init__(self, path: str, timeout_seconds: float = 120) -> None:
        """Ask the engine which API it speaks; DockerError when it does not answer."""
        self._path = path
        self._timeout = timeout_seconds
        self._prefix = ""
        response, _ = self._send("GET", "/_ping", None, {})
        self._prefix = f"/v{response.headers['Api-Version']}"

    def get(self, path: str, /, **query: object) -> t.Any:
        """Return what is there."""
        return self.request("GET", path, query)

    def find(self, path: str) -> t.Any:
        """Return what is there, None when nothing is."""
        try:
            return self.get(path)
        except DockerError as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise
            return None

    def read_file(self, container: str, path: str) -> bytes:
        """Return what a file of a container holds, nothing when it is not there."""
        try:
            data = self.archive(container, path)
        except DockerError:
            return b""
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            entry = archive.next()
            stream = archive.extractfile(entry) if entry else None
            return stream.read() if stream else b""

    def archive(self, container: str, path: str) -> bytes:
        """Return a tar of a path of a container, which may be stopped."""
        query = urlencode({"path": path})
        response, data = self._send("GET", f"{self._prefix}/containers/{container}/archive?{query}", None, {})
        if response.status != http.HTTPStatus.OK:
            raise DockerError(f"{container} has no {path}", response.status)
        return data

    def output(self, container: str, *argv: str) -> str:
        """Return what a program prints in a running container."""
        made = self.post(f"/containers/{container}/exec", {"Cmd": list(argv), "AttachStdout": True, "Tty": True})
        return str(self.post(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": True}) or "")

    def execute(self, container: str, *argv: str) -> None:
        """Run a program in a running container to its end."""
        made = self.post(f"/containers/{container}/exec", {"Cmd": list(argv)})
        self.post(f"/exec/{made['Id']}/start", {"Detach": False})

    def post(self, path: str, body: Body = None, /, **query: object) -> t.Any:
        """Make or change something."""
        return self.request("POST", path, query, body)

    def put(self, path: str, body: Body, /, **query: object) -> t.Any:
        """Send files."""
        return self.request("PUT", path, query, body)

    def delete(self, path: str, /, **query: object) -> None:
        """Remove something; that it is gone already is no fault."""
        try:
            self.request("DELETE", path, query)
        except DockerError as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise

    def request(self, method: str, path: str, query: t.Mapping[str, object], body: Body = None) -> t.Any:
        """Send one request and return the JSON of the answer; of a stream of answers the last one."""
        headers = {"Content-Type": "application/x-tar"}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
        text = urlencode({key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()})
        response, data = self._send(method, f"{self._prefix}{path}?{text}", body, headers)
        answer = _last_json(data)
        # A stream begins with 200 and reports a failure at its end.
        if response.status >= http.HTTPStatus.BAD_REQUEST or (isinstance(answer, dict) and "error" in answer):
            known = answer if isinstance(answer, dict) else {}
            message = str(known.get("message") or known.get("error") or response.reason)
            raise DockerError(" ".join(message.split()), response.status)
        return answer

    def _send(
        self, method: str, url: str, body: bytes | t.BinaryIO | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = _SocketConnection(self._path, self._timeout)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said why, on a full disk
                connection.request(method, url, body, headers)
            response = connection.getresponse()
            return response, response.read()
        except PermissionError as error:
            raise DockerError(
                f"no permission to use {self._path}; add your user to its group "
                f"({_group(self._path)}) and log in again, or run as root"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(f"the Docker engine does not answer on {self._path}: {error}") from error
        finally:
            connection.close()


def _last_json(data: bytes) -> t.Any:
    lines = data.split(b"\r\n")
    last = next((line for line in reversed(lines) if line.strip()), b"null")
    try:
        return json.loads(last)
    except ValueError:
        return last.decode(errors="replace")


def _group(path: str) -> str:
    try:
        return Path(path).group()
    except (KeyError, OSError):
        return "docker"
