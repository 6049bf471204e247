# SPDX-License-Identifier: Apache-2.0
"""Inventory plugin: the hosts of a cluster on Alibaba Cloud, by their tags."""

from __future__ import annotations

DOCUMENTATION = r"""
name: alicloud
short_description: The hosts of a cluster on Alibaba Cloud
description:
  - Takes for hosts the instances whose tag C(yunkube-cluster) is the cluster's name, and puts each into the group
    C(masters) or C(nodes) by its tag C(yunkube-role), C(master) or C(node). A host is called as its instance, without
    the cluster's name in front.
  - Of each host it sets C(ansible_host); C(cluster_node_ip), the private address; and C(alicloud_instance), a
    dictionary with C(id), C(region), C(zone), C(type), C(status), C(image), C(vpc), C(vswitch), C(private_address),
    C(public_address), C(created), C(auto_release) and C(tags).
  - Its file ends in C(alicloud.yml) or C(alicloud.yaml). Options that it leaves out are taken from variables that
    stand beside it for all hosts (C(group_vars/all)), without templates; variables of the command line do not count.
  - The access key comes from the environment, the profile file of the C(aliyun) command, or the RAM role of the
    instance on which this runs, and from no other place.
  - Where the cloud cannot be asked, or RAM does not allow it, the command ends. Ansible would go on with no hosts.
author: [The maintainers]
extends_documentation_fragment: [constructed, inventory_cache]
options:
  plugin: {description: Always C(alicloud)., type: str, required: true, choices: [alicloud]}
  region: {description: "The region, such as C(cn-hangzhou); by default C(alicloud_region).", type: str}
  cluster: {description: The value of the tag C(yunkube-cluster); by default C(cluster_name)., type: str}
  cluster_id:
    description: The value of the tag C(yunkube-id), where several clusters of an account have the same name.
    type: str
  endpoints:
    description: "Other addresses of C(ecs) and C(vpc), by these names; by default C(alicloud_endpoints)."
    type: dict
  ca: {description: "A PEM file with the authority of those addresses; by default C(alicloud_ca).", type: str}
  connect:
    description:
      - Whether C(ansible_host) is the C(private) address or, of instances that have one, the C(public) one; by default
        C(alicloud_hosts_connect), else C(private).
    type: str
    choices: [private, public]
"""
EXAMPLES = r"""
# inventory/mine/alicloud.yml, beside group_vars/all/cluster.yml with cluster_name and alicloud_region
plugin: alicloud

# Groups zone_cn_hangzhou_h, and so on.
keyed_groups:
  - {key: alicloud_instance.zone, prefix: zone}
"""

import os
import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.cloud.inventory import GROUPS, Found, InventoryError, ask, settle, unknown


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Asks the cloud, and hands to Ansible what it says."""

    NAME = "alicloud"

    def verify_file(self, path: str) -> bool:
        """Say whether a file is this plugin's, by its name."""
        return super().verify_file(path) and path.endswith(("alicloud.yml", "alicloud.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the hosts, or end the command."""
        super().parse(inventory, loader, path, cache)
        try:
            self._fill(Path(path), use_kept=cache)
        except (InventoryError, AnsibleError) as error:
            # For Ansible, what a plugin fails of is a warning, and the cluster has no hosts, or some, from then on.
            raise SystemExit(f"[ERROR]: {' '.join(str(error).split())}") from error

    def _fill(self, file: Path, *, use_kept: bool) -> None:
        """Add what the cloud says to the inventory."""
        found = self._found(self._read_config_data(str(file)), file, use_kept=use_kept)
        for warning in found.warnings:
            self.display.warning(warning)
        for group in GROUPS.values():
            self.inventory.add_group(group)
        strict = self.get_option("strict")
        for host in found.hosts:
            self.inventory.add_host(host.name, group=host.group)
            for name, value in host.variables.items():
                self.inventory.set_variable(host.name, name, value)
            self._set_composite_vars(self.get_option("compose"), host.variables, host.name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), host.variables, host.name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), host.variables, host.name, strict=strict)

    def _found(self, config: t.Any, file: Path, *, use_kept: bool) -> Found:
        """Return what the cloud says, or has said if that is kept."""
        unknown(config, list(self.get_options()), file)
        settings = settle({name: self.get_option(name) for name in config if name != "plugin"}, file)
        if not self.get_option("cache"):
            return ask(settings, os.environ)
        key = self.get_cache_key(f"{file} {settings}")  # what is kept of another cluster does not count
        if not use_kept or key not in self._cache:
            self._cache[key] = ask(settings, os.environ).as_dict()
        return Found.of_dict(self._cache[key])
