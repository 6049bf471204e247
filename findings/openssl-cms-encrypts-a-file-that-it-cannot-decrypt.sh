#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's openssl and libssl3 3.0.22-1~deb12u2, seen 2026-11-30.
# Most people expect that what `openssl cms -encrypt` has written with exit code 0, `openssl cms -decrypt` can read again, as
# long as there is room for it.
# With -stream a file of any size is encrypted in constant memory. Decrypting reads the whole message into one buffer first: of
# 1.6 GB it succeeds, of 2.2 GB it ends with a malloc failure on a machine with ten times the memory.
# A project that encrypts backups this way must refuse large ones when they are saved, not find out when they are needed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
version=3.0.22-1~deb12u2
apt-get download "openssl=$version" "libssl3=$version" > download.log 2>&1
for package in *.deb; do dpkg --extract "$package" root; done
export OPENSSL_CONF="$work/root/usr/lib/ssl/openssl.cnf" LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu"
openssl() { "$work/root/usr/bin/openssl" "$@"; }
cp root/etc/ssl/openssl.cnf root/usr/lib/ssl/openssl.cnf 2> /dev/null || export OPENSSL_CONF="$work/root/etc/ssl/openssl.cnf"
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -subj /CN=backup -days 2 2> request.log
seen=""
for size in 1600000000 2200000000; do
  head --bytes="$size" /dev/zero |
    openssl cms -encrypt -binary -stream -aes-256-gcm -outform DER -out sealed certificate.pem
  opened=$( (openssl cms -decrypt -binary -inform DER -in sealed -inkey key.pem 2> said.log || true) | wc --bytes)
  seen+="$opened "
done
reason=$(grep --only-matching 'malloc failure' said.log | head -1 || true)
echo "version: openssl $version ($(openssl version))"
echo "seen: of 1600000000 and 2200000000 bytes that were encrypted with exit code 0, so many are decrypted: $seen($reason)"
[[ $seen == "1600000000 0 " && $reason == "malloc failure" ]] || { echo "changed: what openssl cms decrypts"; exit 1; }
