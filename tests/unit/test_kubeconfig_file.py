# SPDX-License-Identifier: Apache-2.0
"""One cluster comes into a kubeconfig and leaves it again; folders and other clusters stay as they are."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.control import kubeconfig_file
from ansible.module_utils.yunkube.control.kubeconfig import KubeconfigError

OURS = """apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: b3Vycw==
    server: https://10.0.0.11:6443
  name: shop
contexts:
- context:
    cluster: shop
    user: kubernetes-admin
  name: kubernetes-admin@shop
current-context: kubernetes-admin@shop
kind: Config
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
"""
OTHERS = """apiVersion: v1
kind: Config
preferences: {}
current-context: prod
clusters:
- name: prod
  cluster: {server: "https://prod.example", certificate-authority-data: cHJvZA==, insecure-skip-tls-verify: false}
- name: test
  cluster: {server: "https://test.example"}
contexts:
- name: prod
  context: {cluster: prod, user: kubernetes-admin, namespace: web}
- name: test
  context: {cluster: test, user: tester}
users:
- name: kubernetes-admin
  user: {token: 0123}
- name: tester
  user: {exec: {command: login, args: [1e10, 2024-01-01, 1:30, 'true']}, auth-provider: {expiry: 2024-01-01T00:00:00Z}}
"""


class Files(t.NamedTuple):
    """A state directory, and the file that the inventory names."""

    own: Path
    path: Path

    def bring(self, *, check_mode: bool = False, **more: t.Any) -> tuple[list[str], str]:
        """Run the module's work."""
        options = {"path": str(self.path), "source": str(self.own), "cluster": "shop", "content": None, "merge": True}
        return kubeconfig_file.bring({**options, "state": "present", **more}, check_mode=check_mode)

    @property
    def content(self) -> t.Any:
        """What stands in the file."""
        return yaml.safe_load(self.path.read_text())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A cluster whose state directory has its kubeconfig."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/kubeconfig").write_text(OURS)
    return Files(tmp_path / "state/kubeconfig", tmp_path / "kube/config")


def mode(path: Path) -> int:
    """Return the permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_exists_keeps_its_mode(files: Files) -> None:
    files.path.parent.mkdir()
    files.path.parent.chmod(0o1777)
    files.bring()
    assert mode(files.path.parent) == 0o1777
    assert mode(files.path) == 0o600


def test_a_missing_folder_is_for_its_owner_alone(files: Files) -> None:
    deep = files._replace(path=files.path.parent / "a/b/config")
    deep.bring()
    assert [mode(folder) for folder in (deep.path.parent, deep.path.parent.parent)] == [0o700, 0o700]


def test_other_clusters_stay_and_the_former_file_is_kept(files: Files) -> None:
    files.path.parent.mkdir()
    files.path.write_text(OTHERS)
    changes, backup = files.bring()
    assert changes == [f"merge cluster shop into {files.path}; the former one is kept as {backup}"]
    assert Path(backup).read_text() == OTHERS
    assert mode(Path(backup)) == 0o600
    content = files.content
    assert [entry["name"] for entry in content["clusters"]] == ["prod", "test", "shop"]
    assert [entry["name"] for entry in content["users"]] == ["kubernetes-admin", "tester", "kubernetes-admin@shop"]
    assert content["current-context"] == "prod"
    assert content["contexts"][2] == {
        "name": "kubernetes-admin@shop",
        "context": {"cluster": "shop", "user": "kubernetes-admin@shop"},
    }
    tester = content["users"][1]["user"]
    assert tester["exec"]["args"] == ["1e10", "2024-01-01", "1:30", "true"]  # text, as kubectl reads them
    assert tester["auth-provider"]["expiry"] == "2024-01-01T00:00:00Z"
    assert content["users"][0]["user"]["token"] == "0123"
    assert content["clusters"][0]["cluster"]["insecure-skip-tls-verify"] is False
    assert files.bring() == ([], "")


def test_check_mode_says_so_and_writes_nothing(files: Files) -> None:
    files.path.parent.mkdir()
    files.path.write_text(OTHERS)
    before = sorted(files.path.parent.iterdir())
    assert files.bring(check_mode=True) == ([f"merge cluster shop into {files.path}"], "")
    assert (files.path.read_text(), sorted(files.path.parent.iterdir())) == (OTHERS, before)


def test_down_removes_what_is_ours_and_nothing_else(files: Files) -> None:
    files.path.parent.mkdir()
    files.path.write_text(OTHERS)
    files.bring()
    changes, _ = files.bring(state="absent")
    assert changes[0].startswith(f"remove cluster shop from {files.path}; ")
    content = files.content
    assert [entry["name"] for entry in content["clusters"]] == ["prod", "test"]
    assert [entry["name"] for entry in content["contexts"]] == ["prod", "test"]
    assert [entry["name"] for entry in content["users"]] == ["kubernetes-admin", "tester"]
    assert files.bring(state="absent") == ([], "")


def test_a_file_with_nothing_else_goes_with_the_cluster(files: Files) -> None:
    files.bring()
    files.bring(state="absent")
    assert not files.path.exists()


def test_a_cluster_of_the_same_name_by_another_authority_is_not_touched(files: Files) -> None:
    files.path.parent.mkdir()
    theirs = OTHERS.replace("name: prod\n  cluster", "name: shop\n  cluster")
    files.path.write_text(theirs)
    with pytest.raises(KubeconfigError, match="it has a cluster shop already, of another certificate authority"):
        files.bring()
    assert files.bring(state="absent") == ([], "")
    assert files.path.read_text() == theirs


def test_the_same_cluster_made_again_replaces_its_former_entry(files: Files) -> None:
    files.bring()
    files.bring(path=str(files.own), content=OURS.replace("b3Vycw==", "bmV3"), merge=False)
    changes, _ = files.bring()
    assert changes
    assert files.content["clusters"][0]["cluster"]["certificate-authority-data"] == "bmV3"
    assert len(files.content["clusters"]) == 1


def test_a_namespace_that_a_user_chose_stays(files: Files) -> None:
    files.bring()
    content = files.content
    content["contexts"][0]["context"]["namespace"] = "shop"
    files.path.write_text(yaml.safe_dump(content))
    assert files.bring() == ([], "")


def test_an_overwritten_kubeconfig_of_the_state_directory_is_kept(files: Files) -> None:
    new = OURS.replace("a2V5", "bmV1")
    _, backup = files.bring(path=str(files.own), content=new, merge=False)
    assert files.own.read_text() == new
    assert Path(backup).read_text() == OURS
    _, second = files.bring(path=str(files.own), content=OURS, merge=False)
    assert Path(second).read_text() == new
    assert second != backup


@pytest.mark.parametrize("text", ["[a, b]\n", "a: b: c\n", "kind: Pod\n", "clusters: {a: 1}\n"])
def test_what_is_no_kubeconfig_is_left_as_it_is(files: Files, text: str) -> None:
    files.path.parent.mkdir()
    files.path.write_text(text)
    with pytest.raises(KubeconfigError):
        files.bring()
    assert files.path.read_text() == text
    assert sorted(path.name for path in files.path.parent.iterdir()) == ["config"]


def test_the_lock_of_kubectl_is_respected(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig_file, "LOCK_SECONDS", 0)
    files.path.parent.mkdir()
    lock = files.path.with_name("config.lock")
    lock.touch()
    with pytest.raises(KubeconfigError, match="is writing it"):
        files.bring()
    assert lock.exists()
    assert not files.path.exists()


def test_a_link_stays_a_link(files: Files, tmp_path: Path) -> None:
    files.path.parent.mkdir()
    (tmp_path / "real").write_text(OTHERS)
    files.path.symlink_to(tmp_path / "real")
    files.bring()
    assert files.path.is_symlink()
    assert "shop" in (tmp_path / "real").read_text()
