# SPDX-License-Identifier: Apache-2.0
"""State of a host and an API of the test's own."""

from __future__ import annotations

import gc
import importlib
import shutil
import typing as t
import warnings
from pathlib import Path

import kube_api_server
import pytest
from ansible.module_utils.yunkube.kube.etcd_snapshot import Ask, Programs
from checkout import PLAYBOOKS, Deploy, Result, make_checkout, run
from etcd_programs import in_one_folder, with_cluster
from fake_alicloud import FakeCloud
from fake_alicloud_account import Account
from fake_alicloud_instances import open_account
from fake_kube_api import FakeKubeApi
from kube_api_server import ApiServer


@pytest.fixture(autouse=True)
def _state_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep modules' notes about a host in the test's own folder."""
    monkeypatch.setattr("ansible.module_utils.yunkube.host.state.FOLDER", tmp_path / "yunkube-state")
    monkeypatch.setattr("ansible.module_utils.yunkube.host.run_lock.FOLDER", tmp_path / "run-yunkube")


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    """A Kubernetes API of the test's own, whose answers it chooses and whose requests it counts."""
    server = FakeKubeApi(tmp_path)
    yield server
    server.close()


@pytest.fixture(scope="session")
def _api_server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[ApiServer]:
    with kube_api_server.running(tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest.fixture
def server(_api_server: ApiServer) -> t.Iterator[ApiServer]:
    """A real API server, with nothing in it but what one makes itself."""
    before = _api_server.etcd.keys()
    yield _api_server
    _api_server.etcd.restore(before)


@pytest.fixture(scope="session")
def _old_objects() -> None:
    """Exempt all modules and tests from garbage collection: traversing those takes longer than a test."""
    importlib.import_module("footmark")  # else not imported before the first call
    gc.collect()
    gc.freeze()


@pytest.fixture
def account(tmp_path: Path, _old_objects: None) -> t.Iterator[Account]:
    """An account of a fake Alibaba Cloud, in which there is nothing yet."""
    cloud = FakeCloud(tmp_path)
    yield open_account(cloud, tmp_path)
    cloud.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # sessions that the SDK does not close
        gc.collect()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of the test's own."""
    return make_checkout(tmp_path)


@pytest.fixture
def deploy(checkout: Path) -> Deploy:
    """Run deploy.py with the named playbook as that of every verb."""

    def run_with(playbook: str, *arguments: str, **more: str) -> Result:
        for place in (
            "site.yml",
            *(f"playbooks/{verb}.yml" for verb in ("verify", "status", "doctor", "web_services")),
        ):
            shutil.copy(PLAYBOOKS / f"{playbook}.yml", checkout / place)
        return run(checkout, *arguments, **more)

    return run_with


@pytest.fixture
def bundle() -> Programs:
    """The bundle's own etcd, etcdctl and etcdutl."""
    return in_one_folder()


@pytest.fixture
def ask(server: ApiServer, bundle: Programs) -> Ask:
    """What asks the etcd of the API server, in which a cluster is."""
    return with_cluster(server, bundle)


@pytest.fixture
def saved(ask: Ask, tmp_path: Path) -> Path:
    """A snapshot of it."""
    path = tmp_path / "prod-20261130T094500Z.db"
    ask("snapshot", "save", str(path))
    return path
