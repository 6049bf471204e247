# SPDX-License-Identifier: Apache-2.0
"""An OSS of one's own: HTTPS, buckets by path as with an IP address, version 4 of the signature, and faults on demand.

Of the reference, each check with its page under https://www.alibabacloud.com/help/en/oss/:
- the signature in the header and in the URL: developer-reference/recommend-to-use-signature-version-4,
  developer-reference/add-signatures-to-urls;
- an address lasts 1 to 604,800 s (user-guide/0002-00000232), and an expired one is refused (support/0002-00000236);
- a clock may be 15 min off, and codes of 403: how-to-troubleshoot-403-status-code-when-you-access-oss;
- the region of a signature is the bucket's: user-guide/0002-00000228 (its code is assumed: the page has none);
- the list: developer-reference/listobjectsv2; Content-MD5 and ETag: developer-reference/putobject.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import re
import threading
import warnings
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from fake_alicloud import KEY_ID, SECRET
from fake_kube_api import copy_certificates
from serving import HttpsServer

CLOCK = timedelta(minutes=15)
LISTING = {
    "list-type", "prefix", "delimiter", "max-keys", "encoding-type", "start-after", "continuation-token", "fetch-owner",
}  # fmt: skip
SIGNED = {
    "x-oss-date", "x-oss-expires", "x-oss-credential", "x-oss-signature-version", "x-oss-signature",
    "x-oss-security-token", "x-oss-additional-headers",
}  # fmt: skip
DENIED = "You have no right to access this object because of bucket acl."


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "refused", more: str = "") -> None:
        """Name the HTTP status and what is in the body."""
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more


class FakeOss(HttpsServer):
    """The server: `buckets` hold objects by key, `log` is what was asked and allowed."""

    def __init__(self, folder: Path, region: str = "cn-hangzhou") -> None:
        """Start on a free port, with certificates in the folder."""
        copy_certificates(folder)
        self.ca, self.region = folder / "ca.crt", region
        self.keys = {KEY_ID: (SECRET, "")}  # key id -> secret, token
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.foreign: set[str] = set()  # buckets of another account
        self.denied: set[str] = set()  # actions that RAM does not allow
        self.refusals: list[RefusedError] = []  # for the next requests, one each
        self.log: list[tuple[str, str]] = []  # action, key
        self.page = 1000  # the most that a list holds
        self.encrypts = False  # then the ETag is not the MD5
        self.late = timedelta()  # how far its clock is ahead
        self.stall = False  # uploads get no answer after their first half
        self.stalled = threading.Event()
        fake = self

        class Handler(_Handler):
            oss = fake

        super().__init__(folder, Handler)

    def close(self) -> None:
        """Stop."""
        super().close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # a socket that a client left when it did not trust us
            gc.collect()

    def etag(self, content: bytes) -> str:
        """Return the ETag of an object."""
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest().upper()
        return digest[::-1] if self.encrypts else digest

    def check(self, method: str, path: str, headers: dict[str, str]) -> tuple[str, str, dict[str, str]]:
        """Return bucket, key and parameters of a request that is signed as it must be; RefusedError of another."""
        split = urlsplit(path)
        given = dict(parse_qsl(split.query, keep_blank_values=True))
        bucket, _, key = unquote(split.path).lstrip("/").partition("/")
        in_url = "x-oss-signature" in given
        if in_url:
            if set(given) - SIGNED:
                raise RefusedError(400, "InvalidArgument", f"unknown: {set(given) - SIGNED}")
            credential, seen = given["x-oss-credential"], given["x-oss-signature"]
            date, token = given["x-oss-date"], given.get("x-oss-security-token", "")
        else:
            form = r"OSS4-HMAC-SHA256 Credential=([^,]+), ?Signature=([0-9a-f]{64})"
            found = re.fullmatch(form, headers.get("authorization", ""))
            if not found:
                raise RefusedError(403, "AccessDenied", "Anonymous access is forbidden for this operation.")
            credential, seen = found.groups()
            date, token = headers["x-oss-date"], headers.get("x-oss-security-token", "")
        key_id, day, region, *rest = credential.split("/")
        if key_id not in self.keys:
            raise RefusedError(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist.")
        if region != self.region or rest != ["oss", "aliyun_v4_request"]:
            raise RefusedError(400, "InvalidArgument", "Invalid signing region in Authorization header.")
        secret, wanted = self.keys[key_id]
        if token != wanted:
            raise RefusedError(403, "SecurityTokenExpired", "The security token you provided has expired.")
        self._check_time(date, int(given["x-oss-expires"]) if in_url else None)
        scope = f"{day}/{region}/oss/aliyun_v4_request"
        canonical = _canonical(method, f"/{bucket}/{key}", given, headers)
        to_sign = f"OSS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        if not date.startswith(day) or seen != _sign(secret, scope, to_sign):
            words = "The request signature we calculated does not match the signature you provided."
            raise RefusedError(403, "SignatureDoesNotMatch", words, f"<StringToSign>{escape(to_sign)}</StringToSign>")
        return bucket, key, given

    def _check_time(self, date: str, seconds: int | None) -> None:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        now = datetime.now(UTC) + self.late
        if seconds is None:
            if abs(now - at) > CLOCK:
                words = "The difference between the request time and the current time is too large."
                raise RefusedError(403, "RequestTimeTooSkewed", words)
        elif not 1 <= seconds <= 604800:
            raise RefusedError(400, "AuthorizationQueryParametersError", "Invalid expires.")
        elif now > at + timedelta(seconds=seconds) or now < at - CLOCK:
            raise RefusedError(403, "AccessDenied", "Request has expired.")

    def objects(self, action: str, bucket: str, key: str) -> dict[str, bytes]:
        """Return the objects of a bucket for an action that is allowed."""
        self.log.append((action, key))
        if self.refusals:
            raise self.refusals.pop(0)
        if bucket not in self.buckets:
            raise RefusedError(404, "NoSuchBucket", "The specified bucket does not exist.")
        if bucket in self.foreign:
            raise RefusedError(403, "AccessDenied", "The bucket you access does not belong to you.")
        if action in self.denied:
            raise RefusedError(403, "AccessDenied", DENIED)
        return self.buckets[bucket]


def _canonical(method: str, path: str, given: dict[str, str], headers: dict[str, str]) -> str:
    query = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in given.items() if k != "x-oss-signature")
    signed = sorted(
        (name, value)
        for name, value in headers.items()
        if name.startswith("x-oss-") or name in ("content-type", "content-md5")
    )
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    asked = "&".join(f"{key}={value}" if value else key for key, value in query)
    payload = headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD")
    return f"{method}\n{quote(path, safe='/-_.~')}\n{asked}\n{lines}\n\n{payload}"


def _sign(secret: str, scope: str, text: str) -> str:
    key = f"aliyun_v4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    oss: FakeOss
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(int(headers.get("content-length") or 0))
        if body is None:
            return
        try:
            bucket, key, given = self.oss.check(method, self.path, headers)
            if method == "PUT":
                self._put(bucket, key, body, headers)
            elif key:
                self._get(bucket, key, headers)
            else:
                self._list(bucket, given)
        except RefusedError as refused:
            text = f"<Code>{refused.code}</Code><Message>{escape(refused.message)}</Message>{refused.more}"
            self._send(refused.status, f"<Error>{text}<RequestId>R-1</RequestId></Error>".encode())

    def _body(self, length: int) -> bytes | None:
        """Return what was sent; nothing where that was not all of it, as when its sender was killed."""
        if length and self.oss.stall:
            self.rfile.read(length // 2)
            self.oss.stalled.set()
            self.rfile.read()
            self.close_connection = True
            return None
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _put(self, bucket: str, key: str, body: bytes, headers: dict[str, str]) -> None:
        objects = self.oss.objects("PutObject", bucket, key)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if headers.get("content-md5", digest) != digest:
            raise RefusedError(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        objects[key] = body
        self._send(200, b"", ETag=f'"{self.oss.etag(body)}"')

    def _get(self, bucket: str, key: str, headers: dict[str, str]) -> None:
        content = self.oss.objects("GetObject", bucket, key).get(key)
        if content is None:
            raise RefusedError(404, "NoSuchKey", "The specified key does not exist.")
        import oss2  # noqa: PLC0415

        crc = oss2.utils.Crc64()
        crc.update(content)
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        part = content[int(ranged[1]) : int(ranged[2]) + 1] if ranged else content
        more = {"ETag": f'"{self.oss.etag(content)}"', "x-oss-hash-crc64ecma": str(crc.crc)}
        self._send(206 if ranged else 200, part, **more)

    def _list(self, bucket: str, given: dict[str, str]) -> None:
        objects = self.oss.objects("ListObjects", bucket, "")
        if set(given) - LISTING or given.get("list-type") != "2":
            raise RefusedError(400, "InvalidArgument", f"unknown: {set(given) - LISTING}")
        prefix, after = given.get("prefix", ""), given.get("continuation-token", "")
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        folders = {key[: key.index("/", len(prefix)) + 1] for key in keys if "/" in key[len(prefix) :]}
        keys = [key for key in keys if "/" not in key[len(prefix) :]]
        limit = min(self.oss.page, int(given.get("max-keys") or 100))
        shown, cut = keys[:limit], len(keys) > limit
        entries = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-11-29T12:00:00.000Z</LastModified>"
            f'<ETag>"{self.oss.etag(objects[key])}"</ETag><Type>Normal</Type><Size>{len(objects[key])}</Size>'
            "<StorageClass>Standard</StorageClass></Contents>"
            for key in shown
        )
        entries += "".join(f"<CommonPrefixes><Prefix>{quote(one)}</Prefix></CommonPrefixes>" for one in folders)
        following = f"<NextContinuationToken>{quote(shown[-1])}</NextContinuationToken>" if cut else ""
        text = (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{quote(prefix)}</Prefix><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(cut).lower()}</IsTruncated>{following}{entries}</ListBucketResult>"
        )
        self._send(200, text.encode())

    def _send(self, status: int, content: bytes, **more: Any) -> None:
        self.send_response(status)
        for name, value in {"x-oss-request-id": "R-1", "Content-Length": str(len(content)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
