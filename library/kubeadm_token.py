#!/usr/bin/python
"""Mint a short-lived token with which one host can join, and take it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_token
short_description: Mint a short-lived token with which one host can join
description:
  - Runs on a master. Makes the Secret that C(kubeadm token create) makes, and waits until the cluster has signed
    its public description for it; a join that came earlier would wait five seconds before it looked again.
  - Mints a new token every time, so call it only for a host that has not joined.
  - With O(certificate_key) it also leaves the control plane's certificates in the cluster for two hours, encrypted
    with a new key, for a further master.
author: [Yunkube]
options:
  host: {description: Who joins with it, type: str, required: true}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  state: {description: Mint a token or take it back, type: str, choices: [present, absent], default: present}
  token_id: {description: The token to take back, type: str}
  ttl: {description: Seconds for which it is good, type: int, default: 900}
  certificate_key: {description: Whether a master joins, type: bool, default: false}
  kubernetes_version: {description: "The cluster's version, needed with O(certificate_key)", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [Mints nothing; the values come back empty.]}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
token: {description: The bootstrap token, returned: when state is present, type: str}
token_id: {description: Its public half, returned: when state is present, type: str}
ca_cert_hash: {description: Pin of the cluster's CA, returned: when state is present, type: str}
certificate_key: {description: Key of the certificates, returned: when state is present, type: str}
"""

import datetime as dt
import secrets
import string
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import identity, kubeadm
from ansible.module_utils.yunkube.kube_api import ADMIN_CONF, Json, KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.x509 import read_certificate

GROUP = "system:bootstrappers:kubeadm:default-node-token"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
_LETTERS = string.ascii_lowercase + string.digits


def new_token() -> tuple[str, str]:
    """Return the public and the secret half of a token."""
    return ("".join(secrets.choice(_LETTERS) for _ in range(6)), "".join(secrets.choice(_LETTERS) for _ in range(16)))


def secret_of(token_id: str, token_secret: str, host: str, expires: dt.datetime) -> Json:
    """Return the Secret that is a bootstrap token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{token_id}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": token_id,
            "token-secret": token_secret,
            "description": f"join of {host}",
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usage-bootstrap-signing": "true",
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": GROUP,
        },
    }


def wait_for_signature(api: KubeApi, token_id: str, seconds: float = 15) -> None:
    """Wait until cluster-info is signed for the token."""
    deadline = time.monotonic() + seconds
    while f"jws-kubeconfig-{token_id}" not in (api.get(CLUSTER_INFO).get("data") or {}):
        if time.monotonic() > deadline:
            raise KubeError(
                "the cluster does not sign cluster-info for a new token: is kube-controller-manager running?"
            )
        time.sleep(0.1)


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
    with kubeadm.exclusive(60) as lock:
        outcome = kubeadm.run(argv, config, lock, 60)
    if outcome.rc != 0:
        raise KubeError(f"kubeadm init phase upload-certs: {kubeadm.cause(outcome)}")
    return key


def mint(module: AnsibleModule, api: KubeApi) -> Json:
    """Mint a token and return what a JoinConfiguration needs."""
    token_id, token_secret = new_token()
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=module.params["ttl"])
    api.post(SECRETS, secret_of(token_id, token_secret, module.params["host"], expires))
    ca = parse_kubeconfig(Path(ADMIN_CONF).read_text()).ca.decode()
    key = upload_certificates(module) if module.params["certificate_key"] else ""
    wait_for_signature(api, token_id)
    return {
        "token_id": token_id,
        "token": f"{token_id}.{token_secret}",
        "ca_cert_hash": read_certificate(ca).pin,
        "certificate_key": key,
    }


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "token_id": {"type": "str", "no_log": False},
            "ttl": {"type": "int", "default": 900},
            "certificate_key": {"type": "bool", "default": False, "no_log": False},
            "kubernetes_version": {"type": "str", "default": ""},
            **identity.OPTIONS,
        },
        required_if=[("state", "absent", ["token_id"])],
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    minting = f"make a token for {module.params['host']}"
    if module.check_mode:
        module.exit_json(changed=True, changes=[minting], token="", token_id="", ca_cert_hash="", certificate_key="")
    try:
        api = KubeApi.from_file()
        if module.params["state"] == "absent":
            gone = api.delete(f"{SECRETS}/bootstrap-token-{module.params['token_id']}")
            module.exit_json(changed=gone, changes=[f"take the token of {module.params['host']} back"] if gone else [])
        module.exit_json(changed=True, changes=[minting], **mint(module, api))
    except (KubeError, kubeadm.BusyError, ValueError) as error:
        module.fail_json(msg=f"no token for {module.params['host']}: {error}")


if __name__ == "__main__":
    main()
