# SPDX-License-Identifier: Apache-2.0
"""A support bundle holds what helps, nothing secret, and not too much."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control.redact import Redactor, secret_values
from ansible.module_utils.yunkube.doctor import support
from fake_kube_api import FakeKubeApi
from load_plugin import load_plugin

ROOT = Path(__file__).resolve().parents[2]
plugin = load_plugin("action/support_bundle")
CANARY = "canary-4711-canary"
TOKEN = "abcdef.0123456789abcdef"
KEY = f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "etc/containerd/config.toml": f'password = "{CANARY}"\n',
        "etc/kubernetes/pki/ca.key": KEY,
        "etc/kubernetes/admin.conf": f"client-key-data: {CANARY}\n",
        "var/log/pods/kube-system_etcd-m_u/etcd/0.log": f"joined with {TOKEN}\n{KEY}",
        "var/log/pods/shop_web_u/web/0.log": "a user's own",
        "run/flannel/subnet.env": "FLANNEL_MTU=1450\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_helps_is_gathered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "output", lambda *argv: f"{argv[0]} said\n")
    parts = support.collect(root, master=True, limit=1000)
    assert parts["journal/kubelet.log"] == "journalctl said\n"
    assert parts["files/run/flannel/subnet.env"] == "FLANNEL_MTU=1450\n"
    assert "logs/kube-system/etcd-m/etcd.0.log" in parts
    assert "has no" in parts["api/error.txt"]  # the kubeconfig of this test is none


def test_keys_kubeconfigs_and_users_logs_are_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "output", lambda *_argv: "")
    names = " ".join(support.collect(root, master=False, limit=1000))
    assert "ca.key" not in names
    assert "admin.conf" not in names
    assert "shop" not in names


def test_secrets_of_the_api_are_not_asked_for(tmp_path: Path) -> None:
    fake = FakeKubeApi(tmp_path)
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/admin.conf").write_text(fake.kubeconfig)
    fake.put("/api/v1/nodes/node1", metadata={"managedFields": [1]})
    parts = support.objects(tmp_path)
    fake.close()
    assert json.loads(parts["api/nodes.jsonl"])["metadata"]["name"] == "node1"
    assert "managedFields" not in parts["api/nodes.jsonl"]
    assert not any("secrets" in line for line in fake.log)


def test_the_environment_of_pods_stays_with_them() -> None:
    env = [{"name": "DB_PASSWORD", "value": CANARY}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]
    applied = {"kubectl.kubernetes.io/last-applied-configuration": CANARY, "kept": "yes"}
    pod = {"metadata": {"annotations": applied}, "spec": {"containers": [{"name": "a", "env": env}]}}
    told = support.plain(pod)
    assert CANARY not in str(told)
    assert told["metadata"]["annotations"] == {"kept": "yes"}
    assert told["spec"]["containers"][0]["env"][1] == env[1]


def test_of_a_long_part_the_end_is_taken() -> None:
    cut = support.end_of("".join(f"line {number}\n" for number in range(1000)), 100)
    assert cut.endswith("line 999\n")
    assert len(cut) < 200
    assert "left out" in cut


def bundle(path: Path, hosts: dict[str, t.Any]) -> dict[str, str]:
    """Write a bundle and read it back."""
    redact = Redactor(secret_values({"registry_password": CANARY})).text
    plugin.write(path, plugin.contents(hosts, ["error: <x> [a]", f"token {TOKEN}"], "mine", redact))
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name: stream.read().decode() for name, stream in found.items() if stream}


def test_no_secret_gets_into_the_archive(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "output", lambda *_argv: f"password={CANARY} {TOKEN}\n{KEY}")
    parts = support.collect(root, master=False, limit=10000)
    assert CANARY in str(parts)
    path = tmp_path / "b/mine.tar.gz"
    files = bundle(path, {"node1": {"parts": parts}})
    assert len(files) > 10
    assert not [name for name, text in files.items() if CANARY in text or TOKEN in text]
    assert path.stat().st_mode & 0o077 == 0


def test_the_page_links_to_all_and_names_who_did_not_answer(tmp_path: Path) -> None:
    hosts = {"node1": {"parts": {"state/a.txt": "x"}}, "node2": {"msg": "no route"}}
    files = bundle(tmp_path / "mine.tar.gz", hosts)
    page = files["mine/index.html"]
    assert '<a href="node1/state/a.txt">' in page
    assert "no route" in page
    assert "&lt;x&gt;" in page
    assert "http" not in page.partition("</style>")[2]


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "LIMIT", 10)
    files = bundle(tmp_path / "mine.tar.gz", {"n": {"parts": {"a": "x" * 8, "b": "y" * 8}}})
    assert set(files) == {"mine/index.html", "mine/n/a"}
    assert "left out" in files["mine/index.html"]


def test_the_archive_is_the_owners_alone_and_follows_no_link_that_waits_for_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "open" / "b.tar.gz"
    path.parent.mkdir()
    for name in (".b.tar.gz.part", "b.tar.gz"):
        (path.parent / name).symlink_to(victim)
    plugin.write(path, {"index.html": "x"})
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AttributeError):
        plugin.write(path, {"index.html": None})
    assert sorted(one.name for one in path.parent.iterdir()) == [".b.tar.gz.part", "b.tar.gz"]


def test_secrets_of_every_hosts_variables_are_taken_out(tmp_path: Path) -> None:
    inventory = {
        "all": {
            "hosts": {"a": {}, "b": {"registry_password": f"b-{CANARY}"}},
            "children": {"others": {"hosts": {"c": {}}, "vars": {"api_token": f"c-{CANARY}"}}},
        }
    }
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    parts = {host: {"parts": {"log": f"{host} said b-{CANARY} and c-{CANARY}\n"}} for host in ("a", "b")}
    call = {"hosts": parts, "lines": [f"c-{CANARY}"], "name": "lab", "path": str(tmp_path / "out.tar.gz")}
    play = [{"hosts": "a", "gather_facts": False, "tasks": [{"support_bundle": call, "run_once": True}]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{tmp_path}/hosts.json", "-c", "local"]
    done = subprocess.run([*argv, f"{tmp_path}/play.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        texts = [t.cast("t.IO[bytes]", archive.extractfile(entry)).read().decode() for entry in archive]
    assert "a said [redacted] and [redacted]" in "".join(texts)
    assert CANARY not in "".join(texts)
