# SPDX-License-Identifier: Apache-2.0
"""Upstream and its mirrors are asked once which of them answer, and are used in that order."""

from __future__ import annotations

import socket
import threading
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.build import mirrors, origins
from ansible.module_utils.yunkube.build.architectures import lock_for
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.downloads import Downloads, Place, TryError
from ansible.module_utils.yunkube.build.needs import needed
from ansible.module_utils.yunkube.build.progress import Progress
from release_server import Fault, serving

ROOT = Path(__file__).resolve().parents[2]
LOCK = yaml.safe_load((ROOT / "components/kubernetes-1.37.2.yml").read_text())


def test_a_probe_waits_for_no_silent_server_and_is_not_repeated() -> None:
    asked: list[str] = []
    answered: list[str] = []
    over = threading.Event()

    class Silent:
        """Names that nobody resolves, which no timeout of a socket ends."""

        def open(self, place: Place, *_args: t.Any, **_options: t.Any) -> t.NoReturn:
            asked.append(place.site)
            over.wait(60)
            answered.append(place.site)
            raise TryError("no such name")

    reach = mirrors.Reach(t.cast("t.Any", Silent()), seconds=0.2)
    where = mirrors.file_places("https://dl.k8s.io/kubelet", {"dl.k8s.io": ["https://m"]}, "auto")
    for _ in range(2):
        reach.probe(where)
    seen = (sorted(asked), [*answered])
    over.set()
    assert seen == (["https://dl.k8s.io", "https://m"], [])
    assert {one.problem for one in reach.answers.values()} == {"no answer within 0 s"}
    assert reach.ranked(where, "auto") == []
    assert reach.ranked(where, "mirror") == where
    assert mirrors.PROBE_SECONDS < 5


@pytest.mark.parametrize(("status", "of_use"), [(404, True), (429, True), (401, True), (403, False), (503, False)])
def test_a_server_that_lacks_the_very_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, of_use: bool
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.faults["/kubelet"] = [Fault(status=status)]
        where = mirrors.file_places(f"{server.url}/kubelet", {}, "auto")
        reach = mirrors.Reach(Downloads(tmp_path))
        reach.probe(where)
    assert (reach.ranked(where, "auto") == where) is of_use


def test_upstream_is_first_then_mirrors_by_their_speed() -> None:
    reach = mirrors.Reach(t.cast("t.Any", None))
    url, slow, fast, dead = "https://dl.k8s.io/a", "https://slow", "https://fast", "https://dead"
    where = mirrors.file_places(url, {"dl.k8s.io": [slow, dead, fast]}, "auto")
    assert [one.url for one in where] == [url, f"{slow}/a", f"{dead}/a", f"{fast}/a"]
    reach.answers = {
        "https://dl.k8s.io": mirrors.Answer(3),
        slow: mirrors.Answer(2),
        fast: mirrors.Answer(1),
        dead: mirrors.Answer(0.1, "HTTP 403"),
    }
    assert [one.site for one in reach.ranked(where, "auto")] == ["https://dl.k8s.io", fast, slow]
    where = mirrors.file_places(url, {"dl.k8s.io": [slow, dead, fast]}, "mirror")
    assert [one.site for one in reach.ranked(where, "mirror")] == [fast, slow, dead]
    assert [one.site for one in mirrors.file_places(url, {"dl.k8s.io": [slow]}, "release")] == ["https://dl.k8s.io"]


def test_mirrors_of_the_inventory_come_before_those_of_the_region() -> None:
    profile = {"go": "https://go", "registries": {"ghcr.io": ["https://b"]}, "downloads": {"dl.k8s.io": ["https://c"]}}
    assert mirrors.all_mirrors(profile, {"ghcr.io": ["https://a"]}) == {
        "ghcr.io": ["https://a", "https://b"],
        "dl.k8s.io": ["https://c"],
    }
    assert mirrors.all_mirrors({}, {}) == {}


def test_the_lock_names_releases_in_the_form_that_is_read() -> None:
    images = [image["reference"] for image in LOCK["images"] if image.get("origins", {}).get("release")]
    wanted = needed(LOCK, images)
    known = {}
    for architecture in ("amd64", "arm64"):
        lock = lock_for(LOCK, architecture)
        for part in lock["components"]:
            files = origins.files_of(part, architecture, wanted) or []
            known.update({file.url: file.sha256 for file in files})
            assert not any("{" in file.url or "{" in member for file in files for member in file.members.values())
    assert len(known) == 7
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in known.values())
    choice = origins.choose(LOCK, lambda _: False)
    assert "kubernetes" in choice.lacking
    assert not {part["name"] for part in LOCK["components"] if not part["origins"]} & set(choice.lacking)


def test_the_lock_ends_at_the_source_where_nothing_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = f"http://127.0.0.1:{silent.getsockname()[1]}"
        lock = {**LOCK, "components": [unreachable(part, site) for part in LOCK["components"]], "images": []}
        progress = Progress(tmp_path / "progress.json", 1)
        fetched = origins.Origins("auto", tmp_path, {}).bring(Builder(lock, ROOT, tmp_path), progress)
    assert (fetched.programs, fetched.images) == ({}, {})
    assert fetched.changes == [
        "build kubernetes, containerd and cni-flannel from source: the lock has no digest of their releases",
        f"build runc, cni-plugins and crictl from source, as nothing answers: {site}: no answer within 4 s",
    ]


def unreachable(part: dict[str, t.Any], site: str) -> dict[str, t.Any]:
    """Let a component's release be where nothing answers."""
    release = part["origins"].get("release")
    return part | {"origins": {"release": release | {"url": f"{site}/{release['url']}"}} if release else {}}
