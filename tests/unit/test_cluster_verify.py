# SPDX-License-Identifier: Apache-2.0
"""What verify tests, how it reports the results, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.yunkube.host.file_lock import LockError, locked
from ansible.module_utils.yunkube.kube import probe as kube_probe
from ansible.module_utils.yunkube.kube import verify as kube_verify
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.health import Problem, Seen, Wanted
from ansible.module_utils.yunkube.kube.probe import Pod, Question, Row
from kube_api_server import ApiServer

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PODS = [Pod("master1", "10.244.0.5", "10.0.0.11"), Pod("node1", "10.244.1.5", "10.0.0.21")]


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    client = KubeApi(parse_kubeconfig(server.kubeconfig))
    yield client
    client.close()


def asked(pods: list[Pod], here: str = "master1") -> list[Question]:
    return kube_probe.questions(pods, "ns", "cluster.local", "10.96.0.9", 30080, here)


def test_every_node_runs_every_probe() -> None:
    made: dict[str, list[str]] = {}
    for question in asked(PODS):
        made.setdefault(question.check, []).append(question.target)
    assert made == {
        "DNS": ["master1", "node1"],
        "pod to pod": ["master1 to node1", "node1 to master1"],
        "Service": ["master1 to 10.96.0.9", "node1 to 10.96.0.9"],
        "Service by name": ["master1 to probe.ns.svc.cluster.local", "node1 to probe.ns.svc.cluster.local"],
        "NodePort from a host": ["master1 to 10.0.0.21:30080"],
        "NodePort from a pod": ["master1 to 10.0.0.21:30080", "node1 to 10.0.0.11:30080"],
    }


def test_a_single_node_runs_the_probes_that_apply() -> None:
    checks = [question.check for question in asked(PODS[:1])]
    assert "pod to pod" not in checks
    assert "NodePort from a host" in checks


def test_in_a_large_cluster_each_pod_probes_the_next() -> None:
    pods = [Pod(f"n{number}", f"10.244.{number}.2", f"10.0.0.{number}") for number in range(20)]
    assert sum(question.check == "pod to pod" for question in asked(pods)) == 20


def ending(server: ApiServer) -> set[str]:
    """Return the namespaces that were deleted; what is in them goes as a controller finds it."""
    spaces = [space["metadata"] for space in server.api.items("/api/v1/namespaces")]
    return {space["name"] for space in spaces if "deletionTimestamp" in space}


def test_the_probes_and_their_namespace_go_away_also_after_a_failure(server: ApiServer, api: KubeApi) -> None:
    server.put("/api/v1/namespaces/yunkube-verify-old", metadata={"labels": kube_probe.LABELS})
    server.put("/api/v1/namespaces/mine")
    during: list[str] = []

    def fail() -> None:
        with kube_probe.probes(api, ["node1"], "probe:1", 10) as namespace:
            during.append(namespace)
            assert namespace.startswith("yunkube-verify-")
            assert server.names(f"/api/v1/namespaces/{namespace}/pods") == ["probe-node1"]
            assert ending(server) == {"yunkube-verify-old"}
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError):
        fail()
    assert ending(server) == {"yunkube-verify-old", *during}


class _WithoutAccount:
    """An API whose admission misses the namespace's account until a time on a clock of its own."""

    def __init__(self, comes_at: float) -> None:
        self.now, self.comes_at = 0.0, comes_at

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def items(self, _path: str, **_query: str) -> list[Json]:
        return []

    def delete(self, _path: str) -> None:
        pass

    def post(self, path: str, _body: Json) -> None:
        if path.endswith("/pods") and self.now < self.comes_at:
            raise KubeError(
                'pods "p" is forbidden: error looking up service account: serviceaccount "default" not found', 403
            )


@pytest.mark.parametrize("comes_at", [20, 29])  # a new holder of the lease waits 15 s, and must begin then
def test_after_a_restart_the_probes_wait_for_the_controller_manager(
    comes_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = _WithoutAccount(comes_at)
    monkeypatch.setattr(kube_probe, "time", api)
    with kube_probe.probes(t.cast("t.Any", api), ["node1"], "probe:1", 30):
        assert api.now >= comes_at


def test_a_controller_manager_that_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    api = _WithoutAccount(31)
    monkeypatch.setattr(kube_probe, "time", api)
    with (
        pytest.raises(KubeError, match="no service account after 30 s: the controller manager"),
        kube_probe.probes(t.cast("t.Any", api), ["node1"], "probe:1", 30),
    ):
        pass


def test_a_probe_that_does_not_start_says_why(server: ApiServer, api: KubeApi) -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no route to host"}}
    container = {"name": "probe", "image": "probe:1", "imageID": "", "ready": False, "restartCount": 0}
    ready = {"podIP": "10.244.0.5", "conditions": [{"type": "Ready", "status": "True"}]}
    states: Json = {"master1": ready, "node1": {"containerStatuses": [{**container, "state": waiting}]}}
    addresses = {"master1": "10.0.0.11", "node1": "10.0.0.21"}
    with kube_probe.probes(api, sorted(addresses), "probe:1", 10) as namespace:
        for name, status in states.items():
            server.set_status(f"/api/v1/namespaces/{namespace}/pods/probe-{name}", status)
        pods, rows = kube_probe.wait_for_pods(api, namespace, addresses, 0.2)
    assert pods == PODS[:1]
    assert [(row.target, row.ok) for row in rows] == [("master1", True), ("node1", False)]
    assert rows[1].detail == "container probe is waiting: ErrImagePull: no route to host"


class _Probe(BaseHTTPRequestHandler):
    """Answers well from the third time on."""

    asked = 0

    def log_message(self, *_arguments: t.Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        type(self).asked += 1
        well = self.asked > 2 and "never" not in self.path
        content = json.dumps({"ok": well, **({} if well else {"error": "refused"})}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)


def test_a_probe_is_repeated_until_it_succeeds_or_times_out() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Probe)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    rows = kube_probe.ask_all([Question("a", "x", f"{url}/"), Question("b", "y", f"{url}/never")], 0.8)
    server.shutdown()
    server.server_close()
    assert rows[0].ok
    assert (rows[1].ok, rows[1].detail) == (False, "refused")
    assert "does not answer this host" in kube_probe.fetch(f"{url}/")


def test_the_table_sums_up_what_passed_and_lists_what_failed() -> None:
    rows = [
        Row("node", "master1", ok=True, seconds=1.0),
        Row("node", "node1", ok=True, seconds=2.0),
        Row("DNS", "master1", ok=True, seconds=0.1),
        Row("DNS", "node1", ok=False, seconds=9.0, detail="no such host"),
        Row("NodePort from a host", "here to there", ok=True, seconds=0.1),
    ]
    assert kube_verify.summed_up(rows) == [
        Row("node", "2 of 2", ok=True, seconds=2.0),
        rows[3],
        Row("DNS", "1 of 2", ok=True, seconds=0.1),
        rows[4],
    ]
    assert kube_verify.as_lines(rows[3:4]) == ["FAILED  DNS  node1    9.0 s  no such host"]


def seen(boot: str = "b1", restarts: int = 0) -> Seen:
    node = {"metadata": {"name": "n", "uid": "u"}, "status": {"nodeInfo": {"bootID": boot, "kubeletVersion": "v1"}}}
    pod = {"metadata": {"uid": "p"}, "status": {"containerStatuses": [{"restartCount": restarts}]}}
    return Seen([node], {}, [pod])


def test_a_restart_of_a_host_or_of_a_system_pod_is_worth_a_new_proof() -> None:
    assert kube_verify.fingerprint(seen()) == kube_verify.fingerprint(seen())
    assert kube_verify.fingerprint(seen()) != kube_verify.fingerprint(seen(boot="b2"))
    assert kube_verify.fingerprint(seen()) != kube_verify.fingerprint(seen(restarts=1))


def test_nodes_and_workloads_get_a_row_each_and_a_pod_when_it_does_not_run() -> None:
    wanted = Wanted(("node1", "node2"), workloads=("DaemonSet a/b",), namespaces=("a",))
    problems = [Problem("node", "node2", "not in the cluster"), Problem("pod", "a/x", "waits")]
    rows = kube_verify.health_rows(Seen([], {}, []), wanted, problems, 1.0)
    assert [(row.check, row.target, row.ok) for row in rows] == [
        ("node", "node1", True),
        ("node", "node2", False),
        ("workload", "DaemonSet a/b", True),
        ("pod", "a/x", False),
    ]


def test_a_proof_that_hangs_is_waited_for_no_longer_than_that_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kube_verify, "RUN", tmp_path)
    monkeypatch.setattr(kube_verify, "LOCK_SECONDS", 0.1)
    parameters = {"nodes": [], "workloads": [], "namespaces": [], "only": [], "version": ""}
    verify = kube_verify.Verify(t.cast("AnsibleModule", SimpleNamespace(params=parameters)))
    with locked(tmp_path / "verify.lock", 1), pytest.raises(LockError) as caught, verify._alone():
        pass
    assert f"verify.lock has been held by process {os.getpid()} (" in str(caught.value)
    assert "wait for it or end it, then run again" in str(caught.value)


def test_a_node_whose_probe_is_gone_is_not_proved() -> None:
    pods = [{
        "metadata": {"name": "probe-n1", "namespace": "s"}, "spec": {"nodeName": "n1"},
        "status": {"podIP": "10.244.0.5", "conditions": [{"type": "Ready", "status": "True"}]},
    }]  # fmt: skip
    api = t.cast("t.Any", SimpleNamespace(items=lambda path, **_query: pods if path.endswith("/pods") else []))
    _, rows = kube_probe.wait_for_pods(api, "s", {"n1": "10.0.0.1", "n2": "10.0.0.2"}, 0.2)
    assert [(row.target, row.ok, row.detail) for row in rows] == [
        ("n1", True, ""),
        ("n2", False, "its probe was deleted"),
    ]


def test_what_came_during_a_proof_is_not_taken_for_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):  # noqa: N818 - no error, a way out
        """The module's result."""

    def end(**_result: t.Any) -> t.NoReturn:
        raise Ended

    lists: Json = {"nodes": ["n"], "workloads": [], "namespaces": [], "only": []}
    module = SimpleNamespace(
        params={**lists, "version": "", "mode": "auto", "timeout": 1}, check_mode=False, exit_json=end, fail_json=end
    )
    monkeypatch.setattr(kube_verify, "RUN", tmp_path)
    monkeypatch.setattr(KubeApi, "from_file", lambda: None)
    monkeypatch.setattr(kube_verify, "wait", lambda *_arguments: (seen(), []))
    monkeypatch.setattr(kube_verify, "see", lambda *_arguments: seen(boot="b2"))
    monkeypatch.setattr(kube_verify, "prove", lambda *_arguments: [])
    with pytest.raises(Ended):
        kube_verify.Verify(t.cast("t.Any", module)).run()
    assert (tmp_path / "verified").read_text() == kube_verify.fingerprint(seen())
