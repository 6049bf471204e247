#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# Templating in Ansible is lazy: a variable that no template names costs nothing. Most people expect the same of
# lookup('template', FILE), which renders one file with the variables at hand.
# It makes a deep copy of all variables first, for each file, and also where the file names none: what a host has in
# hostvars, facts and all roles' defaults is copied seven times for seven files.
# A role that compares the contents of its files in one task (content: "{{ lookup('template', …) }}") so pays for
# variables of other roles: here a third of that task's time on the control machine.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
echo 'nothing of a variable' > one.j2
seen=$(venv/bin/python - <<'PYTHON'
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar, trust_as_template

init_plugin_loader()


class Counted(dict):
    """A variable that nothing names, and how often it was copied."""

    copies = 0

    def __deepcopy__(self, memo):
        Counted.copies += 1
        return self


loader = DataLoader()
variables = {f"x_{number}": Counted() for number in range(100)}
templar = Templar(loader=loader, variables=variables)
lookup = lookup_loader.get("ansible.builtin.template", loader=loader, templar=templar)
found = templar.template(trust_as_template("nothing of a variable"))
print(f"text in a task: {Counted.copies}", end="; ")
for files in (1, 7):
    Counted.copies = 0
    rendered = lookup.run(["one.j2"] * files, variables)
    assert [text.strip() for text in rendered] == [found] * files
    print(f"{files} files: {Counted.copies}", end="; ")
PYTHON
)
echo "version: ansible-core $(venv/bin/python -c 'from ansible.release import __version__; print(__version__)')"
echo "seen: copies of 100 variables that nothing names: $seen"
[[ $seen == "text in a task: 0; 1 files: 100; 7 files: 700; " ]] || { echo "changed: the lookup copies another number"; exit 1; }
