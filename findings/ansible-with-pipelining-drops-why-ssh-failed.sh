#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-30.
# Most people expect that an unreachable host comes with what ssh said: "Connection refused", "Host key verification
# failed". With pipelining Ansible writes the module to ssh's input. Where ssh has closed that already, Ansible waits one
# millisecond for ssh to end; if it ends later, the message is "Data could not be sent [Errno 32] Broken pipe", and what
# ssh wrote is read by nobody. On a loaded control machine a refused connection ended so once in eight runs.
# Without pipelining, and with the raw module, nothing is written first, and the reason is there each time.
# The ssh below is a stand-in that makes the pause between both ends long enough to be seen always.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work" ANSIBLE_CONFIG="$work/ansible.cfg" ANSIBLE_HOME="$work/ansible" LC_ALL=C.UTF-8
cd "$work"
: > ansible.cfg
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install ansible-core==2.19.14
printf '#!/bin/sh\nexec 0<&-\nsleep 0.3\necho "Host key verification failed." >&2\nexit 255\n' > ssh
chmod +x ssh
reason() { # of a module run with or without pipelining
  venv/bin/ansible all -i '192.0.2.1,' -m "$2" -a true -e ansible_ssh_executable="$work/ssh" \
    -e ansible_pipelining="$1" -e ansible_python_interpreter=/usr/bin/python3 2>&1 | grep -c "Host key verification failed" || true
}
for how in "true command" "false command" "true raw"; do
  read -r pipelining module <<< "$how"
  [ "$(reason "$pipelining" "$module")" -gt 0 ] && said="ssh's reason" || said="no reason"
  seen="${seen:-}${seen:+, }pipelining $pipelining, $module: $said"
done
venv/bin/ansible --version | sed -n 's/^ansible \[core \(.*\)\]/version: ansible-core \1/p'
echo "seen: $seen"
wanted="pipelining true, command: no reason, pipelining false, command: ssh's reason, pipelining true, raw: ssh's reason"
[ "$seen" = "$wanted" ] || { echo "changed: expected $wanted"; exit 1; }
