# SPDX-License-Identifier: Apache-2.0
"""What `nft -j list table` prints, as tables through which a packet can be followed (libnftables-json(5))."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.packet_trace import Chain, Packet, Rule, Table, Verdict, is_in

Json = dict[str, t.Any]
OTHER = object()  # of a packet that has no such field: the condition does not hold, negated or not
VERDICTS = {"drop": "drop", "reject": "drop", "accept": "accept", "return": "return"}
MAYBE = Verdict("maybe")
UNJUDGED = ("limit", "quota", "ct count", "xt", "queue", "meter", "fib")  # statements that may end a rule


def tables_of(listing: t.Iterable[Json]) -> list[Table]:
    """Return the tables of a listing, whose entries each have one key."""
    tables: dict[tuple[str, str], Table] = {}
    sets: dict[tuple[str, str], dict[str, t.Any]] = {}
    entries = [next(iter(entry.items())) for entry in listing]
    for kind, one in entries:
        if kind == "set":
            sets.setdefault((one["family"], one["table"]), {})[one["name"]] = one.get("elem", [])
    for kind, one in entries:
        if kind == "chain":
            place = (one["family"], one["table"])
            table = tables.setdefault(place, Table(" ".join(place), {}))
            hook, policy = one.get("hook", ""), one.get("policy", "accept")
            undo = f"nft chain {table.name} {one['name']} '{{ policy accept ; }}'"
            table.chains[one["name"]] = Chain(one["name"], hook if one.get("type") != "nat" else "", policy, undo)
    for kind, one in entries:
        place = (str(one.get("family")), str(one.get("table")))
        if kind == "rule" and place in tables and one["chain"] in tables[place].chains:
            tables[place].chains[one["chain"]].rules.append(_rule(one, sets.get(place, {})))
    return list(tables.values())


def _rule(one: Json, sets: t.Mapping[str, t.Any]) -> Rule:
    # One that libnftables has no JSON for is a bare string, and may be a condition.
    statements: list[Json] = [each if isinstance(each, dict) else {"xt": each} for each in one.get("expr", [])]
    counters = [each["counter"] for each in statements if isinstance(each.get("counter"), dict)]
    packets = int(counters[0]["packets"]) if counters else None
    place = f"{one['family']} {one['table']} {one['chain']} handle {one['handle']}"
    return Rule(
        lambda packet: _judge(statements, sets, packet), f"handle {one['handle']}", f"nft delete rule {place}", packets
    )


def _judge(statements: list[Json], sets: t.Mapping[str, t.Any], packet: Packet) -> Verdict | None:
    doubt = False
    for statement in statements:
        kind, given = next(iter(statement.items()))
        verdict: Verdict | None = None
        if kind == "match":
            held = _matches(given, sets, packet)
            if held is False:
                return None
            doubt = doubt or held is None
        elif kind == "vmap":
            verdict = _mapped(given, sets, packet)
        elif kind in UNJUDGED:
            doubt = True
        elif kind in VERDICTS or kind in ("jump", "goto"):
            verdict = _verdict(statement)
        if verdict:
            return (None if verdict.name == "drop" else MAYBE) if doubt else verdict
    return None


def _verdict(statement: Json) -> Verdict | None:
    kind, given = next(iter(statement.items()))
    if kind in VERDICTS:
        return Verdict(VERDICTS[kind])
    return Verdict(kind, str(given["target"])) if kind in ("jump", "goto") else None


def _mapped(vmap: Json, sets: t.Mapping[str, t.Any], packet: Packet) -> Verdict | None:
    """Return the verdict of a map that stands in the rule itself."""
    value = _value(vmap.get("key"), packet)
    if value is None or isinstance(vmap.get("data"), str):
        return MAYBE  # by what is not known, or in a map that stands elsewhere
    data = vmap.get("data")
    for pair in data.get("set", []) if isinstance(data, dict) else []:
        if value is not OTHER and _is_one_of(value, pair[0], sets):
            return _verdict(pair[1])
    return None


def _matches(match: Json, sets: t.Mapping[str, t.Any], packet: Packet) -> bool | None:
    """Say whether a packet fulfils a condition; None where that cannot be said."""
    value, op, right = _value(match.get("left"), packet), match.get("op"), match.get("right")
    if value is None or value is OTHER:
        return None if value is None else False
    if op in ("<", ">", "<=", ">="):
        if not isinstance(value, int) or not isinstance(right, int):
            return None
        return {"<": value < right, ">": value > right, "<=": value <= right, ">=": value >= right}[op]
    known = _is_one_of(value, right, sets)
    return None if known is None else known != (op == "!=")


def _value(left: t.Any, packet: Packet) -> t.Any:
    """Return what a packet has there: None where that is not known."""
    kind, given = next(iter(left.items())) if isinstance(left, dict) else ("", {})
    if kind == "payload":
        return _payload(str(given.get("protocol")), str(given.get("field")), packet)
    if kind == "meta":
        links = {"iifname": packet.iif, "iif": packet.iif, "oifname": packet.oif, "oif": packet.oif}
        known = {"l4proto": packet.protocol, "protocol": "ip", "nfproto": "ipv4"}
        return {**links, **known}.get(str(given.get("key"))) or None
    return packet.state if kind == "ct" and given.get("key") == "state" else None


def _payload(protocol: str, field: str, packet: Packet) -> t.Any:
    if protocol == "ip":
        return {"saddr": packet.source, "daddr": packet.target, "protocol": packet.protocol}.get(field)
    if protocol in ("tcp", "udp", "th") and field in ("dport", "sport"):
        if protocol not in (packet.protocol, "th"):
            return OTHER
        return (packet.port if field == "dport" else packet.from_port) or None
    return OTHER if protocol in ("ip6", "icmp", "icmpv6", "sctp", "dccp", "arp") else None


def _is_one_of(value: t.Any, right: t.Any, sets: t.Mapping[str, t.Any]) -> bool | None:
    """Say whether a value is, or lies in, what a condition compares it with; None where that cannot be said."""
    if isinstance(right, str) and right.startswith("@"):
        right = sets.get(right[1:])
    if right is None:
        return None
    if isinstance(right, list):
        return any(_is_one_of(value, one, sets) for one in right)
    if isinstance(right, dict):
        return _is_within(value, *next(iter(right.items())), sets)
    if isinstance(right, str) and right.endswith("*"):
        return str(value).startswith(right[:-1])
    return str(value) == str(right)


def _is_within(value: t.Any, kind: str, given: t.Any, sets: t.Mapping[str, t.Any]) -> bool | None:
    if kind == "prefix":
        return is_in(str(value), f"{given['addr']}/{given['len']}")
    if kind == "range":
        return _between(value, *given)
    inner = {"set": given, "elem": given.get("val") if isinstance(given, dict) else None}.get(kind)
    return _is_one_of(value, inner, sets)


def _between(value: t.Any, first: t.Any, last: t.Any) -> bool | None:
    if isinstance(value, int) and isinstance(first, int) and isinstance(last, int):
        return first <= value <= last
    try:
        numbers = [tuple(int(part) for part in str(one).split(".")) for one in (first, value, last)]
    except ValueError:
        return None
    return numbers[0] <= numbers[1] <= numbers[2]
