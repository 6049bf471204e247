#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's firewalld and python3-firewall 1.3.3-1~deb12u2, seen 2026-11-29.
# Most people expect --remove-source to undo --add-source in the permanent configuration, so that /etc/firewalld is what
# it was before.
# The first change copies the zone from /usr/lib to /etc/firewalld/zones; the second one writes it again, and keeps the
# former one as ZONE.xml.old. Both files stay, the zone's byte for byte as in /usr/lib: from now on it hides the
# packaged one, and a later version of the package does not reach it.
# A project that reverts its changes has to remove those files itself, if it knows that it created them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
version=1.3.3-1~deb12u2
apt-get download "firewalld=$version" "python3-firewall=$version" python3-nftables python3-dbus python3-cap-ng libcap-ng0 \
  python3-gi > download.log 2>&1
for package in *.deb; do dpkg --extract "$package" root; done
mkdir -p etc/zones
cp root/etc/firewalld/firewalld.conf etc/ 2>/dev/null || true
offline() {
  PYTHONPATH=root/usr/lib/python3/dist-packages /usr/bin/python3 root/usr/bin/firewall-offline-cmd \
    --system-config="$work/etc" --default-config="$work/root/usr/lib/firewalld" --zone=trusted "$@" > /dev/null 2>> said.log
}
before=$(ls etc/zones)
offline --add-source=192.0.2.0/24
offline --remove-source=192.0.2.0/24
after=$(find etc/zones -type f -printf '%f\n' | sort | paste -sd ' ')
same=no
cmp --silent root/usr/lib/firewalld/zones/trusted.xml etc/zones/trusted.xml && same=yes
echo "version: $(dpkg-deb --field firewalld_*.deb Version)"
echo "seen: files in zones/ before: '${before}', after: '${after}'; the zone is as in the package: $same"
[[ -z $before && $after == "trusted.xml trusted.xml.old" && $same == yes ]] || { echo "changed: other files stay"; exit 1; }
