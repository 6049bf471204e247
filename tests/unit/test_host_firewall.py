"""A firewall lets in what a cluster needs, and no more to those who are not its hosts."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.firewall import Firewall, firewalld_options, openings, ufw_rules

HOSTS = ["10.0.0.0/24"]


def test_only_masters_open_the_api_and_etcd() -> None:
    master = {one.ports for one in openings(master=True, sources=HOSTS)}
    node = {one.ports for one in openings(master=False, sources=HOSTS)}
    assert master - node == {"6443", "2379-2380"}


def test_etcd_kubelet_and_overlay_are_for_hosts_alone() -> None:
    everyone = {one.ports for one in openings(master=True, sources=HOSTS) if not one.source}
    assert everyone == {"6443", "30000-32767"}


def test_ufw_gets_its_own_words() -> None:
    rules = [" ".join(rule) for rule in ufw_rules(openings(master=True, sources=HOSTS), "10.244.0.0/16")]
    assert "allow from 10.0.0.0/24 to any port 2379:2380 proto tcp" in rules
    assert "route allow from 10.244.0.0/16" in rules
    assert "allow 6443/tcp" in rules


def test_firewalld_trusts_pods_and_asks_hosts_for_their_address() -> None:
    options = firewalld_options(openings(master=False, sources=HOSTS), "10.244.0.0/16")
    assert options[0] == ("trusted", "source", "10.244.0.0/16")
    assert ("", "port", "30000-32767/tcp") in options
    assert any(kind == "rich-rule" and 'address="10.0.0.0/24"' in value for _, kind, value in options)


class Module:
    """A host whose ufw lists some rules already; remembers what was run."""

    def __init__(self, listed: str, *, check_mode: bool) -> None:
        self.listed, self.check_mode = listed, check_mode
        self.ran: list[list[str]] = []

    def run_command(self, argv: list[str], **_: t.Any) -> tuple[int, str, str]:
        self.ran.append(argv)
        return 0, self.listed, ""


def test_a_rule_that_is_there_is_not_added_and_check_mode_adds_none() -> None:
    allowed = openings(master=False, sources=HOSTS)
    lines = [f"ufw {' '.join(rule)} comment 'Yunkube'" for rule in ufw_rules(allowed, "10.244.0.0/16")]
    for check_mode, added in ((False, 2), (True, 1)):
        module = Module("\n".join(lines[1:]), check_mode=check_mode)
        assert Firewall(t.cast("t.Any", module)).open_ufw(allowed, "10.244.0.0/16") == ["allow from 10.244.0.0/16"]
        assert len(module.ran) == added
