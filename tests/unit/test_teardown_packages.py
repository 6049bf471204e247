# SPDX-License-Identifier: Apache-2.0
"""How a teardown removes packages: not while another program installs some."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.dpkg_lock import package_turn
from ansible.module_utils.yunkube.teardown import host

HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
TRY = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[t.Callable[[float], subprocess.Popen[str]]]:
    """Hold dpkg's lock in another process for so many seconds."""
    started: list[subprocess.Popen[str]] = []

    def begin(seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), str(seconds)]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "held\n"
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def remove(monkeypatch: pytest.MonkeyPatch, folder: Path, seconds: float) -> list[tuple[list[str], bool]]:
    """Remove a package; return the calls, and whether dpkg's lock was taken by then and dpkg was informed."""
    monkeypatch.setattr(host, "package_turn", functools.partial(package_turn, seconds=seconds, lock=folder / "lock"))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    calls = []

    def run_command(argv: list[str], environ_update: dict[str, str]) -> tuple[int, str, str]:
        argv_of_another = [sys.executable, "-c", TRY, str(folder / "lock")]
        free = subprocess.run(argv_of_another, capture_output=True, check=False).returncode == 0
        calls.append((argv, not free and environ_update["DPKG_FRONTEND_LOCKED"] == "1"))
        return 0, "", ""

    torn = host.Host.__new__(host.Host)
    torn.module = t.cast("t.Any", types.SimpleNamespace(run_command=run_command))
    torn.packages, torn.record = ["conntrack"], {"packages": {}}
    torn._remove_packages()
    return calls


def test_packages_are_removed_when_another_program_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = hold(1)
    ((argv, locked),) = remove(monkeypatch, tmp_path, 60)
    assert argv == ["dpkg", "--force-unsafe-io", "--purge", "conntrack"]
    assert locked
    assert other.wait(10) == 0


def package(folder: Path, name: str, depends: str = "") -> Path:
    """Make a Debian package that has one configuration file."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "etc").mkdir()
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    (tree / "DEBIAN/control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
    (tree / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
    (tree / f"etc/{name}.conf").write_text("mine\n")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, f"{tree}.deb"], check=True, capture_output=True)
    return Path(f"{tree}.deb")


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg")
def test_a_package_is_again_what_it_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, admin = tmp_path / "root", tmp_path / "root/var/lib/dpkg"
    for name in ("info", "updates", "triggers"):
        (admin / name).mkdir(parents=True)
    for name in ("status", "available"):
        (admin / name).touch()
    force = ["--force-not-root", "--force-bad-path", f"--root={root}", f"--log={tmp_path}/log"]

    def run_command(argv: t.Sequence[str], **_environment: t.Any) -> tuple[int, str, str]:
        options = force if argv[0] == "dpkg" else [f"--admindir={admin}"]
        done = subprocess.run([argv[0], *options, *argv[1:]], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def run(argv: t.Sequence[str]) -> str:
        return run_command(argv)[1] if argv[0] == "dpkg-query" else ""

    was, new, needs, stays = (package(tmp_path, *args) for args in (("was",), ("new", "was"), ("needs",), ("stays",)))
    assert run_command(["dpkg", "--install", str(was), str(stays)])[0] == 0
    assert run_command(["dpkg", "--remove", "was"])[0] == 0
    packages, config_files = host_state.packages(run)
    record = {"packages": packages, "config_files": config_files}
    assert run_command(["dpkg", "--install", str(was), str(new), str(needs)])[0] == 0
    monkeypatch.setattr(host, "package_turn", functools.partial(package_turn, lock=tmp_path / "lock"))
    torn = host.Host.__new__(host.Host)
    torn.module, torn.run_quietly, torn.record = (
        t.cast("t.Any", types.SimpleNamespace(run_command=run_command)),
        run,
        record,
    )
    torn.changes = {"packages": ["was", "new", "needs", "stays"]}
    torn.packages = torn._packages()
    assert torn.packages == ["was", "new", "needs"]
    torn._remove_packages()
    assert host_state.packages(run) == ({"stays": "1"}, {"was": "1"})
    assert sorted(path.name for path in (root / "etc").iterdir()) == ["stays.conf", "was.conf"]
    assert torn._packages() == []
    # One that a killed teardown had removed, but not its configuration files.
    run_command(["dpkg", "--install", str(was), str(new)])
    run_command(["dpkg", "--remove", "was", "new"])
    torn.packages = torn._packages()
    assert torn.packages == ["new"]
    torn._remove_packages()
    assert host_state.packages(run) == ({"stays": "1"}, {"was": "1"})


def test_who_never_ends_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = hold(30)
    with pytest.raises(host.TeardownError, match=rf"\(process {other.pid}\) has been installing packages"):
        remove(monkeypatch, tmp_path, 0.3)
