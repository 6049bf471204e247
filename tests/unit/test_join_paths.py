# SPDX-License-Identifier: Apache-2.0
"""What prevents a join is reported before kubeadm waits for it: on real sockets, with real TLS."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.host import reach
from ansible.module_utils.yunkube.kube import join, join_paths, kubeadm, unverified
from ansible.module_utils.yunkube.kube.api import KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.kube.x509 import read_certificate
from fake_kube_api import copy_certificates
from kube_api_server import ApiServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_paths, "PATIENCE_SECONDS", 0.0)


@contextlib.contextmanager
def answering(body: bytes, folder: Path | None) -> t.Iterator[str]:
    """Answer every request so, with TLS where there is a folder of certificates; yield host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if folder:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_certificates(tmp_path)
    return tmp_path


def told(endpoint: str, pins: t.Collection[str] = ()) -> str:
    """Return what is wrong with an endpoint, in a line."""
    return "\n".join(map(str, join_paths.endpoint_faults(endpoint, pins)))


def cluster_info(folder: Path) -> tuple[bytes, str]:
    """Return what an API server tells anybody who wants to join, and the pin of its CA."""
    ca = (folder / "ca.crt").read_text()
    text = f"clusters:\n- cluster:\n    certificate-authority-data: {base64.b64encode(ca.encode()).decode()}\n"
    return json.dumps({"kind": "ConfigMap", "data": {"kubeconfig": text}}).encode(), read_certificate(ca).pin


def test_an_api_server_that_is_the_clusters_is_no_fault(folder: Path) -> None:
    body, pin = cluster_info(folder)
    with answering(body, folder) as endpoint:
        assert told(endpoint) == ""
        assert told(endpoint, [pin]) == ""


def test_another_clusters_api_server_is_told_by_its_ca(folder: Path) -> None:
    body, pin = cluster_info(folder)
    with answering(body, folder) as endpoint:
        text = told(endpoint, [f"sha256:{'0' * 64}"])
    assert f"the API server at {endpoint} belongs to another cluster: its CA is {pin}" in text
    assert "cluster_control_plane_endpoint" in text


@pytest.mark.parametrize("tokens", [600, 40_000])  # each signs its own copy; of an endless answer nothing is judged
def test_the_description_of_a_cluster_with_many_tokens_is_read(folder: Path, tokens: int) -> None:
    answer = json.loads(cluster_info(folder)[0])
    signed = {f"jws-kubeconfig-{number:06}": f"eyJhbGciOiJIUzI1NiJ9..{'x' * 100}" for number in range(tokens)}
    body = json.dumps({**answer, "data": {**signed, **answer["data"]}}).encode()
    assert (len(body) < unverified.MOST) == (tokens == 600)
    with answering(body, folder) as endpoint:
        assert told(endpoint) == ""
        assert ("belongs to another cluster" in told(endpoint, [f"sha256:{'0' * 64}"])) == (tokens == 600)


def test_a_real_api_server_that_tells_strangers_nothing_is_left_to_kubeadm(server: ApiServer) -> None:
    assert told(server.address, [f"sha256:{'0' * 64}"]) == ""


@pytest.mark.parametrize("body", [b"<h1>503 no backend</h1>", b'{"kind": "Pod"}', b"[]"])
def test_what_answers_and_is_no_api_server_is_told(folder: Path, body: bytes) -> None:
    with answering(body, folder) as endpoint:
        assert f"{endpoint} answers, but not as a Kubernetes API server" in told(endpoint)


def test_a_port_without_tls_is_told() -> None:
    with answering(b"{}", None) as endpoint:
        assert "not as a Kubernetes API server" in told(endpoint)


def test_a_load_balancer_without_a_server_behind_it_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        assert "a load balancer there may have no healthy backend" in told(f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)


def test_an_endpoint_that_refuses_or_has_no_address_is_told_at_once() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{bound.getsockname()[1]}"
        assert f"endpoint: the cluster's API: {endpoint} refuses connections" in told(endpoint)
    assert "no-such-host.invalid does not resolve to an address" in told("no-such-host.invalid:6443")


def test_an_api_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_paths, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(join_paths, "PAUSE_SECONDS", 0.05)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        target = reach.Target("127.0.0.1", bound.getsockname()[1], "the API", listening=True)
        threading.Timer(0.3, bound.listen).start()
        assert join_paths.blocked([target]) == {}


def test_an_ipv6_endpoint_is_read() -> None:
    target = join_paths.the_api("[fd00::1]:6443")
    assert (target.address, target.port) == ("fd00::1", 6443)


def test_the_ports_grow_with_the_hosts_and_not_with_their_pairs() -> None:
    def count(number: int) -> int:
        return len(join_paths.of_joining({f"n{one}": f"10.0.0.{one}" for one in range(number)}, ()))

    assert count(40) == 2 * count(20)


def test_a_joining_host_need_not_listen_and_a_master_must_let_etcd_through() -> None:
    node, *master = join_paths.of_joining({"n1": "10.0.0.2", "m2": "10.0.0.3"}, ["m2"])
    assert (node.host, node.port, node.listening) == ("n1", 10250, False)
    assert [target.port for target in master] == [10250, 2379, 2380]
    assert [(target.port, target.listening) for target in join_paths.of_masters({"m1": "10.0.0.1"})] == [
        (2379, True),
        (2380, True),
    ]


def test_the_port_of_the_clusters_registry_is_tried_and_need_not_listen() -> None:
    assert join_paths.of_registry("") == []
    (target,) = join_paths.of_registry("10.0.0.1:5001")
    assert (target.address, target.port, target.listening) == ("10.0.0.1", 5001, False)


@pytest.mark.parametrize(("state", "refused"), [(reach.TIMEOUT, True), (reach.REFUSED, False)])
def test_a_host_that_could_not_pull_from_the_registry_does_not_join(
    monkeypatch: pytest.MonkeyPatch, state: str, refused: bool
) -> None:
    monkeypatch.setattr(
        reach, "look", lambda targets, _seconds: [reach.Outcome(target, state, "", 5000) for target in targets]
    )
    monkeypatch.setattr(join_paths, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(join_paths, "endpoint_faults", lambda *_of: [])
    told: dict[str, t.Any] = {}

    class EndedError(Exception):
        """As a module ends."""

    class Module:
        params: t.ClassVar[dict[str, t.Any]] = {
            "config": "kind: JoinConfiguration\n",
            "endpoint": "10.0.0.1:6443",
            "try_ports": True,
            "etcd": {},
            "registry": "10.0.0.1:5001",
        }

        def fail_json(self, **result: t.Any) -> None:
            """Keep the result."""
            told.update(result)
            raise EndedError

        def get_bin_path(self, *_of: t.Any, **_more: t.Any) -> None:
            """Come as far as kubeadm."""
            raise EndedError

    with pytest.raises(EndedError):
        join.Join(t.cast("t.Any", Module()))._join(join.Found("absent"), 0)
    assert bool(told) == refused
    if refused:
        assert "the cluster's registry, for pulls: 10.0.0.1:5001 does not answer" in told["msg"]


def test_a_blocked_host_is_told_with_each_of_its_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(targets: t.Sequence[reach.Target], _seconds: float) -> list[reach.Outcome]:
        states = {"m2": reach.TIMEOUT, "n1": reach.REFUSED}
        return [reach.Outcome(target, states[target.host], "", 5000) for target in targets]

    monkeypatch.setattr(reach, "look", look)
    found = join_paths.blocked_hosts({"n1": "10.0.0.2", "m2": "10.0.0.3"}, ["m2"])
    assert list(found) == ["m2"]
    lines = found["m2"].splitlines()
    assert len(lines) == 3
    assert "the kubelet's port, for the control plane: m2 (10.0.0.3:10250) does not answer within 5 s" in lines[0]
    assert "2380" in lines[2]


def test_the_masters_that_are_ready_are_asked_where_they_run_etcd(server: ApiServer, tmp_path: Path) -> None:
    def node(name: str, *, ready: bool, master: bool = True) -> None:
        server.put(
            f"/api/v1/nodes/{name}",
            metadata={"labels": {"node-role.kubernetes.io/control-plane": ""} if master else {}},
            status={
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        )

    node("m1", ready=True)
    node("m2", ready=False)
    node("n1", ready=True, master=False)
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as api:
        assert join_paths.etcd_addresses(api, tmp_path) == {}  # etcd is elsewhere
        (tmp_path / kubeadm.MANIFESTS).mkdir(parents=True)
        (tmp_path / kubeadm.MANIFESTS / "etcd.yaml").touch()
        assert join_paths.etcd_addresses(api, tmp_path) == {"m1": "10.0.0.1"}


def test_the_check_can_be_skipped_by_the_name_that_a_fault_shows() -> None:
    specs = yaml.safe_load((ROOT / "roles/prepare_host/meta/argument_specs.yml").read_text())["argument_specs"]
    assert join_paths.CHECK in specs["check"]["options"]["prepare_host_ignored_checks"]["choices"]
