#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# Most people expect the three outputs of ansible-inventory to give a host's variable the same value.
# For an inventory plugin of Python, `--list` writes each text that the plugin set as an object, {"__ansible_unsafe": "..."},
# at every depth; `--host` and `--list --yaml` write the text itself, and numbers are plain everywhere. For a file of hosts
# all three write the text.
# A provisioning project that reads `_meta.hostvars` by jq gets an address from a file and an object from a cloud.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
mkdir plugins
cat > plugins/onehost.py <<'PYTHON'
DOCUMENTATION = """
name: onehost
short_description: One host with two variables
description: For this script.
options: {plugin: {description: Its name., type: str, required: true}}
"""
from ansible.plugins.inventory import BaseInventoryPlugin


class InventoryModule(BaseInventoryPlugin):
    NAME = "onehost"

    def verify_file(self, path):
        return path.endswith("onehost.yml")

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self.inventory.add_host("web1")
        self.inventory.set_variable("web1", "zone", "z1")
        self.inventory.set_variable("web1", "size", 3)
PYTHON
printf 'plugin: onehost\n' > onehost.yml
printf 'all: {hosts: {web1: {zone: z1, size: 3}}}\n' > hosts.yml
export ANSIBLE_INVENTORY_PLUGINS="$work/plugins" ANSIBLE_INVENTORY_ENABLED=onehost,yaml
shown() { # the value of zone and size in JSON, below what the arguments name
  python3 -c 'import json, sys; found = json.load(sys.stdin); print(json.dumps(found.get("_meta", {}).get("hostvars", {}).get("web1", found), sort_keys=True))'
}
listed=$(venv/bin/ansible-inventory -i onehost.yml --list | shown)
host=$(venv/bin/ansible-inventory -i onehost.yml --host web1 | shown)
file=$(venv/bin/ansible-inventory -i hosts.yml --list | shown)
yaml=$(venv/bin/ansible-inventory -i onehost.yml --list --yaml | grep -c 'zone: z1' || true)
echo "version: $(venv/bin/ansible-inventory --version | sed -n 1p)"
echo "seen: --list of the plugin $listed; --host $host; --list of a file $file; plain lines in --yaml: $yaml"
plain='{"size": 3, "zone": "z1"}'
[[ $listed == '{"size": 3, "zone": {"__ansible_unsafe": "z1"}}' && $host == "$plain" && $file == "$plain" && $yaml == 1 ]] ||
  { echo "changed: the outputs agree, or differ in another way"; exit 1; }
