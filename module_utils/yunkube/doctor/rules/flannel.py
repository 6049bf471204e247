# SPDX-License-Identifier: Apache-2.0
"""flannel: its network, the ranges of nodes, and the file that it writes for the CNI plugin."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import FLANNEL, FLANNEL_FILES, NODE, PODS
from ansible.module_utils.yunkube.doctor.rules.network import link_of
from ansible.module_utils.yunkube.doctor.rules.pods import WAIT, troubled

KEYS = ("FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU")
SUBNET_ENV = "/run/flannel/subnet.env"
OVERHEAD = {"vxlan": 50, "host-gw": 0}
FLANNEL_RESTART = "delete {host}'s pod of kube-flannel: it writes the missing files at start"


def _within(range_: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    part = ipaddress.ip_network(range_)
    return part.version == network.version and part.subnet_of(network)  # type: ignore[arg-type]


def net_conf(facts: Facts) -> t.Iterator[Hit]:
    """A network of flannel that does not contain the nodes' ranges."""
    if not facts.cluster.answers or not facts.cluster.workloads.get("kube-flannel-ds", {}).get("there"):
        return
    wanted = next((host.options["cluster-cidr"] for host in facts.masters if "cluster-cidr" in host.options), "")
    known = [one["manifest"] for one in facts.cluster.declared if one["name"].endswith("/kube-flannel-cfg")]
    arguments = {"network": wanted, **({"manifest": known[0]} if known else {})}
    if problem := facts.cluster.net_conf.get("problem"):
        yield Hit("", [problem], "kube-flannel/kube-flannel-cfg", arguments)
        return
    network = ipaddress.ip_network(facts.cluster.net_conf["Network"], strict=False)
    outside = [node for node in facts.cluster.nodes if node["pod_cidr"] and not _within(node["pod_cidr"], network)]
    if outside:
        evidence = [f"net-conf.json: Network {network}"]
        evidence += [f"node {node['name']}: podCIDR {node['pod_cidr']}" for node in outside[:3]]
        yield Hit("", evidence, "kube-flannel/kube-flannel-cfg", arguments)


NET_CONF_DIFFERS = Rule(
    "net-conf-differs",
    title="flannel's network differs from the cluster CIDR of the nodes",
    looks="flanneld exits with `subnet … does not belong to …` at its next start, and subnet.env is not written.",
    proof=net_conf,
    remedy="set Network in ConfigMap kube-flannel/kube-flannel-cfg to kube-controller-manager's --cluster-cidr, "
    "{network}",
    severity="critical",
    before=(*FLANNEL, "subnet-env-wrong", "pod-path-broken", *NODE),
    scope="all",
    repair="set_net_conf",
    safe=True,
    weight=2,
    on_master=True,
)


def no_pod_cidr(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that were given no range of addresses for their pods."""
    allocates = [host.options.get("allocate-node-cidrs") for host in facts.masters]
    for node in facts.cluster.nodes:
        if not node["pod_cidr"]:
            evidence = [f"node {node['name']} has no podCIDR"]
            evidence += [f"kube-controller-manager: --allocate-node-cidrs={said or '(not set)'}" for said in allocates]
            yield Hit(facts.host_of(node["name"]), evidence, node["name"])


NODE_WITHOUT_POD_CIDR = Rule(
    "node-without-pod-cidr",
    title="The node has no podCIDR",
    looks="flanneld exits with `node … pod cidr not assigned`, and subnet.env is not written.",
    proof=no_pod_cidr,
    remedy="run kube-controller-manager with --allocate-node-cidrs=true and a --cluster-cidr with free ranges",
    before=(*FLANNEL, "cloud-route-missing", *NODE),
)


def flannel_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """Hosts on which flanneld is not healthy."""
    for host in facts.reached:
        for pod in facts.pods_on(host.name, "kube-flannel"):
            if troubled(pod):
                said = [line for one in host.containers or [] if one["pod"] == pod["name"] for line in one["last"]]
                yield Hit(host.host, [f"pod {pod['name']}: {pod['problem']}", *pod["warnings"][-1:], *said[-2:]])


FLANNEL_NOT_READY = Rule(
    "flannel-not-ready",
    title="flanneld is not healthy",
    looks="The node's pods have no network.",
    proof=flannel_not_ready,
    remedy="check its last log: {command}",
    call="kubectl -- logs -n kube-flannel ds/kube-flannel-ds --all-pods",
    before=(*FLANNEL_FILES, "pod-path-broken", *NODE),
    symptom=True,
)


def truth(facts: Facts, host: HostFacts) -> dict[str, str]:
    """Return what subnet.env should say: from the node's range, flannel's network and the link."""
    node = facts.cluster.node(host.name)
    configured = facts.cluster.net_conf
    if not node.get("pod_cidr") or "Network" not in configured:
        return {}
    range_ = ipaddress.ip_network(node["pod_cidr"])
    found = {"FLANNEL_NETWORK": configured["Network"], "FLANNEL_SUBNET": f"{range_[1]}/{range_.prefixlen}"}
    backend = configured.get("Backend", {})
    _, mtu = link_of(facts, host)
    if mtu and backend.get("Type") in OVERHEAD and "MTU" not in backend:
        found["FLANNEL_MTU"] = str(mtu - OVERHEAD[backend["Type"]])
    return found


def subnet_env_missing(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without the file that the CNI plugin reads."""
    for host in facts.reached:
        pods = facts.pods_on(host.name, "kube-flannel")
        fresh = any(pod["age"] < WAIT and pod["problem"] for pod in pods)
        if host.joined and host.subnet_env is None and facts.cluster.node(host.name) and not fresh:
            health = f"flanneld says {host.probes.get('flanneld')}"
            yield Hit(host.host, [f"{SUBNET_ENV} is not there", health], SUBNET_ENV, {"truth": truth(facts, host)})


SUBNET_ENV_MISSING = Rule(
    "subnet-env-missing",
    title="/run/flannel/subnet.env is missing",
    looks="Pods stay in ContainerCreating: `open /run/flannel/subnet.env: no such file or directory`.",
    proof=subnet_env_missing,
    remedy=FLANNEL_RESTART,
    before=NODE,
    repair="restart_flannel",
    safe=True,
    link="https://github.com/flannel-io/flannel/blob/master/Documentation/troubleshooting.md",
)


def subnet_env_misspelled(facts: Facts) -> t.Iterator[Hit]:
    """Files that were written by hand, and misspell a key."""
    for host in facts.reached:
        told = host.subnet_env or {}
        missing = [key for key in KEYS if key not in told]
        strange = [key for key in told if key not in (*KEYS, "FLANNEL_IPMASQ") and not key.startswith("FLANNEL_IPV6")]
        if host.subnet_env is not None and missing:
            evidence = [f"{SUBNET_ENV} has no {', '.join(missing)}"]
            evidence += [f"it has {', '.join(strange)}, which nothing reads"] if strange else []
            yield Hit(host.host, evidence, SUBNET_ENV, {"truth": truth(facts, host)})


SUBNET_ENV_MISSPELLED = Rule(
    "subnet-env-misspelled",
    title="/run/flannel/subnet.env has a missing or misspelled key",
    looks="Pods stay in ContainerCreating: `failed to load flannel 'subnet.env' file`.",
    proof=subnet_env_misspelled,
    remedy=FLANNEL_RESTART,
    before=("subnet-env-wrong", *NODE),
    repair="restart_flannel",
    safe=True,
)


def subnet_env_wrong(facts: Facts) -> t.Iterator[Hit]:
    """Files that do not match the cluster."""
    for host in facts.reached:
        wanted, told = truth(facts, host), host.subnet_env or {}
        wrong = [key for key, value in wanted.items() if key in told and told[key] != value]
        if wrong:
            evidence = [f"{SUBNET_ENV}: {key}={told[key]}, the cluster says {wanted[key]}" for key in wrong]
            yield Hit(host.host, evidence, SUBNET_ENV, {"truth": wanted})


SUBNET_ENV_WRONG = Rule(
    "subnet-env-wrong",
    title="/run/flannel/subnet.env does not match the cluster",
    looks="New pods get unroutable addresses, or lose large packets.",
    proof=subnet_env_wrong,
    remedy=FLANNEL_RESTART,
    before=("bridge-address-wrong", "pod-path-broken", *PODS),
    repair="restart_flannel",
    safe=True,
)
