#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's nftables 1.0.6-2+deb12u2 and iptables 1.8.9-2, seen 2026-11-29.
# Most people expect `nft -j list` to hold what `nft list` prints, in a form for programs.
# Of rules that iptables made by a match such as conntrack, multiport or statistic the text has the conditions translated:
# `ct state invalid`, `tcp dport { 22, 80 }`. The JSON of the same rules has only the match's name, without its values, and
# REJECT is no `reject` there. The other way round the text drops iptables' comments without a trace.
# A tool that looks in the JSON for the rule that drops its packets has to read iptables-save for these tables.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
apt-get download nftables=1.0.6-2+deb12u2 iptables=1.8.9-2 libnftables1 libnftnl11 libjansson4 libmnl0 libedit2 libbsd0 \
  libmd0 libxtables12 libip4tc2 libip6tc2 libnfnetlink0 libnetfilter-conntrack3 > download.log 2>&1
for package in *.deb; do dpkg --extract "$package" root; done
libraries=$(dirname "$(find "$PWD/root" -name 'libnftables.so.1')")
export LD_LIBRARY_PATH="$libraries" XTABLES_LIBDIR="$libraries/xtables"
# A network namespace of its own, which ends with the shell: the machine's rules stay as they are.
unshare --net bash -euo pipefail -c '
  iptables="root/usr/sbin/xtables-nft-multi iptables"
  $iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP
  $iptables -A FORWARD -p tcp -m multiport --dports 22,80 -j REJECT
  root/usr/sbin/nft list table ip filter > text
  root/usr/sbin/nft -j list table ip filter > json
' 2> said.log
printed=$(grep -cE 'ct state invalid|tcp dport \{ 22, 80 \}' text || true)
seen=$(python3 - <<'PYTHON'
import json

for entry in json.load(open("json"))["nftables"]:
    for expression in entry.get("rule", {}).get("expr", []):
        if "xt" in expression:
            print(json.dumps(expression["xt"], sort_keys=True))
PYTHON
)
echo "version: $(dpkg-deb --field nftables_*.deb Version)"
echo "seen: conditions in the text: $printed; all that the JSON has of them: $(paste -sd ';' <<< "$seen")"
expected='{"name": "conntrack", "type": "match"}
{"name": "multiport", "type": "match"}
{"name": "REJECT", "type": "target"}'
[[ $printed == 2 && $seen == "$expected" ]] || { echo "changed: the JSON has other parts of these rules"; exit 1; }
