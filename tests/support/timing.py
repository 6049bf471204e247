# SPDX-License-Identifier: Apache-2.0
"""A fixture for tests on real clusters: how long each took. Whoever imports it has it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _time(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    started = time.monotonic()
    yield
    with capsys.disabled():
        sys.stdout.write(f"\n{time.monotonic() - started:6.1f} s  {request.node.name} ")
