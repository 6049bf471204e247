#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-12-01.
# Most people expect that `always` runs whatever happens in its block: so it does where a `run_once` task fails, and
# where a task fails on one of several hosts of a play with `max_fail_percentage`.
# Both together skip it. The `rescue` of the host that ran the task runs, then the play ends on all hosts: no `always`, no
# later task and no later play, and the recap counts nobody as failed, but names one host as rescued (exit code 2).
# A provisioning project drains nodes by one call for a batch, and wanted to let them take pods again in `always`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
printf '%s ansible_connection=local\n' a b c > hosts
play() { # $1: a line of the play; $2: a line of the task that fails
  cat > play.yml <<PLAY
- hosts: all
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  $1
  tasks:
    - block:
        - ansible.builtin.command: "false"
          $2
      rescue:
        - ansible.builtin.debug: {msg: repaired}
      always:
        - ansible.builtin.debug: {msg: cleanup}
PLAY
  code=0
  venv/bin/ansible-playbook -i hosts play.yml > out 2>&1 || code=$?
  echo "exit $code, rescue $(grep -c 'msg.*repaired' out || true), always $(grep -c 'msg.*cleanup' out || true)," \
    "failed in the recap $(grep -cE '^[abc] .*failed=[1-9]' out || true)"
}
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
both=$(play "max_fail_percentage: 0" "run_once: true")
once=$(play "strategy: linear" "run_once: true")
most=$(play "max_fail_percentage: 0" "when: inventory_hostname == 'b'")
echo "seen: both: $both; run_once alone: $once; max_fail_percentage alone: $most"
[[ $both == "exit 2, rescue 1, always 0, failed in the recap 0" ]] &&
  [[ $once == "exit 2, rescue 1, always 3, failed in the recap 0" ]] &&
  [[ $most == "exit 0, rescue 1, always 3, failed in the recap 0" ]] ||
  { echo "changed: max_fail_percentage and run_once together no longer skip always"; exit 1; }
