#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-runner 2.4.3 with ansible-core 2.19.14, seen 2026-11-29.
# Most people expect `suppress_env_files=True`, "disable the writing of files into env which may store sensitive
# information", to keep what a run is given off the disk.
# It keeps passwords off. But artifacts/<ident>/command holds the environment of the whole process, beside the variables
# given, and as the file for extra variables is not written either, they become an argument of ansible-playbook: in that
# same file, and in the list of processes for everybody on the machine. Without the option, they are in a file of mode 0600.
# A provisioning project with keys of a cloud in its environment must remove the artifacts, or keep them in memory.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-runner==2.4.3 ansible-core==2.19.14
cat > "$work/ask.py" <<'PYTHON'
import json
import os
import tempfile
from pathlib import Path

import ansible_runner

os.environ["ONE_OF_THE_SHELL"] = "word-of-the-shell"
for suppressed in (False, True):
    folder = Path(tempfile.mkdtemp(dir="."))
    play = folder / "play.yml"
    play.write_text("- {hosts: localhost, gather_facts: false, tasks: [{ansible.builtin.debug: {msg: done}}]}\n")
    run = ansible_runner.run(
        private_data_dir=str(folder), playbook=str(play.absolute()), extravars={"x_word": "word-of-a-variable"},
        envvars={"GIVEN": "word-given"}, suppress_env_files=suppressed, quiet=True,
    )
    assert run.status == "successful", run.status
    [note] = folder.glob("artifacts/*/command")
    kept = json.loads(note.read_text())
    print(*(
        "yes" if found else "no"
        for found in (
            (folder / "env/extravars").exists(),
            kept["env"].get("ONE_OF_THE_SHELL") == "word-of-the-shell",
            kept["env"].get("GIVEN") == "word-given",
            any("word-of-a-variable" in part for part in kept["command"]),
        )
    ))
PYTHON
cd "$work"
export PATH="$work/venv/bin:$PATH"
echo "version: ansible-runner $(pip list --disable-pip-version-check 2>/dev/null | sed -n 's/^ansible-runner *//p')"
seen=$(python ask.py 2>"$work/errors" | paste -sd ,)
echo "seen: (env/extravars written, the shell's variable in command, the given one there, extra variables in argv) without" \
  "and with the option: $seen"
[[ $seen == "yes yes yes no,no yes yes yes" ]] || { echo "changed: what ansible-runner writes"; exit 1; }
