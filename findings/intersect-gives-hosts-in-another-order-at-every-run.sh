#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-12-01.
# Most people expect of `groups['nodes'] | intersect(due)` that hosts stay in the order of the group: a play with `serial`
# and these hosts would take them one after the other, as it does with the group itself.
# They come in the order of a set, which differs from run to run of Python, so two runs of one playbook begin with
# different hosts. `select('in', due)` keeps the order.
# A provisioning project upgrades nodes in batches, stops at the first that fails, and says that later ones are untouched.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
{ echo '[nodes]'; printf 'n%d ansible_connection=local\n' 1 2 3 4 5 6; } > hosts
play() { # $1: the filter; $2: what Python's hashes begin with, which is random where nothing is said
  cat > play.yml <<PLAY
- hosts: "{{ groups['nodes'] | $1 }}"
  gather_facts: false
  serial: 1
  vars: {due: "{{ groups['nodes'] | reverse }}", ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - ansible.builtin.debug: {msg: turn}
PLAY
  PYTHONHASHSEED=$2 venv/bin/ansible-playbook -i hosts play.yml 2> /dev/null | grep -oE '^ok: \[n[0-9]' | grep -oE 'n[0-9]' | paste -sd' '
}
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
first=$(play "intersect(due)" 1)
second=$(play "intersect(due)" 2)
kept=$(play "select('in', due)" 1)
echo "seen: intersect: $first, then $second; select: $kept"
[[ $kept == "n1 n2 n3 n4 n5 n6" && $first != "$second" && ${#first} == "${#second}" ]] ||
  { echo "changed: intersect keeps the order of its list"; exit 1; }
