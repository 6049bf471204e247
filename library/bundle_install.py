#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring a host's programs, packages and images to what the bundle's manifest says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_install
short_description: Install programs, packages and images of a bundle on this host
description:
  - Compares the host with the manifest's entries and fetches only what differs, over HTTP, as C(<url>/<sha256>),
    or from a bucket of OSS by signed addresses.
  - The digests come with the call, over SSH, so the HTTP server need not be trusted. A file with another
    digest than the manifest's is fetched once more and then refused.
  - Programs appear under their path only when complete and verified.
  - A package that is installed in any version stays as it is.
author: [The maintainers]
options:
  url:
    description: Where the bundle's files are served. Empty means where this SSH session comes from, at O(port).
    type: str
    default: ""
  port: {description: Port of the control machine's own server; used when O(url) is empty, type: int, default: 8742}
  signed:
    description:
      - Addresses of files in a bucket, by their sha256, when O(url) begins with C(oss://). Anyone with such an address
        can read the file until it expires, so no message contains it. The action plugin creates them.
    type: dict
    default: {}
  files:
    description:
      - Entries of the manifest. The action plugin of this name picks them by O(manifest), O(purposes), O(kinds) and
        O(distribution), so a task does not have this option.
    type: list
    elements: dict
  manifest:
    description: The bundle's manifest. Taken by the action plugin, on the control machine.
    type: path
    required: true
  purposes:
    description: What the host is for, C(master), C(node), C(dashboard), C(registry). Taken by the action plugin.
    type: list
    elements: str
    required: true
  kinds:
    description: Which entries, C(runtime), C(cni), C(kubernetes), C(image), C(package). Taken by the action plugin.
    type: list
    elements: str
    required: true
  names:
    description: Which of these entries, such as C(kubeadm). Without it all are picked. Taken by the action plugin.
    type: list
    elements: str
  distribution:
    description: Distribution of packages, such as C(debian12). Without it none are picked. Taken by the action plugin.
    type: str
    default: ""
  store:
    description: The bucket of OSS that holds the bundle, as the role bundle registers it. Taken by the action plugin.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, details: [Fetches nothing; says what it would install.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Install the packages of the bundle
  bundle_install:
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [node]
    kinds: [package]
    distribution: debian12

- name: Install the kubelet, kubeadm and the images of a master from a mirror
  bundle_install:
    url: http://10.77.0.2:8080/bundle
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [master]
    kinds: [kubernetes, image]
"""
RETURN = r"""
changes: {description: "What was installed or would be, in words", returned: always, type: list, elements: str}
paths: {description: Paths of the programs among them, returned: always, type: list, elements: str}
chosen: {description: How many entries the action plugin picked, returned: success, type: int}
bytes: {description: How many bytes were fetched, returned: always, type: int}
"""

import errno
import platform

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.constants import ARCHITECTURES
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.bundle_files import InstallError
from ansible.module_utils.yunkube.host.bundle_installation import bring_files


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 8742},
            "signed": {"type": "dict", "default": {}, "no_log": True},
            "files": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    host_lock.take(module)
    machine = ARCHITECTURES.get(platform.machine(), platform.machine())
    try:
        done = bring_files(module, module.params["files"])
    except InstallError as error:
        module.fail_json(msg=str(error), remedy=error.remedy, commands=error.commands)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        module.fail_json(msg=f"no space left on {platform.node()} while fetching: make room, then run again")
    names = [f"{entry['name']} {entry['version']}" for entry in done.entries]
    diff = {"before": "", "after": "".join(f"{name}\n" for name in names), "after_header": f"installed ({machine})"}
    module.exit_json(
        changed=bool(done.changes),
        changes=done.changes,
        paths=[entry["path"] for entry in done.entries if "path" in entry],
        bytes=done.fetched,
        diff=diff,
    )


if __name__ == "__main__":
    main()
