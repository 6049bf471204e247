# SPDX-License-Identifier: Apache-2.0
"""Tokens to join with, one for each host, and the certificates of the control plane for further masters."""

from __future__ import annotations

import base64
import contextlib
import secrets
import string
import time
import typing as t

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError, read_kubeconfig
from ansible.module_utils.yunkube.kube.x509 import read_certificate

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

GROUP = "system:bootstrappers:kubeadm:default-node-token"
TYPE = "bootstrap.kubernetes.io/token"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
UPLOAD_SECONDS = scaled(60)  # that kubeadm may take to upload the certificates
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"  # readable without authentication, for joins
_LETTERS = string.ascii_lowercase + string.digits

_NAMES: dict[str, t.Any] = {"type": "list", "elements": "str"}
TOKEN_SPEC: dict[str, dict[str, t.Any]] = {
    "hosts": {**_NAMES, "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "addresses": {"type": "dict", "default": {}},
    "masters": {**_NAMES, "default": []},
    "token_ids": {**_NAMES, "default": [], "no_log": False},
    "ttl": {"type": "int", "default": 900},
    "certificate_key": {"type": "bool", "default": False, "no_log": False},
    "kubernetes_version": {"type": "str", "default": ""},
}


def new_token() -> tuple[str, str]:
    """Return the public and the secret half of a token."""
    return ("".join(secrets.choice(_LETTERS) for _ in range(6)), "".join(secrets.choice(_LETTERS) for _ in range(16)))


def description(host: str) -> str:
    """Return what a token of ours says of itself."""
    return f"join of {host}"


def secret_of(token_id: str, token_secret: str, host: str, expires: float) -> Json:
    """Return the Secret that is a bootstrap token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"},
        "type": TYPE,
        "stringData": {
            "token-id": token_id,
            "token-secret": token_secret,
            "description": description(host),
            "expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
            "usage-bootstrap-signing": "true",
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": GROUP,
        },
    }


def wait_for_signatures(api: KubeApi, token_ids: t.Collection[str], seconds: float = scaled(15)) -> None:
    """Wait until cluster-info is signed for every token."""
    deadline = time.monotonic() + seconds
    while not {f"jws-kubeconfig-{token_id}" for token_id in token_ids} <= set(api.get(CLUSTER_INFO).get("data") or ()):
        if time.monotonic() > deadline:
            raise KubeError(
                "the cluster does not sign cluster-info for a new token: is kube-controller-manager running?"
            )
        time.sleep(0.1)


def revoke_earlier(api: KubeApi, hosts: t.Collection[str]) -> None:
    """Delete the tokens that earlier runs made for these hosts and did not come to delete."""
    ours = {base64.b64encode(description(host).encode()).decode() for host in hosts}
    for secret in api.items(SECRETS, fieldSelector=f"type={TYPE}"):
        if secret.get("type") == TYPE and (secret.get("data") or {}).get("description") in ours:
            api.delete(f"{SECRETS}/{secret['metadata']['name']}")


def upload_certificates(module: AnsibleModule) -> str:
    """Put the control plane's certificates into the cluster, encrypted, and return the key."""
    key = secrets.token_hex(32)
    config = (
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n"
        f"certificateKey: {key}\n---\n"
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
        f"kubernetesVersion: v{module.params['kubernetes_version']}\n"
    )
    program = module.get_bin_path("kubeadm", required=True, opt_dirs=["/usr/local/bin"])
    argv = [program, "init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print"]
    with kubeadm.exclusive(UPLOAD_SECONDS) as lock:
        outcome = kubeadm.run(argv, config, lock, UPLOAD_SECONDS)
    if outcome.rc != 0:
        raise KubeError(f"kubeadm init phase upload-certs: {kubeadm.cause(outcome)}")
    return key


@contextlib.contextmanager
def minted(api: KubeApi, hosts: t.Sequence[str], ttl: int) -> t.Iterator[dict[str, dict[str, str]]]:
    """Mint a token for each host and give them out; they are revoked again where what comes then fails."""
    tokens: dict[str, dict[str, str]] = {}
    try:
        revoke_earlier(api, hosts)
        for host in hosts:
            token_id, token_secret = new_token()
            tokens[host] = {"token_id": token_id, "token": f"{token_id}.{token_secret}"}
            api.post(SECRETS, secret_of(token_id, token_secret, host, time.time() + ttl))
        yield tokens
    except (KubeError, kubeadm.BusyError, OSError):
        with contextlib.suppress(KubeError, OSError):
            for one in tokens.values():
                api.delete(f"{SECRETS}/bootstrap-token-{one['token_id']}")
        raise


def ca_pin() -> str:
    """Return the hash of the cluster's CA, by which a joining host knows it."""
    return read_certificate(read_kubeconfig(ADMIN_CONF).ca.decode()).pin


def revoke(module: AnsibleModule, api: KubeApi) -> list[str]:
    """Revoke tokens, and return what was done, or in check mode would be."""
    revoked: t.Callable[[str], object] = api.find if module.check_mode else api.delete
    gone = [token for token in module.params["token_ids"] if token and revoked(f"{SECRETS}/bootstrap-token-{token}")]
    return [f"revoke the tokens of {', '.join(module.params['hosts'])}"] if gone else []
