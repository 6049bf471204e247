#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PyYAML 6.0.3, seen 2026-11-29.
# `SafeLoader` and `CSafeLoader` are two builds of one reader, and programs take the quick one where it is there. Most
# people expect them to differ in speed, and an error to have the same `problem` from both.
# For a tab as indentation the slow one names the character; the quick one says that some character cannot start a token
# and leaves it out. For the same file their line is the same, and for a second document the words are.
# A provisioning project that turns `'\t'` in the message into "indent with spaces" does so only where libyaml is missing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install PyYAML==6.0.3
seen=$("$work/venv/bin/python" - <<'PYTHON'
import yaml

for text in ("all:\n  children:\n\tmasters:\n", "a: 1\n---\nb: 2\n"):
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        try:
            yaml.load(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            print(f"{error.problem_mark.line + 1}: {error.problem}")
PYTHON
)
echo "version: $("$work/venv/bin/pip" --disable-pip-version-check list 2>/dev/null | grep -i '^pyyaml')"
echo "seen: $(paste -sd ';' <<< "$seen")"
expected=$'3: found character \'\\t\' that cannot start any token\n3: found character that cannot start any token'
[[ $seen == "$expected"* ]] || { echo "changed: the loaders say the same, or other words"; exit 1; }
