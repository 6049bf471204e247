# SPDX-License-Identifier: Apache-2.0
"""Secrets that are looked for everywhere: in files, journals, arguments of processes, and in what an API was asked."""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible.module_utils.yunkube.build.store import files_below
from laboratory import docker

ON_HOSTS = ("/etc", "/root", "/run", "/tmp", "/var/lib/yunkube", "/var/lib/kubelet", "/var/log")
RUNNER = "yunkube-run-*"  # where ansible-runner notes what it does, in memory, as scripts/deployer/run.py has it


class Canaries:
    """Secrets, and where they were seen."""

    def __init__(self, *secrets: str) -> None:
        """Take the secrets; they are handed on by pipes alone, so that looking for them shows them nowhere."""
        self.secrets = secrets
        self.seen: set[str] = set()

    def holds(self, text: str | bytes) -> bool:
        """Say whether a secret is in a text."""
        raw = text.encode() if isinstance(text, str) else text
        return any(secret.encode() in raw for secret in self.secrets)

    def check(self, place: str, text: str | bytes) -> None:
        """Note a place where one is."""
        if self.holds(text):
            self.seen.add(place)

    def without_token(self, request: str) -> str:
        """Return what was sent to an API without its parameter for a token of STS, which is one of the secrets."""
        return re.sub(r"[?&]SecurityToken=[^&\s]*", "", request)

    def look_at_files(self, folders: Sequence[Path]) -> None:
        """Look into all files of folders on this machine, those that go meanwhile left aside."""
        for folder in folders:
            for path in files_below(folder):
                with contextlib.suppress(OSError):
                    if path.is_file() and not path.is_symlink():
                        self.check(str(path), path.read_bytes())

    def look_at_arguments(self) -> None:
        """Look at what every process of this machine was started with, those in containers as well."""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                self.check("the arguments of a process", process.read_bytes())

    def look_at_host(self, container: str) -> None:
        """Look into a host's files and its journal."""
        self.check(f"the journal of {container}", docker("exec", container, "journalctl", "--no-pager", "--output=cat"))
        argv = ["docker", "exec", "--interactive", container, "grep", "-rlsF", "-D", "skip", "-f", "-", *ON_HOSTS]
        lines = "".join(f"{secret}\n" for secret in self.secrets)
        found = subprocess.run(argv, input=lines, capture_output=True, text=True, check=False, timeout=120)
        assert found.returncode in (0, 1, 2), found.stderr
        self.seen.update(f"{container}:{path}" for path in found.stdout.splitlines())

    @contextlib.contextmanager
    def watching(self, *folders: Path) -> Iterator[None]:
        """Look at the arguments of processes, and into folders of runs, again and again while something runs."""
        ended = threading.Event()

        def watch() -> None:
            for turn in itertools.count():
                self.look_at_arguments()
                if turn % 5 == 0:  # thousands of small files, which stay until the run ends
                    self.look_at_files([*folders, *_of_runner()])
                if ended.wait(0.2):
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _of_runner() -> list[Path]:
    memory = Path(os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm")
    return list(memory.glob(RUNNER))


class Watch:
    """Looks at every process's arguments until it is stopped, and remembers in which one of these secrets was."""

    def __init__(self, *secrets: str) -> None:
        """Start looking for these."""
        self._words = [word.encode() for word in secrets]
        self._words += [base64.b64encode(b"admin:" + word) for word in self._words]
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):  # the hosts' processes are in it, too
                with contextlib.suppress(OSError):
                    text = path.read_bytes()
                    if any(word in text for word in self._words):
                        self.seen.add(text.replace(b"\0", b" ").decode(errors="replace"))

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()
