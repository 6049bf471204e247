#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# oss2 2.19.1 (seen 2026-11-29)
# Expected: an address with a signature of version 4 for more than 604,800 s is refused when it is created, because that
# is the maximum that OSS accepts (https://help.aliyun.com/en/oss/user-guide/0002-00000232).
# Seen: it is signed without an error, for zero or fewer seconds too; the first user of the address gets the error.
# Why it matters: what a control machine signs is used by another host minutes later, and the fault seems to be on that
# host. Check the lifetime before signing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check oss2==2.19.1
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import importlib.metadata
import sys
from urllib.parse import parse_qs, urlsplit

import oss2

auth = oss2.AuthV4("example-id", "example-secret")
bucket = oss2.Bucket(auth, "https://oss-cn-hangzhou.aliyuncs.com", "example-bucket", region="cn-hangzhou")
seen = []
for seconds in (604800, 604801, 31536000, 0, -5):
    query = parse_qs(urlsplit(bucket.sign_url("GET", "file", seconds)).query)
    seen.append(query["x-oss-expires"][0])
print("version: oss2", importlib.metadata.version("oss2"))
print("seen: signed for", ", ".join(seen), "seconds")
if seen != ["604800", "604801", "31536000", "0", "-5"]:
    print("oss2 looks at the lifetime now")
    sys.exit(1)
PYTHON
