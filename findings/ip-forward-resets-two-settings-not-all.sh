#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Linux, the kernel that runs this (6.18.44), with util-linux's unshare; seen 2026-11-30.
# The kernel's documentation of net.ipv4.ip_forward says "its change resets all configuration parameters to their default
# state", so most people expect either that or, as sysctl.d files suggest, no other change at all.
# A change writes two things: conf/all/accept_redirects gets the opposite of the new value, and forwarding of the default and
# of every interface gets the new value. The other settings, accept_redirects of single interfaces among them, stay.
# What hardens a host (ufw sets accept_redirects to 0) is undone by whoever turns forwarding off again, a tool that restores
# only the values that it wrote itself included.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
echo "version: Linux $(uname -r)"
seen=$(unshare --user --map-root-user --net bash -c '
cd /proc/sys/net/ipv4
shown() { for file in conf/{all,default,lo}/*; do echo "$file $(cat "$file" 2> /dev/null)"; done; }
ip link set lo up
echo 1 > ip_forward
for where in all default lo; do
  echo 0 > conf/$where/accept_redirects
  echo 0 > conf/$where/secure_redirects
  echo 0 > conf/$where/send_redirects
  echo 1 > conf/$where/accept_source_route
  echo 2 > conf/$where/rp_filter
  echo 1 > conf/$where/log_martians
done
shown > ~/before
echo 0 > ip_forward
shown | diff ~/before - | sed -n "s/^> conf.//p" | tr "\n" ";"
')
echo "seen: $seen"
expected="all/accept_redirects 1;all/forwarding 0;default/forwarding 0;lo/forwarding 0;"
[ "$seen" = "$expected" ] || { echo "changed: not $expected"; exit 1; }
