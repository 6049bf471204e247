# SPDX-License-Identifier: Apache-2.0
"""Objects of the cluster that are missing, changed or in the way, and what repairs them."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import collect_cluster, collect_objects, more_repairs, repairs
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.kube.api import KubeApi, instant, read_kubeconfig
from fake_kube_api import FakeKubeApi, make_certificates
from kube_api_server import ApiServer
from processes import wait_until

ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "flannel"},
    "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REFUSED = 'Error creating: Internal error occurred: failed calling webhook "a.example.com": no endpoints'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/admin.conf").write_text(server.kubeconfig)
    monkeypatch.setattr(repairs, "ADMIN_CONF", tmp_path / "etc/kubernetes/admin.conf")
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    for space in ("kube-system", "kube-flannel"):
        server.put(f"/api/v1/namespaces/{space}")
    yield server
    server.close()


@pytest.fixture
def api(fake: FakeKubeApi, tmp_path: Path) -> t.Iterator[KubeApi]:
    assert fake.address
    with KubeApi.from_file(str(tmp_path / "etc/kubernetes/admin.conf")) as opened:
        yield opened


class Module:
    """As much of a module as these repairs use."""

    def __init__(self, answers: t.Mapping[str, str] | None = None, *, check_mode: bool = False) -> None:
        """Answer `answers`, by the program's name."""
        self.check_mode, self.answers = check_mode, answers or {}
        self.ran: list[str] = []

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Note it and answer."""
        self.ran.append(" ".join(argv))
        return 0, self.answers.get(argv[0], ""), ""


def work(answers: t.Mapping[str, str] | None = None, *, check_mode: bool = False) -> Work:
    """Return work of a module."""
    return Work(t.cast("t.Any", Module(answers, check_mode=check_mode)), "fault")


def test_the_comparison_and_the_other_questions_do_not_wait_for_each_other(
    tmp_path: Path, fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{RBAC}/clusterroles/flannel"
    fake.put(path, rules=[])
    last, first = "GET /api/v1/namespaces", f"PATCH {path}"
    seen = {"GET": threading.Event(), "PATCH": threading.Event()}
    met: list[bool] = []

    def meet(request: str) -> None:
        """Answer each when the other was asked, too: one that comes after the other's answer is never asked."""
        if request == last or request.startswith(first):
            method = request.partition(" ")[0]
            seen[method].set()
            met.append(seen["PATCH" if method == "GET" else "GET"].wait(30))

    fake.asked = meet
    monkeypatch.setattr(KubeApi, "from_file", lambda path, **_timeout: KubeApi(read_kubeconfig(path), timeout=60))
    facts = collect_cluster.collect_cluster("master1", tmp_path, collect_cluster.Declared([ROLE]))
    assert facts.answers, facts.detail
    assert met == [True, True]
    assert [one["name"] for one in facts.declared] == ["ClusterRole flannel"]


def test_a_declared_object_is_missing_then_there_then_changed(fake: FakeKubeApi, api: KubeApi) -> None:
    (found,) = collect_objects.differing(api, [ROLE])
    assert (found["name"], found["there"], found["manifest"]) == ("ClusterRole flannel", False, ROLE)
    more_repairs.restore_objects(work(), "", manifests=[ROLE])
    assert collect_objects.differing(api, [ROLE]) == []
    fake.put(f"{RBAC}/clusterroles/flannel", rules=[])
    (found,) = collect_objects.differing(api, [ROLE])
    assert (found["there"], found["fields"]) == (True, ["rules"])


def test_a_dry_run_applies_nothing(api: KubeApi) -> None:
    one = work(check_mode=True)
    more_repairs.restore_objects(one, "", manifests=[ROLE])
    assert one.changes == ["apply ClusterRole flannel"]
    assert api.find(f"{RBAC}/clusterroles/flannel") is None


BINDING: dict[str, t.Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "flannel"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel"},
    "subjects": [{"kind": "ServiceAccount", "name": "flannel", "namespace": "kube-flannel"}],
}
ACCOUNT = "ServiceAccount kube-system/coredns"
SUBJECT = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
BOUND = f"{RBAC}/clusterrolebindings/flannel"


def bound_elsewhere(fake: FakeKubeApi) -> dict[str, t.Any]:
    """Put a binding to another role than declared; return what a user said of it."""
    said = {"roleRef": {**BINDING["roleRef"], "name": "view"}, "subjects": BINDING["subjects"]}
    fake.put(BOUND, **said, metadata={"labels": {"a": "b"}, "managedFields": [{"manager": "kubectl"}]})
    return {**said, "labels": {"a": "b"}}


def test_a_binding_to_another_role_is_recreated(fake: FakeKubeApi, api: KubeApi) -> None:
    bound_elsewhere(fake)
    dry = work(check_mode=True)
    more_repairs.restore_objects(dry, "", manifests=[BINDING])
    assert api.get(BOUND)["roleRef"]["name"] == "view"
    one = work()
    more_repairs.restore_objects(one, "", manifests=[BINDING])
    assert api.get(BOUND)["roleRef"] == BINDING["roleRef"]
    name = "ClusterRoleBinding flannel"
    assert dry.changes == one.changes == [f"delete {name}, to change its role", f"apply {name}"]


def test_a_binding_that_cannot_be_recreated_is_there_as_it_was(fake: FakeKubeApi, api: KubeApi) -> None:
    said = bound_elsewhere(fake)
    fake.refuse[f"PATCH {BOUND}"] = (403, "denied by a policy")
    with pytest.raises(RepairError, match=r"ClusterRoleBinding flannel .*denied by a policy.* as it was before"):
        more_repairs.restore_objects(work(), "", manifests=[BINDING])
    there = api.get(BOUND)
    assert {"roleRef": there["roleRef"], "subjects": there["subjects"], "labels": there["metadata"]["labels"]} == said


def test_a_binding_that_cannot_even_be_there_as_it_was_is_in_a_copy(fake: FakeKubeApi, api: KubeApi) -> None:
    bound_elsewhere(fake)
    fake.refuse |= {f"PATCH {BOUND}": (403, "denied"), f"POST {RBAC}/clusterrolebindings": (403, "not that either")}
    one = work()
    with pytest.raises(RepairError, match=r"not that either.* a copy is in "):
        more_repairs.restore_objects(one, "", manifests=[BINDING])
    assert api.find(BOUND) is None
    assert [*Path(one.backup).rglob("object.json")]


@pytest.mark.parametrize(
    ("name", "found", "wrong"),
    [
        ("ClusterRole system:coredns", {"rules": []}, "does not allow to list and watch endpointslices"),
        ("ClusterRole system:coredns", {"rules": [{"resources": ["*"], "verbs": ["*"]}]}, ""),
        (
            "ClusterRoleBinding system:coredns",
            {"roleRef": {"name": "system:coredns"}, "subjects": []},
            f"binds system:coredns to nobody, not system:coredns to {ACCOUNT}",
        ),
        (
            "ClusterRoleBinding system:coredns",
            {"roleRef": {"name": "system:coredns"}, "subjects": [SUBJECT]},
            "",
        ),
        (
            "ClusterRoleBinding system:coredns",
            {"roleRef": {"name": "system:coredns"}, "subjects": [{**SUBJECT, "namespace": "default"}]},
            f"binds system:coredns to ServiceAccount default/coredns, not system:coredns to {ACCOUNT}",
        ),
        ("ConfigMap kube-system/coredns", {"data": {"Corefile": "a user's own"}}, ""),
    ],
)
def test_what_grants_too_little_is_wrong_and_what_is_a_users_own_is_not(
    name: str, found: dict[str, t.Any], wrong: str
) -> None:
    assert collect_objects.wrong_with(name, found) == wrong


def event(kind: str, name: str, message: str) -> dict[str, t.Any]:
    """Return an event of a pod that was not created."""
    about = {"kind": kind, "namespace": "kube-system", "name": name}
    return {
        "reason": "FailedCreate",
        "involvedObject": about,
        "message": message,
        "lastTimestamp": "2026-11-29T00:00:00Z",
    }


def test_who_has_all_pods_by_now_is_refused_no_more(fake: FakeKubeApi, api: KubeApi) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/replicasets/coredns-1"
    owners = {"ownerReferences": [{"kind": "Deployment", "name": "coredns"}]}
    fake.put(path, spec={"replicas": 2}, status={"replicas": 1}, metadata=owners)
    events = [event("ReplicaSet", "coredns-1", REFUSED), event("ReplicaSet", "gone", REFUSED)]
    (found,) = collect_objects.refused(api, events)
    assert {key: found[key] for key in ("kind", "name", "lacks")} == {
        "kind": "Deployment",
        "name": "coredns",
        "lacks": 1,
    }
    fake.put(path, spec={"replicas": 2}, status={"replicas": 2}, metadata=owners)
    assert collect_objects.refused(api, events) == []


def test_a_webhook_that_is_ignored_where_it_is_silent_refuses_nobody(fake: FakeKubeApi, api: KubeApi) -> None:
    path = f"{collect_objects.ADMISSION}/validatingwebhookconfigurations/policy"
    fake.put(
        path, webhooks=[{"name": "a.example.com", "failurePolicy": "Fail"}, {"name": "b", "failurePolicy": "Ignore"}]
    )
    assert list(collect_objects.webhooks(api)) == ["a.example.com"]
    one = work()
    more_repairs.ignore_webhook(one, "", path=path, webhook="a.example.com", kind="x", configuration="policy")
    assert collect_objects.webhooks(api) == {}
    assert json.loads((Path(one.backup) / str(Path(one.backup).parent / "webhook.json").lstrip("/")).read_text())


def test_everything_that_kubeadm_makes_is_missed_from_an_empty_cluster(fake: FakeKubeApi, tmp_path: Path) -> None:
    facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert fake.log
    assert facts.answers, facts.detail
    wanted = {*collect_objects.KUBEADM, *(name for objects in collect_objects.ADDONS.values() for name in objects)}
    assert {one["name"] for one in facts.missing} == wanted


def path_of(name: str) -> str:
    """Return the path of an object by its kind and its name, such as `Role kube-system/kube-proxy`."""
    kind, _, place = name.partition(" ")
    namespace, slash, own = place.rpartition("/")
    root = "/api/v1" if kind in ("ServiceAccount", "ConfigMap", "Service") else collect_objects.RBAC
    return f"{root}{f'/namespaces/{namespace}' if slash else ''}/{kind.lower()}s/{own}"


@pytest.mark.parametrize("objects", [*collect_objects.ADDONS.values()])
def test_a_name_of_kubeadms_objects_leads_to_its_path(objects: dict[str, str]) -> None:
    assert {name: path_of(name) for name in objects} == objects


def test_a_rollout_starts_again_by_its_template(fake: FakeKubeApi, api: KubeApi) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    status = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 9}
    fake.put(path, spec={"replicas": 1, "template": {"metadata": {}}}, status=status)
    more_repairs.restart_rollout(work(), "", kind="Deployment", namespace="kube-system", name="coredns")
    template = api.get(path)["spec"]["template"]["metadata"]["annotations"]
    assert list(template) == ["kubectl.kubernetes.io/restartedAt"]


def test_a_file_that_does_harm_is_kept_elsewhere(tmp_path: Path, fake: FakeKubeApi) -> None:
    assert fake.address
    path = tmp_path / "05-other.conf"
    path.write_text("{}")
    one = work()
    more_repairs.take_away(one, "", path=str(path))
    assert not path.exists()
    assert (Path(one.backup) / str(path).lstrip("/")).read_text() == "{}"


def test_notes_of_living_and_of_young_sandboxes_stay(tmp_path: Path) -> None:
    for name, sandbox in (("10.244.1.2", "alive"), ("10.244.1.3", "gone"), ("10.244.1.4", "young")):
        (tmp_path / name).write_text(f"{sandbox}\neth0")
        if sandbox != "young":
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / "lock").write_text("")
    more_repairs.free_addresses(work({"crictl": "alive\n"}), "", folder=str(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("*")) == ["10.244.1.2", "10.244.1.4", "lock"]
    with pytest.raises(RepairError, match="belongs to a container"):
        more_repairs.free_addresses(work({"crictl": "alive\n"}), "", folder=str(tmp_path))


def test_a_kubelet_without_a_certificate_that_holds_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(more_repairs, "NODE_KEYS", tmp_path)
    (tmp_path / "kubelet-client-2026.pem").write_text("no certificate")
    with pytest.raises(RepairError, match="has no certificate of the kubelet that holds"):
        more_repairs.link_certificate(work(), "")


@pytest.fixture
def kubelet_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeKubeApi) -> Path:
    """A node's kubeconfig that leads to a server that is none."""
    conf = tmp_path / "kubelet.conf"
    conf.write_text(fake.kubeconfig.replace(fake.address, "10.0.0.9:6443"))
    monkeypatch.setattr(repairs, "KUBELET_CONF", str(conf))
    monkeypatch.setattr(repairs, "restart_kubelet", lambda one: one.note("restart kubelet"))
    monkeypatch.setattr(repairs, "node_name", lambda: "node1")
    return conf


def test_a_kubelet_reports_to_the_server_of_the_others(kubelet_conf: Path, fake: FakeKubeApi) -> None:
    fake.put("/api/v1/nodes/node1")
    one = work()
    more_repairs.set_server(one, "", server=f"https://{fake.address}")
    assert kubelet_conf.read_text() == fake.kubeconfig
    assert one.changes[-1] == "restart kubelet"


@pytest.mark.parametrize("why", ["not its node", "another CA", "silent"])
def test_a_kubelet_is_not_sent_to_a_server_that_does_not_serve_it(
    kubelet_conf: Path, fake: FakeKubeApi, tmp_path: Path, why: str
) -> None:
    server = f"https://{fake.address}"
    if why == "another CA":
        fake.put("/api/v1/nodes/node1")
        authority = tmp_path / "other"
        authority.mkdir()
        make_certificates(authority)
        text = kubelet_conf.read_text()
        ca = base64.b64encode((authority / "ca.crt").read_bytes()).decode()
        kubelet_conf.write_text(re.sub("certificate-authority-data: .*", f"certificate-authority-data: {ca}", text))
    elif why == "silent":
        server = "https://127.0.0.1:1"
    there, one = kubelet_conf.read_text(), work()
    with pytest.raises(RepairError, match=r"is left as it is: .* does not serve node node1"):
        more_repairs.set_server(one, "", server=server)
    assert (kubelet_conf.read_text(), one.changes) == (there, [])


def test_the_api_says_since_when_a_part_of_it_is_missing(server: ApiServer) -> None:
    spec = {"group": "gone.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}
    spec |= {"service": {"namespace": "default", "name": "gone"}}
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.gone.example.com"
    server.put(path, spec=spec)
    wait_until(lambda: server.api.get(path).get("status", {}).get("conditions"))  # the server looks by itself
    (state,) = server.api.get(path)["status"]["conditions"]
    assert (state["type"], state["status"], state["reason"]) == ("Available", "False", "ServiceNotFound")
    found = collect_objects.api_services(server.api, instant(state["lastTransitionTime"]).timestamp() + 40)
    (one,) = [one for one in found if one["name"] == "v1.gone.example.com"]
    assert (one["service"], one["seconds"]) == ("default/gone", 40.0)
