# SPDX-License-Identifier: Apache-2.0
"""The turn of one host: what is replaced is kept, the new is proved, and the old put back where it fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import bundle_files, originals
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.atomic_file import make_parents, write_atomic
from ansible.module_utils.yunkube.host.service import Systemd, started_at
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.drain import owner
from ansible.module_utils.yunkube.kube.health import kubelet_of, pod_problem
from ansible.module_utils.yunkube.kube.kubelet_rollout import KUBECONFIG, STOPPED, problem
from ansible.module_utils.yunkube.words import joined

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KEPT = "upgrade"  # in the folder of the host's state
INDEX = "kept.json"
OPTIONS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["kept", "proved", "reverted"], "required": True},
    "node": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "paths": {"type": "list", "elements": "path", "default": []},
    "files": {"type": "list", "elements": "dict", "default": []},
    "units": {"type": "list", "elements": "str", "default": []},
    "patches": kubelet_file.PATCHES_SPEC,
    "namespaces": {"type": "list", "elements": "str", "default": []},
    "cause": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 120},
}


def folder() -> Path:
    """Return where the replaced files are."""
    return host_state.FOLDER / KEPT


def keep(paths: t.Iterable[str], version: str) -> None:
    """Keep files before they are replaced on the way to a release; once, also for a run again."""
    index = folder() / INDEX
    if index.exists() and read(index)["version"] == version:
        return  # of this upgrade, which was cut off: what is there now may be the new
    shutil.rmtree(folder(), ignore_errors=True)
    folder().mkdir(mode=0o700, parents=True)
    kept: dict[str, str] = {}
    for number, name in enumerate(sorted(set(paths))):
        path = Path(name)
        if path.is_file():
            copy = folder() / str(number)
            _copy(path, copy)
            kept[name] = copy.name
        elif not path.exists():
            kept[name] = ""  # and is to be absent again
    write_atomic(index, json.dumps({"version": version, "files": kept}), 0o600)


def _copy(path: Path, copy: Path) -> None:
    """Programs are replaced by another file, so a link keeps the former one and costs no space; others are written."""
    if os.access(path, os.X_OK):
        try:
            os.link(path, copy)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copy2(path, copy)
    about = path.stat()
    os.chown(copy, about.st_uid, about.st_gid)


def read(index: Path) -> Json:
    """Return what was kept; of a file that was not written to its end, nothing."""
    try:
        return t.cast("Json", json.loads(index.read_text()))
    except (OSError, ValueError):
        return {"version": "", "files": {}}


def another_kubelet() -> bool:
    """Say whether the kubelet was replaced since its program was kept."""
    kept = {Path(name): copy for name, copy in read(folder() / INDEX)["files"].items() if Path(name).name == "kubelet"}
    return any(copy and not path.samefile(folder() / copy) for path, copy in kept.items())


def restore() -> list[str]:
    """Put the kept files back, and return those that differed."""
    changed = []
    for name, copy in read(folder() / INDEX)["files"].items():
        path = Path(name)
        if not copy:
            if path.exists():
                path.unlink()
                changed.append(name)
            continue
        kept = folder() / copy
        if not (path.exists() and (path.samefile(kept) or path.read_bytes() == kept.read_bytes())):
            make_parents(path)
            originals.put_back(kept, path)
            changed.append(name)
    return changed


class Turn:
    """One step of a host's turn; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module, self.options = module, module.params
        self.seconds = self.options["timeout"]
        self.node: Json = {}  # as the API has it

    def run(self) -> None:
        """Do the step that is asked for."""
        getattr(self, self.options["state"])()

    def kept(self) -> None:
        """Keep what is about to be replaced."""
        if not self.module.check_mode:
            try:
                keep([*self.replaced(), *self.options["paths"], str(kubelet_file.CONFIG)], self.options["version"])
            except OSError as error:
                self.module.fail_json(msg=f"{error.filename}: {error.strerror}", remedy="make room, then run again")
        self.module.exit_json(changed=False, changes=[])

    def replaced(self) -> list[str]:
        """Return the programs that differ from the bundle's. Of others no link is made.

        A link changes the time at which a file was changed last, by which a service is known to run a former program.
        """
        digests = bundle_files.Digests(bundle_files.STATE / "digests.json")
        return [entry["path"] for entry in bundle_files.missing_programs(self.options["files"], digests)]

    def proved(self) -> None:
        """Give the kubelet the cluster's configuration, and wait until the node works with the new release."""
        if self.module.check_mode:
            self.module.exit_json(changed=False, changes=[])
        changes = self.configure()
        if detail := self.wait(self.options["version"]):
            msg = f"with {self.options['version']}: {kubeadm.kubelet_cause(kubeadm.kubelet_journal()) or detail}"
            self.module.fail_json(msg=msg, kubelet_journal=kubeadm.kubelet_journal())
        shutil.rmtree(folder(), ignore_errors=True)
        self.module.exit_json(changed=bool(changes), changes=changes)

    def configure(self) -> list[str]:
        """Let kubeadm write the configuration for another kubelet, and start that with it; return what was done.

        kubeadm writes the file even if nothing in it changes, and a kubelet older than its file would count as stale.
        """
        if not another_kubelet():
            return []
        program = self.module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
        try:
            kubelet_file.write(program, self.options["patches"], self.seconds)
        except kubelet_file.WriteError as error:
            self.module.fail_json(**error.failure)
        if why := kubeadm.start_kubelet(again=True):
            self.module.fail_json(msg=why, kubelet_journal=kubeadm.kubelet_journal())
        return [f"write {kubelet_file.CONFIG}", "restart kubelet"]

    def reverted(self) -> None:
        """Put back what was kept, and say what came of it; without anything kept, nothing was replaced."""
        cause = self.options["cause"]
        if self.module.check_mode or not (folder() / INDEX).exists():
            self.module.exit_json(changed=False, changes=[], summary=cause)
        changes = [f"put {path} back" for path in restore()]
        outcome = "the former programs are back"
        if changes:
            for words in (["daemon-reload"], *(["restart", unit] for unit in self.options["units"])):
                done = subprocess.run(["systemctl", *words], check=False, capture_output=True, text=True)
                if done.returncode != 0:
                    outcome += f", but `systemctl {' '.join(words)}` failed: {done.stderr.strip()[-200:]}"
        detail = self.wait("")
        if detail:
            outcome += f", and the node is not healthy with them: {detail}"
        else:
            outcome += f": {self.options['node']} works with {kubelet_of(self.node)} again"
            shutil.rmtree(folder(), ignore_errors=True)
        self.module.exit_json(changed=bool(changes), changes=changes, summary=f"{cause}; {outcome}")

    def wait(self, version: str) -> str:
        """Wait until the node is Ready with a release and its own system pods run; return why it is not in time."""
        deadline = time.monotonic() + self.seconds
        stopped = 0
        with KubeApi.from_file(KUBECONFIG, timeout=5) as api:
            while True:
                try:
                    detail = self.trouble(api, version)
                except KubeError as error:
                    detail = str(error)
                stopped = 0 if kubeadm.kubelet_active() else stopped + 1
                if not detail or time.monotonic() > deadline:
                    return detail
                if stopped >= STOPPED:
                    return "the kubelet does not stay up"
                time.sleep(0.5)

    def trouble(self, api: KubeApi, version: str) -> str:
        """Say what this node lacks now: asked as itself, which may read its own node and the pods on it."""
        name = self.options["node"]
        self.node = api.get(f"/api/v1/nodes/{name}")
        if detail := problem(self.node, self.started()):
            return detail
        if version and kubelet_of(self.node) != version:
            return f"the node reports kubelet {kubelet_of(self.node)}"
        pods = api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}")
        spaces = self.options["namespaces"]
        late = [
            f"{pod['metadata']['name']}: {detail}"
            for pod in pods
            if pod["metadata"]["namespace"] in spaces
            and owner(pod) in ("DaemonSet", "Node")
            and (detail := pod_problem(pod))
        ]
        return joined(late) if late else ""

    def started(self) -> dt.datetime:
        """Return when the kubelet started."""
        unit = Systemd(self.module, "kubelet.service").show()
        return dt.datetime.fromtimestamp(started_at(unit).noted, dt.timezone.utc)
