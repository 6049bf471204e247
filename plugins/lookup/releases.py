# SPDX-License-Identifier: Apache-2.0
"""Name the Kubernetes releases that have a lock."""

from __future__ import annotations

DOCUMENTATION = r"""
name: releases
short_description: Return the Kubernetes releases that have a lock in components/, oldest first
description:
  - C(lookup('releases', cluster_project_dir)) is a list such as C([1.36.5, 1.37.2]).
author: [The maintainers]
options:
  _terms: {description: The project's folder, required: true}
"""
RETURN = r"""
_raw: {description: The releases., type: list, elements: list}
"""

import runpy
import typing as t
from pathlib import Path

from ansible.plugins.lookup import LookupBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.locks import locked_releases


class LookupModule(LookupBase):  # type: ignore[misc]
    """Reads the names of files."""

    def run(self, terms: list[str], variables: t.Any = None, **_options: t.Any) -> list[t.Any]:
        """Return the releases as a list of one, as every lookup does."""
        del variables
        return [locked_releases(Path(str(terms[0]), "components"))]
