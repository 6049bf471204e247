#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's etcd-server and etcd-client 3.4.23-4+b4, seen 2026-11-30; etcd 3.7.3 does the same.
# Most people expect that after `etcdctl compact --physical`, which returns when the compaction is done, the metric
# etcd_mvcc_db_total_size_in_use_in_bytes says how much of the file is data.
# On an etcd that nobody writes to it stays where it was, for as long as one waits: pages that a transaction frees count as used
# until later transactions have been committed. After a few small writes it falls.
# A project that decides by this metric whether to defragment must write something first, or it finds nothing to do.
set -euo pipefail
work=$(mktemp -d)
server=""
trap '[[ -z $server ]] || kill "$server" 2> /dev/null || true; rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
version=3.4.23-4+b4
apt-get download "etcd-server=$version" "etcd-client=$version" > download.log 2>&1
for package in *.deb; do dpkg --extract "$package" root; done
clients=http://127.0.0.1:42379
root/usr/bin/etcd --data-dir=data --listen-client-urls=$clients --advertise-client-urls=$clients --unsafe-no-fsync \
  --listen-peer-urls=http://127.0.0.1:42380 --initial-advertise-peer-urls=http://127.0.0.1:42380 \
  --initial-cluster=default=http://127.0.0.1:42380 > server.log 2>&1 &
server=$!
ctl() { ETCDCTL_API=3 root/usr/bin/etcdctl --endpoints=$clients "$@"; }
used() { curl --silent $clients/metrics | sed -n 's/^etcd_mvcc_db_total_size_in_use_in_bytes //p' | xargs printf '%.0f'; }
for _ in $(seq 100); do ctl endpoint health > /dev/null 2>&1 && break; sleep 0.2; done
head --bytes=131072 /dev/zero | tr '\0' x > value
for _ in $(seq 40); do ctl put key < value > /dev/null; done
sleep 1
before=$(used)
ctl compact 41 --physical > /dev/null
sleep 15
idle=$(used)
for number in $(seq 20); do ctl put "small$number" x > /dev/null; sleep 0.2; done
after=$(used)
echo "version: etcd $version"
echo "seen: in use before the compaction $before bytes, 15 s after it $idle, after 20 small writes $after"
((idle > before / 2 && after < before / 2)) || { echo "changed: when compacted pages count as free"; exit 1; }
