#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-core 2.19.14, seen 2026-11-29.
# `-i DIRECTORY` reads every YAML file of the directory. Most people expect a Kubernetes manifest that lies there to be
# refused as no inventory, as its top level holds text where groups should be.
# Each key is judged by itself: `apiVersion` and `kind` are skipped with a warning, `metadata` and `spec` become groups,
# and a mapping of `hosts`, `vars` or `children` below `spec` becomes hosts, variables and groups. The exit code is 0, also
# with any_unparsed_is_failed.
# A provisioning project would run plays for `all` on "hosts" that are keys of somebody's custom resource.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install ansible-core==2.19.14
cd "$work"
mkdir inventory
printf 'all:\n  hosts:\n    real1:\n' > inventory/hosts.yml
cat > inventory/route.yaml <<'YAML'
apiVersion: example.com/v1
kind: Route
metadata:
  labels: {app: shop}
spec:
  hosts:
    shop.example.com: {ansible_port: 8443}
YAML
export ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=True
code=0
venv/bin/ansible-inventory -i inventory --list > listed 2> said || code=$?
groups=$(venv/bin/python -c 'import json; print(*sorted(json.load(open("listed"))["all"]["children"]))')
hosts=$(venv/bin/ansible -i inventory all --list-hosts 2>/dev/null | sed 1d | sort | xargs)
echo "version: $(venv/bin/ansible --version | sed -n 1p)"
echo "seen: exit code $code; groups: $groups; hosts: $hosts; warnings: $(grep -c WARNING said)"
[[ $code == 0 && $groups == "metadata spec ungrouped" && $hosts == "real1 shop.example.com" ]] \
  || { echo "changed: a manifest is read in another way"; exit 1; }
