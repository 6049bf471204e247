# SPDX-License-Identifier: Apache-2.0
"""What a look at ports finds, on real sockets; drops and missing routes in a network namespace of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import reach
from ansible.module_utils.yunkube.host.reach import Outcome, Target, look

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 30.0  # seconds; nothing here waits for it unless it says so


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that is bound, so that nobody else takes it, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_nothing_to_look_at_takes_no_time() -> None:
    assert look([], LIMIT) == []


def test_a_listener_and_a_closed_port_are_told_apart(listening: int, closed: int) -> None:
    targets = [Target("127.0.0.1", port, "a test") for port in (listening, closed, listening)]
    found = look(targets, LIMIT)
    assert states(found) == [reach.CONNECTED, reach.REFUSED, reach.CONNECTED]
    assert [one.target for one in found] == targets
    assert [bool(one.error) for one in found] == [False, True, False]
    assert all(one.path for one in found)


def test_more_targets_than_sockets_at_once(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AT_ONCE", 3)
    assert states(look([Target("127.0.0.1", listening, "a test")] * 20, LIMIT)) == [reach.CONNECTED] * 20


def test_a_silent_port_ends_with_the_limit() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()):  # its queue is full: nothing answers
            (found,) = look([Target("127.0.0.1", server.getsockname()[1], "a test")], 0.3)
    assert found.state == reach.TIMEOUT
    assert not found.path
    assert found.milliseconds >= 300


def test_a_name_is_looked_up(listening: int) -> None:
    found = look([Target("localhost", listening, "a test"), Target("no-such-host.invalid", 6443, "the API")], LIMIT)
    assert states(found) == [reach.CONNECTED, reach.UNRESOLVED]
    assert found[1].error


@pytest.mark.parametrize("name", ["a" * 70 + ".invalid", ""])
def test_what_is_no_name_does_not_resolve(name: str) -> None:
    assert states(look([Target(name, 1, "a test")], LIMIT)) == [reach.UNRESOLVED]


def test_one_address_of_a_name_that_answers_is_enough(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(*_: object, **__: object) -> list[object]:
        addresses = (("127.0.0.2", listening), ("127.0.0.1", listening))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert states(look([Target("api.example.org", listening, "a test")], LIMIT)) == [reach.CONNECTED]


# Loopback of a namespace that ends with its process: one port drops, one rejects as firewalld does, one is closed.
SCENE = """
set -e
ip link set lo up
iptables -A INPUT -p tcp --dport 6443 -j DROP
iptables -A INPUT -p tcp --dport 2379 -j REJECT --reject-with icmp-admin-prohibited
exec "$0" -c '
import json, sys
import ansible.module_utils
ansible.module_utils.__path__.append("module_utils")
from ansible.module_utils.yunkube.host.reach import Target, look
targets = [Target(address, port, "a test") for address, port in json.loads(sys.argv[1])]
print(json.dumps([[one.state, one.error] for one in look(targets, 0.5)]))' "$1"
"""


def test_what_a_firewall_drops_and_what_no_route_leads_to() -> None:
    asked = [("127.0.0.1", 6443), ("127.0.0.1", 2379), ("127.0.0.1", 10250), ("192.0.2.1", 6443), ("::1", 6443)]
    argv = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", SCENE, sys.executable, json.dumps(asked)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [reach.TIMEOUT, "Connection timed out"],
        [reach.UNREACHABLE, "No route to host"],
        [reach.REFUSED, "Connection refused"],
        [reach.UNREACHABLE, "Network is unreachable"],
        [reach.REFUSED, "Connection refused"],
    ]


@pytest.mark.parametrize(
    ("state", "message", "remedy"),
    [
        (reach.REFUSED, "the API: m1 (10.0.0.1:6443) refuses connections: nothing listens", "start the service"),
        (
            reach.TIMEOUT,
            "m1 (10.0.0.1:6443) does not answer within 5 s: most likely a firewall",
            "allow TCP port 6443 to",
        ),
        (reach.UNREACHABLE, "m1 (10.0.0.1:6443) cannot be reached (an error)", "check the address"),
        (reach.UNRESOLVED, "10.0.0.1 does not resolve to an address (an error)", "correct the name"),
    ],
)
def test_a_fault_names_host_address_port_and_likely_cause(state: str, message: str, remedy: str) -> None:
    fault = Outcome(Target("10.0.0.1", 6443, "the API", "m1"), state, "an error", 5000).fault("endpoint")
    assert message in fault.message
    assert fault.remedy.startswith(remedy)


def test_a_refusal_is_a_fault_only_where_something_must_listen() -> None:
    port = Target("10.0.0.1", 10250, "the kubelet")
    assert Outcome(port, reach.REFUSED, "", 0).good
    assert not Outcome(Target("10.0.0.1", 6443, "the API", listening=True), reach.REFUSED, "", 0).good
    assert not Outcome(port, reach.TIMEOUT, "", 0).good


def test_an_ipv6_address_is_written_with_brackets() -> None:
    assert str(Target("fd00::1", 6443, "the API")) == "[fd00::1]:6443"
    assert str(Target("n1", 6443, "the API", "n1")) == "n1:6443"
