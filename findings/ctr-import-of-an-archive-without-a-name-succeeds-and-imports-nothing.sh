#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's containerd 1.6.20~ds1-1+deb12u3 and skopeo 1.9.3+ds1-1+b10, seen 2026-11-30; ctr 2.3.7 does the same.
# Most people expect `ctr images import` to import the image of an OCI archive, or to fail.
# Where the archive names no image, as skopeo writes it for `oci-archive:FILE` without `:NAME` behind it, ctr stores the
# layers, prints nothing and ends with 0, and containerd has no image. `ctr images list` is the only way to notice.
# Whoever brings images to hosts in archives has to list them afterwards: the pods wait for a pull, hours later.
set -euo pipefail
work=$(mktemp -d)
trap '[ -z "${daemon:-}" ] || { kill "$daemon" && wait "$daemon" || true; }; rm -rf "$work"' EXIT
export HOME="$work"
cd "$work"
apt-get download containerd=1.6.20~ds1-1+deb12u3 skopeo=1.9.3+ds1-1+b10 libgpgme11 libassuan0 libdevmapper1.02.1 \
  golang-github-containers-common > download.log 2>&1
for package in *.deb; do dpkg --extract "$package" root; done
LD_LIBRARY_PATH="$(dirname "$(find "$PWD/root" -name 'libgpgme.so.11')"):$PWD/root/lib/x86_64-linux-gnu"
export LD_LIBRARY_PATH
# An image of one empty layer.
python3 - <<'PYTHON'
import hashlib, json, pathlib

image = pathlib.Path("image")
(image / "blobs/sha256").mkdir(parents=True)


def blob(content: bytes, kind: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    (image / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


layer = blob(bytes(10240), "layer.v1.tar")
config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
config = blob(json.dumps(config).encode(), "config.v1+json")
manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
index = {"schemaVersion": 2, "manifests": [blob(json.dumps(manifest).encode(), "manifest.v1+json")]}
(image / "index.json").write_text(json.dumps(index))
(image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
PYTHON
copy() { root/usr/bin/skopeo --insecure-policy --tmpdir "$work" copy --quiet oci:image "oci-archive:$1"; }
copy nameless.tar
copy named.tar:example.test/image:1
cat > config.toml <<TOML
version = 2
root = "$work/content"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/socket"
[ttrpc]
  address = "$work/ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "$work/opt"
TOML
root/usr/bin/containerd --config config.toml > containerd.log 2>&1 &
daemon=$!
ctr() { root/usr/bin/ctr --address "$work/socket" "$@"; }
for _ in {1..100}; do [ ! -S socket ] || break; sleep 0.1; done
seen=""
for archive in nameless named; do
  code=0
  said=$(ctr images import --no-unpack "$archive.tar" 2>&1) || code=$?
  seen+="$archive: exit $code, words $(wc -w <<< "$said"), images $(ctr images list --quiet | wc -l); "
done
echo "version: $(root/usr/bin/ctr --version)"
echo "seen: $seen"
[[ $seen == "nameless: exit 0, words 0, images 0; named: exit 0, words 0, images 1; " ]] ||
  { echo "changed: ctr says something of an archive without a name, or imports it"; exit 1; }
