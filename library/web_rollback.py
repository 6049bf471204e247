#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Take a web service back to the version before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_rollback
short_description: Return a web service to its previous version
description:
  - A Deployment returns to its previous revision, a ReplicationController to its previous template.
  - The number of pods stays. Waits until they run. Called again, it undoes the rollback.
author: [Yunkube]
options:
  name: {description: The service., type: str, required: true}
  namespace: {description: Its namespace., type: str, default: default}
  timeout: {description: Seconds until its pods must run., type: int, default: 180}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  kubeconfig: {description: The kubeconfig for the API, type: path, default: /etc/kubernetes/admin.conf}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Return to the version before
  web_rollback:
    name: shop
    namespace: default
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
table: {description: "The service and its current image", returned: success, type: list, elements: dict}
faults:
  description: Why the service does not run, in the form that docs/events.md describes; C(host) is namespace/name.
  returned: failure
  type: list
  elements: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, KubeApi, KubeError
from ansible.module_utils.yunkube.result import Report
from ansible.module_utils.yunkube.web.rollback import NothingBefore, find, images_of, in_words, roll_back


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": "default"},
            "timeout": {"type": "int", "default": 180},
            **identity.OPTIONS,
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module, last=host_lock.verb(module).startswith("web"))
    name = f"{module.params['namespace']}/{module.params['name']}"
    began = time.monotonic()
    try:
        with KubeApi.from_file(module.params["kubeconfig"]) as api:
            path, found = find(api, module.params["namespace"], module.params["name"])
            manifest, faults = roll_back(api, path, found, module.params["timeout"], dry_run=module.check_mode)
    except NothingBefore as error:
        module.fail_json(msg=str(error), kind="config")
    except KubeError as error:
        module.fail_json(msg=str(error), status=error.status)
    words = in_words(found, manifest)
    changes = [f"roll web service {name} back {words}"]
    if faults:
        module.fail_json(**Report(faults).as_failure(), changed=True, changes=changes)
    row = {
        "check": "rollback",
        "target": name,
        "ok": True,
        "seconds": round(time.monotonic() - began, 1),
        "detail": words,
        "image": images_of(manifest),
    }
    module.exit_json(changed=True, changes=changes, table=[row])


if __name__ == "__main__":
    main()
