#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Renew the certificates of an addon's server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: addon_certificates
short_description: Renew the certificates in the Secrets of an addon
description:
  - Renews certificates that M(kube_apply) made, for the names that they have and by the authority that signed them.
    Changes nothing else of the addon.
  - Deployments whose pods read these Secrets when they start get new pods; waits until they are ready, and until the
    server shows the new certificate. Where a Secret is missing, nothing is done.
author: [The maintainers]
options:
  secrets:
    description: "All Secrets of the addon, as M(kube_apply) takes them"
    type: list
    elements: dict
    required: true
  days: {description: A certificate that expires within so many days is renewed, type: int, default: 90}
  all: {description: Renew every certificate, type: bool, default: false}
  address:
    description: "Where the server shows its certificate, host:port; empty if it is not to be asked"
    type: str
    default: ""
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  kubeconfig: {description: The kubeconfig for the API, type: path, default: /etc/kubernetes/admin.conf}
attributes:
  check_mode: {support: full, details: [Says what it would renew.]}
  diff_mode: {support: full, details: [Contents of Secrets are hidden.]}
"""
EXAMPLES = r"""
- name: Renew the certificate of a shop
  addon_certificates:
    secrets:
      - kind: certificate
        namespace: shop
        name: shop-tls
        names: [shop.example]
    address: 10.77.0.11:30444
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
table:
  description: A row for each certificate, as M(kubeadm_certs) returns them
  returned: success
  type: list
  elements: dict
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.addon_certificates import NoCertificateError, renew
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.objects import as_diff


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "secrets": {"type": "list", "elements": "dict", "required": True, "no_log": True},
            "days": {"type": "int", "default": 90},
            "all": {"type": "bool", "default": False},
            "address": {"type": "str", "default": ""},
            **identity.OPTIONS,
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
        },
        supports_check_mode=True,
    )
    wanted = module.params["secrets"]
    # The journal has its line; in the result, names are no secrets.
    module.no_log_values = {one[key] for one in wanted for key in ("password", "reader_password") if one.get(key)}
    identity.refuse_another(module)
    host_lock.take(module)
    try:
        with KubeApi.from_file(module.params["kubeconfig"]) as api:
            renewed = renew(api, module.params, dry_run=module.check_mode)
    except NoCertificateError as error:
        module.fail_json(msg=str(error), remedy="run `up`, which makes it", commands=["up"])
    except KubeError as error:
        module.fail_json(msg=str(error), status=error.status)
    module.exit_json(
        changed=bool(renewed.words),
        changes=renewed.words,
        table=renewed.table,
        **({"diff": as_diff(renewed.changes)} if module._diff else {}),  # noqa: SLF001
    )


if __name__ == "__main__":
    main()
