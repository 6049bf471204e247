# SPDX-License-Identifier: Apache-2.0
"""A bill of materials names what is in programs, packages and images, as those say it themselves."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from ansible.module_utils.yunkube.build import contents, oci
from ansible.module_utils.yunkube.build.bundle import link_of, point, write_bundle
from ansible.module_utils.yunkube.build.cached_bundles import Bundle, bundles
from ansible.module_utils.yunkube.build.contents import Distribution, GoProgram, Module
from ansible.module_utils.yunkube.build.debian_packages import pins_of
from ansible.module_utils.yunkube.build.sbom import make
from ansible.module_utils.yunkube.build.store import digest_file
from deployer.cli import main
from tiny_bundle import make_bundle, make_lock

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
MARK = b"\x30\x77\xaf\x0c\x92\x74\x08\x02\x41\xe1\xc1\x07\xe6\xd6\x18\xe6"  # around the text, as Go writes it
DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+
 text

Files: debian/*
License: MIT
"""


def varint(number: int) -> bytes:
    """Return a number as Go writes it before a text."""
    head = b""
    while number >= 128:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


def program(go: str = "go1.27.3", lines: str = "") -> bytes:
    """Return something that looks like a Go program to whoever reads what the linker wrote."""
    about = MARK + lines.encode() + MARK
    head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return b"\x7fELF" + bytes(60) + head + varint(len(go)) + go.encode() + varint(len(about)) + about


# -- Go ------------------------------------------------------------------------------------------------------


LINES = "path\tk8s.io/x\nmod\tyunkube/x\t(devel)\t\ndep\tk8s.io/a\tv1.0.0\th1:a=\n"
LINES += "dep\tk8s.io/b\tv1.0.0\n=>\tgithub.com/fork/b\tv1.0.1\th1:b=\nbuild\t-trimpath=true\n"


def test_a_program_names_its_modules_and_what_replaced_one() -> None:
    found = contents.go_program(program(lines=LINES * 20))  # longer than one byte can say
    assert found == GoProgram(
        "1.27.3", [Module("k8s.io/a", "v1.0.0", "h1:a="), Module("github.com/fork/b", "v1.0.1", "h1:b=")] * 20
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF" + bytes(5000),
        bytes(3) + program(),
        program(go="no version"),
        program()[:80],
        b"\xff Go buildinf:",
    ],
)
def test_what_is_no_program_of_go_has_no_modules(content: bytes) -> None:
    assert contents.go_program(content) is None


def test_it_is_what_go_itself_reads() -> None:
    go = shutil.which("go") or next(iter(map(str, CACHE.glob("store/go-*/go/bin/go"))), None)
    if not go:
        pytest.skip("no Go here, and none in the cache")
    for path in (go, *map(str, CACHE.glob("bundles/*/bin/kubectl"))):  # Go's own modules are vendored, so it names none
        argv = [go, "version", "-m", path]
        said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
        rows = [line.strip().split("\t") for line in said.splitlines()]
        found = contents.go_program(Path(path).read_bytes())
        assert found is not None
        assert said.splitlines()[0].split()[1] == f"go{found.go}"
        named: list[list[str]] = []
        for row in rows:
            if row[0] == "=>":
                named.pop()
            if row[0] in ("dep", "mod", "=>") and "(devel)" not in row:
                named.append(row[1:4])
        assert [list(module) for module in found.modules] == named


# -- Debian ----------------------------------------------------------------------------------------------------


def plain_tar(files: dict[str, str]) -> bytes:
    """Return a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def deb(
    path: Path, files: dict[str, str], suffix: str = ".xz", compress: Callable[[bytes], bytes] = lzma.compress
) -> Path:
    """Write a package of Debian."""

    def member(name: str, content: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )

    data = compress(plain_tar(files))
    path.write_bytes(
        b"!<arch>\n"
        + member("debian-binary", b"2.0\n")
        + member("control.tar", b"x")
        + member(f"data.tar{suffix}", data)
    )
    return path


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_licences_of_a_package_are_those_of_its_copyright_file(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    files = {"./usr/share/doc/other/copyright": "License: none", "./usr/share/doc/ethtool/copyright": DEP5}
    assert contents.licences_of(deb(tmp_path / "a.deb", files, suffix, compress), "ethtool") == ["GPL-2+", "MIT"]


def test_free_text_and_other_files_say_no_licence(tmp_path: Path) -> None:
    assert contents.copyright_licences("License: GPL-2, as some say") == []
    assert contents.licences_of(deb(tmp_path / "a.deb", {"./usr/bin/x": ""}), "x") == []
    (tmp_path / "b.deb").write_text("no package")
    assert contents.licences_of(tmp_path / "b.deb", "x") == []


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb here")
def test_a_package_that_dpkg_made_is_read(tmp_path: Path) -> None:
    for name, text in {
        "DEBIAN/control": "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example.com>\nDescription: x\n",
        "usr/share/doc/x/copyright": DEP5,
    }.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tmp_path / "root"), str(tmp_path / "x.deb")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    assert contents.licences_of(tmp_path / "x.deb", "x") == ["GPL-2+", "MIT"]


# -- images ------------------------------------------------------------------------------------------------------


def write_image(folder: Path, reference: str = "docker.io/yunkube/x:1") -> Path:
    """Write an image of two layers; the second replaces a program of the first."""
    folder.mkdir()
    base, top = folder / "base", folder / "top"
    files: dict[str, bytes] = {
        "base/usr/bin/old": program("go1.20.1"),
        "base/usr/bin/both": program("go1.20.1"),
        "base/var/lib/dpkg/status.d/libc6": b"Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n",
        "base/var/lib/dpkg/status.d/libc6.md5sums": b"Package: none\nVersion: 1\n",
        "base/lib/Aio_Http-1.dist-info/METADATA": b"Name: Aio_Http\nVersion: 1.0\nLicense-Expression: Apache-2.0\n",
        "base/etc/text": b"no program",
        "top/usr/bin/both": program("go1.27.3", LINES),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for tree in (base, top):
        with (folder / f"{tree.name}.tar").open("wb") as stream:
            oci.layer({"/": tree}, stream, 0)
    about = oci.Image(reference, [], "", "2026-11-18T00:00:00Z")
    oci.write_archive(about, [folder / "base.tar", folder / "top.tar"], folder / "image.tar")
    return folder / "image.tar"


def test_an_image_is_what_its_layers_hold(tmp_path: Path) -> None:
    found = contents.image(write_image(tmp_path / "image"))
    assert {path: one.go for path, (_, one) in found.programs.items()} == {
        "/usr/bin/old": "1.20.1",
        "/usr/bin/both": "1.27.3",
    }
    assert found.distributions == [
        Distribution("deb", "libc6", "2.36-9", "amd64", []),
        Distribution("pypi", "Aio_Http", "1.0", "", ["Apache-2.0"]),
    ]


# -- the bill ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that has one of each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache = tmp_path / "cache/yunkube"
    cache.mkdir(parents=True)
    kubelet, demo = cache / "kubelet", cache / "demo"
    kubelet.write_bytes(program(lines=LINES))
    demo.write_bytes(program(lines="dep\tk8s.io/a\tv1.0.0\th1:a=\n"))
    package = deb(cache / "ethtool_1%3a6.1-1_amd64.deb", {"./usr/share/doc/ethtool/copyright": DEP5})
    archive = write_image(cache / "image")
    of_kubelet = {"name": "kubelet", "version": "1.37.2", "kind": "kubernetes", "path": "/usr/bin/kubelet"}
    of_package = {"name": package.name, "version": "1:6.1-1", "kind": "package", "package": "ethtool"}
    of_image = {"name": "docker.io/yunkube/x", "version": "1", "kind": "image", "target": "sha256:0"}
    abouts: dict[Path, dict[str, Any]] = {
        kubelet: of_kubelet,
        package: of_package | {"distribution": "debian12"},
        archive: of_image | {"reference": "docker.io/yunkube/x:1"},
    }
    files = [
        {**about, "purpose": ["node"], "sha256": digest_file(path), "size": path.stat().st_size}
        for path, about in abouts.items()
    ]
    manifest = {"kubernetes": "1.37.2", "architecture": "amd64", "files": files}
    folder = write_bundle(cache / "bundles", manifest, {digest_file(path): path for path in abouts}, {"demo": demo})
    lock = make_lock(tmp_path)
    pins = f"packages-debian12 ethtool 1:6.1-1 amd64 {digest_file(package)}\n"
    pins_of(lock).write_text(pins + f"image-packages-debian13 nginx 1.26-1 amd64 {'1' * 64}\n")
    point(link_of(cache, lock), folder)
    return bundles(cache)[0]


def test_everything_is_named_once_with_what_it_needs(bundle: Bundle, tmp_path: Path) -> None:
    bill = make(bundle, tmp_path)
    named = {component["bom-ref"]: component for component in bill["components"]}
    assert len(named) == len(bill["components"])
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert set(needs) == {"bundle", *named}
    assert {reference for many in needs.values() for reference in many} == set(named)
    kubelet = next(one for one in named.values() if one["name"] == "kubelet")
    assert needs[kubelet["bom-ref"]] == [
        "pkg:golang/github.com/fork/b@v1.0.1", "pkg:golang/k8s.io/a@v1.0.0", "pkg:golang/stdlib@1.27.3",
    ]  # fmt: skip
    assert named["pkg:golang/k8s.io/a@v1.0.0"]["properties"] == [{"name": "go:sum", "value": "h1:a="}]
    ethtool = named["pkg:deb/debian/ethtool@1%3A6.1-1?arch=amd64&distro=debian-12"]
    assert [one["license"]["name"] for one in ethtool["licenses"]] == ["GPL-2+", "MIT"]
    assert named["pkg:deb/debian/nginx@1.26-1?arch=amd64&distro=debian-13"]["hashes"][0]["content"] == "1" * 64
    image = next(one for one in named.values() if one["type"] == "container")
    assert [name.rpartition("#")[2] for name in needs[image["bom-ref"]]] == [
        "pkg:deb/debian/libc6@2.36-9?arch=amd64", "/usr/bin/both", "/usr/bin/old", "pkg:pypi/aio-http@1.0",
    ]  # fmt: skip
    assert "demo" in {one["name"] for one in named.values()}  # of the control machine
    assert bill["metadata"]["component"]["properties"][1] == {"name": "yunkube:lock", "value": "kubernetes-1.37.2.yml"}


def test_it_has_what_the_published_schema_requires(bundle: Bundle, tmp_path: Path) -> None:
    # The schema itself (bom-1.6.schema.json, draft 7) found no fault in the bill of the bundle of 1.37.2.
    bill = make(bundle, tmp_path)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    kinds = {"application", "container", "library"}
    known = {"type", "name", "bom-ref", "version", "purl", "hashes", "licenses", "properties"}
    for component in [bill["metadata"]["component"], *bill["components"]]:
        assert {"type", "name", "bom-ref"} <= set(component) <= known
        assert component["type"] in kinds
        assert all(one["alg"] == "SHA-256" and len(one["content"]) == 64 for one in component.get("hashes", []))
        assert all(set(one) == {"name", "value"} for one in component.get("properties", []))


def test_it_is_the_same_at_any_time(bundle: Bundle, tmp_path: Path) -> None:
    first = make(bundle, tmp_path)
    for path in bundle.folder.rglob("*"):
        os.utime(path, (1, 1))
    assert make(bundle, tmp_path) == first


def test_it_says_what_it_cannot_know(bundle: Bundle, tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    assert "no lock of this checkout leads to it" in json.dumps(make(bundle, tmp_path)["metadata"])
    point(link_of(bundle.folder.parents[1], lock), bundle.folder)
    assert "it was built of newer ones than the pinned" in json.dumps(make(bundle, tmp_path)["metadata"])


def test_the_command_prints_one(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "sbom"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["component"]["version"] == bundle.name
    make_bundle(bundle.folder.parents[1], tmp_path, "1.36.5")
    assert main(["bundle", "sbom"]) == 2
    assert f"{bundle.name} (1.37.2, amd64)" in capsys.readouterr().err
    (bundle.folder / "files" / bundle.files[0]["sha256"]).unlink()
    assert main(["bundle", "sbom", bundle.name]) == 3
    assert "see `bundle verify`" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"files": []}'])
def test_no_bill_is_made_of_a_manifest_that_is_damaged(
    bundle: Bundle, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle.folder / "manifest.json").write_text(text)
    assert main(["bundle", "sbom"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"bundle {bundle.name}: manifest.json is damaged" in said.err


def damage(content: bytes) -> bytes:
    """Change what is in the middle, beyond any header."""
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0x5A for byte in content[middle : middle + 40]) + content[middle + 40 :]


def layer(tar: bytes) -> bytes:
    """Return an OCI archive of one layer of these bytes."""
    index = '{"manifests": [{"digest": "sha256:1"}]}'
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        manifest = b'{"layers": [{"digest": "sha256:2"}]}'
        for name, content in {"index.json": index.encode(), "blobs/sha256/1": manifest, "blobs/sha256/2": tar}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


PLAIN = plain_tar({"a": "some text " * 900, "b": "more of it"})
BROKEN: dict[str, bytes] = {
    "cut": PLAIN[:700],
    "text": b"not even a tar",
    "nothing": b"",
    "without index": plain_tar({"a": "b"}),
    "other index": plain_tar({"index.json": "[]"}),
    "text index": plain_tar({"index.json": "{"}),
    "no images": plain_tar({"index.json": '{"manifests": []}'}),
    "gzip": layer(damage(gzip.compress(PLAIN))),
    "gzip cut": layer(gzip.compress(PLAIN)[:-40]),
    "xz": layer(damage(lzma.compress(PLAIN))),
    "xz cut": layer(lzma.compress(PLAIN)[:-40]),
    "zstd": layer(damage(zstandard.compress(PLAIN))),
    "bzip2": layer(damage(bz2.compress(PLAIN))),
    "tar cut": layer(PLAIN[:700]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_image_is_named_in_one_line(bundle: Bundle, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    (digest,) = (entry["sha256"] for entry in bundle.files if entry["kind"] == "image")
    path = bundle.folder / "files" / digest
    path.unlink()
    path.write_bytes(BROKEN[how])
    assert main(["bundle", "sbom"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"files/{digest[:16]}… (docker.io/yunkube/x 1) cannot be read: " in said.err
    assert "see `bundle verify`" in said.err
    assert len(said.err.strip().splitlines()) <= 2
