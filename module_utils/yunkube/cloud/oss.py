# SPDX-License-Identifier: Apache-2.0
"""Keep the files of a bundle in a bucket of OSS, through oss2: the only place that knows it.

An object is named by the sha256 of its content, so that all clusters of an account may share a bucket. It is there only
when whole: one call writes it. Signatures are those of version 4, which name the region.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.cloud.credentials import Credentials
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.control.cloud_rules import BUCKET_URL

T = TypeVar("T")

PREFIX: Final = "yunkube"  # where the URL names none: nothing lies between the objects of others
SIGNED_SECONDS: Final = 3600  # that an address of a file lasts; it is made when a host begins to fetch
ANSWER_SECONDS: Final = 60  # to connect, and between two answers
TRIES: Final = 3
REGION = "alicloud_region and alicloud_endpoints.oss must be those of the bucket"


class Stored(NamedTuple):
    """An object as a list shows it."""

    size: int  # bytes
    etag: str  # MD5 of the content in hex, where one call wrote it and the bucket does not encrypt


class Bucket:
    """The objects under a prefix of one bucket."""

    def __init__(
        self,
        url: str,
        region: str,
        endpoint: str,
        credentials: Callable[[], Credentials],
        ca: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name it by `oss://bucket/prefix`; ValueError where a value cannot be.

        `endpoint` is a host name or an https URL; `credentials` finds them, asked again when those of a role end;
        `ca` is a PEM file with the authority of the endpoint.
        """
        found = BUCKET_URL.fullmatch(url)
        address = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        if not found or not region:
            raise ValueError(f"{url} in region {region or '(none)'} is not a bucket: see cluster_bundle_url")
        if address.scheme != "https" or not address.hostname:
            raise ValueError(f"{endpoint} is not an OSS endpoint: write a host name or an https URL")
        self.prefix = found["prefix"].strip("/") or PREFIX
        self.name = f"oss://{found['bucket']}/{self.prefix}"
        self._sleep = sleep
        import oss2  # noqa: PLC0415 - slow, and not on every control machine's path
        import requests  # noqa: PLC0415
        from oss2.credentials import Credentials as Key  # noqa: PLC0415

        self._oss2 = oss2
        # It logs requests with the token of STS in them.
        logger = logging.getLogger("oss2")
        logger.propagate = False
        logger.addHandler(logging.NullHandler())

        class Provider(oss2.credentials.CredentialsProvider):  # type: ignore[misc]
            """Gives what there is, and asks again before it ends."""

            known: Credentials | None = None

            def get_credentials(self) -> Any:
                if self.known is None or not self.known.fresh:
                    self.known = credentials()
                return Key(self.known.key_id, self.known.secret, self.known.token)

        class Adapter(requests.adapters.HTTPAdapter):
            """Trusts the given authority, which a session of requests forgets where REQUESTS_CA_BUNDLE is set."""

            def send(self, *given: Any, **more: Any) -> Any:
                return super().send(*given, **more | ({"verify": ca} if ca else {}))

        self._session = oss2.Session(adapter=Adapter())
        self._bucket = oss2.Bucket(
            oss2.ProviderAuthV4(Provider()),
            address.geturl(),
            found["bucket"],
            is_cname=_is_own_name(address.hostname),
            session=self._session,
            connect_timeout=ANSWER_SECONDS,
            enable_crc=False,  # Content-MD5 is checked by the server instead
            region=region,
        )

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._session.session.close()

    def objects(self) -> dict[str, Stored]:
        """Return what is under the prefix, by the name after it."""

        def ask() -> dict[str, Stored]:
            found = self._oss2.ObjectIteratorV2(
                self._bucket, prefix=f"{self.prefix}/", delimiter="/", max_keys=1000, max_retries=1
            )
            return {one.key.rpartition("/")[2]: Stored(one.size, one.etag) for one in found if not one.is_prefix()}

        return self._call("ListObjects", ask)

    def holds(self, there: Stored | None, path: Path, md5: str) -> bool:
        """Say whether an object has the content of a file whose MD5 this is."""
        if there is None or there.size != path.stat().st_size:
            return False
        return there.etag.lower() == md5 or self._crc(path.name) == _crc_of(path)

    def put(self, path: Path, md5: str) -> None:
        """Write a file to the object of its name, over what has that name."""
        headers = {
            "Content-MD5": base64.b64encode(bytes.fromhex(md5)).decode(),
            "Content-Type": "application/octet-stream",
        }

        def write() -> None:
            with path.open("rb") as stream:
                self._bucket.put_object(self._key(path.name), stream, headers=headers)

        self._call("PutObject", write)

    def try_to_read(self, name: str) -> None:
        """Read one byte, to know that hosts may read with these credentials."""
        self._call("GetObject", lambda: self._bucket.get_object(self._key(name), byte_range=(0, 0)).read())

    def sign(self, name: str) -> str:
        """Return an address at which anybody can read an object for a while."""
        return str(self._bucket.sign_url("GET", self._key(name), SIGNED_SECONDS, slash_safe=True))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _crc(self, name: str) -> int:
        """Return the CRC-64 of an object: that of its content in a bucket that encrypts, too."""
        return int(self._call("GetObject", lambda: self._bucket.head_object(self._key(name)).server_crc) or 0)

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Return what a call does, made again where no answer or one of the 500s came; CloudError in the end."""
        errors = self._oss2.exceptions
        for left in reversed(range(TRIES)):
            try:
                return call()
            except errors.RequestError as error:
                final, passing = CloudError(action, "no answer", str(error.exception), product="oss"), True
            except errors.OssError as error:
                final, passing = _refusal(action, self._bucket.bucket_name, error), error.status >= 500
            if not passing:
                break
            if left:
                self._sleep(2)
        raise final


def _refusal(action: str, bucket: str, error: Any) -> CloudError:
    """Return what OSS refused, with what to do."""
    message, remedy = f"{bucket}: {error.message}", ""
    if "specified endpoint" in error.message or "region" in error.message.lower():
        message, remedy = f"{message.rstrip('. ')} {error.details.get('Endpoint', '')}", REGION
    elif "does not belong to you" in error.message:
        remedy = "it is a bucket of another account: set one of your own in cluster_bundle_url"
    code = error.code or f"HTTP {error.status}"
    return CloudError(action, code, message, error.request_id, product="oss", remedy=remedy)


def _is_own_name(host: str) -> bool:
    """Say whether it is a domain name that is bound to the bucket, and not an address of the service."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return not f".{host}".endswith(".aliyuncs.com")
    return False


def _crc_of(path: Path) -> int:
    import oss2  # noqa: PLC0415

    crc = oss2.utils.Crc64()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            crc.update(block)
    return int(crc.crc)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which OSS compares what arrives with."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
