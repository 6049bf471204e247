#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-28.
# Most people expect that a template in `hosts:` sees the same variables in every play, and that --list-hosts names the
# hosts that a run then takes.
# `hostvars` is undefined in the `hosts:` of the first play that runs and defined in that of the second; `groups` is
# defined in both. --list-hosts runs no play, so it has no `hostvars` in either and names other hosts than the run.
# A provisioning project chooses its control plane host in `hosts:`; by `hostvars` it would depend on what ran before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
printf '%s ansible_connection=local\n' with without > hosts
for _ in one two; do
  cat >> play.yml <<'PLAY'
- hosts: "{{ 'with' if hostvars is defined else 'without' }}:&{{ 'all' if groups is defined else 'nobody' }}"
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "taken {{ inventory_hostname }}"}
PLAY
done
ran=$(venv/bin/ansible-playbook -i hosts play.yml | sed -n 's/.*"msg": "taken \(.*\)"/\1/p' | paste -sd ' ')
listed=$(venv/bin/ansible-playbook -i hosts play.yml --list-hosts | sed -n 's/^      \(with.*\)/\1/p' | paste -sd ' ')
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: hostvars in hosts: of two plays of a run: $ran; by --list-hosts: $listed"
[[ $ran == "without with" && $listed == "without without" ]] ||
  { echo "changed: hostvars in hosts: is treated in another way"; exit 1; }
