#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-28.
# Most people expect of a task that is delegated to a host that is down: the task fails for the host that delegates,
# `rescue` handles it and `always` cleans up.
# The host that delegates is marked unreachable though it is up: neither `rescue` nor `always` runs for it, and later
# plays leave it out.
# A provisioning project that revokes a join token in `always` leaves it valid, and drops a healthy node from the run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
cat > hosts <<'HOSTS'
a ansible_connection=local
dead ansible_host=127.0.0.1 ansible_port=1
HOSTS
cat > play.yml <<'PLAY'
- hosts: a
  gather_facts: false
  tasks:
    - block:
        - ansible.builtin.ping:
          delegate_to: dead
      rescue:
        - ansible.builtin.debug: {msg: rescued}
      always:
        - ansible.builtin.debug: {msg: cleanup}
- hosts: a
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: second play}
PLAY
code=0
venv/bin/ansible-playbook -i hosts play.yml > out 2>&1 || code=$?
count() { grep -cE "$1" out || true; }
seen="exit $code, rescue $(count 'msg.*rescued'), always $(count 'msg.*cleanup'), second play $(count 'msg.*second play')"
seen+=", the healthy host unreachable in the recap $(count '^a .*unreachable=1')"
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: $seen"
[[ $seen == "exit 4, rescue 0, always 0, second play 0, the healthy host unreachable in the recap 1" ]] ||
  { echo "changed: a delegate that is down is treated in another way"; exit 1; }
