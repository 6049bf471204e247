# SPDX-License-Identifier: Apache-2.0
"""What kubeadm declares of kube-proxy and CoreDNS: it prints it itself, from the cluster's own configuration.

It prints YAML, which a host's Python does not read; the API does, so an object's text is applied as it was printed.
"""

from __future__ import annotations

import ipaddress
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
LONGEST = 300  # letters of an error of kubeadm's
SECONDS = scaled(5.0)  # that kubeadm may take; it takes a tenth of one
TEXT = "text"  # of a manifest: as it was printed; beside it stands only what names the object
LEFT_OUT = re.compile(r"(?m)^  (?:resourceVersion|creationTimestamp): .*\n")
REPLICAS = re.compile(r"(?m)^  replicas: .*$")
# As kubeadm keeps its configuration, and as a person may write it.
DISABLED = r"(?m)^{0}:(?: *\{{[^}}]*\bdisabled: *true\b|\n(?: +.*\n)*?  disabled: *true *$)"
ADDONS = {"coredns": "dns", "kube-proxy": "proxy"}  # and what ClusterConfiguration calls them


class Declaration(t.NamedTuple):
    """What this master and the inventory add to the cluster's ClusterConfiguration."""

    server: str  # the API of this master
    proxy: t.Mapping[str, t.Any] = {}  # what the inventory sets of kube-proxy's configuration
    patches: t.Sequence[Json] = ()
    address: str = ""  # of this master


class Printed(t.NamedTuple):
    """What kubeadm declares, by name as `name_of` gives it, or why it does not say."""

    objects: dict[str, Json]
    problem: str = ""


def disabled(configuration: str) -> list[str]:
    """Return which of the two the cluster has not, as its ClusterConfiguration says."""
    return [addon for addon, name in ADDONS.items() if re.search(DISABLED.format(name), configuration)]


def printed(configuration: str, declared: Declaration) -> Printed:
    """Return what kubeadm declares by a ClusterConfiguration."""
    chosen = [{name: one[name] for name in PATCHED if name in one} for one in declared.patches]
    with tempfile.TemporaryDirectory(prefix="yunkube-") as folder:
        (Path(folder) / "patches").mkdir()
        kubeadm.write_patches(chosen, Path(folder))
        init = _init(declared, f"{folder}/patches" if any(chosen) else "")
        parts = (configuration, *map(json.dumps, (init, {**KUBE_PROXY, **declared.proxy})))
        wanted = [addon for addon in ADDONS if addon not in disabled(configuration)]
        answers = [_run(addon, "\n---\n".join(parts)) for addon in wanted]
    objects = {name_of(one): one for text, _ in answers for one in manifests(text)}
    return Printed(objects, next((problem for _, problem in answers if problem), ""))


KUBE_PROXY = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}


def _init(declared: Declaration, patches: str) -> Json:
    where = urlsplit(declared.server)
    init: Json = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"}
    if _is_address(where.hostname or ""):  # what kube-proxy calls where no endpoint is declared
        init["localAPIEndpoint"] = {"advertiseAddress": where.hostname, "bindPort": where.port}
    elif _is_address(declared.address):  # else kubeadm takes that of the default route, which there may be none of
        init["localAPIEndpoint"] = {"advertiseAddress": declared.address}
    return {**init, "patches": {"directory": patches}} if patches else init


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _run(addon: str, configuration: str) -> tuple[str, str]:
    """Return what kubeadm prints, or why it does not."""
    argv = ["kubeadm", "init", "phase", "addon", addon, "--print-manifest", "--config", "/dev/stdin"]
    environment = {"PATH": SEARCH, "LC_ALL": "C", "HOME": "/root"}
    try:
        done = subprocess.run(
            argv, input=configuration, check=False, capture_output=True, text=True, timeout=SECONDS, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", f"kubeadm did not answer within {SECONDS:.0f} s"
    except OSError as error:
        return "", f"kubeadm cannot be run: {error.strerror}"
    if done.returncode:
        return "", kubeadm.cause(kubeadm.Outcome(done.returncode, done.stderr, 0))[:LONGEST]
    return done.stdout, ""


def manifests(text: str) -> t.Iterator[Json]:
    """Return the objects that kubeadm has printed."""
    for part in re.split(r"(?m)^---", text):
        top = dict(re.findall(r"(?m)^(apiVersion|kind): *(\S+)$", part))
        metadata = re.search(r"(?m)^metadata:\n((?:  .*\n)+)", part)
        if metadata and len(top) == 2:
            named = dict(re.findall(r"(?m)^  (name|namespace): *(\S+)$", metadata[1]))
            yield {**top, "metadata": named, TEXT: LEFT_OUT.sub("", part)}


def apply(api: KubeApi, manifest: Json, found: Json | None = None, *, dry_run: bool = False) -> Json:
    """Apply a manifest, or the text of one that kubeadm has printed; how many pods there are is left as it was found.

    The number is named all the same: a field of ours that is named no more would become the API's default, 1.
    """
    text = manifest.get(TEXT, "")
    if found and "replicas" in found.get("spec", {}):
        text = REPLICAS.sub(f"  replicas: {found['spec']['replicas']}", text)
    return api.apply(manifest, text=text, dry_run=dry_run)
