# SPDX-License-Identifier: Apache-2.0
"""A host's active firewall: compare its rules with what a cluster needs, and add missing ones."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host import firewalld_zones
from ansible.module_utils.yunkube.host.state import forget, read_changes, remember

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

UFW_CONFIGURATION = Path("/etc/ufw/ufw.conf")

INVALID_ZONE = 112  # https://firewalld.org/documentation/man-pages/firewall-cmd.html
COMMENT = "Yunkube"  # on every rule of ours, where the firewall takes one

# What a module's argument spec says of it.
FIREWALL_SPEC: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["open", "off", "leave"], "default": "open"},
    "master": {"type": "bool", "required": True},
    "sources": {"type": "list", "elements": "str", "required": True},
    "api_sources": {"type": "list", "elements": "str", "default": []},
    "node_ports": {"type": "str", "default": "30000-32767"},
    "node_port_sources": {"type": "list", "elements": "str", "default": []},
    "registry_port": {"type": "int", "default": 0},
    "registry_pull_port": {"type": "int", "default": 0},
    "pod_cidr": {"type": "str", "required": True},
}


def active_firewall(module: AnsibleModule) -> str:
    """Return the firewall that filters now, or nothing."""
    configuration = UFW_CONFIGURATION.read_text() if UFW_CONFIGURATION.exists() else ""
    if re.search(r"^ENABLED=yes", configuration, re.MULTILINE) and module.get_bin_path("ufw"):
        return "ufw"
    if module.get_bin_path("firewall-cmd"):
        rc, _, _ = module.run_command(["systemctl", "is-active", "--quiet", "firewalld"])
        return "firewalld" if rc == 0 else ""
    return ""


# What turns a firewall off, and what turns it on again.
SWITCHES = {
    "ufw": (["ufw", "disable"], ["ufw", "--force", "enable"]),
    "firewalld": (["systemctl", "disable", "--now", "firewalld"], ["systemctl", "enable", "--now", "firewalld"]),
}


@dataclasses.dataclass(frozen=True)
class Opening:
    """Ports of one protocol, for one network or (empty) for everyone."""

    ports: str  # "6443" or "30000-32767"
    protocol: str
    source: str = ""


def openings(wanted: t.Mapping[str, t.Any]) -> list[Opening]:
    """Return what a host of a cluster lets in.

    The API, NodePorts and pushes to the registry are for the networks that are named for them and for the cluster's
    hosts, or for everyone where none is named.
    """
    hosts = list(wanted["sources"])

    def allowed(named: t.Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*hosts, *named])) if named else [""]

    found = []
    for source in allowed(wanted["node_port_sources"]):
        found += [Opening(wanted["node_ports"], protocol, source) for protocol in ("tcp", "udp")]
    if wanted["master"]:
        found += [Opening(str(constants.API_PORT), "tcp", source) for source in allowed(wanted["api_sources"])]
    if port := wanted["registry_port"]:
        found += [Opening(str(port), "tcp", source) for source in allowed(wanted["api_sources"])]
    for source in hosts:
        found += [Opening(str(port), "tcp", source)] if (port := wanted["registry_pull_port"]) else []
        found += [Opening("-".join(map(str, constants.ETCD_PORTS)), "tcp", source)] if wanted["master"] else []  # etcd
        found.append(Opening(str(constants.KUBELET_PORT), "tcp", source))
        found += [Opening(str(port), "udp", source) for port in (constants.VXLAN_PORT, constants.WIREGUARD_PORT)]
    return found


def ufw_rules(allowed: t.Iterable[Opening], pod_cidr: str) -> list[list[str]]:
    """Return rules in ufw's words, as `ufw show added` repeats them."""
    rules = [["allow", "from", pod_cidr], ["route", "allow", "from", pod_cidr], ["route", "allow", "to", pod_cidr]]
    for one in allowed:
        ports = one.ports.replace("-", ":")
        rules.append(
            ["allow", "from", one.source, "to", "any", "port", ports, "proto", one.protocol]
            if one.source
            else ["allow", f"{ports}/{one.protocol}"]
        )
    return rules


def in_ufws_words(argv: list[str]) -> list[str]:
    """Return a command as ufw takes it, with `route` before `delete`; earlier versions noted it the other way."""
    if argv[:4] == ["ufw", "--force", "delete", "route"]:
        return ["ufw", "--force", "route", "delete", *argv[4:]]
    return argv


def question(argv: list[str]) -> list[str]:
    """Return the query for what a firewalld command removes."""
    return [*argv[:-1], argv[-1].replace("--remove-", "--query-", 1)]


def is_closed(module: AnsibleModule, argv: list[str]) -> bool:
    """Tell whether firewalld says that it does not have what a command removes, or not even its zone."""
    return argv[0] == "firewall-cmd" and module.run_command(question(argv))[0] in (1, INVALID_ZONE)


def own_ufw_rules(listed: str) -> list[list[str]]:
    """Return the rules that bear our comment, of what `ufw show added` prints."""
    lines = [line.removeprefix("ufw ").split(" comment ") for line in listed.splitlines() if line.startswith("ufw ")]
    return [line[0].split() for line in lines if line[1:] == [f"'{COMMENT}'"]]


def firewalld_options(
    allowed: t.Sequence[Opening], pod_cidr: str, zones: t.Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return zone (empty is the default one), kind and value as firewall-cmd's options name them.

    `zones` are those that packets of each network meet. What is for everyone is open in each of them, and in the
    default one.
    """
    options = [("trusted", "source", pod_cidr)]
    for one in allowed:
        rule = (
            f'rule family="ipv4" source address="{one.source}" port port="{one.ports}" protocol="{one.protocol}" accept'
        )
        if one.source:
            options.append((zones.get(one.source, ""), "rich-rule", rule))
        else:
            everywhere = dict.fromkeys(["", *zones.values()])
            options += [(zone, "port", f"{one.ports}/{one.protocol}") for zone in everywhere]
    return options


def _holds(whole: Network, part: Network) -> bool:
    return whole.version == part.version and part.subnet_of(whole)  # type: ignore[arg-type]


def active_zones(listed: str) -> dict[str, str]:
    """Return the zone of each interface and of each source out of what `firewall-cmd --get-active-zones` prints."""
    found: dict[str, str] = {}
    zone = ""
    for line in listed.splitlines():
        words = line.split()
        if line[:1].strip():
            zone = words[0]
        elif words and words[0] in ("interfaces:", "sources:"):
            found.update(dict.fromkeys(words[1:], zone))
    return found


class Firewall:
    """Runs a firewall's commands for one call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Speak for this call."""
        self.module = module

    def run(self, argv: list[str]) -> str:
        """Run a command that must succeed."""
        rc, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
        if rc != 0:
            self.module.fail_json(msg=f"{' '.join(argv)} failed: {(err or out).strip()}")
        return out

    def succeeds(self, argv: list[str]) -> bool:
        """Return whether a query succeeds."""
        return self.module.run_command(argv)[0] == 0

    def open_ufw(self, allowed: list[Opening], pod_cidr: str) -> list[str]:
        """Add the rules that ufw does not list."""
        listed = self.run(["ufw", "show", "added"])
        known = {line.split(" comment ")[0] for line in listed.splitlines()}
        rules = ufw_rules(allowed, pod_cidr)
        wanted = [rule for rule in rules if " ".join(["ufw", *rule]) not in known]
        # A network that is named closes what was open to everyone.
        stale = [rule for rule in own_ufw_rules(listed) if rule not in rules]
        if not self.module.check_mode:
            # The last that was added goes first.
            remember("undo", [in_ufws_words(["ufw", "--force", "delete", *rule]) for rule in reversed(wanted)])
            for rule in wanted:
                self.run(["ufw", *rule, "comment", COMMENT])
            for rule in stale:
                argv = in_ufws_words(["ufw", "--force", "delete", *rule])
                self.run(argv)
                forget("undo", [argv])
        return [f"add to ufw: {' '.join(rule)}" for rule in wanted] + [
            f"remove from ufw: {' '.join(rule)}" for rule in stale
        ]

    def open_firewalld(self, allowed: list[Opening], pod_cidr: str) -> list[str]:
        """Add what firewalld lacks, to its runtime and its permanent configuration."""
        added = []
        options = firewalld_options(allowed, pod_cidr, self._zones({one.source for one in allowed} - {""}))
        values: dict[tuple[str, str], list[str]] = {}
        for zone, kind, value in options:
            values.setdefault((zone, kind), []).append(value)
        for (zone, kind), wanted in values.items():
            for lasting in ([], ["--permanent"]):
                argv = ["firewall-cmd", *lasting, *([f"--zone={zone}"] if zone else [])]
                missing = self._missing(argv, kind, wanted)
                added += [
                    f"add to firewalld: {' '.join(filter(None, [zone, kind, value, *lasting]))}" for value in missing
                ]
                if missing and not self.module.check_mode:
                    self._add(argv, kind, missing)
        return added + self._close_firewalld(options)

    def _missing(self, argv: list[str], kind: str, values: list[str]) -> list[str]:
        """Return those of the values that firewalld does not have, by one program where it answers for each.

        To several questions it prints a line `VALUE: yes` or `VALUE: no` for each, in their order; one that it does
        not understand has no line, and is asked by itself, as a single one is: by the exit code (firewall-cmd 1.3).
        """
        if len(values) > 1:
            queries = [f"--query-{kind}={value}" for value in values]
            _, out, _ = self.module.run_command([*argv, *queries], environ_update={"LC_ALL": "C"})
            answers = [line.rpartition(": ")[2] for line in out.splitlines()]
            if len(answers) == len(values) and set(answers) <= {"yes", "no"}:
                return [value for value, answer in zip(values, answers) if answer == "no"]
        return [value for value in values if not self.succeeds([*argv, f"--query-{kind}={value}"])]

    def _add(self, argv: list[str], kind: str, values: list[str]) -> None:
        """Add values of one kind; look afterwards, as several at once succeed where one of them does."""
        if "--permanent" in argv:
            firewalld_zones.keep()
        remember("undo", [[*argv, f"--remove-{kind}={value}"] for value in values])
        command = [*argv, *(f"--add-{kind}={value}" for value in values)]
        self.run(command)
        if len(values) > 1 and (refused := self._missing(argv, kind, values)):
            self.module.fail_json(msg=f"{' '.join(argv)} did not add {kind} {', '.join(refused)}")

    def _zones(self, networks: t.Iterable[str]) -> dict[str, str]:
        """Return the zone that packets of each network meet: one of a source, or that of the interface they come by."""
        active = active_zones(self.run(["firewall-cmd", "--get-active-zones"]))
        default = self.run(["firewall-cmd", "--get-default-zone"]).strip()
        bound = {
            ipaddress.ip_network(place, strict=False): zone
            for place, zone in active.items()
            if re.fullmatch(r"[\d.]+(/[\d.]+)?", place)
        }
        _, out, _ = self.module.run_command(["ip", "-o", "address", "show"])
        rows = (line.split() for line in out.splitlines())
        # NUMBER: INTERFACE FAMILY ADDRESS/PREFIX …
        addresses = [(ipaddress.ip_interface(row[3]).ip, row[1]) for row in rows if row[2:3] in (["inet"], ["inet6"])]
        zones = {}
        for network in networks:
            own = ipaddress.ip_network(network, strict=False)
            of_source = [zone for place, zone in bound.items() if _holds(place, own)]
            here = [interface for address, interface in addresses if interface in active and address in own]
            zone = of_source[0] if of_source else active.get(here[0] if here else self._towards(own), default)
            zones[network] = "" if zone == default else zone
        return zones

    def _towards(self, network: Network) -> str:
        """Return the interface that leads to a network."""
        _, out, _ = self.module.run_command(["ip", "-o", "route", "get", str(next(iter(network.hosts())))])
        words = out.split()
        return words[words.index("dev") + 1] if "dev" in words[:-1] else ""

    def _close_firewalld(self, wanted: list[tuple[str, str, str]]) -> list[str]:
        """Remove what was added to firewalld in former runs and is no longer wanted; rules have no comment there."""
        options = {(f"--zone={zone}" if zone else "", f"--remove-{kind}={value}") for zone, kind, value in wanted}
        removed = []
        for argv in read_changes()["undo"]:
            option = argv[-1]
            zone = next((word for word in argv if word.startswith("--zone=")), "")
            if argv[0] != "firewall-cmd" or (zone, option) in options or not option.startswith("--remove-"):
                continue
            if self.succeeds(question(argv)):
                removed.append(f"remove from firewalld: {' '.join([*argv[1:-1], option.removeprefix('--remove-')])}")
                if not self.module.check_mode:
                    self.run(argv)
                    forget("undo", [argv])
        return removed

    def turn_off(self, firewall: str) -> list[str]:
        """Turn the firewall off, now and at boot."""
        off, on = SWITCHES[firewall]
        if not self.module.check_mode:
            remember("undo", [on])
            self.run(off)
        return [f"turn {firewall} off"]


def open_firewall(module: AnsibleModule, active: str, wanted: t.Mapping[str, t.Any]) -> list[str]:
    """Bring the active firewall to what is wanted, unless the module only looks; return what that takes."""
    if not active or wanted["state"] == "leave":
        return []
    firewall = Firewall(module)
    if wanted["state"] == "off":
        return firewall.turn_off(active)
    allowed = openings(wanted)
    add = firewall.open_ufw if active == "ufw" else firewall.open_firewalld
    return add(allowed, wanted["pod_cidr"])
