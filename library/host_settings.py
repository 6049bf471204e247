#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Set what Kubernetes needs of the kernel, now and at every boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_settings
short_description: Kernel modules, sysctl values and swap, now and at boot
description:
  - Loads kernel modules, sets sysctl values and turns swap off, and writes the files that do the same at boot.
  - A module whose feature the kernel already has is not loaded; where the kernel cannot load modules at all, none
    are listed for the boot either, for there they would only fail.
author: [The maintainers]
options:
  modules: {description: Kernel modules., type: list, elements: str, default: []}
  modules_file: {description: Where systemd reads which modules to load at boot., type: path, required: true}
  sysctls: {description: Values of sysctl by name., type: dict, default: {}}
  sysctls_file: {description: Where systemd reads sysctl values at boot., type: path, required: true}
  swap: {description: Turn swap off or leave it., type: str, choices: ["off", leave], default: leave}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Set the kernel up, now and at boot
  host_settings:
    modules: [overlay, br_netfilter]
    modules_file: /etc/modules-load.d/kubernetes.conf
    sysctls:
      net.bridge.bridge-nf-call-iptables: 1
      net.ipv4.ip_forward: 1
    sysctls_file: /etc/sysctl.d/99-kubernetes.conf
    swap: "off"
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.settings import SETTINGS_SPEC, Settings, apply


def main() -> None:
    """Compare, then change."""
    module = AnsibleModule(argument_spec=SETTINGS_SPEC, supports_check_mode=True)
    host_lock.take(module)
    settings = Settings(module)
    try:
        apply(settings, module.params)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", changes=settings.changes)
    module.exit_json(changed=bool(settings.changes), changes=settings.changes, diff=settings.diff)


if __name__ == "__main__":
    main()
