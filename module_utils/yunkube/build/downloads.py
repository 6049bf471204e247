# SPDX-License-Identifier: Apache-2.0
"""Download files over HTTP that a digest names, from the first of several places that has them.

A file appears under its digest only when whole and verified. What came before an interruption stays beside it and is
continued by a range request, also from another place: the digest decides, and a second look starts from nothing.
"""

from __future__ import annotations

import dataclasses
import email.utils
import functools
import hashlib
import http
import http.client
import json
import ssl
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.yunkube.build.meter import Meter
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.tools import BuildError
from ansible.module_utils.yunkube.host.file_lock import locked

AGENT = "yunkube"
BLOCK = 1 << 16
FILE_SECONDS = 7200.0  # how long to wait for another run that downloads the same file
WORTH = 1 << 20  # bytes: a round of tries that brought so much does not count as one that failed
MEASURE_SECONDS = 5.0
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # what a server may answer differently in a while
SMALL = 4 << 20  # bytes: the most that a token or a manifest of a registry has
MOST = 4 << 30  # bytes: the most that any file has whose size is not known


@dataclasses.dataclass(frozen=True)
class Limits:
    """When to give up."""

    silence: float = 30.0  # seconds without a byte
    slow_seconds: float = 60.0  # in which fewer than `slow_bytes` came: too slow to wait for
    slow_bytes: int = 60 << 10
    rounds: int = 4  # tries at every place
    pause: float = 1.0  # seconds before the second round; doubles
    longest_pause: float = 90.0  # a server that asks for more is not waited for
    slow_is_final: bool = False  # whether a place that was too slow is not asked again


# Where a build can follow: below 64 KiB/s.
AUTO = Limits(slow_seconds=30.0, slow_bytes=30 * 64 << 10, slow_is_final=True)


class Place(t.NamedTuple):
    """Where a file may be."""

    url: str
    site: str  # the part of `url` that all files of this server or mirror share
    accept: str = "*/*"
    repository: str = ""  # of a registry, for which a token may have to be asked for


class Got(t.NamedTuple):
    """A file that was downloaded and verified."""

    path: Path
    url: str  # where it came from


class _Wanted(t.NamedTuple):
    sha256: str
    size: int | None  # bytes
    most: int  # bytes


class TryError(Exception):
    """A try that failed."""

    def __init__(self, text: str, *, final: bool = False, wait: float = 0.0) -> None:
        """Say why; `final` if there is no use in another try, `wait` if the server said for how long (seconds)."""
        super().__init__(text)
        self.final, self.wait = final, wait


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps credentials for the host that they were meant for."""

    def redirect_request(self, req: t.Any, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str) -> t.Any:
        """Return the next request; urllib leaves out "unredirected" headers, so only the same origin gets them."""
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if new is not None and token and _origin(new.full_url) == _origin(req.full_url):
            new.add_unredirected_header("Authorization", token)
        return new


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def opener() -> urllib.request.OpenerDirector:
    """Return what opens URLs: HTTP and HTTPS only, by the proxies of the environment."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        made.add_handler(handler)
    return made


class Downloads:
    """Files that are downloaded to a folder, each named by its sha256."""

    def __init__(self, folder: Path, limits: Limits | None = None, meter: Meter | None = None) -> None:
        """Keep files in `folder`."""
        self.folder, self.limits = folder, limits or Limits()
        self.meter = meter or Meter()
        self.notes: list[str] = []  # what a person should know of places that failed, although another one served
        self._open = opener().open
        self._tokens: dict[tuple[str, str], str] = {}
        self._rotten: set[str] = set()  # sites that sent other bytes than the digest says: the last to be asked
        self._used: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def clean(self) -> None:
        """Remove the files that were used: what they were needed for is made."""
        for path in self._used:
            path.unlink(missing_ok=True)

    def file(self, name: str, places: t.Sequence[Place], sha256: str, size: int | None = None, most: int = MOST) -> Got:
        """Return the file with this digest; `size` in bytes, or `most`, is where more means that it is another one."""
        path = self.folder / sha256
        with locked(self.folder / f".{sha256}.lock", FILE_SECONDS):
            self._used.add(path)
            self.meter.expect(sha256, size)
            origin = path.with_suffix(".from")
            if path.exists() and digest_file(path) == sha256:  # of this run, or of one that was killed after it
                self.meter.expect(sha256, path.stat().st_size)
                self.meter.had(path.stat().st_size)
                return Got(path, origin.read_text() if origin.exists() else "")
            url = self._bring(name, places, path, _Wanted(sha256, size, size or most))
            origin.write_text(url)
            self._used.add(origin)
            return Got(path, url)

    def measure(self, place: Place, sha256: str) -> None:
        """Learn the size of a file that is to be downloaded, if its place says it soon."""
        try:
            with self.open(place, {"Range": "bytes=0-0"}, timeout=MEASURE_SECONDS) as answer:
                told = answer.headers.get("Content-Range") or f"/{answer.headers.get('Content-Length', '')}"
        except TryError:
            return
        size = told.rpartition("/")[2]
        self.meter.expect(sha256, int(size) if size.isdigit() else None)

    def _bring(self, name: str, places: t.Sequence[Place], path: Path, wanted: _Wanted) -> str:
        part = path.with_suffix(".part")
        self.meter.had(_size(part))
        if part.exists() and digest_file(part) == wanted.sha256:  # of a run that was killed just then
            part.replace(path)
            self.meter.expect(wanted.sha256, _size(path))
            return places[0].url if places else ""
        problems: dict[Place, TryError] = {}
        alive, failed = list(places), 0
        while alive and failed < self.limits.rounds:
            had = _size(part)
            for place in sorted(alive, key=lambda place: place.site in self._rotten):
                try:
                    self._try(place, part, wanted)
                except TryError as problem:
                    problems[place] = problem
                else:
                    part.replace(path)
                    others = [one for one in problems if one != place]
                    self.notes += [f"{name} did not come from {_told(one, problems[one])}" for one in others]
                    return place.url
            alive = [place for place in alive if not problems[place].final]
            if _size(part) - had < WORTH:
                failed += 1
            if alive and failed < self.limits.rounds:
                asked = min(problems[place].wait for place in alive)
                time.sleep(max(asked, self.limits.pause * 2 ** max(0, failed - 1)))
        if not places:
            raise BuildError(f"{name}: there is no place to download it from")
        told = "; ".join(_told(one, problem) for one, problem in problems.items())
        raise BuildError(f"{name} cannot be downloaded: {told}")

    def _try(self, place: Place, part: Path, wanted: _Wanted) -> None:
        """Let `part` become the whole file, or raise why it does not."""
        for resumed in (_size(part) > 0, False):
            try:
                actual = self._receive(place, part, wanted)
            except TryError as problem:
                if (
                    not resumed
                    or getattr(problem.__cause__, "code", 0) != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                ):
                    raise
                actual = "none"  # what is there is more than the file has
            if actual == wanted.sha256:
                return
            self._drop(part)
            if not resumed:
                self._rotten.add(place.site)
                text = f"it sent other bytes: their sha256 is {actual[:16]}…, the lock says {wanted.sha256[:16]}…"
                raise TryError(text, final=True)

    def _drop(self, part: Path) -> None:
        self.meter.had(-_size(part))
        part.unlink(missing_ok=True)

    def _receive(self, place: Place, part: Path, wanted: _Wanted) -> str:
        if wanted.size is not None and _size(part) >= wanted.size:
            self._drop(part)
        had = _size(part)
        with self.open(place, {"Range": f"bytes={had}-"} if had else {}) as answer:
            resumed = answer.status == http.client.PARTIAL_CONTENT
            if had and not resumed:  # it sends all of it
                self._drop(part)
            whole = _whole(answer, had if resumed else 0)
            self.meter.expect(wanted.sha256, whole)
            if wanted.size is not None and whole not in (None, wanted.size):
                self._rotten.add(place.site)
                raise TryError(f"it offers {whole} bytes, and the file has {wanted.size}", final=True)
            digest = hashlib.sha256()
            with part.open("a+b") as stream:
                stream.seek(0)
                while block := stream.read(1 << 20):
                    digest.update(block)
                self._copy(answer, stream, digest, whole, wanted.most)
        return digest.hexdigest()

    def _copy(self, answer: t.Any, stream: t.BinaryIO, digest: t.Any, whole: int | None, most: int) -> None:
        since, count = time.monotonic(), 0
        while block := _network(lambda: answer.read1(BLOCK), self.limits):
            stream.write(block)
            digest.update(block)
            self.meter.came(len(block))
            count += len(block)
            if stream.tell() > most:
                raise TryError(f"it sends more than {most} bytes", final=True)
            if time.monotonic() - since > self.limits.slow_seconds:
                if count < self.limits.slow_bytes:
                    text = f"it sent {count} bytes in {self.limits.slow_seconds:.0f} s, which is too slow"
                    raise TryError(text, final=self.limits.slow_is_final)
                since, count = time.monotonic(), 0
        if whole is not None and stream.tell() < whole:
            raise TryError(f"the connection ended after {stream.tell()} of {whole} bytes")

    def open(self, place: Place, headers: t.Mapping[str, str] | None = None, timeout: float | None = None) -> t.Any:
        """Open a place, with a token if it asks for one."""
        limits = dataclasses.replace(self.limits, silence=timeout or self.limits.silence)
        realm = (place.site, place.repository)
        token = self._tokens.get(realm, "")
        about = {"User-Agent": AGENT, "Accept": place.accept, "Accept-Encoding": "identity", **(headers or {})}
        for last in (False, True):
            request = _network(functools.partial(urllib.request.Request, place.url, headers=about), limits)
            if token:
                request.add_unredirected_header("Authorization", f"Bearer {token}")
            try:
                return _network(functools.partial(self._open, request, timeout=limits.silence), limits)
            except TryError as problem:
                refused = problem.__cause__
                asks = (
                    refused.headers.get("WWW-Authenticate", "") if isinstance(refused, urllib.error.HTTPError) else ""
                )
                if last or not place.repository or not asks.lower().startswith("bearer "):
                    raise
                token = self._tokens[realm] = self._token(asks, place)
        raise AssertionError("the second try returns or raises")

    def _token(self, wanted: str, place: Place) -> str:
        """Get a token without an account, as https://distribution.github.io/distribution/spec/auth/token/ says."""
        told = urllib.request.parse_keqv_list(urllib.request.parse_http_list(wanted.partition(" ")[2]))
        realm = told.get("realm", "")
        if urlsplit(realm).scheme not in ("https", urlsplit(place.url).scheme):
            raise TryError(f"it wants a token from {realm or 'nowhere'}, which is not HTTPS", final=True)
        query = urlencode([(key, told[key]) for key in ("service", "scope") if key in told])
        url = f"{realm}{'&' if '?' in realm else '?'}{query}"
        request = urllib.request.Request(url, headers={"User-Agent": AGENT})  # noqa: S310 - HTTP alone: opener()

        def ask() -> bytes:
            with self._open(request, timeout=self.limits.silence) as answer:
                return t.cast("bytes", answer.read(SMALL))

        try:
            answer = json.loads(_network(ask, self.limits))
            return str(answer.get("token") or answer["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise TryError(f"{urlsplit(realm).netloc} gave no token", final=True) from error


def _network(work: t.Callable[[], t.Any], limits: Limits) -> t.Any:
    """Do what may fail because of the network; a failure becomes a problem that says whether another try may help."""
    try:
        return work()
    except urllib.error.HTTPError as error:
        error.close()
        wait = _asked_to_wait(error.headers.get("Retry-After", ""))
        text = f"HTTP {error.code} {error.reason}".strip()
        if wait > limits.longest_pause:
            raise TryError(f"{text}; it asks to wait {wait:.0f} s", final=True) from error
        raise TryError(text, final=error.code not in AGAIN, wait=wait) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:  # of a URL that is none
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            text = f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE can name another CA"
            raise TryError(text, final=True) from error
        if isinstance(reason, TimeoutError):
            raise TryError(f"no answer within {limits.silence:.0f} s") from error
        text = (getattr(reason, "strerror", "") or str(reason) or type(reason).__name__).strip()
        raise TryError(f"TLS: {text}" if isinstance(reason, ssl.SSLError) else text) from error


def _asked_to_wait(text: str) -> float:
    """Return the seconds of a Retry-After, which is a number or a date; 0 without one."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _whole(answer: t.Any, before: int) -> int | None:
    """Return the size of the whole file, if the answer says it."""
    length = answer.headers.get("Content-Length", "")
    return before + int(length) if length.isdigit() else None


def _told(place: Place, problem: TryError) -> str:
    return f"{place.site}: {problem}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
