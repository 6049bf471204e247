# SPDX-License-Identifier: Apache-2.0
"""A cluster of its own for each module, on bare hosts that Docker makes, and how long each test took."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from laboratory import CACHE, Lab
from timing import _time  # noqa: F401 - pytest finds it by its name


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Bare hosts by the module's LAB: name, network, number of masters and of nodes; SETTINGS go to cluster.yml.

    No hosts if the module says UP_MAKES_HOSTS, as its first test does. `make lab` keeps them, and the inventory, for
    the next `make lab` of the same file.
    """
    name, network, masters, nodes = request.module.LAB
    settings = getattr(request.module, "SETTINGS", "")
    keep = "YUNKUBE_KEEP_LAB" in os.environ
    folder = CACHE / "labs" / name if keep else tmp_path_factory.mktemp("lab")
    lab = Lab(folder / "inventory", name, network)
    if not lab.inventory.exists():  # of another checkout, too: `make lab-down` removes it
        lab = Lab.at(folder, name, network, masters, nodes, settings)
        lab.clear()
    if keep or not getattr(request.module, "UP_MAKES_HOSTS", False):
        lab.make_hosts()
    yield lab
    if not keep:
        lab.clear()
