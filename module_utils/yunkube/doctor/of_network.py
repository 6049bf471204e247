"""Faults of the network: what lets packets through, flannel, what the CNI plugin reads, kube-proxy."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts, Json
from ansible.module_utils.yunkube.doctor.fault import BY_HAND, FLANNEL, NODE, PODS, Fault, Hit

KEYS = ("FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU")
SUBNET_ENV = "/run/flannel/subnet.env"
OVERHEAD = {"vxlan": 50, "host-gw": 0}
BAD = ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RunContainerError")
WAIT = 30  # seconds that a pod may take to become ready


def troubled(pod: Json) -> bool:
    """Say whether a pod is more than on its way."""
    return (
        bool(pod["problem"]) and not pod["leaving"] and (pod["reason"] in BAD or min(pod["age"], pod["unready"]) > WAIT)
    )


def firewall(facts: Facts) -> t.Iterator[Hit]:
    """Rules that keep the cluster's ports shut."""
    for host in facts.reached:
        for drop in host.drops if host.joined else []:
            place = f"{drop['port']}/{drop['protocol']}"
            backend = facts.cluster.net_conf.get("Backend", {}).get("Type", "vxlan")
            if (drop["protocol"] == "udp" and backend != "vxlan") or not concerns(facts, host, drop.get("source", "")):
                continue
            yield Hit(host.host, [f"{place} is blocked by: {drop['rule']}"], place, {"undo": drop["undo"]})


def concerns(facts: Facts, host: HostFacts, source: str) -> bool:
    """Say whether a rule for packets from somewhere is one for another node."""
    others = [node["address"] for node in facts.cluster.nodes if node["name"] != host.name and node["address"]]
    if not source or not others:
        return True
    network = ipaddress.ip_network(source.removeprefix("!"), strict=False)
    return any((ipaddress.ip_address(other) in network) != source.startswith("!") for other in others)


def link_of(facts: Facts, host: HostFacts) -> tuple[str, int]:
    """Return the link that a host reaches the others by, and its MTU."""
    address = facts.cluster.node(host.name).get("address")
    for name, link in host.links.items():
        if any(address == one.partition("/")[0] for one in link["addresses"]):
            return name, int(link["mtu"])
    device = next((str(route["dev"]) for route in host.routes if route["dst"] == "default"), "")
    return device, int(host.links.get(device, {}).get("mtu", 0))


def mtu_differs(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose link carries less than that of the others."""
    found = {host.host: link_of(facts, host) for host in facts.reached}
    largest = max((mtu for _, mtu in found.values()), default=0)
    most = next((name for name, (_, mtu) in found.items() if mtu == largest), "")
    for name, (device, mtu) in found.items():
        if device and 0 < mtu < largest:
            evidence = [f"{device} of {name} carries {mtu} bytes", f"that of {most} {largest}"]
            yield Hit(name, evidence, device, {"link": device, "mtu": largest})


def net_conf(facts: Facts) -> t.Iterator[Hit]:
    """A network of flannel's that the nodes' ranges do not lie in."""
    if not facts.cluster.answers or not facts.cluster.workloads.get("kube-flannel-ds", {}).get("there"):
        return
    wanted = next((host.options["cluster-cidr"] for host in facts.masters if "cluster-cidr" in host.options), "")
    if problem := facts.cluster.net_conf.get("problem"):
        yield Hit("", [problem], "kube-flannel/kube-flannel-cfg", {"network": wanted})
        return
    network = ipaddress.ip_network(facts.cluster.net_conf["Network"], strict=False)
    outside = [node for node in facts.cluster.nodes if node["pod_cidr"] and not _within(node["pod_cidr"], network)]
    if outside:
        evidence = [f"net-conf.json: Network {network}"]
        evidence += [f"node {node['name']}: podCIDR {node['pod_cidr']}" for node in outside[:3]]
        yield Hit("", evidence, "kube-flannel/kube-flannel-cfg", {"network": wanted})


def _within(range_: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    part = ipaddress.ip_network(range_)
    return part.version == network.version and part.subnet_of(network)  # type: ignore[arg-type]


def no_pod_cidr(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that were given no range of addresses for their pods."""
    allocates = [host.options.get("allocate-node-cidrs") for host in facts.masters]
    for node in facts.cluster.nodes:
        if not node["pod_cidr"]:
            evidence = [f"node {node['name']} has no podCIDR"]
            evidence += [f"kube-controller-manager: --allocate-node-cidrs={said or '(not set)'}" for said in allocates]
            yield Hit(facts.host_of(node["name"]), evidence, node["name"])


def flannel_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """Hosts on which flanneld is not healthy."""
    for host in facts.reached:
        for pod in facts.pods_on(host.name, "kube-flannel"):
            if troubled(pod):
                said = [line for one in host.containers or [] if one["pod"] == pod["name"] for line in one["last"]]
                yield Hit(host.host, [f"pod {pod['name']}: {pod['problem']}", *pod["warnings"][-1:], *said[-2:]])


def healthy_flannel(facts: Facts, host: HostFacts) -> bool:
    """Say whether flanneld is well on a host, so that what it leaves can be judged."""
    node = facts.cluster.node(host.name)
    return host.probes.get("flanneld") == "ok" and bool(node.get("pod_cidr"))


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
    """Hosts without the file that the CNI plugin begins with."""
    for host in facts.reached:
        pods = facts.pods_on(host.name, "kube-flannel")
        fresh = any(pod["age"] < WAIT and pod["problem"] for pod in pods)
        if host.joined and host.subnet_env is None and facts.cluster.node(host.name) and not fresh:
            health = f"flanneld says {host.probes.get('flanneld')}"
            yield Hit(host.host, [f"{SUBNET_ENV} is not there", health], SUBNET_ENV, {"truth": truth(facts, host)})


def subnet_env_misspelled(facts: Facts) -> t.Iterator[Hit]:
    """Files that were written by hand, and name a key wrongly."""
    for host in facts.reached:
        told = host.subnet_env or {}
        missing = [key for key in KEYS if key not in told]
        strange = [key for key in told if key not in (*KEYS, "FLANNEL_IPMASQ") and not key.startswith("FLANNEL_IPV6")]
        if host.subnet_env is not None and missing:
            evidence = [f"{SUBNET_ENV} has no {', '.join(missing)}"]
            evidence += [f"it has {', '.join(strange)}, which nothing reads"] if strange else []
            yield Hit(host.host, evidence, SUBNET_ENV, {"truth": truth(facts, host)})


def subnet_env_wrong(facts: Facts) -> t.Iterator[Hit]:
    """Files that say something else than the cluster."""
    for host in facts.reached:
        wanted, told = truth(facts, host), host.subnet_env or {}
        wrong = [key for key, value in wanted.items() if key in told and told[key] != value]
        if wrong:
            evidence = [f"{SUBNET_ENV}: {key}={told[key]}, the cluster says {wanted[key]}" for key in wrong]
            yield Hit(host.host, evidence, SUBNET_ENV, {"truth": wanted})


def cni_config(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose first CNI configuration is missing or cannot be read."""
    for host in facts.reached:
        fresh = any(pod["age"] < WAIT and pod["problem"] for pod in facts.pods_on(host.name, "kube-flannel"))
        if not host.joined or fresh or not facts.cluster.node(host.name):
            continue
        first, found = next(iter(host.cni.items()), ("", {}))
        path = f"/etc/cni/net.d/{first or '10-flannel.conflist'}"
        if not first:
            yield Hit(host.host, ["/etc/cni/net.d holds no configuration"], path)
        elif found["problem"]:
            yield Hit(host.host, [f"{path} {found['problem']}"], path)


def cni_plugins(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a plugin that their configuration names."""
    for host in facts.reached:
        wanted: list[str] = next((one["plugins"] for one in host.cni.values() if not one["problem"]), [])
        for name in dict.fromkeys(wanted):
            path = f"/opt/cni/bin/{name}"
            if path not in host.modes:
                yield Hit(host.host, [f"{path} is not there"], path)


def cni_modes(facts: Facts) -> t.Iterator[Hit]:
    """Hosts with plugins that cannot be run."""
    for host in facts.reached:
        for path, mode in host.modes.items():
            if path.startswith("/opt/cni/bin/") and not int(mode, 8) & 0o100:
                yield Hit(host.host, [f"{path} has mode {mode}: it cannot be run"], path, {"path": path})


def link_missing(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose flannel.1 is gone or down."""
    if facts.cluster.net_conf.get("Backend", {}).get("Type") != "vxlan":
        return
    number = facts.cluster.net_conf["Backend"].get("VNI", 1)
    name = f"flannel.{number}"
    for host in facts.reached:
        if healthy_flannel(facts, host) and not host.links.get(name, {}).get("up"):
            state = "is down" if name in host.links else "is not there"
            yield Hit(host.host, [f"link {name} {state}, though flanneld runs"], name)


def lease_missing(facts: Facts) -> t.Iterator[Hit]:
    """Nodes on which flanneld's word of where it is was lost, as when a node is deleted and registers again."""
    for host in facts.reached:
        node = facts.cluster.node(host.name)
        fresh = any(pod["age"] < WAIT for pod in facts.pods_on(host.name, "kube-flannel"))
        if healthy_flannel(facts, host) and not node["lease"] and not fresh:
            evidence = f"node {node['name']} has no annotation flannel.alpha.coreos.com/public-ip, though flanneld runs"
            yield Hit(host.host, [evidence], node["name"], {"truth": truth(facts, host)})


def bridge_address(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose bridge has an address of another range than the node's."""
    for host in facts.reached:
        addresses = host.links.get("cni0", {}).get("addresses", [])
        wanted = truth(facts, host).get("FLANNEL_SUBNET")
        if addresses and wanted and wanted not in addresses:
            evidence = [f"cni0 has {', '.join(addresses)}", f"the node's range wants {wanted}"]
            yield Hit(host.host, evidence, "cni0", {"link": "cni0", "address": wanted})


def route_missing(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a route to the pods of another node."""
    if facts.cluster.net_conf.get("Backend", {}).get("Type") not in OVERHEAD:
        return
    for host in facts.reached:
        ways = {route["dst"] for route in host.routes}
        for node in facts.cluster.nodes if healthy_flannel(facts, host) else []:
            other = next((one for one in facts.reached if one.name == node["name"]), None)
            steady = other is not None and other is not host and healthy_flannel(facts, other) and node["ready"]
            if steady and node["pod_cidr"] not in ways:
                yield Hit(host.host, [f"no route to {node['pod_cidr']}, the pods of {node['name']}"], node["pod_cidr"])


def proxy_down(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a kube-proxy that is well."""
    for host in facts.reached:
        probe = host.probes.get("kube-proxy", "")
        if probe in ("", "ok") or not host.joined or not facts.cluster.node(host.name) or host.containers is None:
            continue
        found = next((one for one in host.containers if one["name"] == "kube-proxy"), None)
        pods = facts.pods_on(host.name, "kube-system", "kube-proxy")
        if any(pod["leaving"] or (pod["age"] < WAIT and pod["reason"] not in BAD) for pod in pods):
            continue
        if found and found["state"] == "running" and host.now - found["made"] < WAIT:
            continue
        evidence = [f"kube-proxy does not answer: {probe}"]
        evidence += [f"pod {pod['name']}: {pod['problem'] or 'ready'}" for pod in pods] or ["there is no pod of it"]
        selector = facts.cluster.workloads.get("kube-proxy", {}).get("selector", {})
        if not pods and set(selector) - {"kubernetes.io/os"}:
            evidence.append(f"its DaemonSet wants nodes with {selector}")
        yield Hit(host.host, evidence + (found["last"][-2:] if found else []))


FLANNEL_RESTART = "delete {host}'s pod of kube-flannel: it writes the missing files at start"

FAULTS = (
    Fault(
        "firewall-drops",
        "A firewall blocks a port of the cluster",
        "Nodes turn NotReady (6443), logs and exec time out (10250), pods of two nodes are cut off (8472/udp).",
        firewall,
        "on {host}: {undo}",
        explains=("api-unreachable", *NODE),
        scope="all",
        repair="delete_rule",
        link="https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
    ),
    Fault(
        "mtu-differs",
        "The host's MTU is smaller than that of the other hosts",
        "Small packets pass, large ones are dropped: TLS and downloads hang.",
        mtu_differs,
        "ip link set dev {link} mtu {mtu} on {host}, and in its network configuration; or flannel_mtu for all",
        severity="warning",
        explains=("subnet-env-wrong", *PODS),
        repair="set_mtu",
    ),
    Fault(
        "net-conf-differs",
        "flannel's network differs from the cluster CIDR of the nodes",
        "flanneld exits with `subnet … does not belong to …` at its next start, and subnet.env is not written.",
        net_conf,
        "set Network in ConfigMap kube-flannel/kube-flannel-cfg to kube-controller-manager's --cluster-cidr, {network}",
        severity="critical",
        explains=(*FLANNEL, "subnet-env-wrong", *NODE),
        scope="all",
        repair="set_net_conf",
        safe=True,
        weight=2,
        on_master=True,
    ),
    Fault(
        "node-without-pod-cidr",
        "The node has no podCIDR",
        "flanneld exits with `node … pod cidr not assigned`, and subnet.env is not written.",
        no_pod_cidr,
        "run kube-controller-manager with --allocate-node-cidrs=true and a --cluster-cidr with free ranges",
        explains=(*FLANNEL, "cloud-route-missing", *NODE),
    ),
    Fault(
        "kube-proxy-down",
        "kube-proxy is not running",
        "Services and node ports on the host do not answer, or route to deleted pods.",
        proxy_down,
        "check DaemonSet kube-system/kube-proxy and its logs; if it was deleted, on a master: kubeadm init phase addon "
        f"kube-proxy {BY_HAND}",
        explains=(*FLANNEL, *PODS),
        link="https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
    ),
    Fault(
        "flannel-not-ready",
        "flanneld is not healthy",
        "The node's pods have no network.",
        flannel_not_ready,
        "check its last log: {command}",
        call="kubectl -- logs -n kube-flannel ds/kube-flannel-ds --all-pods",
        explains=(*FLANNEL[1:], *NODE),
        generic=True,
    ),
    Fault(
        "subnet-env-missing",
        "/run/flannel/subnet.env is missing",
        "Pods stay in ContainerCreating: `open /run/flannel/subnet.env: no such file or directory`.",
        subnet_env_missing,
        FLANNEL_RESTART,
        explains=NODE,
        repair="restart_flannel",
        safe=True,
        link="https://github.com/flannel-io/flannel/blob/master/Documentation/troubleshooting.md",
    ),
    Fault(
        "subnet-env-misspelled",
        "/run/flannel/subnet.env has a missing or misspelled key",
        "Pods stay in ContainerCreating: `failed to load flannel 'subnet.env' file`.",
        subnet_env_misspelled,
        FLANNEL_RESTART,
        explains=("subnet-env-wrong", *NODE),
        repair="restart_flannel",
        safe=True,
    ),
    Fault(
        "subnet-env-wrong",
        "/run/flannel/subnet.env does not match the cluster",
        "New pods get unroutable addresses, or lose large packets.",
        subnet_env_wrong,
        FLANNEL_RESTART,
        explains=("bridge-address-wrong", *PODS),
        repair="restart_flannel",
        safe=True,
    ),
    Fault(
        "cni-config-missing",
        "The CNI configuration is missing or broken",
        "The node turns NotReady: `cni plugin not initialized`.",
        cni_config,
        FLANNEL_RESTART,
        explains=NODE,
        repair="restart_flannel",
        safe=True,
    ),
    Fault(
        "cni-plugin-missing",
        "A CNI plugin is missing",
        "Pods stay in ContainerCreating: `failed to find plugin`.",
        cni_plugins,
        "{command} reinstalls it",
        call="up --limit {host}",
        explains=NODE,
        repair="plugins",
        safe=True,
        weight=2,
    ),
    Fault(
        "cni-plugin-mode",
        "A CNI plugin is not executable",
        "Pods stay in ContainerCreating: `permission denied`.",
        cni_modes,
        "chmod 0755 {target} on {host}",
        explains=NODE,
        repair="set_mode",
        safe=True,
    ),
    Fault(
        "flannel-link-missing",
        "flannel's link is missing",
        "Pods on different nodes cannot reach each other; pods on the same node can.",
        link_missing,
        "delete {host}'s pod of kube-flannel: it creates the link at start",
        explains=("pod-route-missing", *PODS),
        repair="restart_flannel",
        safe=True,
    ),
    Fault(
        "bridge-address-wrong",
        "The pod bridge has an address outside the node's range",
        "Pods stay in ContainerCreating: `cni0 already has an IP address different from …`.",
        bridge_address,
        "on {host}: ip address flush dev cni0; ip address add {address} dev cni0; then delete pods outside its range",
        explains=PODS,
        repair="set_address",
    ),
    Fault(
        "flannel-lease-missing",
        "The other nodes have no route to the node's pods",
        "Pods of the node are reached from the node alone, after it was deleted and registered again.",
        lease_missing,
        FLANNEL_RESTART,
        explains=("pod-route-missing", *PODS),
        scope="all",
        repair="restart_flannel",
        safe=True,
    ),
    Fault(
        "pod-route-missing",
        "The route to another node's pods is missing",
        "Pods on these two nodes cannot reach each other.",
        route_missing,
        "delete {host}'s pod of kube-flannel: it adds the route at start",
        explains=PODS,
        repair="restart_flannel",
        safe=True,
    ),
)
