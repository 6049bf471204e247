#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the image of hosts that Docker runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_host_image
short_description: Build a Docker image of a bare Debian host
description:
  - Installs Debian into a folder with debootstrap, lays the given files over it, and imports it into the Docker engine.
  - The image is named by a digest of its recipe, and so is the archive of it in the cache; while either is there,
    nothing is installed again.
  - Packages come from the mirror that this machine's own apt uses; where apt knows no Debian,
    from debootstrap's default.
options:
  distribution: {description: What the image is called, type: str, required: true}
  suite: {description: Debian's name of the release, type: str, required: true}
  packages: {description: Packages in addition to debootstrap's minimal set, type: list, elements: str, required: true}
  masked_units: {description: systemd units that must not start, type: list, elements: str, default: []}
  files:
    description: Files laid over the system.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path within the image, type: str, required: true}
      content: {description: What it holds, type: str, required: true}
      mode: {description: Its permissions, type: str, default: "0644"}
  cache_dir: {description: Folder of the archives, type: path, required: true}
  mirror: {description: "Debian's archive, where apt names only its default or none", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [Reports whether the image would be built.]}
  diff_mode: {support: full}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Build the image of the hosts
  docker_host_image:
    distribution: debian12
    suite: bookworm
    packages: [openssh-server, python3, systemd-sysv]
    masked_units: [getty.target, systemd-udevd.service]
    files:
      - path: /etc/systemd/journald.conf.d/docker-host.conf
        content: |
          [Journal]
          Storage=volatile
    cache_dir: ~/.cache/yunkube/hosts
  register: image
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
image: {description: The image's name and tag, returned: always, type: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.docker.host_image import ImageError, bring_image, image_name


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "distribution": {"type": "str", "required": True},
            "suite": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "required": True},
            "masked_units": {"type": "list", "elements": "str", "default": []},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "cache_dir": {"type": "path", "required": True},
            "mirror": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    recipe = {key: module.params[key] for key in ("suite", "packages", "masked_units", "files")}
    image = image_name(module.params["distribution"], recipe)
    try:
        made = bring_image(module, image, recipe)
    except ImageError as error:
        module.fail_json(msg=str(error), kind="preflight")
    if not made:
        module.exit_json(changed=False, changes=[], image=image)
    diff = {"before": "", "after": f"{image}\n"}
    module.exit_json(changed=True, changes=[f"build the image {image}"], image=image, diff=diff)


if __name__ == "__main__":
    main()
