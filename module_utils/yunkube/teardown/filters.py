# SPDX-License-Identifier: Apache-2.0
"""The cluster's part of the packet filter: chains, rules that jump to them, and tables that iptables made for it."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible.module_utils.yunkube.host import state as host_state

FILTERS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")
# Tables and chains that iptables makes in nftables when it writes its first rule, and leaves.
NFT_TABLES = ("filter", "nat", "mangle", "raw", "security")
# Chains that all CNI networks of a host share; a rule in them may say whose it is.
SHARED = "CNI-HOSTPORT-"
TARGET = re.compile(r'"target": "([^"]+)"')  # of a rule as nft's JSON has it
NETWORK = re.compile(r'name: "([^"]+)"')

Chain = tuple[str, str]  # table, name


def known_chains(program: str, firewall: t.Iterable[str]) -> set[Chain]:
    """Return the chains that a record of the packet filter names, as this program would."""
    found: set[Chain] = set()
    family = "ip6" if program.startswith("ip6") else "ip"
    for line in firewall:
        words = line.split(" ", 4)
        if program.endswith("-nft") and words[:3] == ["nft", "chain", family]:
            name = re.search(r'"name": "([^"]+)"', words[4])
            found.add((words[3], name[1] if name else ""))
        elif program.endswith("-legacy") and words[0] == "iptables" and words[2].startswith(":"):
            found.add((words[1], words[2][1:]))
    return found


def without_chains(saved: str, prefixes: t.Sequence[str], known: t.Container[Chain] = (), network: str = "cbr0") -> str:
    """Return what iptables-restore --noflush needs to remove the chains, out of what iptables-save said.

    Chains that are known from before stay, and those with rules for another CNI network than the cluster's.
    """
    script: list[str] = []
    for table, lines in _tables(saved):
        rules = [(line, shlex.split(line, comments=True)) for line in lines if line.startswith("-A ")]
        chains = [line[1:].split()[0] for line in lines if line.startswith(":")]
        stay = {chain for chain in chains if (table, chain) in known}
        for _, words in rules:
            owner = NETWORK.search(" ".join(words))
            if owner and owner[1] != network:
                stay |= {words[1], _target(words)}
        if any(chain.startswith(SHARED) for chain in stay):
            stay |= {chain for chain in chains if chain.startswith(SHARED)}
        ours = [chain for chain in chains if chain.startswith(tuple(prefixes)) and chain not in stay]
        jumps = [f"-D {line[3:]}" for line, words in rules if words[1] not in ours and _target(words) in ours]
        if jumps or ours:
            # All are emptied before the first is removed: they jump to each other.
            removals = [*jumps, *(f"-F {chain}" for chain in ours), *(f"-X {chain}" for chain in ours)]
            script += [f"*{table}", *removals, "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def _tables(saved: str) -> list[tuple[str, list[str]]]:
    """Return the lines of each table."""
    tables: list[tuple[str, list[str]]] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            tables.append((line[1:], []))
        elif tables:
            tables[-1][1].append(line)
    return tables


def _target(words: list[str]) -> str:
    for option in ("-j", "-g"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


FIREWALLD = re.compile(r'nft (chain|rule) (\S+) firewalld (?:\{.*"name": "([^"]+)".*\}|(\S+) .*)')


def without_idle_zones(now: list[str], before: t.Container[str]) -> list[str]:
    """Leave out new chains of firewalld that no rule leads to, with their rules.

    It keeps those of a zone that has lost its last network until it is reloaded, which would drop what others have
    told it for now alone.
    """
    rules: dict[Chain, list[str]] = {}
    idle: set[Chain] = set()
    places: dict[str, Chain] = {}
    for line in now:
        found = FIREWALLD.fullmatch(line)
        if found:
            places[line] = (found[2], found[3] or found[4])
            if found[1] == "rule":
                rules.setdefault(places[line], []).append(line)
            elif line not in before and '"hook"' not in line:
                idle.add(places[line])
    reached = [chain for chain in rules if chain not in idle]
    for family, chain in reached:
        targets = {(family, name) for line in rules.get((family, chain), []) for name in TARGET.findall(line)}
        reached += sorted(targets & idle)
        idle -= targets
    return [line for line in now if places.get(line) not in idle]


def chains_of(script: str) -> list[str]:
    """Return the chains that such a script removes."""
    return [line[3:] for line in script.splitlines() if line.startswith("-X ")]


def nft_leftovers(ruleset: list[host_state.Json], before: t.Container[str]) -> list[list[str]]:
    """Return what nft is asked to delete: built-in chains and tables of iptables, empty and not there before."""
    used, own_chains, kept = set(), [], set()
    for entry in ruleset:
        ((kind, about),) = entry.items()
        if kind == "metainfo":
            continue
        table = (about["family"], about["name"] if kind == "table" else about["table"])
        if kind == "rule":
            used.add((*table, about["chain"]))
        elif kind == "chain" and "hook" in about and about.get("policy") == "accept" and table[1] in NFT_TABLES:
            own_chains.append((*table, about["name"], host_state.nft_lines([entry])[0]))
        elif kind != "table" or host_state.nft_lines([entry])[0] in before or table[1] not in NFT_TABLES:
            kept.add(table)
    chains = [chain[:3] for chain in own_chains if chain[3] not in before and chain[:3] not in used]
    kept |= {table[:2] for table in used} | {chain[:2] for chain in own_chains if chain[:3] not in chains}
    tables = dict.fromkeys((about["table"]["family"], about["table"]["name"]) for about in ruleset if "table" in about)
    gone = [table for table in tables if table not in kept]
    commands = [["delete", "chain", *chain] for chain in chains if chain[:2] not in gone]
    return commands + [["delete", "table", *table] for table in gone]
