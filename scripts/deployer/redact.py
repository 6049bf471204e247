"""Take secrets out of everything that is shown or kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

HIDDEN = "[redacted]"

# Shorter values would blank out ordinary words wherever they stand.
SHORTEST_VALUE = 4

SECRET_NAME = re.compile(
    r"password|passwd|passphrase|secret|token|private_key$|client-key-data|certificate_?key", re.IGNORECASE
)

# Values that say whether there is a secret, not what it is.
PLAIN = frozenset({"", "true", "false", "null", "none", "yes", "no", "omit", HIDDEN})

PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    # The same in base64: what `client-key-data` holds ("-----BEGIN RSA/EC/OPENSSH/PRIVATE").
    re.compile(r"LS0tLS1CRUdJTiB(?:SU0Eg|FQyBQ|PUEVO|QUklW)[A-Za-z0-9+/=\s]*"),
    re.compile(r"(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])"),
)
ASSIGNMENT = re.compile(
    r"""(?P<name>["']?[\w-]*(?:password|passwd|passphrase|secret|token|client-key-data|certificate[-_]?key)[\w-]*["']?
    [ \t]*[:=][ \t]*)(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[|>][-+]?[ \t]*\n[ \t]+\S+|[^\s,;}\]"'|>]+)""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Redactor:
    """Replaces secrets by shape, by the name they stand under, and known ones by value."""

    values: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for value in self.values:
            text = text.replace(value, HIDDEN)
        for pattern in PATTERNS:
            text = pattern.sub(HIDDEN, text)
        return ASSIGNMENT.sub(_hide_value, text)

    def tree(self, value: Any) -> Any:
        """Return a copy of nested lists and dicts without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._named(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        return value

    def _named(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and SECRET_NAME.search(name) and value.lower() not in PLAIN:
            return HIDDEN
        return self.tree(value)


def _hide_value(found: re.Match[str]) -> str:
    value = found["value"].strip("\"'")
    return found[0] if value.lower() in PLAIN else found["name"] + HIDDEN


def _is_literal_secret(value: str) -> bool:
    return len(value) >= SHORTEST_VALUE and value.lower() not in PLAIN and "{{" not in value


def secret_values(variables: dict[str, Any]) -> tuple[str, ...]:
    """Return the literal values that stand under a secret's name, at any depth; longest first."""
    found: set[str] = set()

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(str(key), item)
        elif isinstance(value, list):
            for item in value:
                walk(name, item)
        elif isinstance(value, str) and SECRET_NAME.search(name) and _is_literal_secret(value):
            found.add(value)

    walk("", variables)
    return tuple(sorted(found, key=lambda value: (-len(value), value)))
