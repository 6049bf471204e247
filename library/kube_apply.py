#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Apply manifests on the API server's side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Apply manifests to the cluster
description:
  - Server-side apply as field manager C(yunkube). Fields of a manifest are set, others stay unchanged.
  - Runs on a master and speaks to the API itself, so it needs neither kubectl nor a library.
author: [Yunkube]
options:
  resources: {description: "Manifests, in the order of applying", type: list, elements: dict, required: true}
  secrets:
    description:
      - Secrets whose content is created on this host, once, and kept. They come after the namespaces that lead
        O(resources). Deployments among these get an annotation that changes with what the Secrets hold.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description:
          - C(login) holds C(username), C(password) and C(htpasswd). C(certificate) is a server's, made again when it is
            for other names or has 30 days left. C(authority) may sign only for its names, and is replaced if a name
            is added or it has 395 days left.
        type: str
        choices: [login, certificate, authority]
        required: true
      namespace: {description: Its namespace., type: str, required: true}
      name: {description: Its name., type: str, required: true}
      username: {description: Of a login., type: str, default: admin}
      password: {description: "Of a login. Empty: the one that it has, or a new one.", type: str, default: ""}
      missing:
        description: "The error of a login without a password that cannot be made here, as others own the account."
        type: str
        default: ""
      reader:
        description: "Of a login, the name of a second account that may only read; its password is given or made, too."
        type: str
        default: ""
      reader_password: {description: "The password of O(secrets[].reader)", type: str, default: ""}
      more: {description: Other entries of a login's Secret., type: dict, default: {}}
      names:
        description: Names and addresses of a certificate's server, or those that an authority may sign for.
        type: list
        elements: str
        default: []
      common_name: {description: "What a certificate or an authority is called.", type: str, default: ""}
      authority:
        description: "Which of these Secrets signs a certificate, by its name. Empty: the cluster's CA."
        type: str
        default: ""
  state: {description: Whether the objects exist, type: str, choices: [present, absent], default: present}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  kubeconfig: {description: The kubeconfig for the API, type: path, default: /etc/kubernetes/admin.conf}
attributes:
  check_mode: {support: full, details: [A dry run on the server. Without a server everything would be applied.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Apply a namespace and a ConfigMap
  kube_apply:
    resources:
      - apiVersion: v1
        kind: Namespace
        metadata: {name: shop}
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: settings, namespace: shop}
        data: {currency: EUR}
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Apply a namespace with a login whose password is created on the master
  kube_apply:
    resources:
      - apiVersion: v1
        kind: Namespace
        metadata: {name: registry}
    secrets:
      - kind: login
        namespace: registry
        name: registry-login
        username: admin
  delegate_to: master1
  run_once: true

- name: Delete a ConfigMap
  kube_apply:
    resources:
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: settings, namespace: shop}
    state: absent
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.objects import as_diff, change_all, in_words, without_api
from ansible.module_utils.yunkube.kube.secrets import OPTIONS, named, with_secrets


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "resources": {"type": "list", "elements": "dict", "required": True},
            # As a whole: Ansible finds a hidden value in its line of the journal only where no letter of it is escaped.
            "secrets": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS, "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **identity.OPTIONS,
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
        },
        supports_check_mode=True,
    )
    manifests, wanted, state = module.params["resources"], module.params["secrets"], module.params["state"]
    # The journal has its line; in the result, names are no secrets.
    module.no_log_values = {one[key] for one in wanted for key in ("password", "reader_password") if one[key]}
    identity.refuse_another(module)
    host_lock.take(module)
    try:
        with KubeApi.from_file(module.params["kubeconfig"]) as api:
            changes = change_all(api, with_secrets(api, manifests, wanted, state), state, dry_run=module.check_mode)
    except KubeError as error:
        if not (module.check_mode and error.silent):
            module.fail_json(msg=str(error), status=error.status)
        changes = without_api([*manifests, *named(wanted)], state)
    module.exit_json(
        changed=bool(changes),
        changes=in_words(changes, state),
        **({"diff": as_diff(changes)} if module._diff else {}),  # noqa: SLF001
    )


if __name__ == "__main__":
    main()
