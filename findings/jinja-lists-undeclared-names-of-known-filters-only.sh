#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Jinja2 3.1.6, seen 2026-11-29.
# `jinja2.meta.find_undeclared_variables` is the documented way to learn what a template needs without rendering it. Most
# people expect it to need only the syntax tree, as it looks for names and calls nothing.
# It generates code behind the scenes: a template whose syntax `Environment.parse` accepts is refused as soon as it uses a
# filter or a test that this Environment does not have, such as those of Ansible; inside of an `if` it is let through.
# A provisioning project that checks the templates of an inventory before a run would call every `| ternary` a fault.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install Jinja2==3.1.6
seen=$("$work/venv/bin/python" - <<'PYTHON'
from jinja2 import Environment, TemplateAssertionError, meta

environment = Environment()
for text in ("{{ a | ternary(b, c) }}", "{{ a is version('1.0') }}", "{% if a %}{{ b | ternary(1, 2) }}{% endif %}"):
    tree = environment.parse(text)
    try:
        print(",".join(sorted(meta.find_undeclared_variables(tree))))
    except TemplateAssertionError as error:
        print(error.message)
environment.filters["ternary"] = lambda value: value
print(",".join(sorted(meta.find_undeclared_variables(environment.parse("{{ a | ternary(b, c) }}")))))
PYTHON
)
echo "version: $("$work/venv/bin/pip" --disable-pip-version-check list 2>/dev/null | grep -i '^jinja2')"
echo "seen: $(paste -sd ';' <<< "$seen")"
expected=$'No filter named \'ternary\'.\nNo test named \'version\'.\na,b\na,b,c'
[[ $seen == "$expected" ]] || { echo "changed: names are listed for other templates"; exit 1; }
