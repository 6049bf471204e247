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

import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.cloud.credentials import CredentialsError
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.upload import bring_objects
from ansible.module_utils.yunkube.host.file_lock import LockError


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
    if module.check_mode and not Path(module.params["manifest"]).exists():
        module.exit_json(
            changed=True, changes=[f"upload the bundle to {module.params['url']} once it is built"], bytes=0
        )
    try:
        done = bring_objects(module)
    except ModuleNotFoundError as error:
        module.fail_json(msg=f"{error.name} is not installed for {sys.executable}: run ./scripts/setup", changes=[])
    except ValueError as error:
        module.fail_json(msg=str(error), kind="config", changes=[])
    except (CloudError, CredentialsError) as error:
        module.fail_json(msg=str(error), remedy="run the same command again: uploaded files stay", changes=[])
    except (LockError, OSError) as error:
        module.fail_json(msg=f"cannot upload the bundle: {error}", changes=[])
    diff = {"before": "", "after": done.files, "after_header": done.bucket}
    module.exit_json(changed=bool(done.changes), changes=done.changes, bytes=done.size, diff=diff)


if __name__ == "__main__":
    main()
