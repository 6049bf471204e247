#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-runner 2.4.3 with ansible-core 2.19.14, seen 2026-11-30.
# Most people expect that an event tells whether a failure was ignored, as that of a failed task with `ignore_errors`
# does, and that a host that never answered counts as unreachable, or not at all.
# With `ignore_unreachable` the event runner_on_unreachable is that of a host that is lost, without any mark; only the
# stats at the end differ, and they count the host as ok once for each task that did not reach it.
# A provisioning project that shows failures as they come in cannot know yet whether this is one, and a host with
# "ok=3" in the recap may never have been there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-runner==2.4.3 ansible-core==2.19.14
cd "$work"
export PATH="$work/venv/bin:$PATH"
mkdir project
cat > project/play.yml <<'PLAY'
- hosts: far
  gather_facts: false
  ignore_unreachable: true
  tasks: [{ansible.builtin.ping: {}}, {ansible.builtin.ping: {}}, {ansible.builtin.ping: {}}]
- hosts: near
  gather_facts: false
  tasks: [{ansible.builtin.fail: {}, ignore_errors: true}]
PLAY
cat > watch.py <<'PYTHON'
import ansible_runner

hosts = {"far": {"ansible_host": "127.0.0.1", "ansible_port": 1}, "near": {"ansible_connection": "local"}}
run = ansible_runner.run(private_data_dir=".", playbook="play.yml", inventory={"all": {"hosts": hosts}}, quiet=True)
data = {event["event"]: event["event_data"] for event in run.events}
lost, failed = data["runner_on_unreachable"], data["runner_on_failed"]
marked = sorted(key for key in [*lost, *lost["res"]] if "ignore" in key)
counts = {name: run.stats[name].get("far", 0) for name in ("ok", "ignored", "dark", "skipped")}
print(f"failed: ignore_errors {failed['ignore_errors']}; unreachable: {marked}; {counts}")
PYTHON
echo "version: ansible-runner $(pip list --disable-pip-version-check 2>/dev/null | sed -n 's/^ansible-runner *//p')"
seen=$(python watch.py)
echo "seen: $seen"
[[ $seen == "failed: ignore_errors True; unreachable: []; {'ok': 3, 'ignored': 3, 'dark': 0, 'skipped': 0}" ]] ||
  { echo "changed: what events and stats say of an unreachable host that is ignored"; exit 1; }
