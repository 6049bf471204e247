#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-28.
# Most people expect `loop_control.break_when` on a looped include_tasks to stop the loop once the included tasks have
# set what it tests, as it does on a looped module with the result of the module.
# It is evaluated for every item before any included task runs: all items are included, and no task is skipped.
# A condition on the item itself does stop the loop. So a loop of unknown length (repair, look again) cannot be written with it.
# A provisioning project that repairs one fault after another needs such a loop, or a file that includes itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
cat > round.yml <<'TASKS'
- ansible.builtin.set_fact: {healthy: true}
- ansible.builtin.debug: {msg: "round {{ number }}"}
TASKS
rounds() { # $1: when the loop shall end
  cat > play.yml <<PLAY
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_tasks: round.yml
      loop: [1, 2, 3]
      loop_control: {loop_var: number, break_when: "$1"}
PLAY
  venv/bin/ansible-playbook -i localhost, -c local play.yml 2>&1 | grep -c '"msg": "round'
}
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
fact=$(rounds "healthy | default(false)")
item=$(rounds "number == 1")
echo "seen: rounds that ran although the first one sets what ends the loop: $fact; with a condition on the item: $item"
[[ $fact == 3 && $item == 1 ]] || { echo "changed: break_when of an include now looks at another time"; exit 1; }
