#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-12-01.
# Most people expect of `any_errors_fatal` and a `rescue` that an error that was rescued is none, so that all hosts go on;
# or, that the run ends for all of them.
# The rescue runs on every host, without `ansible_failed_result` where nothing failed. Then the hosts are split the other
# way round: the one whose task failed is "rescued" and goes on to the next play, the healthy ones are left out of it. The
# recap counts no failure of anybody, and yet the exit code says that hosts failed (2).
# A provisioning project that repairs one host in a rescue would have gone on with that host alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
printf '%s ansible_connection=local\n' a b c > hosts
cat > play.yml <<'PLAY'
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  vars: &python {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - block:
        - ansible.builtin.command: "false"
          when: inventory_hostname == 'b'
      rescue:
        - ansible.builtin.debug: {msg: "rescue {{ inventory_hostname }} {{ ansible_failed_result is defined }}"}
- hosts: all
  gather_facts: false
  vars: *python
  tasks:
    - ansible.builtin.debug: {msg: "next {{ inventory_hostname }}"}
PLAY
code=0
venv/bin/ansible-playbook -i hosts play.yml > out 2>&1 || code=$?
said() { grep -oE "\"$1 [^\"]+" out | tr -d '"' | sort | paste -sd, ; }
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
seen="exit $code; $(said rescue); $(said next); failed in the recap $(grep -cE '^[abc] .*failed=[1-9]' out || true)"
echo "seen: $seen"
[[ $seen == "exit 2; rescue a False,rescue b True,rescue c False; next b; failed in the recap 0" ]] ||
  { echo "changed: after any_errors_fatal and rescue other hosts go on"; exit 1; }
