# SPDX-License-Identifier: Apache-2.0
"""A firewall lets in what a cluster needs, and no more to those who are not its hosts."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.host.firewall import (
    FIREWALL_SPEC,
    Opening,
    firewalld_options,
    in_ufws_words,
    open_firewall,
    openings,
)
from ansible.module_utils.yunkube.host.firewall import ufw_rules as rules_of
from ansible.module_utils.yunkube.host.state import read_changes
from ansible.module_utils.yunkube.teardown.host import Host, TeardownError

HOSTS = ["10.0.0.0/24"]
OFFICE = "192.0.2.0/24"
PODS = "10.244.0.0/16"


def wanted(**given: t.Any) -> dict[str, t.Any]:
    """What a host is asked to open, with the module's own defaults."""
    defaults = {name: option.get("default") for name, option in FIREWALL_SPEC.items()}
    return {**defaults, "master": True, "sources": HOSTS, "pod_cidr": PODS, **given}


def ports(source: str, **given: t.Any) -> set[str]:
    """Return what is open to a network, or (empty) to everyone."""
    return {one.ports for one in openings(wanted(**given)) if one.source == source}


def test_only_masters_open_the_api_and_etcd() -> None:
    master = {one.ports for one in openings(wanted())}
    node = {one.ports for one in openings(wanted(master=False))}
    assert master - node == {"6443", "2379-2380"}


def test_etcd_kubelet_and_overlay_are_for_hosts_alone() -> None:
    assert ports("") == {"6443", "30000-32767"}
    assert {"2379-2380", "10250", "8472", "51820"} <= ports(HOSTS[0])


def test_a_named_network_closes_the_api_and_node_ports_to_others() -> None:
    assert ports("", api_sources=[OFFICE]) == {"30000-32767"}
    assert ports("", node_port_sources=[OFFICE]) == {"6443"}
    assert ports(OFFICE, api_sources=[OFFICE], node_port_sources=[OFFICE]) == {"6443", "30000-32767"}
    assert {"6443", "30000-32767"} <= ports(HOSTS[0], api_sources=[OFFICE], node_port_sources=[OFFICE])
    node_ports = [one for one in openings(wanted(node_port_sources=[OFFICE])) if one.ports == "30000-32767"]
    assert {one.protocol for one in node_ports if one.source == OFFICE} == {"tcp", "udp"}


def test_the_registrys_host_lets_people_push_and_hosts_pull() -> None:
    registry = {"registry_port": 5000, "registry_pull_port": 5001}
    assert "5000" in ports("", **registry)
    assert "5001" not in ports("", **registry)
    assert "5001" in ports(HOSTS[0], **registry)
    assert ports(OFFICE, **registry, api_sources=[OFFICE]) == {"6443", "5000"}
    assert not {"5000", "5001"} & {one.ports for one in openings(wanted())}


def test_ufw_gets_its_own_words() -> None:
    rules = [" ".join(rule) for rule in rules_of(openings(wanted()), PODS)]
    assert "allow from 10.0.0.0/24 to any port 2379:2380 proto tcp" in rules
    assert "route allow from 10.244.0.0/16" in rules
    assert "allow 6443/tcp" in rules


def test_firewalld_trusts_pods_and_asks_hosts_for_their_address() -> None:
    options = firewalld_options(openings(wanted(master=False)), PODS, {})
    assert options[0] == ("trusted", "source", PODS)
    assert ("", "port", "30000-32767/tcp") in options
    assert any(kind == "rich-rule" and 'address="10.0.0.0/24"' in value for _, kind, value in options)


def test_firewalld_opens_the_zone_that_the_packets_of_a_network_meet() -> None:
    host = Firewalld()
    module = t.cast("t.Any", host)
    first = open_firewall(module, "firewalld", wanted(master=False))
    assert not any("--zone" in option for option in host.options if PODS not in option)
    host.zones = "internal\n  interfaces: eth1 eth2\npublic (default)\n  interfaces: eth0\n"
    moved = open_firewall(module, "firewalld", wanted(master=False))
    inside = {option for option in host.options if "--zone=internal" in option}
    assert any('address="10.0.0.0/24"' in option and '"10250"' in option for option in inside)
    assert not any('address="10.0.0.0/24"' in option for option in host.options - inside)
    assert {"port=30000-32767/tcp", "--zone=internal port=30000-32767/tcp"} <= host.options
    assert any(word.startswith("remove from firewalld: ") and "10250" in word for word in moved)
    assert open_firewall(module, "firewalld", wanted(master=False)) == []
    host.zones += "hosts\n  sources: 10.0.0.0/16 00:11:22:33:44:55 ipset:mine\n"
    open_firewall(module, "firewalld", wanted(master=False))
    assert any("--zone=hosts" in option and '"10250"' in option for option in host.options)
    for argv in read_changes()["undo"]:
        host.run_command(argv)
    assert host.options == set()
    assert len(first) > 1


@pytest.mark.parametrize("source", ["10.0.0.7", "10.0.0.7/32", "10.0.0.9", "10.0.0.5/24", "10.0.0.0/8", "0.0.0.0/0"])
def test_a_source_in_any_form_has_a_zone_that_stays_the_same(source: str) -> None:
    host = Firewalld()
    module = t.cast("t.Any", host)
    host.zones = "internal\n  interfaces: eth1 eth0\n  sources: 10.7.0.1/16\npublic (default)\n  interfaces: eth2\n"
    open_firewall(module, "firewalld", wanted(sources=[source]))
    assert not any("10250" in option for option in host.options if "--zone=internal" not in option)
    assert open_firewall(module, "firewalld", wanted(sources=[source])) == []


class Ufw:
    """A host whose ufw lists what it was given."""

    def __init__(self, *rules: str) -> None:
        self.check_mode = False
        self.rules = list(rules)

    def run_command(self, argv: list[str], **_: t.Any) -> tuple[int, str, str]:
        if argv[:2] == ["ufw", "show"]:
            return 0, "Added user rules (see 'ufw status' for running firewall):\n" + "\n".join(self.rules), ""
        if argv[1] == "--force":
            words = argv[2:]
            if words[:2] == ["delete", "route"]:
                return 1, "", "ERROR: Invalid syntax"
            words.remove("delete")
            (found,) = [rule for rule in self.rules if rule.split(" comment ")[0] == " ".join(["ufw", *words])]
            self.rules.remove(found)
        else:
            self.rules.append(f"{' '.join(argv[:-2])} comment '{argv[-1]}'")
        return 0, "", ""


class Firewalld:
    """A host whose firewalld remembers options, now and for the next start."""

    def __init__(self, *options: str) -> None:
        self.check_mode = False
        self.options = set(options)
        self.zones = "public\n  interfaces: eth0\n"
        self.addresses = {"lo": "127.0.0.1", "cni0": "10.244.1.1", "eth1": "10.0.0.7"}
        self.refused = ""  # an option that it takes for wrong
        self.programs: list[str] = []

    def run_command(self, argv: list[str], **_: t.Any) -> tuple[int, str, str]:
        self.programs.append(argv[0])
        return self._answer(argv)

    def _answer(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[:3] == ["ip", "-o", "address"]:
            rows = [f"2: {name}    inet {one}/24 scope global {name}" for name, one in self.addresses.items()]
            return 0, "\n".join([*rows, "3: eth1    inet6 fe80::1/64 scope link"]), ""
        if argv[0] == "ip":
            return 0, f"{argv[-1]} via 10.0.1.1 dev eth0 src 10.0.1.7 uid 0 \\    cache\n", ""
        if argv[1].startswith("--get-"):
            return 0, self.zones if argv[1] == "--get-active-zones" else "public\n", ""
        start = [word for word in argv[:-1] if word == "--permanent" or word.startswith("--zone=")]
        if len(options := [word for word in argv[1:] if word not in start]) > 1:
            return self._several(start, options)
        verb, _dash, rest = argv[-1].removeprefix("--").partition("-")
        line = " ".join([*start, rest])
        if rest == self.refused:
            return 1 if verb == "query" else 103, "", f"Error: INVALID_RULE: {rest}"
        if verb == "query":
            return int(line not in self.options), "", ""
        if verb == "add":
            self.options.add(line)
        elif line in self.options:
            self.options.remove(line)
        elif rest.startswith("source=") and "--permanent" not in argv:
            return 30, "", f"Error: UNKNOWN_SOURCE: '{rest}' is not in any zone"
        return 0, "", ""

    def _several(self, start: list[str], options: list[str]) -> tuple[int, str, str]:
        """Answer several options of one kind as it does: a fault of one is a warning where another succeeds."""
        kinds = {option.partition("=")[0] for option in options}
        assert len(kinds) == 1, f"of {kinds} it would take one alone"
        [kind] = kinds
        answers = {option: self._answer(["firewall-cmd", *start, option]) for option in options}
        good = [option for option, answer in answers.items() if not answer[2]]
        lines = [f"{option.partition('=')[2]}: {'yes' if answers[option][0] == 0 else 'no'}" for option in good]
        warnings = "".join(f"Warning: {answer[2]}\n" for answer in answers.values() if answer[2])
        queried = kind.startswith("--query-")
        return (0 if good or queried else 103), "\n".join(lines) if queried else "", warnings

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise AssertionError(result["msg"])

    def get_bin_path(self, name: str, **_: t.Any) -> str:
        return name


def test_firewalld_is_asked_in_few_programs() -> None:
    host = Firewalld()
    module = t.cast("t.Any", host)
    sources = [f"10.0.{number}.0/24" for number in range(20)]
    open_firewall(module, "firewalld", wanted(sources=sources))
    assert len(host.options) > 2 * 20 * 4
    host.programs = []
    assert open_firewall(module, "firewalld", wanted(sources=sources)) == []
    # Which zones there are; then three kinds of options, now and lasting.
    assert host.programs.count("firewall-cmd") == 2 + 3 * 2
    assert host.programs.count("ip") == 1 + len(sources)  # the addresses; the way to each that has none in a zone


def test_a_rule_that_firewalld_refuses_among_others_is_named() -> None:
    host = Firewalld()
    host.refused = "port=30000-32767/udp"
    with pytest.raises(AssertionError, match="did not add port 30000-32767/udp"):
        open_firewall(t.cast("t.Any", host), "firewalld", wanted())


FIREWALLS: list[tuple[str, type[Ufw | Firewalld], str]] = [
    ("ufw", Ufw, "ufw allow 22/tcp"),
    ("ufw", Ufw, "ufw allow 6443/tcp comment 'mine'"),
    ("firewalld", Firewalld, "--permanent port=22/tcp"),
]


@pytest.mark.parametrize(("active", "kind", "mine"), FIREWALLS)
def test_what_is_there_stays_and_what_is_no_longer_wanted_of_ours_goes(
    active: str, kind: type[Ufw | Firewalld], mine: str
) -> None:
    host = kind(mine)
    module = t.cast("t.Any", host)

    def state() -> list[str]:
        return sorted(host.rules if isinstance(host, Ufw) else host.options)

    first = open_firewall(module, active, wanted())
    assert all(word.startswith(f"add to {active}: ") for word in first)
    assert open_firewall(module, active, wanted()) == []
    before = state()
    host.check_mode = True
    planned = open_firewall(module, active, wanted(node_port_sources=[OFFICE]))
    assert state() == before
    host.check_mode = False
    assert open_firewall(module, active, wanted(node_port_sources=[OFFICE])) == planned
    assert any(word.startswith(f"remove from {active}: ") and "30000" in word for word in planned)
    assert open_firewall(module, active, wanted(node_port_sources=[OFFICE])) == []
    assert not any("30000" in part and "/24" not in str(argv) for argv in read_changes()["undo"] for part in argv)
    assert [line for line in state() if "30000" in line and "/24" not in line] == []
    assert mine in state()
    open_firewall(module, active, wanted())
    assert state() == before


def test_what_ufw_was_given_is_taken_back_in_words_that_it_knows() -> None:
    host = Ufw("ufw allow 22/tcp")
    module = t.cast("t.Any", host)
    open_firewall(module, "ufw", wanted())
    open_firewall(module, "ufw", wanted(pod_cidr="10.200.0.0/16"))
    assert not any(PODS in rule for rule in host.rules)
    for argv in read_changes()["undo"]:
        assert host.run_command(argv) == (0, "", "")
    assert host.rules == ["ufw allow 22/tcp"]


def test_what_an_interrupted_teardown_took_back_is_no_fault_of_the_next() -> None:
    host = Firewalld("port=22/tcp")
    torn = Host.__new__(Host)
    torn.module = t.cast("t.Any", host)
    open_firewall(torn.module, "firewalld", wanted())
    for argv in read_changes()["undo"] * 2:
        torn.take_back(argv)
    assert host.options == {"port=22/tcp"}
    host.run_command = lambda *_, **__: (252, "", "FirewallD is not running")  # type: ignore[method-assign]
    with pytest.raises(TeardownError, match="FirewallD is not running"):
        torn.take_back(["firewall-cmd", "--remove-port=6443/tcp"])


def test_notes_of_an_earlier_version_are_read_in_words_that_ufw_knows() -> None:
    assert in_ufws_words(["ufw", "--force", "delete", "route", "allow", "to", PODS]) == [
        *("ufw", "--force", "route", "delete", "allow", "to", PODS)
    ]
    for argv in (["ufw", "--force", "delete", "allow", "22/tcp"], ["ufw", "--force", "enable"], ["firewall-cmd", "-x"]):
        assert in_ufws_words(argv) == argv


def test_an_opening_is_for_everyone_unless_it_names_sources() -> None:
    assert Opening("6443", "tcp").source == ""
