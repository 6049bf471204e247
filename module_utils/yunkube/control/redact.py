# SPDX-License-Identifier: Apache-2.0
"""Take secrets out of everything that is shown or kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

HIDDEN = "[redacted]"

# What a terminal would obey: escape sequences, other control characters but tab and newline, and those that turn the
# direction of writing. Pods and hosts write what they like into their messages.
CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)

# Shorter values would blank out ordinary words wherever they stand.
SHORTEST_VALUE = 4

# What makes a name that of a secret; `pass` only at the end of a longer word, and not of a bypass.
WORDS = (
    r"(?:password|passwd|passphrase|secret|token|client-key-data|certificate[-_]?key|(?:access|api)[-_]?key"
    r"|dockerconfigjson)"
)
ENDING = r"(?:(?<=[\w-])(?<!by)(?<!com)(?<!sur)(?<!tres)(?<!over)(?<!under)pass)"
SECRET_NAME = re.compile(rf"{WORDS}|private_?key$|{ENDING}$|^authorization$", re.IGNORECASE)

# Names of settings about a secret.
SETTING = re.compile(r"(?:_seconds|_ttl|_length|[-_](?:file|path))$", re.IGNORECASE)

_BASE64 = re.compile(r"[A-Za-z0-9+/=]{8,}")

# Values that say whether there is a secret, not what it is.
PLAIN = frozenset({"", "true", "false", "null", "none", "yes", "no", "omit", HIDDEN, HIDDEN[:-1]})

_VALUE = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[|>][-+]?[ \t]*\n[ \t]+\S+|[^\s,;}\]"'|>]+)"""

PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    # The same in base64: what `client-key-data` holds ("-----BEGIN RSA/EC/OPENSSH/PRIVATE").
    re.compile(r"LS0tLS1CRUdJTiB(?:SU0Eg|FQyBQ|PUEVO|QUklW)[A-Za-z0-9+/=\s]*"),
    re.compile(r"(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),  # a JWT, as service accounts have
)
# The same after something that stays: its group `name`.
AFTER = (
    re.compile(r"(?P<name>\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/\"']+(?=@)", re.IGNORECASE),  # of a URL
    re.compile(r"(?P<name>\bbearer )(?=\S*[\d.])[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(?P<name>\bauthorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:basic )?)[^\s\"']{8,}", re.IGNORECASE),
    re.compile(r"(?P<name>[\"']auth[\"'][ \t]*:[ \t]*[\"'])[A-Za-z0-9+/=]{8,}(?=[\"'])"),  # of Docker, base64
)
# Behind names that Ansible's errors quote ("Error processing keyword 'become_pass': ...") stands the reason.
QUOTED = r"""(?<!keyword ['"])(?<!value for ['"])"""
ASSIGNMENT = re.compile(
    rf"""(?P<name>["']?(?<![\w-]){QUOTED}(?P<word>[\w-]*{WORDS}[\w-]*|[\w-]*{ENDING})["']?"""
    rf"""[ \t]*[:=][ \t]*)(?P<value>{_VALUE})""",
    re.IGNORECASE,
)
# An environment variable in a manifest, also in a diff of one.
PAIR = re.compile(
    rf"""(?P<name>\bname["']?[ \t]*:[ \t]*["']?(?P<word>[\w.-]*{WORDS}[\w.-]*|[\w.-]*{ENDING})["']?"""
    rf"""[\s,+-]*["']?value["']?[ \t]*:[ \t]*)(?P<value>{_VALUE})""",
    re.IGNORECASE,
)
URL_PASSWORD = re.compile(r"://[^\s/:@\"']*:([^\s/\"']+)@")


@dataclass(frozen=True)
class Redactor:
    """Replaces secrets by shape, by the name they stand under, and known ones by value."""

    values: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """Return the text without secrets, and without what would steer a terminal."""
        text = printable(text)
        for value in self.values:
            text = text.replace(value, HIDDEN)
        for pattern in PATTERNS:
            text = pattern.sub(HIDDEN, text)
        for pattern in AFTER:
            text = pattern.sub(rf"\g<name>{HIDDEN}", text)
        return PAIR.sub(_hide_value, ASSIGNMENT.sub(_hide_value, text))

    def tree(self, value: Any) -> Any:
        """Return a copy of nested lists and dicts without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._named(str(key), item) for key, item in _paired(value).items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        return value

    def _named(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and is_secret_name(name) and value.lower() not in PLAIN:
            return HIDDEN
        if name == "auth" and isinstance(value, str) and _BASE64.fullmatch(value):
            return HIDDEN
        return self.tree(value)


def printable(text: str) -> str:
    """Return the text without what would steer a terminal."""
    return CONTROL.sub("", text)


def _hide_value(found: re.Match[str]) -> str:
    value = found["value"].strip("\"'")
    return found[0] if value.lower() in PLAIN or SETTING.search(found["word"]) else found["name"] + HIDDEN


def is_secret_name(name: str) -> bool:
    """Say whether what stands under a name is a secret."""
    return bool(SECRET_NAME.search(name)) and not SETTING.search(name)


def _paired(value: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dict whose `value` is hidden when its `name` is that of a secret."""
    name, item = value.get("name"), value.get("value")
    if isinstance(name, str) and isinstance(item, str) and is_secret_name(name) and item.lower() not in PLAIN:
        return {**value, "value": HIDDEN}
    return value


def _is_literal_secret(value: str) -> bool:
    return len(value) >= SHORTEST_VALUE and value.lower() not in PLAIN and "{{" not in value


def secret_values(variables: dict[str, Any]) -> tuple[str, ...]:
    """Return the literal values that stand under a secret's name, at any depth; longest first."""
    found: set[str] = set()

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(str(value.get("name")) if key == "value" and "name" in value else str(key), item)
        elif isinstance(value, list):
            for item in value:
                walk(name, item)
        elif isinstance(value, str):
            found.update(filter(_is_literal_secret, [value] if is_secret_name(name) else URL_PASSWORD.findall(value)))

    walk("", variables)
    return tuple(sorted(found, key=lambda value: (-len(value), value)))
