# SPDX-License-Identifier: Apache-2.0
"""What kubeadm declares of kube-proxy and CoreDNS: it prints it itself, from the cluster's own configuration.

It prints YAML, which a host's Python does not read; the API does, so an object's text is applied as it was printed.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.doctor.read_host import SEARCH
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm
from ansible.module_utils.yunkube.kube.api import Json, KubeApi
from ansible.module_utils.yunkube.kube.objects import name_of

CONFIG = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
PATCHED = ("corednsdeployment", "kubeproxydaemonset")  # what kubeadm calls them in patches
SECONDS = 5.0  # that kubeadm may take; it takes a tenth of one
TEXT = "text"  # of a manifest: as it was printed; beside it stands only what names the object
# Of an object that is there: when it was printed, and how many pods of CoreDNS there are, is no matter.
LEFT_OUT = re.compile(r"(?m)^  (?:resourceVersion|creationTimestamp|replicas): .*\n")


def printed(configuration: str, server: str, proxy: Json, patches: t.Sequence[Json] = ()) -> dict[str, Json]:
    """Return what kubeadm declares, by name as `name_of` gives it; nothing where it cannot say.

    `configuration` is the cluster's ClusterConfiguration, `server` the API of this master, `proxy` what the inventory
    sets of kube-proxy's configuration.
    """
    chosen = [{name: one[name] for name in PATCHED if name in one} for one in patches]
    with tempfile.TemporaryDirectory(prefix="yunkube-") as folder:
        (Path(folder) / "patches").mkdir()
        kubeadm.write_patches(chosen, Path(folder))
        init = _init(server, f"{folder}/patches" if any(chosen) else "")
        parts = (configuration, *map(json.dumps, (init, {**KUBE_PROXY, **proxy})))
        texts = [_run(addon, "\n---\n".join(parts)) for addon in ("coredns", "kube-proxy")]
    return {name_of(one): one for text in texts for one in manifests(text)}


KUBE_PROXY = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}


def _init(server: str, patches: str) -> Json:
    where = urlsplit(server)
    init: Json = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"}
    if re.fullmatch(r"[\d.]+", where.hostname or ""):  # what kube-proxy calls where no endpoint is declared
        init["localAPIEndpoint"] = {"advertiseAddress": where.hostname, "bindPort": where.port}
    return {**init, "patches": {"directory": patches}} if patches else init


def _run(addon: str, configuration: str) -> str:
    argv = ["kubeadm", "init", "phase", "addon", addon, "--print-manifest", "--config", "/dev/stdin"]
    environment = {"PATH": SEARCH, "LC_ALL": "C", "HOME": "/root"}
    try:
        done = subprocess.run(
            argv, input=configuration, check=True, capture_output=True, text=True, timeout=scaled(SECONDS),
            env=environment,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def manifests(text: str) -> t.Iterator[Json]:
    """Return the objects that kubeadm has printed."""
    for part in re.split(r"(?m)^---", text):
        top = dict(re.findall(r"(?m)^(apiVersion|kind): *(\S+)$", part))
        metadata = re.search(r"(?m)^metadata:\n((?:  .*\n)+)", part)
        if metadata and len(top) == 2:
            named = dict(re.findall(r"(?m)^  (name|namespace): *(\S+)$", metadata[1]))
            yield {**top, "metadata": named, TEXT: LEFT_OUT.sub("", part)}


def apply(api: KubeApi, manifest: Json, *, dry_run: bool = False) -> Json:
    """Apply a manifest, or the text of one that kubeadm has printed."""
    return api.apply(manifest, text=manifest.get(TEXT, ""), dry_run=dry_run)
