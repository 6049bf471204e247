# SPDX-License-Identifier: Apache-2.0
"""What a host lacks is found, fetched and verified; what is damaged is never installed."""

from __future__ import annotations

import errno
import functools
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host import bundle_files, bundle_installation, originals, patience
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.bundle_files import (
    Digests,
    InstallError,
    compare,
    in_words,
    missing_images,
    missing_packages,
    missing_programs,
    run_ctr,
)
from ansible.module_utils.yunkube.host.bundle_installation import import_images, install, install_packages
from ansible.module_utils.yunkube.host.bundle_source import Source, control_machine
from ansible.module_utils.yunkube.host.dpkg_lock import PackagesBusy, package_turn
from bundle_web import CONTENT, Web, digest, program
from serving import running

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A running server, and no waiting between tries."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with running(Web()) as server:
        yield server


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of the module's own."""
    monkeypatch.setattr(bundle_installation, "STATE", tmp_path / "state")
    return tmp_path / "state"


def names(folder: Path) -> list[str]:
    """Every file of a folder, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_program_is_missing_when_it_is_not_there_or_another(tmp_path: Path) -> None:
    right, other = tmp_path / "right", tmp_path / "other"
    right.write_bytes(CONTENT)
    other.write_bytes(b"old")
    entries = [program(right), program(other), program(tmp_path / "none")]
    assert [entry["name"] for entry in missing_programs(entries, Digests(tmp_path / "known"))] == ["other", "none"]


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, known = tmp_path / "program", tmp_path / "known"
    path.write_bytes(CONTENT)
    digests = Digests(known)
    assert digests.of(path) == digest(CONTENT)
    digests.save()
    remembered = Digests(known)
    remembered.known[str(path)][4] = "remembered"
    assert remembered.of(path) == "remembered"
    path.write_bytes(CONTENT[::-1])
    assert remembered.of(path) == digest(CONTENT[::-1])


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("{half")
    assert Digests(tmp_path / "known").known == {}


def test_a_package_in_any_version_is_there() -> None:
    wanted = [{"package": "conntrack"}, {"package": "socat"}, {"package": "ipset"}]
    listing = "conntrack installed\nsocat config-files\nbash installed\n"
    assert missing_packages(wanted, listing) == ([{"package": "socat"}, {"package": "ipset"}], [])


@pytest.mark.parametrize("state", ["unpacked", "half-configured", "triggers-pending", "triggers-awaited"])
def test_an_installation_that_was_cut_off_is_noticed(state: str) -> None:
    wanted = [{"package": "ipset"}, {"package": "libmnl0"}]
    assert missing_packages(wanted, f"ipset installed\nlibmnl0 {state}\n") == ([{"package": "libmnl0"}], ["libmnl0"])


def test_what_was_cut_off_of_another_program_is_left_alone() -> None:
    assert missing_packages([{"package": "ipset"}], "ipset installed\nnginx half-configured\n") == ([], [])


def test_a_half_installed_package_is_installed_again() -> None:
    assert missing_packages([{"package": "ipset"}], "ipset half-installed\n") == ([{"package": "ipset"}], [])


def test_an_image_is_missing_without_its_name_or_with_another_digest() -> None:
    listing = (
        "REF TYPE DIGEST SIZE PLATFORMS LABELS\n"
        f"registry.k8s.io/pause:3.10.2 application/vnd.oci.image.manifest.v1+json sha256:{'a' * 64} 680.0 KiB linux -\n"
    )
    here = {"reference": "registry.k8s.io/pause:3.10.2", "target": f"sha256:{'a' * 64}"}
    other = here | {"target": f"sha256:{'b' * 64}"}
    absent = here | {"reference": "registry.k8s.io/pause:3.9"}
    assert missing_images([here, other, absent], listing) == [other, absent]
    assert missing_images([here], "") == [here]


def test_what_is_missing_is_said_in_a_line_for_each_kind() -> None:
    runtime = [{"kind": "runtime", "name": name, "version": "2"} for name in ("containerd", "runc")]
    plugins = [{"kind": "cni", "name": name, "version": "1"} for name in ("bridge", "loopback", "portmap")]
    packages = [{"kind": "package", "package": name} for name in ("socat", "ipset")]
    images = [{"kind": "image", "name": "registry.k8s.io/pause", "version": "3.10"}]
    assert in_words([*runtime, *plugins, *packages, *images], []) == [
        "install 2 packages: ipset, socat",
        "install containerd 2, runc 2 and 3 CNI plugins",
        "import image pause 3.10",
    ]
    assert in_words([*packages[:1], *plugins[:1]], ["socat"]) == [
        "finish the installation of package socat",
        "install CNI plugin bridge",
    ]


def test_of_many_packages_the_first_are_named() -> None:
    packages = [{"kind": "package", "package": f"p{number}"} for number in range(20)]
    assert in_words(packages, []) == ["install 20 packages: p0, p1, p10, p11, p12, p13, p14, 13 more"]


def test_images_are_not_said_to_be_gone_while_containerd_is_only_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = {"kind": "image", "reference": "pause:3", "target": "sha256:0"}
    store = tmp_path / "meta.db"
    monkeypatch.setattr(bundle_files, "IMAGE_STORE", store)
    monkeypatch.setattr(bundle_files, "CTR", "/bin/true")
    monkeypatch.setattr(constants, "CONTAINERD_SOCKET", str(tmp_path / "no.sock"))
    assert compare([image], Digests(tmp_path / "known"), check_mode=True) == ([image], [])
    store.touch()
    assert compare([image], Digests(tmp_path / "known"), check_mode=True) == ([], [])


def test_a_file_is_fetched_verified_and_executable(web: Web, tmp_path: Path) -> None:
    source = Source(web.url, 0)
    source.fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == CONTENT
    assert (tmp_path / "kubelet").stat().st_mode & 0o777 == 0o755
    assert (source.bytes, len(web.asked)) == (len(CONTENT), 1)
    assert names(tmp_path) == ["kubelet"]


def test_a_file_that_arrives_damaged_is_fetched_again(web: Web, tmp_path: Path) -> None:
    web.damaged_answers = 1
    Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == CONTENT
    assert len(web.asked) == 2


def test_a_file_that_stays_damaged_is_named_and_never_installed(web: Web, tmp_path: Path) -> None:
    web.files[digest(CONTENT)] = b"evil"
    with pytest.raises(InstallError, match=r"^kubelet: the file at http://127.* is damaged: it has sha256 "):
        Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert names(tmp_path) == []


def test_the_old_program_stays_when_the_new_one_does_not_come(web: Web, tmp_path: Path) -> None:
    (tmp_path / "kubelet").write_bytes(b"old")
    web.cut_after = 100
    with pytest.raises(InstallError, match=r"^kubelet: "):
        Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == b"old"
    assert names(tmp_path) == ["kubelet"]


def test_a_program_of_the_hosts_own_is_kept(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "kubectl"
    path.write_bytes(b"own")
    host_state.write_record({"cluster": "ours", "trees": [], "files": {str(path): "755"}})
    Source(web.url, 0).fetch(program(path), path)
    assert path.read_bytes() == CONTENT
    assert [copy.read_bytes() for copy in originals.kept().values()] == [b"own"]


def test_a_file_that_the_server_does_not_have_is_named(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"kubelet: cannot fetch it from .*Not Found"):
        Source(web.url, 0).fetch(program(tmp_path / "kubelet", sha256="0" * 64), tmp_path / "kubelet")


def test_a_server_that_is_gone_is_named(web: Web, tmp_path: Path) -> None:
    source = Source("http://127.0.0.1:1", 0)
    with pytest.raises(InstallError, match=r"kubelet: cannot fetch it from http://127\.0\.0\.1:1: .*refused"):
        source.fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert web.asked == []


def test_an_install_fetches_only_what_is_missing(web: Web, tmp_path: Path, state: Path) -> None:
    (tmp_path / "kubelet").write_bytes(CONTENT)
    files = [program(tmp_path / "kubelet"), program(tmp_path / "deep/kubeadm")]
    state.mkdir()
    digests = Digests(state / "digests.json")
    missing, unfinished = compare(files, digests, check_mode=False)
    install(missing, Source(web.url, 0), unfinished)
    assert len(web.asked) == 1
    assert (tmp_path / "deep/kubeadm").read_bytes() == CONTENT
    assert compare(files, digests, check_mode=False) == ([], [])


def test_a_full_disk_is_reported_before_anything_is_fetched(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="make room, then run again"):
        install([program(tmp_path / "kubelet", size=1 << 60)], Source(web.url, 0), [])
    assert web.asked == []
    assert not (tmp_path / "kubelet").exists()


def test_a_disk_that_fills_up_leaves_nothing_half(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Source, _url: str, part: Path) -> str:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Source, "_receive", full)
    with pytest.raises(OSError, match="No space left"):
        Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("connection", "address"), [("10.77.0.1 1 10.77.0.11 22", "10.77.0.1"), ("fd00::1 1 fd00::2 22", "[fd00::1]")]
)
def test_the_control_machine_is_where_the_session_comes_from(connection: str, address: str) -> None:
    # A shell of the session, and in it a program whose environment was cleared, as sudo does.
    ours = f"import ansible.module_utils as ours; ours.__path__.append('{ROOT / 'module_utils'}')"
    ask = f"{ours}; from ansible.module_utils.yunkube.host import bundle_source; print(bundle_source.control_machine())"
    inner = f'env -i PYTHONPATH={":".join(sys.path)} {sys.executable} -c "{ask}"; true'
    argv = ["env", f"SSH_CONNECTION={connection}", "sh", "-c", inner]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.strip() == address, said.stderr


def test_a_session_from_nowhere_says_what_to_set() -> None:
    with pytest.raises(InstallError, match="set cluster_bundle_url"):
        control_machine(1)


# -- what does not answer, and whoever else installs -----------------------------------------------


def script(path: Path, text: str) -> str:
    """Write a program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_containerd_that_hangs_is_named_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child"
    monkeypatch.setattr(bundle_files, "CTR", script(tmp_path / "ctr", f"sleep 30 &\necho $! > {child}\nwait"))
    with pytest.raises(InstallError, match="ctr did not end within 1 s and was stopped") as failed:
        run_ctr("images", "list", seconds=1)
    assert failed.value.remedy.startswith("containerd does not answer: ")
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child.read_text().strip()}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    state = Path(f"/proc/{child.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text()


def image(**given: t.Any) -> dict[str, t.Any]:
    """An entry of the manifest."""
    entry = {"name": "pause", "version": "3", "kind": "image", "reference": "pause:3", "target": "sha256:0"}
    return entry | {"sha256": digest(CONTENT), "size": len(CONTENT)} | given


def test_an_import_that_fails_leaves_no_archive(
    web: Web, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_files, "CTR", script(tmp_path / "ctr", "echo no space left >&2; exit 1"))
    others = [image(name=f"image{number}", sha256=digest(b"%d" % number), size=1) for number in range(5)]
    web.files |= {digest(b"%d" % number): b"%d" % number for number in range(5)}
    with pytest.raises(InstallError, match="ctr failed: no space left"):
        install([image(), *others], Source(web.url, 0), [])
    assert list(state.iterdir()) == []


HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_with_a_slow_factor_four_images_come_at_a_time(web: Web, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from ansible.module_utils.yunkube.host import bundle_installation; print(bundle_installation.DOWNLOADS)"
    code = f"import runpy; runpy.run_path('plugins/rooms.py'); {code}"
    for factor, downloads in (("1", "1"), ("3", "4")):
        monkeypatch.setenv(patience.VARIABLE, factor)
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == downloads
    monkeypatch.setattr(bundle_installation, "DOWNLOADS", 4)
    monkeypatch.setattr(bundle_installation, "run_ctr", lambda *_words, **_limits: None)
    web.together = threading.Barrier(4, timeout=30)
    contents = [CONTENT + bytes([number]) for number in range(4)]
    web.files |= {digest(content): content for content in contents}
    state.mkdir()
    import_images([image(sha256=digest(content), size=len(content)) for content in contents], Source(web.url, 0))
    assert len(web.asked) == 4


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[t.Callable[[float], subprocess.Popen[str]]]:
    """Hold a lock in another process for so many seconds, under the name of what usually does."""
    started: list[subprocess.Popen[str]] = []
    path = tmp_path / "unattended-upgrade"
    path.write_text(HOLD)

    def hold(seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, str(path), str(tmp_path / "lock"), str(seconds)]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_packages_wait_for_another_programs_turn_and_say_so(
    tmp_path: Path, holder: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = holder(1)
    notes: list[str] = []
    with package_turn(notes, 60, tmp_path / "lock"):
        pass
    (note,) = notes
    assert note.endswith(f" s for unattended-upgrade (process {other.pid}) to install its packages")
    with package_turn(notes, 0, tmp_path / "lock"):  # free: nothing to say
        pass
    assert len(notes) == 1


def test_who_never_ends_is_named(tmp_path: Path, holder: t.Callable[[float], subprocess.Popen[str]]) -> None:
    other = holder(30)
    named = f"unattended-upgrade (process {other.pid}) has been installing packages for more than 0 s"
    with pytest.raises(PackagesBusy) as busy, package_turn([], 0.3, tmp_path / "lock"):
        pass
    assert str(busy.value) == named


def test_nothing_is_installed_while_another_program_installs(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = holder(30)
    state.mkdir(exist_ok=True)
    turn = functools.partial(package_turn, seconds=0.3, lock=tmp_path / "lock")
    monkeypatch.setattr(bundle_installation, "package_turn", turn)
    with pytest.raises(InstallError, match=rf"unattended-upgrade \(process {other.pid}\)") as failed:
        install_packages([], [], Source("http://127.0.0.1:9", 0), [])
    assert failed.value.remedy == "wait until it has ended, then run again"
