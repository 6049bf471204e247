# SPDX-License-Identifier: Apache-2.0
"""Variables that roles derive, as Ansible works them out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[2] / "roles"


def variables_of(role: str) -> dict[str, Any]:
    """Return what a role's vars/main.yml says."""
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())
    return found


@functools.cache
def load_lookups() -> None:
    """Enable Ansible's lookups in templates; a second time in one process it would warn."""
    init_plugin_loader()


def rendered(template: str, **values: Any) -> str:
    """Return what a template comes to."""
    load_lookups()
    trusted = {name: trust_as_template(value) if isinstance(value, str) else value for name, value in values.items()}
    return str(Templar(DataLoader(), trusted).template(trust_as_template(template)))


def as_templates(value: Any) -> Any:
    """Let Ansible take every text of a value for a template, as it does with those of a role."""
    if isinstance(value, dict):
        return {key: as_templates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_templates(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


class Derived:
    """Templates of roles over the values of an inventory."""

    def __init__(self, values: dict[str, Any], **names: tuple[str, ...]) -> None:
        """Take the named derived variables, by role."""
        load_lookups()
        trusted = {name: as_templates(variables_of(role)[name]) for role, chosen in names.items() for name in chosen}
        self._templar = Templar(DataLoader(), {**values, **trusted})

    def text(self, template: str) -> str:
        """Return what a template comes to."""
        return str(self._templar.template(trust_as_template(template)))
