"""Let tests import what Ansible would put beside a module: `ansible.module_utils.yunkube`."""

from __future__ import annotations

import typing as t
from pathlib import Path

import ansible.module_utils
import pytest
from fake_kube_api import FakeKubeApi

ROOT = Path(__file__).resolve().parents[2]

# library/ and scripts/ come by `pythonpath` in pyproject.toml.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


@pytest.fixture(autouse=True)
def _state_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what modules note of a host stay in the test's own folder."""
    monkeypatch.setattr("ansible.module_utils.yunkube.host_state.FOLDER", tmp_path / "yunkube-state")


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    """A Kubernetes API of the test's own, with nothing in it."""
    server = FakeKubeApi(tmp_path)
    yield server
    server.close()
