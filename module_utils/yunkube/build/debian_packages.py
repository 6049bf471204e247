# SPDX-License-Identifier: Apache-2.0
"""Packages of Debian for hosts and images: the versions that a file beside the lock pins by sha256.

Archives drop versions, Debian's security archive with every update. Where a pinned version is gone, the set is
resolved again from the signed indexes of the day, and the build says so: a checkout that is a month old must
still come up, and with the fixes of that month. The bundle's name follows from its content, so what was built
of other packages has another name.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.architectures import NATIVE, lock_for
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.system_packages import APT_INDEXES, debian_archive, mirror_of
from ansible.module_utils.yunkube.build.tools import BuildError, Tools

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
REFRESH = "make packages-lock"
SYSROOT = "sysroot"  # the set of what C programs for another architecture are linked with
HEAD = f"""\
# The packages of Debian that hosts and images get, with all they depend on. Written by `{REFRESH}` from the indexes
# of the day, which Debian signs; nobody edits it.
#
# set                   package version architecture sha256
"""


class Package(t.NamedTuple):
    """One package of an archive."""

    name: str
    version: str
    architecture: str
    sha256: str


class PackageSet(t.NamedTuple):
    """Packages that are fetched together with all that they depend on."""

    name: str
    suites: list[str]
    wanted: list[str]


def package_sets(lock: t.Mapping[str, t.Any]) -> list[PackageSet]:
    """Return what a lock needs: for each distribution the packages of hosts, and those that images are made of."""
    sets = []
    for distribution, about in lock["packages"].items():
        sets.append(PackageSet(f"packages-{distribution}", about["suites"], sorted(about["names"])))
        bases = [rootfs for rootfs in lock["rootfs"].values() if rootfs["distribution"] == distribution]
        if names := sorted({name for rootfs in bases for name in rootfs["names"]}):
            sets.append(PackageSet(f"image-packages-{distribution}", about["suites"], names))
    if sysroot := lock["toolchain"].get("sysroot"):
        sets.append(PackageSet(SYSROOT, lock["packages"][sysroot["distribution"]]["suites"], sysroot["names"]))
    return sets


def pins_of(lock_file: Path, architecture: str = NATIVE) -> Path:
    """Return the file that pins the packages of a lock, for each architecture another."""
    return lock_file.with_suffix(".packages" if architecture == NATIVE else f".{architecture}.packages")


def pins_to_write(components: Path) -> t.Iterator[tuple[Path, dict[str, t.Any]]]:
    """Yield each file of pins and the lock, for its architecture, that it is of; links share another lock's pins."""
    for lock_file in sorted(components.glob("kubernetes-*.yml")):
        lock = yaml.safe_load(lock_file.read_text())
        for architecture in (lock["architecture"], *lock.get("cross", {})):
            pins = pins_of(lock_file, architecture)
            if not pins.is_symlink():
                yield pins, lock_for(lock, architecture)


def read_pins(path: Path) -> dict[str, list[Package]]:
    """Return the pinned packages of each set; none where there is no file."""
    pins: dict[str, list[Package]] = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if line and not line.startswith("#"):
            words = line.split()
            if len(words) != 5 or not re.fullmatch("[0-9a-f]{64}", words[4]):
                raise BuildError(f"{path}:{number} is not `set package version architecture sha256`: run {REFRESH}")
            pins.setdefault(words[0], []).append(Package(*words[1:]))
    return pins


def write_pins(path: Path, sets: t.Mapping[str, t.Iterable[Package]]) -> None:
    """Write the pinned packages of all sets."""
    lines = [f"{name:<23} {' '.join(package)}\n" for name in sorted(sets) for package in sorted(sets[name])]
    path.write_text(HEAD + "".join(lines))


def differences(before: t.Mapping[str, list[Package]], after: t.Mapping[str, list[Package]]) -> list[str]:
    """Say what changed in the pinned packages, a line for each."""
    lines = []
    for name in sorted(set(before) | set(after)):
        old = {package.name: package.version for package in before.get(name, [])}
        new = {package.name: package.version for package in after.get(name, [])}
        lines += [
            f"{name}: {package} {old.get(package, 'none')} -> {new.get(package, 'none')}"
            for package in sorted(set(old) | set(new))
            if old.get(package) != new.get(package)
        ]
    return lines


class Archive:
    """Debian's archive with some of its suites, apart from what this machine has installed."""

    # What makes apt believe an index; nothing that apt.conf.d says of it counts.
    trust = f"signed-by={KEYRING}"

    def __init__(self, tools: Tools, suites: list[str], architecture: str) -> None:
        """Ask for nothing yet."""
        self.tools, self.suites, self.architecture = tools, suites, architecture

    def __enter__(self) -> t.Self:
        """Fetch the indexes into a folder of its own."""
        if not shutil.which("apt-get"):
            raise BuildError("the hosts' packages come from Debian's archive: run the build on Debian or Ubuntu")
        if not KEYRING.exists():
            raise BuildError(f"{KEYRING} is missing: install debian-archive-keyring")
        self.tools.cache.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="apt-", dir=self.tools.cache))
        try:
            self._set_up()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the indexes."""
        shutil.rmtree(self.folder)

    def _set_up(self) -> None:
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "status").touch()
        indexes = self.tools.ask(["apt-get", *APT_INDEXES], "packages")
        about = f"[arch={self.architecture} {self.trust}]"
        lines = [
            f"deb {about} {archive_of(suite, indexes, self.tools.mirrors)} {suite} main\n" for suite in self.suites
        ]
        (self.folder / "sources.list").write_text("".join(lines))
        options = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Default-Release": "",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::Languages": "none",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]
        self.tools.run(["apt-get", "-q", *self._options, "update"], "packages", tries=3)

    def versions(self, names: t.Iterable[str]) -> set[Package]:
        """Return every version of these packages that the indexes have."""
        said = self.tools.ask(["apt-cache", *self._options, "show", *names], "packages")
        found = set()
        for record in said.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in record.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
            if fields:
                found.add(Package(fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"]))
        return found

    def resolve(self, names: list[str]) -> list[Package]:
        """Return the newest versions of packages and of all that they depend on."""
        argv = ["apt-get", "-q", *self._options, "install", "--simulate", *names]
        said = self.tools.ask(argv, "packages")
        chosen = set(re.findall(r"(?m)^Inst (\S+) \((\S+) .*\[\w+\]\)", said))
        known = self.versions(sorted({name for name, _ in chosen}))
        return sorted(package for package in known if package[:2] in chosen)

    def download(self, packages: list[Package], out: Path) -> None:
        """Fetch packages into a folder, each of them verified against its sha256."""
        argv = ["apt-get", "-q", *self._options, "download", *(f"{one.name}={one.version}" for one in packages)]
        self.tools.run(argv, "packages", cwd=out, tries=3)
        wanted = {package.sha256: package for package in packages}
        for path in sorted(out.glob("*.deb")):
            if wanted.pop(digest_file(path), None) is None:
                raise BuildError(f"{path.name} has another sha256 than Debian's index and the lock say: run again")
            path.rename(out / path.name.replace("%3a", "_"))
        if wanted:
            raise BuildError(f"packages did not arrive: {', '.join(package.name for package in wanted.values())}")


def archive_of(suite: str, indexes: str, mirrors: t.Mapping[str, str] | None = None) -> str:
    """Return the address that this machine's apt has for the archive of a suite, out of its indexes, or a mirror's."""
    label = "Debian-Security" if suite.endswith("-security") else "Debian"
    mirror = (mirrors or {}).get("debian_security" if label == "Debian-Security" else "debian")
    archive = mirror_of(debian_archive(indexes, label), mirror)
    if archive is None:
        which = "Debian's archive" if label == "Debian" else "Debian's security archive"
        raise BuildError(
            f"apt on this machine has no index of {which}: add it to its sources (a suite such as {suite}), then run"
            " apt-get update"
        )
    return archive


def resolve(tools: Tools, lock: t.Mapping[str, t.Any]) -> dict[str, list[Package]]:
    """Return the newest packages of each set, to pin them."""
    found: dict[str, list[Package]] = {}
    sets = package_sets(lock)
    for suites in {tuple(wanted.suites) for wanted in sets}:
        with Archive(tools, list(suites), lock["architecture"]) as archive:
            found |= {wanted.name: archive.resolve(wanted.wanted) for wanted in sets if tuple(wanted.suites) == suites}
    return found


def choose(
    archive: Archive, wanted: PackageSet, pinned: list[Package]
) -> tuple[list[Package], list[tuple[Package, Package | None]]]:
    """Return the packages of a set to fetch, and of those whose pinned version is gone what came in their place."""
    known = archive.versions(sorted({package.name for package in pinned})) if pinned else set()
    digests = {package[:3]: package.sha256 for package in known}
    for package in pinned:
        if digests.get(package[:3], package.sha256) != package.sha256:
            raise BuildError(
                f"{package.name} {package.version} in Debian's archive has another sha256 than the lock says: find out"
                f" which of them is right before you run {REFRESH}"
            )
    gone = [package for package in pinned if package not in known]
    if pinned and not gone:
        return pinned, []
    chosen = archive.resolve(wanted.wanted)
    newer = {package.name: package for package in chosen}
    return chosen, [(package, newer.get(package.name)) for package in gone]


def control(package: Path, tools: Tools) -> dict[str, str]:
    """Return the control fields of a .deb file."""
    argv = ["dpkg-deb", "--field", str(package), "Package", "Version", "Depends", "Pre-Depends", "Provides"]
    said = tools.ask(argv, "packages")
    return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)


def closure(names: list[str], packages: t.Mapping[Path, dict[str, str]]) -> list[Path]:
    """Return the packages that `names` need, out of `packages` (file -> control fields), in order of file name."""
    providers: dict[str, Path] = {}
    for path, fields in packages.items():
        for provided in _names(fields.get("Provides", "")):
            providers.setdefault(provided, path)
    providers |= {fields["Package"]: path for path, fields in packages.items()}
    found: set[Path] = set()
    queue = list(names)
    while queue:
        needed = providers.get(queue.pop())
        if needed is None or needed in found:
            continue  # not here: one of several alternatives, and apt chose another
        found.add(needed)
        for field in ("Depends", "Pre-Depends"):
            queue += _names(packages[needed].get(field, ""))
    return sorted(found)


def _names(relations: str) -> list[str]:
    """Return the names in a field such as Depends, of all alternatives; none where the package has no such field."""
    return re.findall(r"(?:^|[,|])\s*([^\s,|:(]+)", relations)
