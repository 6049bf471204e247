# SPDX-License-Identifier: Apache-2.0
"""Compile the programs of one component with Go, and tell how much of it is compiled."""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.tools import BuildError, Tools

Lock = dict[str, t.Any]
GO_RECIPE = 1  # part of every key of what Go makes: raise it when a flag below changes
# Debugging information is not linked (-s -w), so that it need not be made: a tenth of the compiler's work.
COMPILE = "-gcflags=all=-dwarf=false"
# The share of free memory that compilers may fill before they collect garbage, which is a tenth of their work, too.
SHARE = 0.5
LEAST_MEMORY = 256 << 20  # bytes for one compiler; with less than that, Go's own way of collecting is better
MOST_MEMORY = 1 << 30
LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
# What compiling a package costs, in bytes of source: large files are tables and generated types, and imports are read,
# too. With these, the share that is done differs at no moment of a build of Kubernetes 1.37.2 by more than 0.05
# from that of the processor time (go build -debug-actiongraph); by bytes alone, by 0.25.
MOST_SOURCE = 50_000
PER_IMPORT = 8_000
AT_ONCE = 2  # components that are built side by side, each with as many compilers as there are processors


class GoPrograms:
    """What `go build` makes of components; knows which packages were compiled already."""

    def __init__(self, tools: Tools, project: Path) -> None:
        """Build with `tools` what lies below `project`."""
        self.tools, self.project = tools, project
        self._met: set[str] = set()  # folders of packages that an earlier component needed

    def build(
        self, go: str, part: Lock, out: Path, environment: t.Mapping[str, str], tell: t.Callable[[float], None]
    ) -> None:
        """Write the programs of a component into `out`; `tell` how much of it is compiled, from 0 to 1."""
        name, folder = part["name"], self.project / part["directory"]
        env = {"CGO_ENABLED": "1" if part.get("cgo") else "0"} | dict(environment) | memory_of_compilers()
        self.tools.run([go, "mod", "download"], name, cwd=folder, env=env, tries=3)
        try:  # go.sum is compared when a module arrives, and not with what lies in the cache, which anybody may edit
            self.tools.run([go, "mod", "verify"], name, cwd=folder, env=env)
        except BuildError as error:
            raise BuildError(f"{error}; delete {self.tools.cache}/go/mod, then run again") from error
        tags = "-tags=" + ",".join(part.get("tags") or [])
        share = Compiled(self._costs(go, tags, part, folder, env), tell)
        argv = [go, "build", "-v", COMPILE, tags, "-ldflags=" + " ".join(map(_quoted, _link(part)))]
        last = {package.rsplit("/", 1)[1]: package for package in part["programs"].values() if "/" in package}
        if set(last) == set(part["programs"]):  # one call: what the programs share is compiled once
            self.tools.run([*argv, "-o", f"{out}/", *last.values()], name, cwd=folder, env=env, said=share.said)
            return
        for program, package in part["programs"].items():
            self.tools.run([*argv, "-o", str(out / program), package], name, cwd=folder, env=env, said=share.said)

    def _costs(self, go: str, tags: str, part: Lock, folder: Path, env: t.Mapping[str, str]) -> dict[str, int]:
        """Return about what compiling costs of each package that is new with this component; see MOST_SOURCE."""
        argv = [go, "list", "-deps", tags, "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports", *part["programs"].values()]
        costs = {}
        for package in _objects(self.tools.ask(argv, part["name"], cwd=folder, env=env)):
            directory = package.get("Dir", "")
            if directory not in self._met:
                self._met.add(directory)
                files = [*package.get("GoFiles", []), *package.get("CgoFiles", [])]
                source = min(MOST_SOURCE, sum(_size(Path(directory, file)) for file in files))
                costs[package["ImportPath"]] = source + PER_IMPORT * len(package.get("Imports", []))
        return costs


class Compiled:
    """Adds up what `go build -v` names."""

    def __init__(self, costs: t.Mapping[str, int], tell: t.Callable[[float], None]) -> None:
        """Expect packages that cost this much."""
        self._left, self._all, self._tell = dict(costs), sum(costs.values()), tell

    def said(self, lines: t.Iterable[str]) -> None:
        """Note lines of its output, among which are the names of packages whose compiling starts."""
        if sum(self._left.pop(line, 0) for line in lines):
            self._tell(1 - sum(self._left.values()) / self._all)


def memory_of_compilers() -> dict[str, str]:
    """Return the environment that lets each compiler use its part of the memory that is free now."""
    each = int(free_memory() * SHARE / (AT_ONCE * (os.cpu_count() or 1)))
    return {"GOGC": "off", "GOMEMLIMIT": str(min(each, MOST_MEMORY))} if each >= LEAST_MEMORY else {}


def free_memory(meminfo: Path = Path("/proc/meminfo"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that programs may still take, on this machine or in this container."""
    facts = dict(re.findall(r"(?m)^(\w+): +(\d+) kB$", meminfo.read_text()))
    free = int(facts["MemAvailable"]) * 1024
    for limit, used in LIMITS:  # of cgroup version 2, and of version 1
        with contextlib.suppress(OSError, ValueError):  # there is none: "max"
            free = min(free, int((groups / limit).read_text()) - int((groups / used).read_text()))
    return free


def _link(part: Lock) -> list[str]:
    flags = ["-s", "-w", "-buildid="]
    for package, values in (part.get("variables") or {}).items():
        flags += [f"-X={package}.{name}={value}" for name, value in values.items()]
    return flags + (["-linkmode=external", "-extldflags=-static -Wl,--build-id=none"] if part.get("static") else [])


def _objects(text: str) -> t.Iterator[dict[str, t.Any]]:
    """Return the JSON objects that follow each other in a text."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        found, position = decoder.raw_decode(text, position)
        yield found
        position += 1  # the line's end


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _quoted(text: str) -> str:
    return f"'{text}'" if " " in text else text
