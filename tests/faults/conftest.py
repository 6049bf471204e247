# SPDX-License-Identifier: Apache-2.0
"""One cluster's hosts for all faults, and how long each took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laboratory import Lab, docker
from timing import _time  # noqa: F401 - pytest finds it by its name

OURS = ("faults", "10.82.0")


def clear(lab: Lab) -> None:
    """Remove what was left: strangers first, they may stand in the way."""
    for kind, remove in (("ps --all", "rm --force --volumes"), ("network ls", "network rm")):
        for stranger in docker(*kind.split(), "--quiet", "--filter", "label=yunkube.test=faults").split():
            docker(*remove.split(), stranger)
    lab.clear()


@pytest.fixture(scope="session", autouse=True)
def _nothing_before_and_after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    lab = Lab.at(tmp_path_factory.mktemp("clear"), *OURS)
    clear(lab)
    yield
    clear(lab)


@pytest.fixture
def bare(tmp_path: Path) -> Lab:
    """An inventory to spoil, without hosts, and with a state directory of its own."""
    return Lab.at(tmp_path, *OURS, settings=f"cluster_state_dir: {tmp_path}/state\n")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A cluster of two hosts that starts bare and goes from fault to fault."""
    lab = Lab.at(tmp_path_factory.mktemp("lab"), *OURS)
    lab.make_hosts()
    return lab


@pytest.fixture(scope="session")
def manifest(lab: Lab) -> Any:
    """What the bundle consists of."""
    return json.loads((lab.bundle / "manifest.json").read_text())
