#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Put the bundle into a bucket of OSS, from which hosts fetch it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_upload
short_description: Put the bundle into a bucket of OSS
description:
  - Uploads those of the bundle's files that the bucket does not have. Objects are named by the sha256 of their content,
    so clusters share them, and the next run after an interrupted one uploads only the missing files.
  - An object of such a name with other content is replaced. No other object is changed, and none is deleted.
  - Runs on the control machine, whose access key it uses; see the inventory plugin C(alicloud).
author: [The maintainers]
options:
  manifest: {description: "The bundle's manifest; its files are next to it.", type: path, required: true}
  url: {description: "The bucket, C(oss://bucket/prefix); the prefix is C(yunkube) if none", type: str, required: true}
  cache: {description: Where progress is written, type: path, required: true}
  store:
    description: How the bucket is reached, C(region), C(upload) (the address) and C(ca), as in C(cluster_bundle_store).
    type: dict
    required: true
attributes:
  check_mode: {support: full, details: ["The objects of the bucket are listed, and nothing is written."]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Upload the bundle to a bucket
  bundle_upload:
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    url: oss://shop-bundles
    cache: ~/.cache/yunkube
    store: {region: cn-hangzhou, upload: https://oss-cn-hangzhou.aliyuncs.com}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
bytes: {description: Bytes that were (or would be) uploaded, returned: success, type: int}
"""

import concurrent.futures
import json
import os
import sys
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.build.components import Progress
from ansible.module_utils.yunkube.cloud import credentials
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.oss import Bucket, md5_of
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.file_lock import LockError, locked

AT_ONCE = 4  # uploads
UPLOAD_SECONDS = 7200.0  # how long to wait for another run that uploads the same bundle


def sums(bundle: Path, files: t.Iterable[Path]) -> dict[str, str]:
    """Return the MD5 of each file; they are kept beside the bundle, whose files never change."""
    kept = bundle / "md5.json"
    known: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    found = {path.name: known.get(path.name) or md5_of(path) for path in files}
    if found != known:
        write_atomic(kept, json.dumps(found))
    return found


def missing(bucket: Bucket, files: list[Path], md5: t.Mapping[str, str]) -> list[Path]:
    """Return the files that the bucket does not have."""
    there = bucket.objects()
    return [path for path in files if not bucket.holds(there.get(path.name), path, md5[path.name])]


def upload(bucket: Bucket, files: list[Path], md5: t.Mapping[str, str], names: t.Mapping[str, str], told: Path) -> None:
    """Upload files, and tell a reader of `told` how far that is."""
    progress = Progress(told, len(files), verb="upload")

    def put(path: Path) -> None:
        def work() -> Path:
            bucket.put(path, md5[path.name])
            return path

        progress.step(names[path.name], work)

    try:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(put, path) for path in files]
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
            for one in done:
                one.result()
    finally:
        progress.close()


def bring(module: AnsibleModule, bucket: Bucket, bundle: Path, names: t.Mapping[str, str]) -> None:
    """Bring the bucket to hold all files of the bundle, and exit."""
    files = sorted(bundle / "files" / digest for digest in names)
    with locked(bundle.with_name(f".{bundle.name}.upload.lock"), UPLOAD_SECONDS):
        md5 = sums(bundle, files)
        wanted = missing(bucket, files, md5)
        size = sum(path.stat().st_size for path in wanted)
        changes = [f"upload {len(wanted)} files of the bundle to {bucket.name} ({size >> 20} MB)"] if wanted else []
        if not module.check_mode:
            if wanted:
                upload(bucket, wanted, md5, names, Path(module.params["cache"]) / "progress.json")
                if left := missing(bucket, wanted, md5):
                    text = f"{len(left)} objects of {bucket.name} are not what was uploaded: see what else writes there"
                    module.fail_json(msg=text, changes=changes, changed=True)
            bucket.try_to_read(files[0].name)
    after = "".join(f"{names[path.name]} {path.name[:16]}\n" for path in wanted)
    diff = {"before": "", "after": after, "after_header": bucket.name}
    module.exit_json(changed=bool(wanted), changes=changes, bytes=size, diff=diff)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "cache": {"type": "path", "required": True},
            "store": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    url, store, manifest = module.params["url"], module.params["store"], Path(module.params["manifest"])
    if module.check_mode and not manifest.exists():
        module.exit_json(changed=True, changes=[f"upload the bundle to {url} once it is built"], bytes=0)
    try:
        names = {entry["sha256"]: str(entry["name"]) for entry in json.loads(manifest.read_text())["files"]}
        key = lambda: credentials.find(os.environ)  # noqa: E731
        with Bucket(url, store["region"], store["upload"], key, store.get("ca") or "") as bucket:
            bring(module, bucket, manifest.resolve().parent, names)
    except ModuleNotFoundError as error:
        module.fail_json(msg=f"{error.name} is not installed for {sys.executable}: run ./scripts/setup", changes=[])
    except ValueError as error:
        module.fail_json(msg=str(error), kind="config", changes=[])
    except (CloudError, credentials.CredentialsError) as error:
        module.fail_json(msg=str(error), remedy="run the same command again: uploaded files stay", changes=[])
    except (LockError, OSError) as error:
        module.fail_json(msg=f"cannot upload the bundle: {error}", changes=[])


if __name__ == "__main__":
    main()
