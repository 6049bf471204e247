# SPDX-License-Identifier: Apache-2.0
"""Files that firewalld writes when it is told something lasting: a zone's own one, and a copy of how that was before.

Once all is taken back, a zone says what it said. Its file is then made what it was, byte for byte; one in which
somebody has changed something meanwhile stays as it is.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path
from xml.etree import ElementTree as ET

from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host import state as host_state

ZONES = Path("/etc/firewalld/zones")
BUILT_IN = Path("/usr/lib/firewalld/zones")


def keep() -> None:
    """Keep the files of all zones, before firewalld writes any."""
    for path in ZONES.glob("*.xml*"):
        originals.keep(path)


def restore(recorded: t.Mapping[str, str]) -> None:
    """Make the files what they were, where they say the same; `recorded` is what a record says of files."""
    for path in ZONES.glob("*.xml"):
        copy = originals.copy_of(path)
        if str(path) not in recorded and _says_the_same(path, BUILT_IN / path.name):
            path.unlink()
        elif copy is not None and _says_the_same(path, copy):
            originals.put_back(copy, path)
    for old in ZONES.glob("*.xml.old"):
        zone = old.with_suffix("")
        about = host_state.about(zone, contents=True) if os.path.lexists(zone) else None
        if about != recorded.get(str(zone)):
            continue  # somebody else's change, with the copy that firewalld made of it
        copy = originals.copy_of(old)
        if str(old) not in recorded:
            old.unlink()
        elif copy is not None:
            originals.put_back(copy, old)


def _says_the_same(path: Path, other: Path) -> bool:
    try:
        return _meaning(ET.parse(path).getroot()) == _meaning(ET.parse(other).getroot())  # noqa: S314
    except (OSError, ET.ParseError):
        return False


def _meaning(element: ET.Element) -> tuple[t.Any, ...]:
    """Return an element without its layout and the order of what it holds."""
    text = " ".join((element.text or "").split())
    return (element.tag, sorted(element.attrib.items()), text, sorted(map(_meaning, element)))
