# SPDX-License-Identifier: Apache-2.0
"""A server of releases on loopback: files with their checksums, and a registry, each of which misbehaves on request."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import http.server
import io
import ipaddress
import json
import ssl
import tarfile
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Types(t.NamedTuple):
    """What the parts of an image are called."""

    listing: str
    manifest: str
    config: str
    layer: str


OCI = Types(
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)
DOCKER = Types(
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


class Fault(t.NamedTuple):
    """What is wrong with an answer."""

    status: int = 0  # instead of the file
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None  # bytes, and then the connection ends
    corrupt: bool = False  # the last byte is another
    trickle: float = 0.0  # seconds between the first 200 bytes
    delay: float = 0.0  # seconds before the answer
    unsized: bool = False  # without a Content-Length


class Asked(t.NamedTuple):
    """A request."""

    path: str
    range: str
    authorization: str


def sha256(content: bytes) -> str:
    """Return the digest of content."""
    return hashlib.sha256(content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, with the `faults` of a path first; the last fault of a list stays."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """Listen on a free port of loopback."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if context else "http"
        if context:
            # The handshake is the handler's: a client that is slow with it keeps nobody else waiting.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.digests: dict[str, str] = {}  # of images, for the tests
        self.faults: dict[str, list[Fault]] = {}
        self.redirects: dict[str, str] = {}  # path -> URL
        self.asked: list[Asked] = []
        self.token = ""  # what a registry's client must show; it is given out at /token
        self.knows_ranges = True
        self.together: threading.Barrier | None = None  # for files that are asked for as a whole
        self.silent_after: int | None = None  # requests

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Say nothing of clients that went away."""

    def add(self, path: str, content: bytes) -> str:
        """Serve a file, with its checksum beside it; return its digest."""
        self.files[path] = content
        self.files[f"{path}.sha256"] = f"{sha256(content)}\n".encode()
        return sha256(content)

    def paths(self) -> list[str]:
        """Return the paths that were asked for."""
        return [one.path for one in self.asked]

    def add_image(self, name: str, programs: dict[str, bytes], cdn: Server | None = None, types: Types = OCI) -> str:
        """Serve an image for two architectures from /v2/`name`, its blobs by way of `cdn`; return the list's digest."""
        windows = {"os": "windows", "architecture": "amd64"}
        entries = [self._manifest(name, types.manifest, b"{ }") | {"platform": windows}]
        for architecture in ("amd64", "arm64"):
            raw = tar_of({path: content + architecture.encode() for path, content in programs.items()})
            layer = gzip.compress(raw, mtime=0)
            config = json.dumps({
                "architecture": architecture,
                "os": "linux",
                "config": {"Entrypoint": ["/pause"]},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(raw)}"]},
            }).encode()  # fmt: skip
            manifest = json.dumps({
                "schemaVersion": 2,
                "mediaType": types.manifest,
                "config": self._blob(name, types.config, config, cdn),
                "layers": [self._blob(name, types.layer, layer, cdn)],
            }).encode()  # fmt: skip
            platform = {"os": "linux", "architecture": architecture}
            entries.append(self._manifest(name, types.manifest, manifest) | {"platform": platform})
        attestation = {"os": "unknown", "architecture": "unknown"}
        entries.append(self._manifest(name, types.manifest, b"{}") | {"platform": attestation})
        index = json.dumps({"schemaVersion": 2, "mediaType": types.listing, "manifests": entries}).encode()
        return str(self._manifest(name, types.listing, index)["digest"])

    def _manifest(self, name: str, media_type: str, content: bytes) -> dict[str, t.Any]:
        path = f"/v2/{name}/manifests/sha256:{sha256(content)}"
        self.files[path], self.types[path] = content, media_type
        return {"mediaType": media_type, "digest": f"sha256:{sha256(content)}", "size": len(content)}

    def _blob(self, name: str, media_type: str, content: bytes, cdn: Server | None) -> dict[str, t.Any]:
        path = f"/v2/{name}/blobs/sha256:{sha256(content)}"
        (cdn or self).files[path] = content
        if cdn:
            self.redirects[path] = f"{cdn.url}{path}"
        return {"mediaType": media_type, "digest": f"sha256:{sha256(content)}", "size": len(content)}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as releases and registries do."""

    server: Server

    def do_GET(self) -> None:
        """Send what was asked for, or what is wrong with it."""
        server, path = self.server, urlsplit(self.path).path
        asked = Asked(path, self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        server.asked.append(asked)
        if server.silent_after is not None and len(server.asked) > server.silent_after:
            time.sleep(60)
            return
        if path == "/token":
            scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
            self._send(200, json.dumps({"token": f"{server.token}-{scope}"}).encode())
            return
        if path.startswith("/v2/") and server.token and not self._allowed(path, asked.authorization):
            return
        waiting = server.faults.get(path, [])
        fault = (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if waiting else Fault()
        time.sleep(fault.delay)
        if server.together and not asked.range:
            server.together.wait(10)
        if fault.status:
            self._send(fault.status, b"", fault.headers)
        elif path in server.redirects:
            self._send(302, b"", (("Location", server.redirects[path]),))
        elif path in server.files:
            self._file(server.files[path], fault, asked.range, server.types.get(path, "application/octet-stream"))
        else:
            self._send(404, b"")

    def _allowed(self, path: str, authorization: str) -> bool:
        name = path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        scope = f"repository:{name}:pull"
        if authorization == f"Bearer {self.server.token}-{scope}":
            return True
        wanted = f'Bearer realm="{self.server.url}/token",service="registry",scope="{scope}"'
        self._send(401, b"", (("WWW-Authenticate", wanted),))
        return False

    def _file(self, content: bytes, fault: Fault, wanted: str, media_type: str) -> None:
        if fault.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(wanted[6:-1]) if wanted.endswith("-") else 0
        if not wanted or not self.server.knows_ranges:
            start, status = 0, 200
        elif start >= len(content):
            self._send(416, b"")
            return
        else:
            status = 206
        content = content[start:1] if wanted == "bytes=0-0" else content[start:]
        self.send_response(status)
        if not fault.unsized:
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", media_type)
        self.end_headers()
        if fault.trickle:
            for number in range(min(200, len(content))):
                self.wfile.write(content[number : number + 1])
                self.wfile.flush()
                time.sleep(fault.trickle)
            content = content[200:]
        self.wfile.write(content[: fault.cut_after])

    def _send(self, status: int, content: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server."""
    server = Server(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a tar of files, all of which can be run."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tgz_of(files: dict[str, bytes]) -> bytes:
    """Return the same, compressed."""
    return gzip.compress(tar_of(files), mtime=0)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server of 127.0.0.1 speaks TLS with, and the file of its certificate, which nobody trusts yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "releases")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.crt", folder / "server.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public
