#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-28.
# Most people expect of `ignore_unreachable: true` that the play goes on where a host is unreachable, as the output
# says ("...ignoring"), also for a task that `run_once` delegates to that host.
# It ends the play for every host: no later task runs, only `always` does; nobody counts as failed or unreachable in
# the recap, and yet the exit code says that hosts failed (2). Without `run_once` the play goes on.
# A provisioning project asks its control plane host once for all hosts, and must tell each of them why it got nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
cat > hosts <<'HOSTS'
a ansible_connection=local
b ansible_connection=local
dead ansible_host=127.0.0.1 ansible_port=1
HOSTS
play() { # $1: whether the task runs once
  cat > play.yml <<PLAY
- hosts: a,b
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - block:
        - ansible.builtin.ping:
          delegate_to: dead
          run_once: $1
          ignore_unreachable: true
        - ansible.builtin.debug: {msg: later}
      always:
        - ansible.builtin.debug: {msg: cleanup}
PLAY
  code=0
  venv/bin/ansible-playbook -i hosts play.yml > out 2>&1 || code=$?
  later=$(grep -c 'msg.*later' out || true)
  cleanup=$(grep -c 'msg.*cleanup' out || true)
  bad=$(grep -cE '^[ab] .*(unreachable|failed)=[1-9]' out || true)
  echo "exit $code, later tasks $later, always $cleanup, hosts failed or unreachable in the recap $bad"
}
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
once=$(play true)
each=$(play false)
echo "seen: with run_once: $once; without: $each"
[[ $once == "exit 2, later tasks 0, always 2, hosts failed or unreachable in the recap 0" ]] &&
  [[ $each == "exit 0, later tasks 2, always 2, hosts failed or unreachable in the recap 0" ]] ||
  { echo "changed: an ignored unreachable host with run_once is treated in another way"; exit 1; }
