# SPDX-License-Identifier: Apache-2.0
"""Variables of the command line, read as the types that their keys have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from deployer.errors import DeployError

ROLES = Path(__file__).absolute().parents[2] / "roles"


def extra_vars(texts: Sequence[str]) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Part `key=value` from `@file` and JSON objects; a value is read as the type that its key has."""
    variables: dict[str, Any] = {}
    files: list[Path] = []
    for text in texts:
        if text.startswith("@"):
            file = Path(text[1:]).expanduser().absolute()
            if not file.is_file():
                raise DeployError(f"-e {text}: there is no such file", "pass the path of a YAML or JSON file")
            files.append(file)
            continue
        key, equals, value = text.partition("=")
        try:
            if text[:1] == "{":
                key = text
                variables.update(json.loads(text))
                continue
            if not equals or not key.isidentifier():
                raise DeployError(f"-e {text}: is not key=value", "write -e cluster_name=mine, or -e @file.yml")
            variables[key] = typed(key, value)
        except json.JSONDecodeError as error:
            raise DeployError(
                f"-e {key}: not valid JSON: {error.msg}", "quote the whole argument in the shell"
            ) from error
    return variables, tuple(files)


def typed(key: str, value: str) -> Any:
    """Return what `key=value` means: key=false is a string to Ansible, and a string that is not empty is true."""
    if value[:1] in ("[", "{") and value[:2] != "{{":
        return json.loads(value)
    kind = types().get(key) if value in ("true", "false") or value.isdecimal() else None
    if kind == "bool" and not value.isdecimal():
        return value == "true"
    return int(value) if kind in ("int", "float") and value.isdecimal() else value


@cache
def types() -> dict[str, str]:
    """Return the type of every key that the roles take."""
    import yaml  # noqa: PLC0415 - slow to import, and only needed for some values

    found: dict[str, str] = {}
    for file in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"].values():
            found.update({key: option["type"] for key, option in (entry.get("options") or {}).items()})
    return found
