# SPDX-License-Identifier: Apache-2.0
"""The facts that the roles read."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.host.network import default_ipv4
from ansible.module_utils.yunkube.host.os_release import distribution, parse_os_release

INTERFACES: list[dict[str, t.Any]] = [
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {
        "ifname": "eth0",
        "addr_info": [
            {"family": "inet", "local": "10.0.0.5", "prefixlen": 24},
            {"family": "inet", "local": "10.0.0.6", "prefixlen": 24},
        ],
    },
    {"ifname": "wlan0", "addr_info": [{"family": "inet", "local": "192.168.7.9", "prefixlen": 20}]},
]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ('ID=debian\nVERSION_ID="12"\n', ("Debian", "12", "Debian", "apt")),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', ("Ubuntu", "24", "Debian", "apt")),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', ("Rocky", "9", "RedHat", "dnf")),
        ("ID=plan9\n", ("Plan9", "", "Plan9", "unknown")),
    ],
)
def test_a_distribution_has_ansibles_names(text: str, facts: tuple[str, ...]) -> None:
    found = distribution(parse_os_release(text))
    assert tuple(found[key] for key in ("distribution", "distribution_major_version", "os_family", "pkg_mgr")) == facts


def test_the_address_is_that_of_the_best_default_route() -> None:
    routes: list[dict[str, t.Any]] = [
        {"dst": "default", "dev": "wlan0", "gateway": "192.168.0.1", "metric": 600},
        {"dst": "default", "dev": "eth0", "gateway": "10.0.0.1", "metric": 100, "prefsrc": "10.0.0.6"},
        {"dst": "10.0.0.0/24", "dev": "eth0"},
    ]
    found = default_ipv4(routes, INTERFACES)
    assert (found["address"], found["network"], found["prefix"]) == ("10.0.0.6", "10.0.0.0", "24")
    assert default_ipv4(routes[:1], INTERFACES)["network"] == "192.168.0.0"


def test_without_a_default_route_there_is_no_default_address() -> None:
    assert default_ipv4([{"dst": "10.0.0.0/24", "dev": "eth0"}], INTERFACES) == {}


def test_of_several_ways_the_first_counts() -> None:
    hops = [
        {"gateway": "10.0.0.1", "dev": "eth0", "weight": 1},
        {"gateway": "192.168.0.1", "dev": "wlan0", "weight": 1},
    ]
    found = default_ipv4([{"dst": "default", "protocol": "static", "flags": [], "nexthops": hops}], INTERFACES)
    assert (found["address"], found["gateway"], found["interface"]) == ("10.0.0.5", "10.0.0.1", "eth0")


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_a_route_that_refuses_leads_nowhere(kind: str) -> None:
    refusing = {"type": kind, "dst": "default", "metric": 4278198272, "flags": []}
    assert default_ipv4([refusing], INTERFACES) == {}
    assert default_ipv4([refusing | {"metric": 0}, {"dst": "default", "dev": "eth0", "metric": 9}], INTERFACES)
