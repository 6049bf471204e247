#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# Most people expect a run to fail if the inventory plugin that lists the hosts of a cloud fails.
# An AnsibleParserError of the plugin is a warning, and so are the errors of the plugins that are tried next (INI last);
# `ansible-inventory --graph` and `ansible-playbook` end with 0. What the plugin had added before the error stays: a play for
# these hosts runs on a part of them, a play for the others on none, and both are successes.
# (INVENTORY_ANY_UNPARSED_IS_FAILED would change that, and is off.) A provisioning project must end the process itself, or a
# denied or half-read list passes for a cluster without hosts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
mkdir plugins
cat > plugins/halfcloud.py <<'PYTHON'
DOCUMENTATION = """
name: halfcloud
short_description: Lists one host of two
description: For this script.
options: {plugin: {description: Its name., type: str, required: true}}
"""
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin


class InventoryModule(BaseInventoryPlugin):
    NAME = "halfcloud"

    def verify_file(self, path):
        return path.endswith("halfcloud.yml")

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self.inventory.add_group("web")
        self.inventory.add_group("db")
        self.inventory.add_host("web1", group="web")
        raise AnsibleParserError("the second page was denied")
PYTHON
printf 'plugin: halfcloud\n' > halfcloud.yml
printf -- '- hosts: %s\n  gather_facts: false\n  connection: local\n  tasks: [{ansible.builtin.debug: {msg: done}}]\n' web > web.yml
printf -- '- hosts: %s\n  gather_facts: false\n  connection: local\n  tasks: [{ansible.builtin.debug: {msg: done}}]\n' db > db.yml
export ANSIBLE_INVENTORY_PLUGINS="$work/plugins" ANSIBLE_INVENTORY_ENABLED=halfcloud,auto,yaml,ini
codes=()
for play in web db; do
  code=0; venv/bin/ansible-playbook -i halfcloud.yml $play.yml > "$play.log" 2>&1 || code=$?
  codes+=("$code")
done
said=$(grep -c 'the second page was denied' web.log || true)
ran=$(grep -c 'ok=1' web.log || true)
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: exit codes ${codes[*]}; the error is said in $said line(s); the play ran on $ran host(s) that had been added"
[[ "${codes[*]}" == "0 0" && $ran == 1 ]] || { echo "changed: a plugin that fails is no mere warning any more"; exit 1; }
