#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring a host's programs, packages and images to what the bundle's manifest says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_install
short_description: Install programs, packages and images of a bundle on this host
description:
  - Compares the host with the manifest's entries and fetches only what differs, over HTTP, as C(<url>/<sha256>),
    or from a bucket of OSS by signed addresses.
  - The digests come with the call, over SSH, so the HTTP server need not be trusted. A file with another
    digest than the manifest's is fetched once more and then refused.
  - Programs appear under their path only when complete and verified.
  - A package that is installed in any version stays as it is.
author: [The maintainers]
options:
  url:
    description: Where the bundle's files are served. Empty means where this SSH session comes from, at O(port).
    type: str
    default: ""
  port: {description: Port of the control machine's own server; used when O(url) is empty, type: int, default: 8742}
  signed:
    description:
      - Addresses of files in a bucket, by their sha256, when O(url) begins with C(oss://). Anyone with such an address
        can read the file until it expires, so no message contains it. The action plugin creates them.
    type: dict
    default: {}
  files:
    description:
      - Entries of the manifest. The action plugin of this name picks them by O(manifest), O(purposes), O(kinds) and
        O(distribution), so a task does not have this option.
    type: list
    elements: dict
  manifest:
    description: The bundle's manifest. Taken by the action plugin, on the control machine.
    type: path
    required: true
  purposes:
    description: What the host is for, C(master), C(node), C(dashboard), C(registry). Taken by the action plugin.
    type: list
    elements: str
    required: true
  kinds:
    description: Which entries, C(runtime), C(cni), C(kubernetes), C(image), C(package). Taken by the action plugin.
    type: list
    elements: str
    required: true
  distribution:
    description: Distribution of packages, such as C(debian12). Without it none are picked. Taken by the action plugin.
    type: str
    default: ""
  store:
    description: The bucket of OSS that holds the bundle, as the role bundle registers it. Taken by the action plugin.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, details: [Fetches nothing; says what it would install.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Install the packages of the bundle
  bundle_install:
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [node]
    kinds: [package]
    distribution: debian12

- name: Install the kubelet, kubeadm and the images of a master from a mirror
  bundle_install:
    url: http://10.77.0.2:8080/bundle
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [master]
    kinds: [kubernetes, image]
"""
RETURN = r"""
changes: {description: "What was installed or would be, in words", returned: always, type: list, elements: str}
paths: {description: Paths of the programs among them, returned: always, type: list, elements: str}
chosen: {description: How many entries the action plugin picked, returned: success, type: int}
bytes: {description: How many bytes were fetched, returned: always, type: int}
"""

import concurrent.futures
import errno
import hashlib
import http.client
import os
import platform
import re
import shutil
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.bundle_files import (
    DPKG_HANGS,
    DPKG_SECONDS,
    IMPORT_SECONDS,
    PROGRAMS,
    STATE,
    Digests,
    Entry,
    InstallError,
    compare,
    in_words,
    list_packages,
    missing_packages,
    missing_programs,
    run_ctr,
    run_program,
)
from ansible.module_utils.yunkube.host.dpkg_lock import PackagesBusy, package_turn
from ansible.module_utils.yunkube.host.state import complete_record, remember, runner

# What to do when a file does not come, from the control machine's own server or from cluster_bundle_url.
OWN_SERVER = (
    "let this host connect to that address and port (a firewall of the control machine, cluster_bundle_address); the"
    " bundle is served while site.yml or deploy.py runs"
)
COPY = "let it hold what the control machine's cache has under bundles/*/files"
BUCKET = (
    "run the same command again, which signs new addresses, valid for an hour by correct clocks. Hosts must reach"
    " the bucket, and the key of the control machine must be allowed oss:GetObject"
)
REPLACE = "run the same command again, which compares what the bucket has with the bundle"


def control_machine(pid: int | None = None) -> str:
    """Return the address that this SSH session comes from, out of our own environment or a parent's (sudo drops it)."""
    pid = pid or os.getpid()
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            for line in environment:
                if line.startswith(b"SSH_CONNECTION="):
                    address = line[15:].split()[0].decode()
                    return f"[{address}]" if ":" in address else address
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            break
    raise InstallError("cannot determine the control machine's address from this session: set cluster_bundle_url")


def why(error: Exception) -> str:
    """Return what went wrong, in the words of OSS where it answered."""
    if isinstance(error, urllib.error.HTTPError):
        told = dict(re.findall(r"<(Code|Message)>([^<]{,200})</", error.read(4096).decode(errors="replace")))
        if told:
            return f"HTTP {error.code} {': '.join(told.values())}"
    return str(getattr(error, "reason", error))


class Source:
    """The server that the files come from."""

    def __init__(self, url: str, port: int, signed: t.Mapping[str, str] | None = None) -> None:
        """Use `url`, or addresses by digest; where `url` is empty, the control machine at `port`, past any proxy."""
        self.signed = signed or {}
        proxies: list[urllib.request.BaseHandler] = [] if url else [urllib.request.ProxyHandler({})]
        self.own = not url
        self.url = url.rstrip("/") or f"http://{control_machine()}:{port}"
        self._open = urllib.request.build_opener(*proxies).open
        self.bytes = 0

    def fetch(self, entry: Entry, path: Path, tries: int = 3) -> None:
        """Write an entry's file to `path`, verified."""
        part = path.with_name(f".{path.name}.part")
        for left in reversed(range(tries)):
            try:
                actual = self._receive(self.signed.get(entry["sha256"]) or f"{self.url}/{entry['sha256']}", part)
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                problem = f"{entry['name']}: cannot fetch it from {self.url}: {why(error)}"
                remedy = OWN_SERVER if self.own else BUCKET if self.signed else COPY
            else:
                if actual == entry["sha256"]:
                    part.chmod(int(entry.get("mode", "0644"), 8))
                    originals.keep(path)
                    part.replace(path)
                    self.bytes += entry["size"]
                    return
                problem = (
                    f"{entry['name']}: the file at {self.url} is damaged: it has sha256 {actual[:16]}…, the manifest"
                    f" says {entry['sha256'][:16]}…; nothing of it was installed"
                )
                remedy = "run site.yml or deploy.py up to rebuild it" if self.own else REPLACE if self.signed else COPY
            finally:
                part.unlink(missing_ok=True)
            if left:
                time.sleep(0.5)
        raise InstallError(problem, remedy)

    def _receive(self, url: str, part: Path) -> str:
        digest = hashlib.sha256()
        with self._open(url, timeout=30) as answer, part.open("wb") as stream:
            while block := answer.read(1 << 20):
                digest.update(block)
                stream.write(block)
            if answer.length:  # what is still to come; read() does not complain
                raise ConnectionError(f"the connection ended {answer.length} bytes too early")
        return digest.hexdigest()


def install_packages(entries: list[Entry], unfinished: list[str], source: Source, notes: list[str]) -> None:
    """Finish what was cut off, then fetch and install what is missing still, all in one transaction."""
    folder = STATE / "packages"
    folder.mkdir(exist_ok=True)
    try:
        with package_turn(notes):
            if unfinished:
                run_program(["dpkg", "--configure", *unfinished], DPKG_SECONDS, DPKG_HANGS)
            entries, _ = missing_packages(
                entries, list_packages()
            )  # whoever had its turn before us may have installed some
            if not entries:
                return
            paths = [folder / entry["name"] for entry in entries]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(source.fetch, entries, paths))
            remember("packages", [entry["package"] for entry in entries])
            argv = ["dpkg", "--force-unsafe-io", "--force-confdef", "--force-confold", "--install", *map(str, paths)]
            run_program(argv, DPKG_SECONDS, DPKG_HANGS)
    except PackagesBusy as error:
        raise InstallError(str(error), "wait until it has ended, then run again") from error
    finally:
        shutil.rmtree(folder)


def import_images(entries: list[Entry], source: Source) -> None:
    """Fetch and import images, the next one fetched while one is imported."""
    folder = STATE / "images"
    folder.mkdir(exist_ok=True)

    def fetch(entry: Entry) -> Path:
        path: Path = folder / entry["sha256"]
        source.fetch(entry, path)
        return path

    def bring_in(path: Path) -> None:
        run_ctr("images", "import", "--local", str(path), seconds=IMPORT_SECONDS)
        path.unlink()

    pools = concurrent.futures.ThreadPoolExecutor
    try:
        with pools(1) as fetching, pools(2) as importing:
            fetched = [fetching.submit(fetch, entry) for entry in sorted(entries, key=lambda entry: -entry["size"])]
            try:
                imported = [importing.submit(bring_in, one.result()) for one in fetched]
                for done in imported:
                    done.result()
            except BaseException:
                for one in fetched:  # what has not begun would only fill the disk
                    one.cancel()
                raise
    finally:
        shutil.rmtree(folder)


def install(missing: list[Entry], source: Source, unfinished: list[str]) -> list[str]:
    """Install what is missing; return what is to be said of it beside that."""
    notes: list[str] = []
    STATE.mkdir(mode=0o755, exist_ok=True)
    need = sum(entry["size"] for entry in missing)
    free = shutil.disk_usage(STATE).free
    if need > free:
        raise InstallError(f"needs {need >> 20} MB under {STATE}, {free >> 20} MB are free: make room, then run again")
    programs = [entry for entry in missing if entry["kind"] in PROGRAMS]
    for entry in programs:
        Path(entry["path"]).parent.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda entry: source.fetch(entry, Path(entry["path"])), programs))
    if packages := [entry for entry in missing if entry["kind"] == "package"]:
        install_packages(packages, unfinished, source, notes)
    if images := [entry for entry in missing if entry["kind"] == "image"]:
        import_images(images, source)
    return notes


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 8742},
            "signed": {"type": "dict", "default": {}, "no_log": True},
            "files": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    host_lock.take(module)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    digests = Digests(STATE / "digests.json")
    try:
        missing, unfinished = compare(module.params["files"], digests, module.check_mode)
        fetched = 0
        notes: list[str] = []
        if missing and not module.check_mode:
            source = Source(module.params["url"], module.params["port"], module.params["signed"])
            notes = install(missing, source, unfinished)
            fetched = source.bytes
            missing_programs([entry for entry in missing if entry["kind"] in PROGRAMS], digests)
            digests.save()
        if not module.check_mode and any(entry["kind"] == "package" for entry in module.params["files"]):
            complete_record(runner(module))  # now that nft is there, and nothing has changed a rule yet
    except InstallError as error:
        module.fail_json(msg=str(error), remedy=error.remedy)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        module.fail_json(msg=f"no space left on {platform.node()} while fetching: make room, then run again")
    names = [f"{entry['name']} {entry['version']}" for entry in missing]
    changes = in_words(missing, unfinished) + notes
    diff = {"before": "", "after": "".join(f"{name}\n" for name in names), "after_header": f"installed ({machine})"}
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        paths=[entry["path"] for entry in missing if "path" in entry],
        bytes=fetched,
        diff=diff,
    )


if __name__ == "__main__":
    main()
