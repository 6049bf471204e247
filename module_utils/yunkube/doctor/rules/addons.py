# SPDX-License-Identifier: Apache-2.0
"""Objects of CoreDNS and kube-proxy that differ from what kubeadm declares.

People may change most of them, as long as they work. So a change is a cause only where a pod itself says so: the image
that it names is not pulled, a program refuses the value, no node has what it asks for.
"""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import FAILING, PULLS
from ansible.module_utils.yunkube.doctor.rules.images import PULLING
from ansible.module_utils.yunkube.doctor.rules.objects import difference, dns_places, restored
from ansible.module_utils.yunkube.doctor.rules.pods import place, troubled
from ansible.module_utils.yunkube.doctor.rules.services import proxy_down
from ansible.module_utils.yunkube.doctor.rules.symptoms import dns_not_ready

# Objects that people may change as long as it works, and whose pods they are. Service kube-dns is none of them: of it,
# only what cannot be otherwise is compared.
ALLOWED = {
    "DaemonSet kube-system/kube-proxy": "kube-proxy",
    "ConfigMap kube-system/kube-proxy": "kube-proxy",
    "Deployment kube-system/coredns": "coredns",
}
WORD = re.compile(r"[\w./:-]{3,}")
# How programs refuse a value anywhere; what one host's kernel lacks is worded otherwise.
REFUSED = re.compile(r"[Ii]nvalid|[Uu]nknown|[Uu]nmarshal|not defined|no such file|executable file not found")
# Words of the scheduler, and the fields that they are about.
UNPLACED = {
    r"Insufficient (?P<name>[\w./-]+)": r"\.resources(?:\.requests(?:\.{name})?)?$",
    r"node affinity/selector": r"\.(?:nodeSelector|affinity)\b",
    r"untolerated taint": r"\.tolerations\b",
    r"free ports": r"\.(?:ports|hostNetwork)\b",
}


def own_pods(facts: Facts, addon: str) -> list[Json]:
    """Return the pods of an addon that have a problem."""
    pods = [pod for pod in facts.cluster.pods if pod["name"].startswith(f"{addon}-") and pod["system"]]
    return [pod for pod in pods if pod["problem"] and not pod["leaving"]]


def values(field: str, said: str) -> tuple[str, str]:
    """Return what a field is and what it is declared to be, as a difference says it."""
    found = re.match(r" (?:is|has) (.*), declared is (.*)$", said[len(field) :], re.DOTALL)
    return (found[1], found[2]) if found else ("", "")


def words(text: str) -> set[str]:
    """Return the words of a text, without marks at their ends."""
    return {word.strip(":.,") for word in WORD.findall(text)}


def shows(facts: Facts, pod: Json, field: str, said: str) -> str:
    """Return what a pod says that shows that it fails because of a field; nothing if it does not."""
    there, wanted = values(field, said)
    if field.endswith(".image"):
        return f"{place(pod)}: {pod['problem']}" if pod["reason"] in PULLING and there in pod["images"] else ""
    for pattern, about in UNPLACED.items():
        if found := re.search(pattern, pod["unplaced"]):
            named = {key: re.escape(value) for key, value in found.groupdict().items()}
            if re.search(about.format(**named), field):
                return f"{place(pod)}: {pod['unplaced']}"
    logs = [line for host in facts.reached for one in host.containers or [] if one["pod"] == pod["name"]
            for line in one["last"]]  # fmt: skip
    other = words(there) - words(wanted)
    for line in (*logs, pod["message"], *pod["warnings"]):
        if REFUSED.search(line) and other & words(line):
            return f"{place(pod)}: {line}"
    return ""


def shown_by(facts: Facts, one: Json) -> dict[str, str]:
    """Return what shows that an object's difference is why pods fail, by their place."""
    found: dict[str, str] = {}
    for pod in own_pods(facts, ALLOWED[one["name"]]):
        for field, said in zip(one["fields"], one["said"]):
            if line := shows(facts, pod, field, said):
                found.setdefault(place(pod), line)
    return found


def concerned(facts: Facts, addon: str) -> tuple[str, ...]:
    """Return what findings about an addon are at."""
    if addon == "coredns":
        return dns_places(facts)
    pods = [place(pod) for pod in own_pods(facts, addon)]
    return ("kube-proxy", "kube-system/kube-proxy", *pods, *(hit.host for hit in proxy_down(facts)))


def addon_changed(facts: Facts) -> t.Iterator[Hit]:
    """Objects of CoreDNS and kube-proxy whose change is why they fail."""
    for one in facts.cluster.changed:
        addon = ALLOWED.get(one["name"], "coredns")
        lines = shown_by(facts, one) if one["name"] in ALLOWED else {}
        if lines or one["name"] not in ALLOWED:
            evidence = [*difference(one), *[*lines.values()][:2]]
            images = [image for pod in own_pods(facts, addon) if place(pod) in lines for image in pod["images"]]
            at = (*concerned(facts, addon), *images)
            yield Hit("", evidence, one["name"], restored(facts, one["name"], addon), at=at)


ADDON_OBJECT_CHANGED = Rule(
    "addon-object-changed",
    title="An object of CoreDNS or kube-proxy was changed so that it cannot work",
    looks="A pod says that it fails because of the changed field, or Service kube-dns has another selector, address or "
    "port than pods rely on. What was changed and works is not reported.",
    proof=addon_changed,
    remedy=f"on a master: kubeadm init phase addon {{addon}} {BY_HAND}",
    severity="critical",
    before=(
        *("corefile-broken", "kube-proxy-down", "pod-without-room", "node-selector-unmatched", "node-tainted"),
        *(
            "host-port-conflict",
            "bundle-image-missing",
            "cluster-dns-unreachable",
            "coredns-differs",
            "kube-proxy-differs",
        ),
        *(*PULLS, *FAILING),
    ),
    scope="all",
    repair="restore_objects",
    safe=True,
    weight=3,
    on_master=True,
)


def dns_fails(facts: Facts) -> bool:
    """Say whether CoreDNS has no pod that answers, or one that fails on a node that is ready, or that finds none."""
    pods = [pod for pod in own_pods(facts, "coredns") if troubled(pod)]
    known = {node["name"] for node in facts.cluster.nodes if node["ready"]} | {""}
    return any(pod["node"] in known for pod in pods) or any(True for _ in dns_not_ready(facts))


def differing(facts: Facts, addon: str, why: t.Sequence[str]) -> t.Iterator[Hit]:
    """Objects of an addon that differ where it fails, and nothing shows that it is why."""
    for one in facts.cluster.changed:
        if ALLOWED.get(one["name"]) == addon and not shown_by(facts, one):
            evidence = [*difference(one), *why, f"nothing shows that {addon} fails because of this"]
            repair = restored(facts, one["name"], addon)
            yield Hit("", evidence, one["name"], repair, at=concerned(facts, addon))


COMPARE = (
    "The difference may be the cause, or a person's choice that has nothing to do with it: compare it with the pods' "
)
UNDO = (
    f"find the cause in the pods' logs; to undo the change, on a master: kubeadm init phase addon {{addon}} {BY_HAND}"
)


def dns_differs(facts: Facts) -> t.Iterator[Hit]:
    """CoreDNS's Deployment where it differs, and CoreDNS fails."""
    if dns_fails(facts):
        pods = own_pods(facts, "coredns")
        yield from differing(facts, "coredns", [f"{place(pod)}: {pod['problem']}" for pod in pods[:2]])


COREDNS_DIFFERS = Rule(
    "coredns-differs",
    title="CoreDNS fails, and its Deployment differs from its declaration",
    looks=f"CoreDNS's pods do not run, and no known fault explains it. {COMPARE}logs before the repair.",
    proof=dns_differs,
    remedy=UNDO,
    before=FAILING,
    scope="all",
    repair="restore_objects",
    weight=3,
    on_master=True,
)


def proxy_differs(facts: Facts) -> t.Iterator[Hit]:
    """Objects of kube-proxy that differ, where it fails."""
    down = [hit for hit in proxy_down(facts) if facts.cluster.node(hit.host.lower()).get("ready")]
    if down:
        yield from differing(facts, "kube-proxy", [f"{hit.host}: {line}" for hit in down[:2] for line in hit.evidence])


KUBE_PROXY_DIFFERS = Rule(
    "kube-proxy-differs",
    title="kube-proxy fails, and an object of it differs from its declaration",
    looks=f"kube-proxy does not run on a host whose node is ready. {COMPARE}logs before the repair, which undoes it on "
    "all hosts, those where it works included.",
    proof=proxy_differs,
    remedy=UNDO,
    before=("kube-proxy-down", *FAILING),
    scope="all",
    repair="restore_objects",
    weight=3,
    on_master=True,
)
