# SPDX-License-Identifier: Apache-2.0
"""Upload those files of the bundle that a bucket of OSS does not have."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.cloud import credentials
from ansible.module_utils.yunkube.cloud.oss import Bucket, md5_of
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.file_lock import locked

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

AT_ONCE = 4  # uploads
UPLOAD_SECONDS = 7200.0  # how long to wait for another run that uploads the same bundle


class Uploaded(t.NamedTuple):
    """What was uploaded, or in check mode would be."""

    changes: list[str]
    size: int  # bytes
    files: str  # a line for each, its name and where its digest begins
    bucket: str


def sums(bundle: Path, files: t.Iterable[Path], *, keep: bool) -> dict[str, str]:
    """Return the MD5 of each file; with `keep` they are kept beside the bundle, whose files never change."""
    kept = bundle / "md5.json"
    known: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    found = {path.name: known.get(path.name) or md5_of(path) for path in files}
    if keep and found != known:
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


def bring_objects(module: AnsibleModule) -> Uploaded:
    """Bring the bucket to hold all files of the bundle."""
    url, store, manifest = module.params["url"], module.params["store"], Path(module.params["manifest"])
    names = {entry["sha256"]: str(entry["name"]) for entry in json.loads(manifest.read_text())["files"]}
    key = lambda: credentials.find(os.environ)  # noqa: E731
    with Bucket(url, store["region"], store["upload"], key, store.get("ca") or "") as bucket:
        return _bring(module, bucket, manifest.resolve().parent, names)


def _bring(module: AnsibleModule, bucket: Bucket, bundle: Path, names: t.Mapping[str, str]) -> Uploaded:
    files = sorted(bundle / "files" / digest for digest in names)
    check = module.check_mode  # it writes nothing, not even a lock
    lock = bundle.with_name(f".{bundle.name}.upload.lock")
    with contextlib.nullcontext() if check else locked(lock, UPLOAD_SECONDS):
        md5 = sums(bundle, files, keep=not check)
        wanted = missing(bucket, files, md5)
        size = sum(path.stat().st_size for path in wanted)
        changes = [f"upload {len(wanted)} files of the bundle to {bucket.name} ({size >> 20} MB)"] if wanted else []
        if not check:
            if wanted:
                upload(bucket, wanted, md5, names, Path(module.params["cache"]) / "progress.json")
                if left := missing(bucket, wanted, md5):
                    text = f"{len(left)} objects of {bucket.name} are not what was uploaded: see what else writes there"
                    module.fail_json(msg=text, changes=changes, changed=True)
            bucket.try_to_read(files[0].name)
    after = "".join(f"{names[path.name]} {path.name[:16]}\n" for path in wanted)
    return Uploaded(changes, size, after, bucket.name)
