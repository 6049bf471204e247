# SPDX-License-Identifier: Apache-2.0
"""Errors of the engine and of a registry are explained in our own words."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from deployer import image
from deployer.cluster import Cluster
from deployer.errors import DeployError, Exit
from deployer.image import checked, explain
from deployer.inventory import Source


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Get https://r:5000/v2/: x509: certificate signed by unknown authority", "does not trust its certificate"),
        ("Get https://r:5000/v2/: unauthorized: authentication required", "rejected the login"),
        ("denied: requested access to the resource is denied", "no such repository"),
        ("unauthorized: project nosuch not found", "rejected the login"),
        ("name unknown: repository shop not found", "no such repository"),
        ("Get https://r:5000/v2/: dial tcp 10.0.0.1:5000: connect: connection refused", "does not answer"),
        ("Get https://r:5000/v2/: net/http: request canceled (Client.Timeout exceeded)", "does not answer"),
        ("write /var/lib/registry: no space left on device", "no space left"),
    ],
)
def test_answers_are_distinguished(said: str, words: str) -> None:
    error = explain(
        "push", f"WARNING: something\nError response from daemon: {said}", "shop:1", "r:5000", "inventory/mine"
    )
    assert words in error.message
    assert said in error.message
    assert error.hint
    assert error.code == Exit.FAILED
    assert "deploy.py" not in error.hint or "-i inventory/mine" in error.hint


def test_what_is_not_known_is_passed_on() -> None:
    assert (
        explain("push", "the sky fell", "shop:1", "r:5000", "inventory/mine").message
        == "docker push failed: the sky fell"
    )


def test_a_missing_image_and_a_silent_engine_are_said() -> None:
    missing = explain("image", "Error: No such image: shop:1", "shop:1", "r:5000", "inventory/mine")
    assert missing.message == "the local Docker engine has no image shop:1"
    assert missing.code == Exit.USAGE
    silent = explain(
        "image", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "shop:1", "r", "inventory/mine"
    )
    assert silent.message == "the Docker engine does not answer"


@pytest.mark.parametrize(("name", "whole"), [("shop", "shop:latest"), ("team/shop:1.4", "team/shop:1.4")])
def test_a_name_has_a_tag(name: str, whole: str) -> None:
    assert checked(name) == whole


@pytest.mark.parametrize("name", ["Shop", "shop:", "-x", "shop:1:2", "a b", "/shop"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DeployError, match="not an image name"):
        checked(name)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster with a registry of its own, and an engine whose folder is in the test's."""
    monkeypatch.setattr(image, "TRUSTED", tmp_path / "certs.d")
    authority = {"certificate-authority-data": base64.b64encode(b"the cluster's\n").decode()}
    (tmp_path / "kubeconfig").write_text(json.dumps({"clusters": [{"cluster": authority}]}))
    return Cluster("test", Source(tmp_path), tmp_path, {"cluster_registry_host": "node1"})


def test_the_engine_trusts_the_authority_until_the_cluster_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    image.trust(cluster, "10.0.0.1:5000")
    image.trust(cluster, "10.0.0.1:5000")
    image.trust(cluster, "registry.example:443")
    (tmp_path / "certs.d/registry.example:443/yunkube-test.crt").write_text("somebody else's\n")
    assert (tmp_path / "certs.d/10.0.0.1:5000/yunkube-test.crt").read_text() == "the cluster's\n"
    image.distrust(cluster)
    assert [path.name for path in (tmp_path / "certs.d").iterdir()] == ["registry.example:443"]
    assert not (tmp_path / image.RECORD).exists()
    image.distrust(cluster)


def test_an_authority_that_was_there_stays_as_it_was(cluster: Cluster, tmp_path: Path) -> None:
    own = tmp_path / "certs.d/registry.example:443/ca.crt"
    own.parent.mkdir(parents=True)
    own.write_text("mine\n")
    image.trust(cluster, "registry.example:443")
    assert own.read_text() == "mine\n"
    image.distrust(cluster)
    assert [path.read_text() for path in own.parent.iterdir()] == ["mine\n"]


@pytest.mark.parametrize("address", ["../../tmp/x:1", "/tmp/x", "a/../b:5000", "", "10.0.0.1", "a:b"])
def test_an_address_that_is_none_becomes_no_path(cluster: Cluster, tmp_path: Path, address: str) -> None:
    with pytest.raises(DeployError, match="not host:port"):
        image.trust(cluster, address)
    assert not (tmp_path / "certs.d").exists()
