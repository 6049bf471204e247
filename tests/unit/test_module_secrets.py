# SPDX-License-Identifier: Apache-2.0
"""Secrets of modules appear neither in the journal, nor in a diff, nor in a message."""

from __future__ import annotations

import configparser
import json
import typing as t
from pathlib import Path

import host_drift
import host_service
import kube_apply
import pytest
import real_module
import web_services
import yaml
from ansible.module_utils.yunkube.host.service import Systemd
from ansible.module_utils.yunkube.web import rollout as web_rollout
from fake_controllers import Controllers
from fake_kube_api import FakeKubeApi
from kube_api_server import ApiServer

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-31c9"
PROXY = f'# Written by Yunkube\nHTTPS_PROXY="http://user:{CANARY}@proxy:3128"\n'
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "db"},
    "stringData": {"password": f"{CANARY}\nwith a 'second' line"},
}
SHOP: dict[str, t.Any] = {
    "name": "shop",
    "image": "shop:1",
    "env": {"DB_PASSWORD": CANARY, "URL": f"http://me:{CANARY}@db", "MODE": "plain-mode", "TEXT": f"a\n{CANARY}'\""},
}
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/shop"


def test_ansible_writes_no_arguments_into_a_journal() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "ansible.cfg")
    assert config["defaults"].getboolean("no_target_syslog")


@pytest.mark.parametrize("role", ["kubelet", "container_runtime"])
def test_the_file_with_a_proxys_password_is_for_root_alone(role: str) -> None:
    """It is written by the role; modules keep `secret` out of journals and diffs."""
    variables = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())
    (file,) = (one for one in variables[f"__{role}_files"] if "cluster_environment_template" in one["content"])
    assert (file.get("mode"), file.get("secret")) == ("0600", True)


@pytest.fixture
def deploy(
    fake: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., tuple[str, dict[str, t.Any]]]:
    """Run the module web_services for one service; return the journal and the result."""
    monkeypatch.setattr(web_rollout, "PAUSE", 0.0)
    monkeypatch.setattr(web_rollout, "PATIENCE", 0.1)
    for name in ("default", "kube-system"):
        fake.put(f"/api/v1/namespaces/{name}")
    Controllers(fake)
    (tmp_path / "admin.conf").write_text(fake.kubeconfig)

    def run(service: dict[str, t.Any], **more: t.Any) -> tuple[str, dict[str, t.Any]]:
        given = {"services": [service], "kubeconfig": str(tmp_path / "admin.conf"), "timeout": 1, "_ansible_diff": True}
        return real_module.run(web_services.main, given | more, monkeypatch, capsys)

    return run


@pytest.mark.parametrize("service", [SHOP, {"name": "db", "resources": [SECRET]}])
def test_neither_journal_nor_diff_holds_a_value_of_a_service(deploy: t.Any, service: dict[str, t.Any]) -> None:
    for more in ({"_ansible_check_mode": True}, {}):
        journal, result = deploy(service, **more)
        assert result["changed"], result
        assert "invocation" in result  # which the action plugin takes out
        shown = json.dumps({key: value for key, value in result.items() if key != "invocation"})
        for text in (journal, shown):
            assert CANARY not in text
            assert "plain-mode" not in text
        assert "default/" in shown


def test_a_diff_says_which_value_is_another_one(deploy: t.Any) -> None:
    deploy(SHOP)
    _, result = deploy({**SHOP, "env": SHOP["env"] | {"MODE": "other-mode"}})
    (change,) = result["diff"]
    env = {e["name"]: e.get("value") for e in change["after"]["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["MODE"], env["DB_PASSWORD"]) == ("(hidden, changed)", "(hidden)")


def test_a_message_keeps_what_is_no_secret(deploy: t.Any, fake: FakeKubeApi) -> None:
    fake.refuse[f"PATCH {DEPLOYMENT}"] = (422, f"spec of shop: plain-mode and {CANARY} are not valid")
    _, result = deploy(SHOP)
    assert result["failed"]
    assert "spec of shop: plain-mode and ******** are not valid" in result["msg"]


@pytest.mark.parametrize("password", [CANARY, f"{CANARY}'\\\""])  # the second is escaped in the journal's line
def test_a_login_shows_nowhere_and_its_name_does(
    server: ApiServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    password: str,
) -> None:
    server.put("/api/v1/namespaces/registry")
    (tmp_path / "admin.conf").write_text(server.kubeconfig)
    login = {"kind": "login", "namespace": "registry", "name": "registry-login", "password": password}
    login |= {"reader": "pull", "reader_password": f"reader-{password}"}
    given = {"resources": [], "secrets": [login], "kubeconfig": str(tmp_path / "admin.conf"), "_ansible_diff": True}
    journal, result = real_module.run(kube_apply.main, given, monkeypatch, capsys)
    assert result["changes"] == ["apply object Secret registry/registry-login"]
    assert CANARY not in journal
    assert CANARY not in json.dumps(result)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose systemd runs everything."""
    monkeypatch.setattr(Systemd, "__init__", lambda self, _module, name: setattr(self, "name", name))
    monkeypatch.setattr(Systemd, "show", lambda _self: {"LoadState": "loaded", "UnitFileState": "enabled"})
    monkeypatch.setattr(Systemd, "do", lambda _self, _action: None)


def files(folder: Path) -> list[dict[str, t.Any]]:
    """A secret file and one that is none."""
    return [
        {"path": str(folder / "kubelet"), "content": PROXY, "mode": "0600", "secret": True},
        {"path": str(folder / "unit"), "content": "[Service]\nExecStart=/bin/true\n"},
    ]


@pytest.mark.usefixtures("systemd")
def test_a_secret_file_of_a_service_is_for_root_and_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"name": "kubelet.service", "files": files(tmp_path), "_ansible_diff": True}
    for content in ("", f"{PROXY}# as it was\n"):  # before it is there, and when it changes
        (tmp_path / "kubelet").write_text(content)
        journal, result = real_module.run(host_service.main, given, monkeypatch, capsys)
        assert CANARY not in journal + json.dumps(result)
        assert f"write {tmp_path / 'kubelet'}" in result["changes"]
        assert any("(hidden)" in json.dumps(entry) for entry in result["diff"])
    assert (tmp_path / "kubelet").read_text() == PROXY
    assert (tmp_path / "kubelet").stat().st_mode & 0o777 == 0o600
    (tmp_path / "unit").unlink()
    _, result = real_module.run(host_service.main, given, monkeypatch, capsys)
    assert [entry["after"] for entry in result["diff"]] == ["[Service]\nExecStart=/bin/true\n"]


@pytest.mark.usefixtures("systemd")
def test_the_comparison_of_a_host_shows_no_secret_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "files": [],
        "settings": {"modules_file": str(tmp_path / "m"), "sysctls_file": str(tmp_path / "s")},
        "firewall": {"state": "leave", "master": False, "sources": [], "pod_cidr": "10.244.0.0/16"},
        "services": [{"name": "kubelet.service", "files": files(tmp_path)}],
    }
    journal, result = real_module.run(host_drift.main, given, monkeypatch, capsys)
    assert f"write {tmp_path / 'kubelet'}" in result["drift"]
    assert CANARY not in journal + json.dumps(result)
