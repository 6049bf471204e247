# SPDX-License-Identifier: Apache-2.0
"""What all parts of making a cluster's hosts share: the client, what there is, what was done."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import Declaration
from ansible.module_utils.yunkube.cloud.errors import IN_USE, CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing, Json

POLL = 3.0  # seconds between two looks
LISTED = 30.0  # seconds in which a thing that was made is listed, and ready
UNKNOWN = "(made by this run)"  # the id of what a check would have made


class HostsError(Exception):
    """It went wrong halfway; the message says what there is now, and what to do."""


@dataclass
class Work:
    """One run. In a dry run nothing is made, and ids are UNKNOWN."""

    client: Client
    wanted: Declaration
    there: Existing
    dry_run: bool = False
    sleep: Callable[[float], None] = time.sleep
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def until(self, ready: Callable[[], Json | None], seconds: float) -> Json | None:
        """Return what `ready` returns, none where it did not within the time."""
        waited = 0.0
        while True:
            if found := ready():
                return found
            if waited >= seconds:
                return None
            self.sleep(POLL)
            waited += POLL

    def remove(self, take: Callable[[], str], seconds: float) -> str:
        """Take a thing away, and return why it is left, empty where it is gone; what uses it may go within the time."""
        waited = 0.0
        while True:
            try:
                return take()
            except CloudError as error:
                if error.code.endswith("NotFound"):
                    return ""
                if not error.code.startswith(IN_USE):
                    raise
                if waited >= seconds:
                    return str(error)
            self.sleep(POLL)
            waited += POLL

    def make(
        self, words: str, product: str, action: str, key: str, ready: Callable[[str], Json | None], **parameters: Any
    ) -> str:
        """Make one thing, and return its id once it is ready.

        The token is the same on every machine and in every run for the same parameters, so that none makes it twice.
        Where it stands for one that was deleted since, the thing is made with another token.
        """
        self.changes.append(f"create {words}")
        if self.dry_run:
            return UNKNOWN
        fixed = self.wanted.owner.token(f"{action} {json.dumps(parameters, sort_keys=True)}")
        for token in (fixed, str(uuid.uuid4())):
            identity = str(self.client.call(product, action, client_token=token, **parameters)[key])
            if self.until(lambda identity=identity: _listed(ready, identity), LISTED):  # type: ignore[misc]
                return identity
        raise HostsError(
            f"{words} ({identity}) was created and is still not listed after {LISTED:.0f} s: run the same command again"
        )


def _listed(ready: Callable[[str], Json | None], identity: str) -> Json | None:
    """Return what `ready` does; a thing that was made may be unknown for some seconds still."""
    try:
        return ready(identity)
    except CloudError as error:
        if not error.code.endswith("NotFound"):
            raise
        return None
