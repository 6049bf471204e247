# SPDX-License-Identifier: Apache-2.0
"""Render a template file with a shallow copy of the variables; ansible.builtin.template makes a deep one for each file.

A run compares each host with seven files. Seven deep copies of every variable were a third of the work of that task.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: rendered
short_description: Return the text of a rendered template file
description:
  - As the lookup C(ansible.builtin.template), for a file that includes no other. Named arguments are further variables.
author: [The maintainers]
options:
  _terms: {description: The path of one template, required: true}
"""
RETURN = r"""
_raw: {description: The text., type: list, elements: str}
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template


class LookupModule(LookupBase):  # type: ignore[misc]
    """Renders files."""

    def run(self, terms: list[str], variables: t.Any = None, **options: t.Any) -> list[str]:
        """Return the text as a list of one, as every lookup does."""
        (path,) = terms
        text = trust_as_template(self._loader.get_text_file_contents(path))
        templar = self._templar.copy_with_new_env(available_variables={**(variables or {}), **options})
        return [templar.template(text, escape_backslashes=False)]
