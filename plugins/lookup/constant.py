# SPDX-License-Identifier: Apache-2.0
"""Give templates the values that the project's Python has, so that each stands once."""

from __future__ import annotations

DOCUMENTATION = r"""
name: constant
short_description: Return a value of module_utils/yunkube/constants.py
description:
  - C(lookup('constant', 'API_PORT')) is the port of the API server.
author: [The maintainers]
options:
  _terms: {description: The name of one constant, required: true}
"""
RETURN = r"""
_raw: {description: The value; several are a list., type: list, elements: raw}
"""

import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube import constants


class LookupModule(LookupBase):  # type: ignore[misc]
    """Reads the constants."""

    def run(self, terms: list[str], variables: t.Any = None, **_options: t.Any) -> list[t.Any]:
        """Return the value as a list of one, as every lookup does."""
        del variables
        (name,) = terms
        try:
            value = vars(constants)[name]
        except KeyError as error:
            raise AnsibleLookupError(f"module_utils/yunkube/constants.py has no {name}") from error
        return [list(value) if isinstance(value, tuple) else value]
