#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-28.
# Most people expect `ansible-config validate` to check the ansible.cfg that ansible-playbook reads, and to accept the
# sections that the documentation names.
# It knows only the settings of core, not those of the plugins that core ships: a valid [ssh_connection] is an "unknown
# section", exit code 1. With --type all the same file is valid, and only misspelt settings are reported.
# A provisioning project lets CI validate its ansible.cfg, which nearly always has that section.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
validate() { # $1: what [defaults] holds; the rest: options
  printf '[defaults]\n%s\n[ssh_connection]\npipelining = true\n' "$1" > ansible.cfg
  code=0
  ANSIBLE_CONFIG="$work/ansible.cfg" venv/bin/ansible-config validate "${@:2}" > out 2>&1 || code=$?
  about=$(grep -oE "section 'ssh_connection'|'?froks'?" out | tr -d "'" | sort -u | paste -sd ,)
  echo "exit $code (${about:-nothing named})"
}
plain=$(validate "forks = 20")
all=$(validate "forks = 20" --type all)
wrong=$(validate "froks = 20")
wrong_all=$(validate "froks = 20" --type all)
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
seen="valid: $plain, with --type all: $all; misspelt: $wrong, with --type all: $wrong_all"
echo "seen: $seen"
[[ $seen == "valid: exit 1 (section ssh_connection), with --type all: exit 0 (nothing named); \
misspelt: exit 1 (froks,section ssh_connection), with --type all: exit 1 (froks)" ]] ||
  { echo "changed: ansible-config validate treats the section in another way"; exit 1; }
