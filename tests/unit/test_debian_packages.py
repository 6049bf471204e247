# SPDX-License-Identifier: Apache-2.0
"""Hosts and images get the pinned packages, or those that Debian signs today, and never unsigned ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.build import debian_packages
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.debian_packages import (
    Archive,
    Package,
    PackageSet,
    archive_of,
    choose,
    differences,
    package_sets,
    pins_of,
    pins_to_write,
    read_pins,
    write_pins,
)
from ansible.module_utils.yunkube.build.tools import BuildError, Tools
from lock_files import LOCK_FILE

ROOT = Path(__file__).resolve().parents[2]
LOCK = yaml.safe_load(LOCK_FILE.read_text())
INDEXES = "Debian|Debian-Security|http://a.example/debian-security/\nDebian|Debian|http://a.example/debian/\n"
TRUST = Archive.trust  # as it is without the archive of these tests


class Repository:
    """An unsigned archive in a folder."""

    def __init__(self, root: Path) -> None:
        """Begin with nothing."""
        self.root = root
        self.records: list[str] = []
        (root / "dists/stable/main/binary-amd64").mkdir(parents=True)
        self.publish()

    def publish(self, *packages: tuple[str, str, str]) -> list[Package]:
        """Offer these packages (name, version, what they depend on), and no others."""
        self.records, published = [], []
        for name, version, depends in packages:
            tree = self.root / "tree" / f"{name}-{version}"
            (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
            control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody <n@example>\n"
            control += f"Description: {name}\n" + (f"Depends: {depends}\n" if depends else "")
            (tree / "DEBIAN/control").write_text(control)
            file = self.root / f"{name}_{version}.deb"
            if not file.exists():
                argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(file)]
                subprocess.run(argv, check=True, capture_output=True)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            about = f"Filename: {file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
            self.records.append(control + about)
            published.append(Package(name, version, "amd64", digest))
        index = self.root / "dists/stable/main/binary-amd64/Packages"
        index.write_text("\n".join(self.records))
        content = index.read_bytes()
        entry = f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/Packages\n"
        head = "Origin: Debian\nSuite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\n"
        (self.root / "dists/stable/Release").write_text(f"{head}Date: Sat, 28 Nov 2026 00:00:00 UTC\nSHA256:\n{entry}")
        return published


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """An archive that takes the place of Debian's, and is believed without a signature."""
    monkeypatch.setattr(debian_packages, "archive_of", lambda *_: f"file:{tmp_path}/archive")
    monkeypatch.setattr(debian_packages, "KEYRING", Path("/dev/null"))
    monkeypatch.setattr(Archive, "trust", "trusted=yes")
    return Repository(tmp_path / "archive")


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """The tools of a build in a cache of its own."""
    (tmp_path / "cache").mkdir()
    return Tools(tmp_path / "cache", 0)


WANTED = PackageSet("packages-test", ["stable"], ["front"])


def builder(tmp_path: Path, pinned: list[Package]) -> Builder:
    """A builder of nothing but packages."""
    return Builder(LOCK, ROOT, tmp_path / "cache", {"packages-test": pinned})


def names(folder: Path) -> list[str]:
    """The packages in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_packages_come_with_all_that_they_depend_on(repository: Repository, tools: Tools) -> None:
    front, back, _ = repository.publish(("front", "1", "back (>= 1)"), ("back", "1:2", ""), ("other", "1", ""))
    with Archive(tools, ["stable"], "amd64") as archive:
        assert archive.resolve(["front"]) == [back, front]
        folder = archive.folder
    assert not folder.exists()


def test_pinned_versions_are_taken_although_there_are_newer_ones(
    repository: Repository, tools: Tools, tmp_path: Path
) -> None:
    old, back, new = repository.publish(("front", "1", "back"), ("back", "1", ""), ("front", "2", "back"))
    with Archive(tools, ["stable"], "amd64") as archive:
        assert archive.resolve(["front"]) == [back, new]
        assert choose(archive, WANTED, [back, old]) == ([back, old], [])
    one = builder(tmp_path, [back, old])
    folder = one.package_set(WANTED)
    assert names(folder) == ["back_1_amd64.deb", "front_1_amd64.deb"]
    assert one.gone == set()


def test_a_pinned_set_that_is_in_the_store_needs_no_archive(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = repository.publish(("front", "1", ""))
    folder = builder(tmp_path, pinned).package_set(WANTED)
    monkeypatch.setattr(Archive, "__enter__", None)
    assert builder(tmp_path, pinned).package_set(WANTED) == folder


def test_what_left_the_archive_is_replaced_and_reported(repository: Repository, tmp_path: Path) -> None:
    (old, back) = repository.publish(("front", "1", "back"), ("back", "1", ""))
    (new, _) = repository.publish(("front", "2", "back"), ("back", "1", ""))
    one = builder(tmp_path, [old, back])
    folder = one.package_set(WANTED)
    assert names(folder) == ["back_1_amd64.deb", "front_2_amd64.deb"]
    assert one.gone == {(old, new)}
    assert one.package_set(WANTED) == folder
    # What was pinned is not in the store under its name: the next build looks again, and says so again.
    again = builder(tmp_path, [old, back])
    assert again.package_set(WANTED) == folder
    assert again.gone == {(old, new)}
    assert builder(tmp_path, [new, back]).package_set(WANTED) == folder


def test_the_same_version_with_other_bytes_is_refused(repository: Repository, tmp_path: Path) -> None:
    (pinned,) = repository.publish(("front", "1", ""))
    with pytest.raises(BuildError, match=r"front 1 in Debian's archive has another sha256 than the lock says"):
        builder(tmp_path, [pinned._replace(sha256="0" * 64)]).package_set(WANTED)


def test_a_file_that_is_not_what_the_index_says_is_refused(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between its tries
    (pinned,) = repository.publish(("front", "1", ""))
    file = repository.root / "front_1.deb"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(BuildError, match="packages"):
        builder(tmp_path, [pinned]).package_set(WANTED)
    assert [path.name for path in (tmp_path / "cache").glob("store/packages-test*")] == []


def test_an_unsigned_archive_is_refused_whatever_the_machine_allows(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.publish(("front", "1", ""))
    careless = tmp_path / "apt.conf"
    careless.write_text(
        'APT::Get::AllowUnauthenticated "true";\nAcquire::AllowInsecureRepositories "true";\n'
        'Acquire::AllowWeakRepositories "true";\n'
    )
    monkeypatch.setattr(Archive, "trust", TRUST)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between its tries
    tools = Tools(tmp_path / "cache", 0)
    tools.environment["APT_CONFIG"] = str(careless)
    with (
        pytest.raises(BuildError, match=r"apt-get failed: .*(not signed|InRelease)"),
        Archive(tools, ["stable"], "amd64"),
    ):
        pass


def test_pins_are_read_as_they_were_written(tmp_path: Path) -> None:
    pins = pins_of(tmp_path / "kubernetes-1.0.0.yml")
    assert pins.name == "kubernetes-1.0.0.packages"
    assert read_pins(pins) == {}
    sets = {"packages-debian12": [Package("socat", "1:1.7-1", "amd64", "a" * 64)]}
    write_pins(pins, sets)
    assert read_pins(pins) == sets
    first = pins.read_text()
    write_pins(pins, read_pins(pins))
    assert pins.read_text() == first
    pins.write_text("packages-debian12 socat 1.7\n")
    with pytest.raises(BuildError, match=r"kubernetes-1\.0\.0\.packages:1 is not .*: run make packages-lock"):
        read_pins(pins)


def test_a_refresh_reports_what_is_new() -> None:
    old = {"set": [Package("a", "1", "amd64", ""), Package("b", "1", "amd64", "")]}
    new = {"set": [Package("a", "2", "amd64", ""), Package("c", "1", "amd64", "")]}
    assert differences(old, new) == ["set: a 1 -> 2", "set: b 1 -> none", "set: c none -> 1"]
    assert differences(new, new) == []


def test_pins_that_locks_share_are_resolved_once(tmp_path: Path) -> None:
    for release in ("1.36.5", "1.37.2"):
        (tmp_path / f"kubernetes-{release}.yml").write_text(LOCK_FILE.read_text())
    (tmp_path / "kubernetes-1.36.5.packages").symlink_to("kubernetes-1.37.2.packages")
    found = [(pins.name, lock["architecture"]) for pins, lock in pins_to_write(tmp_path)]
    assert found == [
        ("kubernetes-1.36.5.arm64.packages", "arm64"),
        ("kubernetes-1.37.2.packages", "amd64"),
        ("kubernetes-1.37.2.arm64.packages", "arm64"),
    ]


def test_security_fixes_are_asked_for() -> None:
    for wanted in package_sets(LOCK):
        release = wanted.suites[0]
        assert wanted.suites == [release, f"{release}-updates", f"{release}-security"]


def test_images_write_no_packet_filter_rules_that_a_host_cannot_read() -> None:
    # nft 1.0.6 (debian12) crashes on tables with concatenated keys that nft 1.1.3 (debian13) wrote.
    assert LOCK["rootfs"]["iptables"]["distribution"] == min(LOCK["packages"])


def test_images_that_write_no_packet_filter_rules_are_of_the_newest_distribution() -> None:
    newest = max(LOCK["packages"])
    others = {name: about["distribution"] for name, about in LOCK["rootfs"].items() if name != "iptables"}
    assert others == dict.fromkeys(others, newest)
    # A new tag rolls the pods of running clusters.
    tags = {image["reference"].rsplit(":", 1)[1] for image in LOCK["images"] if image.get("rootfs") in others}
    assert {tag for tag in tags if tag.startswith("debian")} == {newest}


def test_wheels_are_for_the_python_of_their_image() -> None:
    pins = read_pins(pins_of(LOCK_FILE))
    for part in (one for one in LOCK["components"] if one.get("language") == "python"):
        (image,) = (one for one in LOCK["images"] if set(part["programs"]) & set(one["programs"]))
        distribution = LOCK["rootfs"][image["rootfs"]]["distribution"]
        assert f"python{part['python']}" in {package.name for package in pins[f"image-packages-{distribution}"]}


def test_each_suite_comes_from_the_archive_that_apt_has_for_it() -> None:
    assert archive_of("trixie", INDEXES) == archive_of("trixie-updates", INDEXES) == "http://a.example/debian/"
    assert archive_of("trixie-security", INDEXES) == "http://a.example/debian-security/"
    with pytest.raises(BuildError, match="no index of Debian's security archive: add it"):
        archive_of("trixie-security", INDEXES.splitlines()[1])


def environment_of(**given: str) -> dict[str, t.Any]:
    """Return what a tool gets of a shell's environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        return Tools(Path("/cache"), 7).environment


def test_a_shells_settings_do_not_reach_the_compilers() -> None:
    special = {
        "CGO_CFLAGS": "-O0",
        "CC": "tcc",
        "GOAMD64": "v4",
        "GOEXPERIMENT": "x",
        "GOFLAGS": "-race",
        "GOROOT": "/x",
    }
    special |= {
        "LD_PRELOAD": "",
        "CFLAGS": "-g",
        "GOENV": "/x",
        "APT_CONFIG": "/x",
        "PYTHONPATH": "/x",
        "GCC_EXEC_PREFIX": "/x",
    }
    plain = environment_of()
    assert environment_of(**special) == plain
    assert plain["GOENV"] == "off"
    assert plain["SOURCE_DATE_EPOCH"] == "7"
    kept = environment_of(https_proxy="http://proxy.example", GOPROXY="http://modules.example")
    assert kept["https_proxy"] == "http://proxy.example"
    assert kept["GOPROXY"] == "http://modules.example"


# -- mirrors of a profile ----------------------------------------------------------------------------

MIRRORS = {
    "go": "https://go.example",
    "pip": "http://pip.example/simple/",
    "debian": "https://mirror.example/debian/",
    "debian_security": "https://mirror.example/debian-security/",
}

DEFAULT = {"Debian": "deb", "Debian-Security": "security"}  # what comes before .debian.org


def mirrored(home: Path, go_files: str = "", pip_files: str = "", **given: str) -> dict[str, str]:
    """Return the environment of tools with MIRRORS, for a user with these files and variables."""
    for name, text in (("go/env", go_files), ("pip/pip.conf", pip_files)):
        (home / name).parent.mkdir()
        (home / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PIP_", "GO"))]:
            patch.delenv(name)
        shell = {
            "XDG_CONFIG_HOME": str(home),
            "GOENV": str(home / "go/env"),
            "PIP_CONFIG_FILE": str(home / "pip/pip.conf"),
        }
        for name, value in (shell | given).items():
            patch.setenv(name, value)
        return Tools(Path("/cache"), 7, MIRRORS).environment


def test_a_build_takes_the_mirrors_of_the_profile(tmp_path: Path) -> None:
    seen = mirrored(tmp_path)
    assert (seen["GOPROXY"], seen["PIP_INDEX_URL"]) == (MIRRORS["go"], MIRRORS["pip"])
    assert seen["PIP_TRUSTED_HOST"] == "pip.example"  # only for plain HTTP: every wheel has its hash in the lock


def test_what_the_environment_names_is_taken_before_the_profile(tmp_path: Path) -> None:
    seen = mirrored(tmp_path, GOPROXY="https://own.example", PIP_INDEX_URL="https://own.example/simple")
    assert (seen["GOPROXY"], seen["PIP_INDEX_URL"]) == ("https://own.example", "https://own.example/simple")
    assert "PIP_TRUSTED_HOST" not in seen


def test_what_a_file_of_pip_names_is_taken_before_the_profile(tmp_path: Path) -> None:
    assert "PIP_INDEX_URL" not in mirrored(tmp_path, pip_files="[global]\nindex-url = https://own.example/simple\n")


def test_a_mirror_stands_for_debians_own_address_and_for_no_other() -> None:
    default = "".join(f"Debian|{label}|http://{one}.debian.org/x/\n" for label, one in DEFAULT.items())
    assert archive_of("trixie", default, MIRRORS) == MIRRORS["debian"]
    assert archive_of("trixie-security", default, MIRRORS) == MIRRORS["debian_security"]
    assert archive_of("trixie", "Ubuntu|Ubuntu|http://c.example/ubuntu/\n", MIRRORS) == MIRRORS["debian"]
    assert archive_of("trixie", INDEXES, MIRRORS) == "http://a.example/debian/"
    assert archive_of("trixie", default) == f"http://{DEFAULT['Debian']}.debian.org/x/"
