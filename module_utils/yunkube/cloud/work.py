# SPDX-License-Identifier: Apache-2.0
"""What all parts of making a cluster's hosts share: the client, what there is, what was done."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import Declaration
from ansible.module_utils.yunkube.cloud.errors import IN_USE, CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing, Json

POLL = 3.0  # seconds between two looks
LISTED = 30.0  # seconds in which a thing that was made is listed, and ready
UNKNOWN = "(made by this run)"  # the id of what a check would have made


T = TypeVar("T")


class HostsError(Exception):
    """It went wrong halfway; the message says what there is now, and what to do."""


def until(
    ready: Callable[[], T | None], seconds: float, sleep: Callable[[float], None], poll: float = POLL
) -> T | None:
    """Return what `ready` returns, none where it did not within the time: the only loop that waits for the cloud."""
    waited = 0.0
    while (found := ready()) is None:
        if waited >= seconds:
            return None
        sleep(poll)
        waited += poll
    return found


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

    def until(self, ready: Callable[[], T | None], seconds: float) -> T | None:
        """Return what `ready` returns, none where it did not within the time."""
        return until(ready, seconds, self.sleep)

    def insist(self, call: Callable[[], T], codes: tuple[str, ...], seconds: float) -> T:
        """Make a call again while it is refused with one of these codes; after the time its refusal is raised."""
        refused: list[CloudError] = []

        def accepted() -> tuple[T] | None:
            try:
                return (call(),)
            except CloudError as error:
                if not error.code.startswith(codes):
                    raise
                refused[:] = [error]
                return None

        done = until(accepted, seconds, self.sleep)
        if done is None:
            raise refused[0]
        return done[0]

    def remove(self, take: Callable[[], str], seconds: float) -> str:
        """Take a thing away, and return why it is left, empty where it is gone; what uses it may go within the time."""
        try:
            return self.insist(take, IN_USE, seconds)
        except CloudError as error:
            if error.code.endswith("NotFound"):
                return ""
            if not error.code.startswith(IN_USE):
                raise
            return str(error)

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
