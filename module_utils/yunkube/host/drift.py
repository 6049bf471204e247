# SPDX-License-Identifier: Apache-2.0
"""How a host differs from what is declared: files, packages, settings, firewall and services, in the words of each."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.host import bundle_files
from ansible.module_utils.yunkube.host.firewall import active_firewall, open_firewall
from ansible.module_utils.yunkube.host.service import bring_service
from ansible.module_utils.yunkube.host.settings import Settings, apply
from ansible.module_utils.yunkube.words import counted

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def lacking(module: AnsibleModule, packages: list[str]) -> list[str]:
    """Return the packages of the distribution that are not installed."""
    if not packages:
        return []
    dpkg_query, rpm = module.get_bin_path("dpkg-query"), module.get_bin_path("rpm")
    if dpkg_query:
        _, listing, _ = module.run_command([dpkg_query, *bundle_files.LISTING])
        missing, _ = bundle_files.missing_packages([{"package": name} for name in packages], listing)
        return [entry["package"] for entry in missing]
    if rpm:
        return [name for name in packages if module.run_command([rpm, "--query", "--whatprovides", name])[0] != 0]
    return packages


def look(module: AnsibleModule) -> list[str]:
    """Return what differs, in the words and the order in which it would be corrected."""
    params = module.params
    digests = bundle_files.Digests(bundle_files.STATE / "digests.json")
    missing, broken = bundle_files.compare(params["files"], digests, check_mode=True)
    packages = lacking(module, params["packages"])
    drift = bundle_files.in_words(missing, broken)
    drift += [f"install {counted(packages, 'package')}"] if packages else []
    settings = Settings(module)
    apply(settings, params["settings"])
    drift += settings.changes
    drift += open_firewall(module, active_firewall(module), params["firewall"])
    paths = [entry["path"] for entry in missing if "path" in entry]
    for service in params["services"]:
        drift += bring_service(module, service, paths).changes
    return drift
