# SPDX-License-Identifier: Apache-2.0
"""The locks in components/, for tests that are about each of them, or about the one that clusters have by default."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible.module_utils.yunkube.control.locks import file_of, locked_releases

COMPONENTS = Path(__file__).resolve().parents[2] / "components"
RELEASES = locked_releases(COMPONENTS)
RELEASE = str(
    yaml.safe_load((COMPONENTS.parent / "roles/cluster/defaults/main.yml").read_text())["cluster_kubernetes_version"]
)
LOCK_FILE = file_of(COMPONENTS, RELEASE)
