#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Gather the few facts that the roles read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gather the few facts that the roles read, under Ansible's own names
description:
  - A facts module (C(ansible_facts_modules)) in place of M(ansible.builtin.setup), which takes several times as long to
    find hundreds of facts that nothing here uses.
author: [The maintainers]
attributes:
  check_mode: {support: full, details: [Changes nothing in any mode.]}
"""
EXAMPLES = r"""
- name: Gather the facts that the roles read
  host_facts:
"""
RETURN = r"""
ansible_facts:
  description:
    - C(distribution) and C(distribution_major_version) as C(Debian), C(12); C(os_family) as C(Debian), C(RedHat).
    - C(pkg_mgr) as C(apt), C(dnf). C(default_ipv4) with C(address), C(network), C(prefix) and C(interface) of the
      default route; empty where there is none.
  returned: always
  type: dict
"""

import ipaddress
import json
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host.os_release import parse_os_release

# ID and ID_LIKE of /etc/os-release, as Ansible calls the family and what installs its packages.
FAMILIES = {
    "debian": ("Debian", "apt"),
    "rhel": ("RedHat", "dnf"),
    "fedora": ("RedHat", "dnf"),
    "suse": ("Suse", "zypper"),
}
NAMES = {"rhel": "RedHat", "centos": "CentOS", "almalinux": "AlmaLinux", "opensuse-leap": "openSUSE Leap"}


def distribution(said: dict[str, str]) -> dict[str, str]:
    """Return what /etc/os-release says of the distribution, under Ansible's names."""
    identity = said.get("ID", "linux")
    likes = [identity, *said.get("ID_LIKE", "").split()]
    family, manager = next((FAMILIES[like] for like in likes if like in FAMILIES), (identity.capitalize(), "unknown"))
    return {
        "distribution": NAMES.get(identity, identity.capitalize()),
        "distribution_version": said.get("VERSION_ID", ""),
        "distribution_major_version": said.get("VERSION_ID", "").partition(".")[0],
        "os_family": family,
        "pkg_mgr": manager,
    }


def paths(route: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the ways that a route takes: one, several by turns, or none where it is there to refuse."""
    ways = [{**route, **hop} for hop in route.get("nexthops", [])] or [route]
    return [way for way in ways if "dev" in way]


def default_ipv4(routes: list[dict[str, t.Any]], interfaces: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the address of the default route's interface; both arguments are what C(ip -json) says."""
    route = min(
        (path for route in routes if route["dst"] == "default" for path in paths(route)),
        key=lambda path: path.get("metric", 0),
        default=None,
    )
    if route is None:
        return {}
    addresses = [
        (address["local"], address["prefixlen"])
        for interface in interfaces
        if interface["ifname"] == route["dev"]
        for address in interface["addr_info"]
        if address["family"] == "inet"
    ]
    source = route.get("prefsrc")
    for local, prefix in addresses:
        if source in (None, local):
            network = ipaddress.ip_network(f"{local}/{prefix}", strict=False)
            found = {"address": local, "prefix": str(prefix), "network": str(network.network_address)}
            return found | {"interface": route["dev"], "gateway": route.get("gateway", "")}
    return {}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    facts: dict[str, t.Any] = dict(distribution(parse_os_release(Path("/etc/os-release").read_text())))
    answers = []
    for what in ("route", "address"):
        program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
        rc, out, _ = module.run_command([program, "-json", "-4", what, "show"]) if program else (1, "", "")
        answers.append(json.loads(out) if rc == 0 and out.strip() else [])
    facts["default_ipv4"] = default_ipv4(*answers)
    module.exit_json(changed=False, ansible_facts={f"ansible_{name}": value for name, value in facts.items()})


if __name__ == "__main__":
    main()
