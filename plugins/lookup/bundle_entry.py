# SPDX-License-Identifier: Apache-2.0
"""Find one thing of the bundle: where a program stands on hosts, how an image is called."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_entry
short_description: Return an entry of the bundle's manifest
description:
  - C(lookup('bundle_entry', manifest, 'runtime', 'containerd').path) is where containerd stands on a host.
author: [The maintainers]
options:
  _terms: {description: "The manifest's path, a kind, a name (of an image the last part of it)", required: true}
"""
RETURN = r"""
_raw: {description: The entry., type: list, elements: dict}
"""

import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, entry_of, read_manifest


class LookupModule(LookupBase):  # type: ignore[misc]
    """Reads the manifest."""

    def run(self, terms: list[str], variables: t.Any = None, **_options: t.Any) -> list[t.Any]:
        """Return the entry as a list of one, as every lookup does."""
        del variables
        path, kind, name = map(str, terms)
        try:
            return [entry_of(read_manifest(path), kind, name)]
        except ManifestError as error:
            raise AnsibleLookupError(str(error)) from error
