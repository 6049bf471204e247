# SPDX-License-Identifier: Apache-2.0
"""Where what a lock names can be downloaded: upstream and its mirrors, and which of them answer."""

from __future__ import annotations

import threading
import time
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.build import registry
from ansible.module_utils.yunkube.build.downloads import Downloads, Place, TryError

PROBE_SECONDS = 4.0  # for all places together
ENOUGH = frozenset({401, 404, 416, 429})  # answers of a server that is there, although it lacks this very file

Mirrors = t.Mapping[str, t.Sequence[str]]  # URLs by the name of the server whose files they have


class Answer(t.NamedTuple):
    """What a probe learnt of a site."""

    seconds: float  # until it answered
    problem: str = ""  # why it is of no use


def all_mirrors(profile: t.Mapping[str, t.Any], own: Mirrors) -> dict[str, list[str]]:
    """Return the mirrors of each server: those of the inventory, then those of the region's profile."""
    of_profile = {**(profile.get("registries") or {}), **(profile.get("downloads") or {})}
    return {name: [*own.get(name, ()), *of_profile.get(name, ())] for name in {**of_profile, **own}}


def file_places(url: str, mirrors: Mirrors, origin: str) -> list[Place]:
    """Return where a file of a release is, upstream first."""
    parts = urlsplit(url)
    upstream = f"{parts.scheme}://{parts.netloc}"
    path = url.removeprefix(upstream)
    return [Place(f"{base.rstrip('/')}{path}", base) for base in _bases(upstream, parts.netloc, mirrors, origin)]


def image_bases(reference: str, mirrors: Mirrors, origin: str) -> list[str]:
    """Return the registries that may have an image, upstream first."""
    name, _ = registry.parts_of(reference)
    return _bases(registry.upstream(name), name, mirrors, origin)


def _bases(upstream: str, name: str, mirrors: Mirrors, origin: str) -> list[str]:
    return [*([upstream] if origin != "mirror" else []), *(mirrors.get(name, ()) if origin != "release" else ())]


class Reach:
    """Which sites answer; each is asked once, all at the same time."""

    def __init__(self, downloads: Downloads, seconds: float = PROBE_SECONDS) -> None:
        """Ask by means of `downloads`, no longer than `seconds` in all."""
        self._downloads, self._seconds = downloads, seconds
        self.answers: dict[str, Answer] = {}

    def probe(self, places: t.Iterable[Place]) -> None:
        """Ask every site that was not asked yet for the first byte of one file."""
        asked = {place.site: place for place in reversed(list(places)) if place.site not in self.answers}
        found: dict[str, Answer] = {}
        began = time.monotonic()
        # Daemons: a name server that is silent is waited for by nobody, not even at the end of the process.
        threads = [threading.Thread(target=self._ask, args=(place, found), daemon=True) for place in asked.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, self._seconds - (time.monotonic() - began)))
        silent = Answer(self._seconds, f"no answer within {self._seconds:.0f} s")
        self.answers |= {site: found.get(site, silent) for site in asked}

    def _ask(self, place: Place, found: dict[str, Answer]) -> None:
        began = time.monotonic()
        try:
            with self._downloads.open(place, {"Range": "bytes=0-0"}, timeout=self._seconds):
                found[place.site] = Answer(time.monotonic() - began)
        except TryError as error:
            there = getattr(error.__cause__, "code", 0) in ENOUGH
            found[place.site] = Answer(time.monotonic() - began, "" if there else str(error))

    def ranked(self, where: t.Sequence[Place], origin: str) -> list[Place]:
        """Return places in the order in which to ask them.

        Upstream is the first of `auto`; mirrors are ordered by how fast they answered. What does not answer is left
        out of `auto`, and the last of `mirror`.
        """

        def order(one: Place) -> tuple[bool, bool, float]:
            answer = self.answers[one.site]
            return bool(answer.problem), origin != "auto" or one != where[0], answer.seconds

        return sorted((one for one in where if origin == "mirror" or not self.answers[one.site].problem), key=order)
