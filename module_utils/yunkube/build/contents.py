# SPDX-License-Identifier: Apache-2.0
"""What programs, packages and images say of what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
import typing as t
from email.parser import HeaderParser
from pathlib import Path

import zstandard

MAGIC = b"\xff Go buildinf:"  # https://pkg.go.dev/debug/buildinfo; Go's own reader is src/debug/buildinfo
INLINE = 2  # the flag of Go 1.18 and later: both texts follow
DEP5 = re.compile(r"(?i)^format(?:-specification)?:.*(?:copyright-format|dep5|dep-5)", re.MULTILINE)


class Module(t.NamedTuple):
    """A Go module that a program was compiled from."""

    path: str
    version: str
    sum: str  # as go.sum has it


class GoProgram(t.NamedTuple):
    """What `go version -m` prints of a program."""

    go: str  # version of the compiler and the standard library
    modules: list[Module]


class Distribution(t.NamedTuple):
    """A Debian package or a Python distribution that is installed somewhere."""

    kind: str  # deb or pypi
    name: str
    version: str
    architecture: str
    licences: list[str]


class Content(t.NamedTuple):
    """What is in an image."""

    programs: dict[str, tuple[str, GoProgram]]  # sha256 and origin, by path
    distributions: list[Distribution]


# -- Go -----------------------------------------------------------------------------------------------


def go_program(content: bytes) -> GoProgram | None:
    """Return what the Go linker wrote into a program; None for what is none."""
    at = -1
    while (at := content.find(MAGIC, at + 1)) >= 0:
        if at % 16 == 0 and len(content) > at + 32 and content[at + 15] & INLINE:
            version, after = _text(content, at + 32)
            about, _ = _text(content, after)
            if version.startswith((b"go", b"devel")):
                return GoProgram(version.decode().split()[0].removeprefix("go"), _modules(about))
    return None


def _text(content: bytes, at: int) -> tuple[bytes, int]:
    """Return a text behind its length, which is a varint, and where it ends."""
    length = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        length |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            break
    return content[at : at + length], at + length


def _modules(about: bytes) -> list[Module]:
    found: list[Module] = []
    for line in about[16:-16].decode(errors="replace").splitlines():  # between two marks
        words = [*line.split("\t"), "", "", ""]
        if words[0] in ("dep", "mod") and words[2] != "(devel)":
            found.append(Module(*words[1:4]))
        elif words[0] == "=>" and found:
            found[-1] = Module(*words[1:4])
    return found


# -- Debian --------------------------------------------------------------------------------------------


def licences_of(package: Path, name: str) -> list[str]:
    """Return the licences of a .deb, where its copyright file says them in the form that programs read."""
    with package.open("rb") as stream:
        data = _data_of(stream)
        if data is None:
            return []
        with tarfile.open(fileobj=data, mode="r|") as tar:
            for member in tar:
                if member.isreg() and member.name.removeprefix("./") == f"usr/share/doc/{name}/copyright":
                    text = tar.extractfile(member)
                    return copyright_licences(text.read().decode(errors="replace") if text else "")
    return []


def _data_of(stream: t.BinaryIO) -> t.IO[bytes] | None:
    """Return the files of a .deb as a tar: deb(5) is an archive of ar(5)."""
    if stream.read(8) != b"!<arch>\n":
        return None
    while len(head := stream.read(60)) == 60:
        name, size = head[:16].decode().strip().rstrip("/"), int(head[48:58])
        if name.startswith("data.tar"):
            content = io.BytesIO(stream.read(size))
            return _plain(content)
        stream.seek(size + size % 2, 1)
    return None


def _plain(content: t.IO[bytes]) -> t.IO[bytes]:
    """Return what a compressed tar holds, whichever way it is compressed."""
    import bz2  # noqa: PLC0415
    import gzip  # noqa: PLC0415
    import lzma  # noqa: PLC0415 - an image or a package is compressed by one of them

    head = content.read(6)
    content.seek(0)
    readers: dict[bytes, t.Callable[[t.Any], t.Any]] = {
        b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open, b"BZh": bz2.open,
        b"\x28\xb5\x2f\xfd": lambda stream: zstandard.ZstdDecompressor().stream_reader(stream),
    }  # fmt: skip
    for magic, reader in readers.items():
        if head.startswith(magic):
            return t.cast("t.IO[bytes]", reader(content))
    return content


def copyright_licences(text: str) -> list[str]:
    """Return the short names of all licences of a copyright file, sorted; nothing of one in free text.

    Form: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    if not DEP5.search(text):
        return []
    return sorted({name.strip() for name in re.findall(r"(?im)^license:[ \t]*(\S.*)$", text)})


def _installed(text: str) -> t.Iterator[Distribution]:
    """Yield the packages of a dpkg status file."""
    for paragraph in re.split(r"\n\s*\n", text):
        fields = HeaderParser().parsestr(paragraph.strip() + "\n")
        if fields["Package"] and fields["Version"]:
            yield Distribution("deb", fields["Package"], fields["Version"], fields["Architecture"] or "all", [])


# -- images -------------------------------------------------------------------------------------------


def image(archive: Path) -> Content:
    """Read all layers of an OCI archive; a file of a later layer takes the place of one before."""
    programs: dict[str, tuple[str, GoProgram]] = {}
    found: dict[str, list[Distribution]] = {}
    with tarfile.open(archive) as tar:
        for digest in _layers(tar):
            stream = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            if stream is None:
                continue
            with tarfile.open(fileobj=_plain(stream), mode="r|") as layer:
                for member in layer:
                    if member.isreg() and (content := layer.extractfile(member)):
                        _look(f"/{member.name.removeprefix('./')}", content, programs, found)
    return Content(programs, sorted({one[:4]: one for many in found.values() for one in many}.values()))


def _layers(tar: tarfile.TarFile) -> list[str]:
    """Return the digests of an image's layers, through indexes of several platforms where there are some."""

    def blob(name: str) -> t.Any:
        stream = tar.extractfile(name)
        return json.loads(stream.read()) if stream else {}

    about = blob("index.json")
    while "manifests" in about:
        about = blob(f"blobs/{about['manifests'][0]['digest'].replace(':', '/')}")
    return [layer["digest"] for layer in about["layers"]]


def _look(
    path: str,
    stream: t.IO[bytes],
    programs: dict[str, tuple[str, GoProgram]],
    found: dict[str, list[Distribution]],
) -> None:
    """Take of one file of an image what it says."""
    if path == "/var/lib/dpkg/status" or re.fullmatch(r"/var/lib/dpkg/status\.d/[^/.]+", path):
        found[path] = list(_installed(stream.read().decode(errors="replace")))
    elif re.fullmatch(r".*\.dist-info/METADATA", path):
        found[path] = list(_python(stream.read().decode(errors="replace")))
    else:
        head = stream.read(4)
        if head == b"\x7fELF":
            content = head + stream.read()
            if program := go_program(content):
                programs[path] = (hashlib.sha256(content).hexdigest(), program)


def _python(text: str) -> t.Iterator[Distribution]:
    """Yield what a wheel says of itself: https://packaging.python.org/en/latest/specifications/core-metadata/."""
    fields = HeaderParser().parsestr(text)
    licence = fields["License-Expression"] or fields["License"] or ""
    with contextlib.suppress(TypeError):
        if fields["Name"] and fields["Version"]:
            short = licence.strip() if licence and "\n" not in licence.strip() else ""
            yield Distribution("pypi", fields["Name"], fields["Version"], "", [short] if short else [])
