"""A cluster of its own for each module, on bare hosts that Docker makes, and how long each test took."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from laboratory import Lab
from timing import _time  # noqa: F401 - pytest finds it by its name


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Bare hosts by the module's LAB: name, network, number of masters and of nodes; SETTINGS go to cluster.yml."""
    name, network, masters, nodes = request.module.LAB
    settings = getattr(request.module, "SETTINGS", "")
    lab = Lab.at(tmp_path_factory.mktemp("lab"), name, network, masters, nodes, settings)
    lab.clear()
    lab.make_hosts()
    yield lab
    lab.clear()
