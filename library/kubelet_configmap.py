#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Write the kubelet configuration of the whole cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_configmap
short_description: Write the kubelet configuration of the whole cluster
description:
  - Writes ConfigMap C(kube-system/kubelet-config), which a joining host gets and M(kubelet_rollout) writes to a host.
  - Runs on a host of the control plane. Changes no kubelet.
author: [The maintainers]
options:
  text: {description: "The KubeletConfiguration, YAML", type: str, required: true}
  declared:
    description: "The part of it that the inventory declares, JSON. Kept in an annotation, so that a key that is
      removed from the inventory later is removed from the cluster as well."
    type: str
    required: true
  former: {description: The text that O(text) was derived from. Any other is refused., type: str, required: true}
  fields: {description: "What differs, in words", type: list, elements: str, default: []}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Update the kubelet configuration of the cluster
  kubelet_configmap:
    text: |
      apiVersion: kubelet.config.k8s.io/v1beta1
      kind: KubeletConfiguration
      cgroupDriver: systemd
      maxPods: 200
    declared: |
      {"maxPods": 200}
    former: |
      apiVersion: kubelet.config.k8s.io/v1beta1
      kind: KubeletConfiguration
      cgroupDriver: systemd
    fields: [maxPods 200 instead of 110]
    cluster: prod
    cluster_id: 0123456789abcdef
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
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError
from ansible.module_utils.yunkube.kube.cluster_values import DECLARED, KUBELET_CONFIGMAP


def bring(api: KubeApi, text: str, declared: str, former: str, *, check_mode: bool) -> bool:
    """Write the ConfigMap unless it is so; refuse to overwrite what somebody wrote meanwhile."""
    found = api.get(KUBELET_CONFIGMAP)
    there = (found.get("data") or {}).get("kubelet", "")
    annotation = (found["metadata"].get("annotations") or {}).get(DECLARED)
    if there == text and annotation == declared:
        return False
    if there not in (former, text):
        raise KubeError("ConfigMap kube-system/kubelet-config was changed during this run: run the same command again")
    if not check_mode:
        metadata = {"annotations": {DECLARED: declared}, "resourceVersion": found["metadata"]["resourceVersion"]}
        api.patch(KUBELET_CONFIGMAP, {"metadata": metadata, "data": {"kubelet": text}})
    return True


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "text": {"type": "str", "required": True},
            "declared": {"type": "str", "required": True},
            "former": {"type": "str", "required": True},
            "fields": {"type": "list", "elements": "str", "default": []},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    options = module.params
    try:
        with KubeApi.from_file() as api:
            changed = bring(api, options["text"], options["declared"], options["former"], check_mode=module.check_mode)
    except KubeError as error:
        module.fail_json(msg=str(error))
    words = [f"update ConfigMap kube-system/kubelet-config: {', '.join(options['fields'])}"]
    if not options["fields"]:
        words = ["record cluster_kubelet_config in ConfigMap kube-system/kubelet-config"]
    module.exit_json(changed=changed, changes=words if changed else [])


if __name__ == "__main__":
    main()
