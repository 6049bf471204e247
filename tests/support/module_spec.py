# SPDX-License-Identifier: Apache-2.0
"""What a module asks AnsibleModule for, without running it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule


class Asked(Exception):  # noqa: N818 - no error, a way out of main() with what was asked for
    """What a module asks AnsibleModule for."""

    def __init__(self, argument_spec: dict[str, Any], settings: dict[str, Any]) -> None:
        """Carry the argument spec and the rest."""
        super().__init__()
        self.argument_spec = argument_spec
        self.settings = settings


def asked_by(file: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what a module asks AnsibleModule for."""

    def refuse(_self: AnsibleModule, argument_spec: dict[str, Any], **settings: Any) -> None:
        raise Asked(argument_spec, settings)

    monkeypatch.setattr(AnsibleModule, "__init__", refuse)
    with pytest.raises(Asked) as caught:
        importlib.import_module(file.stem).main()
    return caught.value
