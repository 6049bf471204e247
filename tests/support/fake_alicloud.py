# SPDX-License-Identifier: Apache-2.0
"""An Alibaba Cloud of one's own: HTTPS, the RPC signature, and answers of the test's choice.

The protocol: https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism (signature version 1.0).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from fake_kube_api import copy_certificates
from serving import HttpsServer

Json = dict[str, Any]

KEY_ID, SECRET = "LTAIexample", "example-secret"
CLOCK = timedelta(minutes=15)  # that a timestamp may differ


# Of the protocol and of the SDK itself; `on` is a stray one of footmark's.
COMMON = {
    "Action", "Version", "RegionId", "AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion",
    "SignatureType", "SignatureNonce", "Timestamp", "SecurityToken", "Format", "on",
}  # fmt: skip


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        """Name the HTTP status and the API's code."""
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class FakeCloud(HttpsServer):
    """The server: `actions` answer by their name, `log` holds what was asked."""

    def __init__(self, folder: Path) -> None:
        """Start on a free port, with certificates in the folder."""
        copy_certificates(folder)
        self.ca = folder / "ca.crt"
        self.keys = {KEY_ID: (SECRET, "")}  # key id -> secret, token
        self.actions: dict[str, Callable[[Json], Json]] = {}
        self.log: list[Json] = []
        self.requests: list[str] = []  # as they came: line, headers and body
        self.refusals: list[RefusedError] = []  # for the next calls, one each
        self.page = b""  # the answer of something that is no API, such as a proxy
        self.silent = 0  # so many calls are carried out and not answered
        fake = self

        class Handler(_Handler):
            cloud = fake

        super().__init__(folder, Handler)

    def answer(self, method: str, path: str) -> Json:
        """Return the answer to a request; RefusedError for an error."""
        given = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
        self._check(method, given)
        self.log.append(given)
        if self.refusals:
            raise self.refusals.pop(0)
        action = self.actions.get(given["Action"])
        if action is None:
            raise RefusedError(404, "InvalidAction.NotFound")
        return {"RequestId": f"R-{len(self.log)}", **action(given)}

    def _check(self, method: str, given: Json) -> None:
        """Refuse what the real one would: an unknown key, a wrong signature, token or time."""
        if given.get("AccessKeyId") not in self.keys:
            raise RefusedError(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        secret, token = self.keys[given["AccessKeyId"]]
        if given.get("SecurityToken", "") != token:
            raise RefusedError(400, "InvalidSecurityToken.MismatchWithAccessKey")
        if given.get("Signature") != signature(method, given, secret):
            words = (
                f"Specified signature does not match our calculation. server string to sign is:{to_sign(method, given)}"
            )
            raise RefusedError(400, "SignatureDoesNotMatch", words)
        at = datetime.strptime(given["Timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - at) > CLOCK:
            raise RefusedError(400, "InvalidTimeStamp.Expired")


def signature(method: str, given: Json, secret: str) -> str:
    """Return the signature that these parameters must have."""
    digest = hmac.new(f"{secret}&".encode(), to_sign(method, given).encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def to_sign(method: str, given: Json) -> str:
    """Return the text that is signed."""

    def encoded(text: str) -> str:
        return quote(text, safe="-_.~")

    pairs = sorted((key, value) for key, value in given.items() if key != "Signature")
    query = "&".join(f"{encoded(key)}={encoded(value)}" for key, value in pairs)
    return f"{method}&%2F&{encoded(query)}"


class _Handler(BaseHTTPRequestHandler):
    cloud: FakeCloud

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        self.cloud.requests.append(f"{self.path}\n{self.headers}\n{body}")
        try:
            status, said = 200, self.cloud.answer("POST", self.path)
        except RefusedError as refused:
            status = refused.status
            said = {"Code": refused.code, "Message": refused.message, "RequestId": "R-0", "HostId": "fake"}
        if self.cloud.silent:
            self.cloud.silent -= 1
            self.close_connection = True
            return
        content = self.cloud.page or json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
