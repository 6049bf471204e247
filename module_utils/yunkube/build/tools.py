# SPDX-License-Identifier: Apache-2.0
"""Run the tools that a build needs, with an environment that the caller's shell has no part in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

# What of the caller's environment a tool gets: where programs are, and how the network is reached. Nothing that
# changes what a compiler makes, or the result of one shell would be taken for the lock's.
KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "NETRC", "SSH_AUTH_SOCK"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
KEPT_OF_PIP = (
    "CERT",
    "CLIENT_CERT",
    "INDEX_URL",
    "EXTRA_INDEX_URL",
    "FIND_LINKS",
    "TRUSTED_HOST",
    "PROXY",
    "CONFIG_FILE",
)
# Where Go gets modules; their content is what go.sum says, whoever sends it.
KEPT_OF_GO = ("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOAUTH", "GOVCS")

TOOL_SECONDS = 3600.0  # for one call of a tool: a download, or everything of a component compiled


class BuildError(Exception):
    """A build cannot go on; the text says why and what to do."""


class Tools:
    """Runs programs for a build, and logs what they say."""

    def __init__(self, cache: Path, epoch: int, mirrors: t.Mapping[str, str] | None = None) -> None:
        """Let Go keep its caches in `cache`, and tools believe that it is `epoch`.

        `mirrors` are those to take where this machine names none of its own: `go`, `pip`, `debian`, `debian_security`.
        """
        self.cache, self.mirrors = cache, dict(mirrors or {})
        kept = [*KEPT, *(f"PIP_{name}" for name in KEPT_OF_PIP)]
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}
        self.environment |= {"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        self.environment |= self._pip() | self._go()

    def _pip(self) -> dict[str, str]:
        """Return the environment that leads pip to the mirror, empty where a file or variable of pip names an index."""
        mirror = self.mirrors.get("pip", "")
        if not mirror or "index-url" in self.ask([sys.executable, "-m", "pip", "config", "list"], "Python packages"):
            return {}
        plain = urlsplit(mirror)
        return {"PIP_INDEX_URL": mirror} | ({"PIP_TRUSTED_HOST": str(plain.netloc)} if plain.scheme == "http" else {})

    def _go(self) -> dict[str, str]:
        """Return the environment of Go: its settings come from here and from no file of the user's (GOENV)."""
        go = {"GOENV": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        go |= {"GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw"}
        go |= {"GOPATH": f"{self.cache}/go", "GOMODCACHE": f"{self.cache}/go/mod", "GOCACHE": f"{self.cache}/go/build"}
        network: dict[str, str] = {name: os.environ[name] for name in KEPT_OF_GO if os.environ.get(name)}
        if found := shutil.which("go"):  # what `go env -w` wrote of the network stays
            said = subprocess.run(
                [found, "env", "-json", *KEPT_OF_GO],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
                env=self.environment | {"GOTOOLCHAIN": "local"},
            )
            if said.returncode == 0:
                network = {name: value for name, value in json.loads(said.stdout).items() if value} | network
        if self.mirrors.get("go") and network.get("GOPROXY", "") in ("", self._default_of(found)):
            network["GOPROXY"] = self.mirrors["go"]
        return network | go

    def _default_of(self, go: str | None) -> str:
        """Return where this Go gets modules when nobody set anything, empty without Go."""
        argv = ["env", "GOENV=off", "GOTOOLCHAIN=local", go or "", "env", "GOPROXY"]
        return self.ask(argv, "Go tools").strip() if go else ""

    def run(
        self,
        argv: list[str],
        what: str,
        *,
        cwd: Path | None = None,
        env: t.Mapping[str, str] | None = None,
        tries: int = 1,
        said: t.Callable[[list[str]], None] | None = None,
    ) -> None:
        """Run a program that must succeed, and more than once where the network may fail; hand its lines to `said`."""
        log = self.cache / "logs" / f"build-{what.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        name = Path(argv[0]).name
        for left in reversed(range(tries)):
            with log.open("ab") as stream, followed(log, said) if said else contextlib.nullcontext():
                stream.write(f"$ {' '.join(argv)}\n".encode())
                stream.flush()
                try:
                    done = subprocess.run(
                        argv,
                        cwd=cwd,
                        env=self.environment | dict(env or {}),
                        stdin=subprocess.DEVNULL,
                        stdout=stream,
                        stderr=stream,
                        check=False,
                        timeout=TOOL_SECONDS,
                    )
                except subprocess.TimeoutExpired as error:
                    late = f"{name} did not end within {TOOL_SECONDS:.0f} s and was stopped"
                    raise BuildError(f"{what}: {late}: see {log}, then run again") from error
            if done.returncode == 0:
                return
            if left:
                time.sleep(2)
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise BuildError(f"{what}: {name} failed: {' | '.join(tail)} (all of it: {log})")

    def ask(
        self, argv: list[str], what: str, *, cwd: Path | None = None, env: t.Mapping[str, str] | None = None
    ) -> str:
        """Return what a program prints that must succeed and takes no time."""
        environment = self.environment | dict(env or {})
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env=environment, timeout=TOOL_SECONDS, cwd=cwd
            )
        except FileNotFoundError as error:
            raise BuildError(f"{what}: {argv[0]} is missing: install it") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise BuildError(f"{what}: {Path(argv[0]).name} failed: {' | '.join(said)}")
        return done.stdout


@contextlib.contextmanager
def followed(log: Path, said: t.Callable[[list[str]], None], every: float = 1.0) -> t.Iterator[None]:
    """Hand over what is added to a file while the block runs: every so many seconds, all lines that are new.

    All at once, so that a reader that takes long, as one that writes to a busy disk, does not fall behind.
    """
    ended = threading.Event()

    def read(stream: t.TextIO) -> None:
        rest = ""
        while True:
            last = ended.wait(every)
            *lines, rest = (rest + stream.read()).split("\n")
            if lines:
                said(lines)
            if last:
                return

    with log.open(errors="replace") as stream:
        stream.seek(0, os.SEEK_END)
        reader = threading.Thread(target=read, args=(stream,), daemon=True)
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()
