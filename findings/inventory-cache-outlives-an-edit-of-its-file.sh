#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# Most people expect the cache of an inventory plugin to belong to what its file asks for, so that an edit causes a new query.
# BaseInventoryPlugin.get_cache_key knows the plugin's name and the file's path only, so after an edit of the region, filter
# or account the former hosts are listed until the cache expires: with `cache_timeout: 0`, which means no cache in other
# programs, that is never. A provisioning project that caches hosts must put the options into the key, or a run meant for
# one region's cluster works on the hosts of another.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
mkdir plugins
cat > plugins/onezone.py <<'PYTHON'
DOCUMENTATION = """
name: onezone
short_description: Lists one host, called as its zone
description: For this script.
extends_documentation_fragment: [inventory_cache]
options:
  plugin: {description: Its name., type: str, required: true}
  zone: {description: Which zone., type: str, required: true}
"""
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable


class InventoryModule(BaseInventoryPlugin, Cacheable):
    NAME = "onezone"

    def verify_file(self, path):
        return path.endswith("onezone.yml")

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        try:
            host = self._cache[key]
        except KeyError:
            host = self._cache[key] = self.get_option("zone")
        self.inventory.add_host(host)
PYTHON
export ANSIBLE_INVENTORY_PLUGINS="$work/plugins" ANSIBLE_INVENTORY_ENABLED=onezone
listed=()
for zone in alpha beta; do
  printf 'plugin: onezone\ncache: true\ncache_timeout: 0\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: %s/cache\nzone: %s\n' \
    "$work" "$zone" > onezone.yml
  listed+=("$(venv/bin/ansible-inventory -i onezone.yml --list 2> "$work/errors" | python3 -c 'import json, sys; print(*json.load(sys.stdin)["ungrouped"]["hosts"])')")
done
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: the file asks for alpha, then for beta; listed: ${listed[*]}"
[[ "${listed[*]}" == "alpha alpha" ]] || { echo "changed: the cache's key"; exit 1; }
