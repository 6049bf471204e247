# SPDX-License-Identifier: Apache-2.0
"""A download is the file that its digest names or a line that says why not, whatever servers and networks do."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build import downloads
from ansible.module_utils.yunkube.build.downloads import AUTO, Downloads, Got, Limits, Place
from ansible.module_utils.yunkube.build.meter import Meter
from ansible.module_utils.yunkube.build.tools import BuildError
from release_server import Fault, Server, certificate, serving, sha256

ROOT = Path(__file__).resolve().parents[2]
PATH = "/release/v1.37.2/bin/linux/amd64/kubelet"
CONTENT = random.Random(15).randbytes(300_000)  # noqa: S311 - a test's own dice
QUICK = Limits(silence=20, pause=0.01, longest_pause=3)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach loopback straight."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that has the file."""
    with serving() as one:
        one.add(PATH, CONTENT)
        yield one


@pytest.fixture
def mirror() -> Iterator[Server]:
    """Another one."""
    with serving() as one:
        one.add(PATH, CONTENT)
        yield one


def fetch(folder: Path, *servers: Server, limits: Limits = QUICK, meter: Meter | None = None) -> tuple[Got, list[str]]:
    """Download the file from the first server that has it; return it, and what was noted."""
    places = [Place(f"{one.url}{PATH}", one.url) for one in servers]
    wanted = Downloads(folder, limits, meter)
    return wanted.file("kubelet", places, sha256(CONTENT)), wanted.notes


def whole(folder: Path) -> list[str]:
    """Return the names of the files that stand there as if they were right."""
    return [path.name for path in folder.iterdir() if path.suffix == "" and not path.name.startswith(".")]


def test_a_file_is_downloaded_and_says_where_from(server: Server, tmp_path: Path) -> None:
    got, notes = fetch(tmp_path, server)
    assert got.path.read_bytes() == CONTENT
    assert (got.path.name, got.url, notes) == (sha256(CONTENT), f"{server.url}{PATH}", [])
    again, _ = fetch(tmp_path, server)
    assert again == got
    assert server.paths() == [PATH]


def test_what_is_there_is_not_taken_on_trust(server: Server, tmp_path: Path) -> None:
    (tmp_path / sha256(CONTENT)).write_bytes(CONTENT[:-1] + b"?")
    got, _ = fetch(tmp_path, server)
    assert got.path.read_bytes() == CONTENT


def test_a_connection_that_ends_is_continued_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(cut_after=100_000), Fault(cut_after=50_000), Fault()]
    got, _ = fetch(tmp_path, server)
    assert got.path.read_bytes() == CONTENT
    assert [one.range for one in server.asked] == ["", "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.faults[PATH] = [Fault(cut_after=100_000), Fault()]
    meter = Meter()
    got, _ = fetch(tmp_path, server, meter=meter)
    assert got.path.read_bytes() == CONTENT
    assert meter.state()["received"] == len(CONTENT)


def test_a_server_that_always_stops_is_given_up_with_one_line(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(cut_after=10)]
    with pytest.raises(BuildError) as error:
        fetch(tmp_path, server)
    assert str(error.value) == (
        f"kubelet cannot be downloaded: {server.url}: the connection ended after 40 of {len(CONTENT)} bytes"
    )
    assert len(server.asked) == QUICK.rounds
    assert whole(tmp_path) == []


def test_rounds_that_bring_something_are_not_counted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "WORTH", 20_000)
    server.faults[PATH] = [Fault(cut_after=25_000)]
    got, _ = fetch(tmp_path, server)
    assert got.path.read_bytes() == CONTENT
    assert len(server.asked) == 12


def test_a_wrong_byte_is_refused(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(corrupt=True)]
    with pytest.raises(BuildError, match=r"it sent other bytes: their sha256 is .*…, the lock says .*…") as error:
        fetch(tmp_path, server)
    assert str(error.value).count("\n") == 0
    assert whole(tmp_path) == []
    assert len(server.asked) == 1


def test_a_rotten_mirror_is_named_and_the_next_one_used(server: Server, mirror: Server, tmp_path: Path) -> None:
    mirror.faults[PATH] = [Fault(corrupt=True)]
    other = "/release/v1.37.2/bin/linux/amd64/kubeadm"
    mirror.add(other, b"kubeadm")
    digest = server.add(other, b"kubeadm")
    wanted = Downloads(tmp_path, QUICK)
    got = wanted.file("kubelet", [Place(f"{one.url}{PATH}", one.url) for one in (mirror, server)], sha256(CONTENT))
    assert got.path.read_bytes() == CONTENT
    assert got.url.startswith(server.url)
    assert [note.partition(": it sent other bytes")[0] for note in wanted.notes] == [
        f"kubelet did not come from {mirror.url}"
    ]
    # From now on it is asked last.
    more = wanted.file("kubeadm", [Place(f"{one.url}{other}", one.url) for one in (mirror, server)], digest)
    assert more.url.startswith(server.url)


def test_bytes_of_a_rotten_mirror_do_not_spoil_what_a_good_one_sends(
    server: Server, mirror: Server, tmp_path: Path
) -> None:
    mirror.files[PATH] = b"?" * len(CONTENT)
    mirror.faults[PATH] = [Fault(cut_after=1000)]
    got, _ = fetch(tmp_path, mirror, server)
    assert got.path.read_bytes() == CONTENT
    assert [one.range for one in server.asked] == ["bytes=1000-", ""]


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, QUICK.rounds)])
def test_an_error_of_http_is_told(server: Server, tmp_path: Path, status: int, tries: int) -> None:
    server.faults[PATH] = [Fault(status=status)]
    with pytest.raises(BuildError, match=f"^kubelet cannot be downloaded: {server.url}: HTTP {status} "):
        fetch(tmp_path, server)
    assert len(server.asked) == tries


def test_a_server_that_asks_to_wait_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(status=429, headers=(("Retry-After", "1"),)), Fault()]
    began = time.monotonic()
    fetch(tmp_path, server)
    assert time.monotonic() - began >= 1


def test_another_place_is_not_kept_waiting_by_one_that_asks_to_wait(
    server: Server, mirror: Server, tmp_path: Path
) -> None:
    server.faults[PATH] = [Fault(status=429, headers=(("Retry-After", "3"),))]
    _, notes = fetch(tmp_path, server, mirror)
    assert notes == [f"kubelet did not come from {server.url}: HTTP 429 Too Many Requests"]


def test_a_server_that_asks_to_wait_for_an_hour_is_not(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(status=429, headers=(("Retry-After", "3600"),))]
    with pytest.raises(BuildError, match=r"HTTP 429 Too Many Requests; it asks to wait 3600 s$"):
        fetch(tmp_path, server)
    assert len(server.asked) == 1


def test_a_retry_after_may_be_a_date() -> None:
    text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 25 < downloads._asked_to_wait(text) <= 30
    assert downloads._asked_to_wait("soon") == 0


def test_a_trickle_is_not_waited_for(server: Server, mirror: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(trickle=0.02)]
    got, (note,) = fetch(tmp_path, server, mirror, limits=Limits(slow_seconds=0.5, slow_bytes=1000, pause=0.01))
    assert got.url.startswith(mirror.url)
    assert "which is too slow" in note


def test_a_slow_server_is_asked_once_where_a_build_can_follow(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(trickle=0.02)]
    limits = dataclasses.replace(AUTO, slow_seconds=0.5, slow_bytes=1000, pause=0.01)
    with pytest.raises(BuildError, match="which is too slow"):
        fetch(tmp_path, server, limits=limits)
    assert len(server.asked) == 1
    assert (AUTO.slow_seconds, AUTO.slow_bytes) == (30, 30 * 64 << 10)  # as docs/how-it-works.md says


def test_silence_ends(server: Server, mirror: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(trickle=30)]
    limits = Limits(silence=1, pause=0.01)
    got, (note,) = fetch(tmp_path, server, mirror, limits=limits)
    assert got.path.read_bytes() == CONTENT
    assert note.endswith("no answer within 1 s")


def test_a_file_that_is_bigger_than_it_may_be_is_cut_off(server: Server, tmp_path: Path) -> None:
    wanted = Downloads(tmp_path, QUICK)
    with pytest.raises(BuildError, match=f"it offers {len(CONTENT)} bytes, and the file has 1000"):
        wanted.file("kubelet", [Place(f"{server.url}{PATH}", server.url)], "0" * 64, 1000)


def test_a_file_whose_size_is_not_said_is_downloaded_and_one_without_end_is_not(server: Server, tmp_path: Path) -> None:
    server.faults[PATH] = [Fault(unsized=True)]
    wanted = Downloads(tmp_path, QUICK)
    place = Place(f"{server.url}{PATH}", server.url)
    with pytest.raises(BuildError, match="it sends more than 5000 bytes"):
        wanted.file("kubelet", [place], sha256(CONTENT), most=5000)
    assert whole(tmp_path) == []
    assert wanted.file("kubelet", [place], sha256(CONTENT)).path.read_bytes() == CONTENT


def test_a_token_is_not_asked_for_without_tls_where_the_registry_has_it(tmp_path: Path) -> None:
    wanted = Downloads(tmp_path, QUICK)
    place = Place("https://registry.example/v2/pause/blobs/sha256:0", "https://registry.example", repository="pause")
    with pytest.raises(
        downloads.TryError, match=r"it wants a token from http://registry\.example/token, which is not HTTPS"
    ):
        wanted._token('Bearer realm="http://registry.example/token",service="x"', place)


def test_a_redirect_to_another_host_is_followed(server: Server, mirror: Server, tmp_path: Path) -> None:
    server.redirects[PATH] = f"{mirror.url}{PATH}"
    got, _ = fetch(tmp_path, server)
    assert got.path.read_bytes() == CONTENT
    assert got.url.startswith(server.url)


def test_a_token_stays_with_the_host_that_it_is_for(server: Server, mirror: Server, tmp_path: Path) -> None:
    path = f"/v2/coredns/coredns/blobs/sha256:{sha256(CONTENT)}"
    server.token, mirror.files[path] = "secret", CONTENT
    server.redirects[path] = f"{mirror.url}{path}"
    place = Place(f"{server.url}{path}", server.url, repository="coredns/coredns")
    Downloads(tmp_path, QUICK).file("layer", [place], sha256(CONTENT))
    assert [one.authorization for one in server.asked] == ["", "", "Bearer secret-repository:coredns/coredns:pull"]
    assert [one.authorization for one in mirror.asked] == [""]


def test_a_token_goes_along_to_another_path_of_the_same_host(server: Server, tmp_path: Path) -> None:
    path, other = (f"/v2/pause/blobs/{name}" for name in ("old", "new"))
    server.token, server.files[other] = "secret", CONTENT
    server.redirects[path] = f"{server.url}{other}"
    place = Place(f"{server.url}{path}", server.url, repository="pause")
    assert Downloads(tmp_path, QUICK).file("layer", [place], sha256(CONTENT)).path.read_bytes() == CONTENT


def test_a_token_that_is_too_old_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    path = f"/v2/pause/blobs/sha256:{sha256(CONTENT)}"
    server.token, server.files[path] = "second", CONTENT
    wanted = Downloads(tmp_path, QUICK)
    wanted._tokens[server.url, "pause"] = "first-repository:pause:pull"
    wanted.file("layer", [Place(f"{server.url}{path}", server.url, repository="pause")], sha256(CONTENT))
    assert server.paths() == [path, "/token", path]


def test_files_get_no_token(server: Server, tmp_path: Path) -> None:
    wanted = (("WWW-Authenticate", f'Bearer realm="{server.url}/token",service="files"'),)
    server.faults[PATH] = [Fault(status=401, headers=wanted)]
    with pytest.raises(BuildError, match="HTTP 401"):
        fetch(tmp_path, server)
    assert server.paths() == [PATH]


def test_a_certificate_that_nobody_knows_is_refused_and_one_that_is_named_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = certificate(tmp_path)
    folder = tmp_path / "downloads"
    with serving(context) as server:
        server.add(PATH, CONTENT)
        with pytest.raises(BuildError, match=r"its certificate is not trusted \(.*\); SSL_CERT_FILE can name another"):
            fetch(folder, server)
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        got, _ = fetch(folder, server)
        assert got.path.read_bytes() == CONTENT


def test_a_server_that_speaks_no_tls_is_told(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("http:", "https:")
    with pytest.raises(BuildError, match=r"^kubelet cannot be downloaded: https://\S+: TLS: "):
        Downloads(tmp_path, QUICK).file("kubelet", [Place(f"{url}{PATH}", url)], sha256(CONTENT))


def test_a_full_disk_is_not_taken_for_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Downloads, "_copy", full)
    with pytest.raises(OSError, match="No space left on device"):
        fetch(tmp_path, server)
    assert len(server.asked) == 1


def test_nothing_but_http_is_opened(tmp_path: Path) -> None:
    place = Place((tmp_path / "file").as_uri(), "file://")
    with pytest.raises(BuildError, match="unknown url type"):
        Downloads(tmp_path, QUICK).file("kubelet", [place], sha256(CONTENT))


@pytest.mark.parametrize("url", ["https://[::1/kubelet", "kubelet", "http://host:port/"])
def test_what_is_no_url_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(BuildError, match=r"^kubelet cannot be downloaded: mirror: \S"):
        Downloads(tmp_path, QUICK).file("kubelet", [Place(url, "mirror")], sha256(CONTENT))


def test_a_name_that_is_unknown_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"^kubelet cannot be downloaded: https://nowhere\.invalid: "):
        Downloads(tmp_path, QUICK).file("kubelet", [Place("https://nowhere.invalid/k", "https://nowhere.invalid")], "0")


KILLED = f"""
import json, pathlib, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.yunkube.build.downloads import Downloads, Limits, Place
given = json.load(sys.stdin)
got = Downloads(pathlib.Path(given["folder"]), Limits(pause=0.01)).file(
    "kubelet", [Place(given["url"], "server")], given["sha256"])
print(got.path.read_bytes() == pathlib.Path(given["content"]).read_bytes())
"""


def test_a_run_that_is_killed_anywhere_is_continued(server: Server, tmp_path: Path) -> None:
    given = {"folder": str(tmp_path / "downloads"), "url": f"{server.url}{PATH}", "sha256": sha256(CONTENT)}
    given["content"] = str(tmp_path / "content")
    (tmp_path / "content").write_bytes(CONTENT)
    chance = random.Random(15)  # noqa: S311 - a test's own dice
    for _ in range(5):
        # It stops after so many bytes, and is killed while it waits for more.
        server.faults[PATH] = [Fault(cut_after=chance.randrange(1, 60_000)), Fault(trickle=60)]
        before = len(server.asked)
        running = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, text=True)
        assert running.stdin
        running.stdin.write(json.dumps(given))
        running.stdin.close()
        for _ in range(600):
            if len(server.asked) >= before + 2:
                break
            time.sleep(0.05)
        running.kill()
        running.wait()
        assert whole(tmp_path / "downloads") == []
    server.faults.clear()
    done = subprocess.run(
        [sys.executable, "-c", KILLED], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"
    assert int(server.asked[-1].range[6:-1]) > 0


def test_two_that_want_the_same_file_download_it_once(server: Server, tmp_path: Path) -> None:
    wanted = Downloads(tmp_path, QUICK)
    place = Place(f"{server.url}{PATH}", server.url)
    threads = [threading.Thread(target=wanted.file, args=("kubelet", [place], sha256(CONTENT))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.paths() == [PATH]
    wanted.clean()
    assert whole(tmp_path) == []


def test_a_meter_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told: list[dict[str, t.Any]] = []
    meter = Meter(lambda: told.append(meter.state()))
    meter.expect("kubelet", 5000)
    meter.expect("kubeadm")
    for _ in range(5):
        meter.came(100)
        clock[0] += 1
    assert meter.state() == {"received": 500, "size": 0, "rate": 100, "left": None}
    meter.expect("kubeadm", 500)
    assert meter.state() == {"received": 500, "size": 5500, "rate": 100, "left": 50.0}
    assert [one["received"] for one in told] == [100, 200, 300, 400, 500]
