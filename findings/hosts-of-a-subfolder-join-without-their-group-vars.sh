#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# Most people expect `-i DIRECTORY` to read the files of that directory, with its group_vars, and a copy of last year's
# inventory in a folder below it to be out of the way.
# Folders below are read as well, at any depth: their hosts are in the groups of the same name. The group_vars that lie
# beside those hosts' file are not read, so such a host gets the settings of the living inventory.
# Files that end in .bak, .orig or ~ are left out; a .save of nano is not.
# A provisioning project would install a cluster on hosts of an inventory that somebody put aside.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
mkdir -p inventory/group_vars inventory/old/2025/group_vars
echo 'setting: living' > inventory/group_vars/nodes.yml
echo 'setting: aside' > inventory/old/2025/group_vars/nodes.yml
printf '[nodes]\nliving1\n' > inventory/hosts.ini
printf '[nodes]\naside1\n' > inventory/old/2025/hosts.ini
printf '[nodes]\nsaved1\n' > inventory/hosts.save
printf '[nodes]\nbacked1\n' > inventory/hosts.ini.bak
listed=$(venv/bin/ansible-inventory -i inventory --graph nodes | grep -o '[a-z]*1' | sort | paste -sd ' ')
setting=$(venv/bin/ansible-inventory -i inventory --host aside1 | grep -o 'living\|aside' || true)
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: hosts of the group: $listed; the setting of the host that was put aside: $setting"
[[ $listed == "aside1 living1 saved1" && $setting == living ]] || { echo "changed: other files or settings count"; exit 1; }
