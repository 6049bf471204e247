# SPDX-License-Identifier: Apache-2.0
"""What the inventories of Kubespray, kubeasz and k3s-ansible mean in ours.

A setting that has a counterpart is taken, whatever its value. All others are named, without their values, as some are
secrets. Names and meanings are those of the projects' sample inventories.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from ansible.module_utils.yunkube.control.values import merged

Json = dict[str, Any]

# Ansible's own, which an inventory of ours may have as well: kept as they are, for a host or for all.
CONNECTION = (
    "ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args",
    "ansible_python_interpreter", "ansible_become_exe", "ansible_become_flags", "ansible_become_method",
    "ansible_connection", "ansible_control_path", "ansible_control_path_dir", "ansible_host_key_checking",
    "ansible_pipelining", "ansible_private_key_file", "ansible_remote_tmp", "ansible_scp_executable",
    "ansible_scp_extra_args", "ansible_sftp_executable", "ansible_sftp_extra_args", "ansible_shell_executable",
    "ansible_shell_type", "ansible_ssh_args", "ansible_ssh_executable", "ansible_ssh_extra_args",
    "ansible_ssh_host_key_checking", "ansible_ssh_pipelining", "ansible_ssh_retries", "ansible_ssh_timeout",
    "ansible_ssh_transfer_method", "ansible_timeout",
)  # fmt: skip
# Ansible's names of before.
ALIASES = {f"ansible_ssh_{name}": f"ansible_{name}" for name in ("host", "port", "user")}
# Our plays say themselves where they need root: named where theirs say something else.
ROOT_ALREADY = {"ansible_become": ("true", "yes", "on", "1", "y", "t"), "ansible_become_user": ("root",)}
# What the readers below raise for a value that is not of the kind which the peer's documentation gives it.
UNREADABLE = (ValueError, yaml.YAMLError)


def why_unreadable(error: Exception) -> str:
    """Return why a value is left."""
    return "has a value that cannot be read" + (f": {error}" if isinstance(error, UnclearError) else "")


ROOT_REASON = "Yunkube's plays become root where needed"
PASSWORD = re.compile(r"ansible_(become|ssh|sudo)?_?pass(word)?")


class UnclearError(ValueError):
    """A value that is not of the kind which the peer's documentation gives it; its text says what is wrong."""


@dataclass
class Imported:
    """An inventory of ours, and what of theirs became of it."""

    masters: dict[str, Json] = field(default_factory=dict)
    nodes: dict[str, Json] = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    origins: dict[str, list[str]] = field(default_factory=dict)  # by our key
    left: dict[str, str] = field(default_factory=dict)  # their key: why, empty where it only has no counterpart

    def take(self, key: str, value: Any, *origins: str) -> None:
        """Set a key of the cluster; dictionaries are laid over what is there."""
        self.settings[key] = merged(self.settings.get(key), value)
        self.origins.setdefault(key, []).extend(origins)

    def named_elsewhere(self, key: str) -> list[str]:
        """Return what our key is called in theirs, where that is another name."""
        return [origin for origin in dict.fromkeys(self.origins.get(key, ())) if origin != key]


@dataclass(frozen=True)
class Peer:
    """A project: its groups, and what it calls things."""

    masters: tuple[str, ...]
    nodes: tuple[str, ...]
    # Their key -> what it becomes; the function is given (result, their key, value, all variables of the first master).
    settings: Mapping[str, Callable[[Imported, str, Any, Json], None]]
    # Why some have no counterpart.
    reasons: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)  # group of theirs: why its hosts are left
    name: str = ""  # the variable with a host's name, where the inventory has addresses
    address: str = ""  # the variable with the address that hosts use among each other
    everywhere: bool = False  # whether masters take ordinary pods


def as_is(key: str, read: Callable[[Any], Any]) -> Callable[[Imported, str, Any, Json], None]:
    """Return what takes a setting under our key; a value that `read` makes None is left."""

    def take(result: Imported, theirs: str, value: Any, _: Json) -> None:
        mine = read(value)
        if mine is None:
            result.left[theirs] = ""
        else:
            result.take(key, mine, theirs)

    return take


def only(accepted: Mapping[str, Any], key: str, reason: str) -> Callable[[Imported, str, Any, Json], None]:
    """Return what takes a setting whose value has a counterpart in `accepted` (None: it is how we do it anyway)."""

    def take(result: Imported, theirs: str, value: Any, _: Json) -> None:
        if str(value).lower() not in accepted:
            result.left[theirs] = reason
        elif accepted[str(value).lower()] is not None:
            result.take(key, accepted[str(value).lower()], theirs)

    return take


def elsewhere(_result: Imported, _theirs: str, _value: Any, _variables: Json) -> None:
    """Take nothing of a setting, which is read where hosts or another setting are."""


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise UnclearError(f"{_kind(value)}, not text")
    return str(value)


def _kind(value: Any) -> str:
    kinds = {list: "a list", dict: "a dictionary", type(None): "nothing"}
    return kinds.get(type(value), "text" if isinstance(value, str) else "a number")


def _mapping(value: Any, what: str = "") -> Mapping[str, Any]:
    """Return a dictionary, an empty one of nothing."""
    if value and not isinstance(value, Mapping):
        raise UnclearError(f"{what}{_kind(value)}, not a dictionary")
    return value or {}


def _release(value: Any) -> str | None:
    found = re.fullmatch(r"v?(\d+\.\d+\.\d+)([+-].*)?", str(value))
    return found[1] if found else None


def _node_ports(result: Imported, theirs: str, value: Any, _: Json) -> None:
    arguments = [{"name": "service-node-port-range", "value": _text(value).replace(":", "-")}]
    result.take("master_cluster_configuration", {"apiServer": {"extraArgs": arguments}}, theirs)


def _proxy(variable: str) -> Callable[[Imported, str, Any, Json], None]:
    return lambda result, theirs, value, _: (
        result.take("container_runtime_environment", {variable: _text(value)}, theirs) if value else None
    )


def _more_no_proxy(result: Imported, theirs: str, value: Any, variables: Json) -> None:
    if variables.get("no_proxy"):
        result.left[theirs] = "use no_proxy instead"
    else:
        _proxy("NO_PROXY")(result, theirs, value, variables)


def _proxies(result: Imported, theirs: str, value: Any, _: Json) -> None:
    if given := {str(name): _text(one) for name, one in _mapping(value).items()}:
        result.take("container_runtime_environment", given, theirs)


def _prefix(result: Imported, theirs: str, value: Any, _: Json) -> None:
    if str(value) != "24":
        result.left[theirs] = "every node gets a /24 of cluster_pod_cidr"


def _max_pods(value: Any) -> Json:
    return {"maxPods": int(_text(value))}


def _domain(value: Any) -> str:
    return _text(value).strip(".")


def _listed(value: Any) -> list[str] | None:
    return [str(one) for one in value] if isinstance(value, list) and value else None


NETWORK = "the pod network is flannel, which does not enforce NetworkPolicy"
RUNTIME = "the runtime is containerd"
DASHBOARD = {"true": "kube_web_view", "yes": "kube_web_view", "false": "none", "no": "none"}
BALANCER = "no load balancer is created: to keep this one, set cluster_control_plane_endpoint to it"
VIRTUAL = "Yunkube announces no virtual address: use another program for it, or a load balancer"
IPVS = "kube-proxy uses iptables; for nftables, set master_kube_proxy_config"
PROXY_MODES = {"iptables": None, "nftables": {"mode": "nftables"}}


def _spray_endpoint(result: Imported, theirs: str, value: Any, variables: Json) -> None:
    given = _mapping(value)
    if given.get("address"):
        host = variables.get("apiserver_loadbalancer_domain_name") or given["address"]
        origins = [theirs, *(["apiserver_loadbalancer_domain_name"] if host != given["address"] else [])]
        result.take("cluster_control_plane_endpoint", f"{host}:{given.get('port') or 6443}", *origins)
    elif given:
        result.left[theirs] = "has no address"


def _spray_mirrors(result: Imported, theirs: str, value: Any, _: Json) -> None:
    mirrors = {}
    for number, entry in enumerate(_mappings(value)):
        listed = _mappings(entry.get("mirrors"))
        hosts = [str(mirror["host"]) for mirror in listed if mirror.get("host")]
        if not entry.get("prefix"):
            result.left[f"{theirs}: entry {number}"] = "has no prefix: the registry that it mirrors"
        elif hosts:
            mirrors[str(entry["prefix"])] = hosts
        else:
            result.left[f"{theirs}: {entry['prefix']}"] = "has no mirror with a host"
        for mirror in listed:
            for key in mirror:
                if mirror[key] and key not in ("host", "capabilities"):
                    result.left[f"{theirs}: {key}"] = "only the URL of a mirror is supported"
    if mirrors:
        result.take("container_runtime_registry_mirrors", mirrors, theirs)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings of a list; ValueError where it holds anything else, or is no list."""
    found = value or []
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ValueError(found)
    return found


def arguments(name: str, given: Any) -> dict[str, list[Any]]:
    """Return k3s' arguments by their names: of a command line, or of the text of its configuration file (`_yaml`)."""
    found: dict[str, list[Any]] = {}
    if name.endswith("_yaml"):
        read = _mapping(yaml.safe_load(given) if isinstance(given, str) else given)
        return {str(key): value if isinstance(value, list) else [value] for key, value in read.items()}
    words = [
        word for text in (given if isinstance(given, list) else [given]) for word in shlex.split(_text(text or ""))
    ]
    while words:
        word = words.pop(0)
        key, equals, value = word.lstrip("-").partition("=")
        follows = word.startswith("-") and not equals and words and not words[0].startswith("-")
        found.setdefault(key, []).append(words.pop(0) if follows else value)
    return found


def _k3s_config(result: Imported, theirs: str, value: Any, _: Json) -> None:
    for key, given in arguments(theirs, value).items():
        try:
            _k3s_argument(result, f"{theirs}: {key}", key, given)
        except UNREADABLE as error:
            result.left[f"{theirs}: {key}"] = why_unreadable(error)


def _k3s_argument(result: Imported, theirs: str, key: str, values: list[Any]) -> None:
    if key in OF_HOST:
        return
    one = _text(values[-1]) if values else ""
    kubelet = dict(text.partition("=")[::2] for text in map(_text, values)) if key == "kubelet-arg" else {}
    if key in _K3S_KEYS:
        result.take(_K3S_KEYS[key], one, theirs)
    elif key == "service-node-port-range":
        _node_ports(result, theirs, one, {})
    elif key == "tls-san":
        names = [name for text in values for name in _text(text).split(",")]
        result.take("master_certificate_names", [*result.settings.get("master_certificate_names", []), *names], theirs)
    elif key == "flannel-backend" and one in _K3S_BACKENDS:
        result.take("flannel_backend", _K3S_BACKENDS[one], theirs)
    elif kubelet and set(kubelet) == {"max-pods"}:
        result.take("cluster_kubelet_config", _max_pods(kubelet["max-pods"]), theirs)
    else:
        result.left[theirs] = NETWORK if key == "flannel-backend" else ""


# k3s-ansible's variables that are read for each host, and its arguments in them: see host_marks.py.
OF_HOSTS = ("extra_agent_args", "agent_config_yaml", "extra_server_args", "server_config_yaml", "k3s_master_taint")
OF_HOST = ("node-ip", "node-label", "node-taint")
_K3S_KEYS = {
    "cluster-cidr": "cluster_pod_cidr",
    "service-cidr": "cluster_service_cidr",
    "cluster-domain": "cluster_dns_domain",
}
_K3S_BACKENDS = {"vxlan": "vxlan", "host-gw": "host-gw", "wireguard-native": "wireguard"}


def _k3s_endpoint(result: Imported, theirs: str, value: Any, variables: Json) -> None:
    first = variables.get("ansible_host") or variables["__name"]
    if value and value not in (first, variables["__name"]):
        result.take("cluster_control_plane_endpoint", f"{_text(value)}:{variables.get('api_port') or 6443}", theirs)


def _k3s_mirrors(result: Imported, theirs: str, value: Any, _: Json) -> None:
    read = _mapping(yaml.safe_load(value) if isinstance(value, str) else value)
    mirrors = {}
    for name, entry in _mapping(read.get("mirrors"), "mirrors is ").items():
        given = _mapping(entry, f"the mirror of {name} is ")
        if urls := _listed(given.get("endpoint")):
            mirrors[str(name)] = urls
        else:
            result.left[f"{theirs}: {name}"] = "has no list of URLs as its endpoint"
        result.left.update(
            {f"{theirs}: {key}": "only the URL of a mirror is supported" for key in given if key != "endpoint"}
        )
    if mirrors:
        result.take("container_runtime_registry_mirrors", mirrors, theirs)
    result.left.update({f"{theirs}: {key}": "" for key in read if key != "mirrors"})


PEERS: Mapping[str, Peer] = {
    "kubespray": Peer(
        masters=("kube_control_plane", "kube-master"),
        nodes=("kube_node", "kube-node"),
        address="ip",
        hosts={
            "etcd": "etcd runs on the masters",
            "calico_rr": NETWORK,
            "calico-rr": NETWORK,
            "bastion": "write -o ProxyJump=USER@HOST into ansible_ssh_common_args",
        },
        settings={
            "kube_version": as_is("cluster_kubernetes_version", _release),
            "kube_pods_subnet": as_is("cluster_pod_cidr", _text),
            "kube_service_addresses": as_is("cluster_service_cidr", _text),
            "cluster_name": as_is("cluster_dns_domain", _domain),
            "kube_network_node_prefix": _prefix,
            "kube_network_plugin": only({"flannel": None}, "", NETWORK),
            "flannel_backend_type": only(
                {"vxlan": "vxlan", "host-gw": "host-gw", "wireguard": "wireguard"}, "flannel_backend", ""
            ),
            "container_manager": only({"containerd": None}, "", RUNTIME),
            "kube_proxy_mode": only(PROXY_MODES, "master_kube_proxy_config", IPVS),
            "kubelet_max_pods": as_is("cluster_kubelet_config", _max_pods),
            "kube_apiserver_node_port_range": _node_ports,
            "supplementary_addresses_in_ssl_keys": as_is("master_certificate_names", _listed),
            "loadbalancer_apiserver": _spray_endpoint,
            "containerd_registries_mirrors": _spray_mirrors,
            "dashboard_enabled": only(DASHBOARD, "dashboard_provider", ""),
            "http_proxy": _proxy("HTTP_PROXY"),
            "https_proxy": _proxy("HTTPS_PROXY"),
            "additional_no_proxy": _more_no_proxy,
            "no_proxy": _proxy("NO_PROXY"),
            "apiserver_loadbalancer_domain_name": elsewhere,  # with loadbalancer_apiserver
            "dns_domain": elsewhere,  # is cluster_name
            "access_ip": elsewhere,
            "etcd_member_name": elsewhere,
        },
        reasons={
            "kubeadm_certificate_key": "kubeadm creates one for each run",
            "kube_apiserver_port": "the API listens on 6443",
            "kube_vip_enabled": VIRTUAL,
            "kube_vip_address": VIRTUAL,
        },
    ),
    "kubeasz": Peer(
        masters=("kube_master", "kube-master"),
        nodes=("kube_node", "kube-node"),
        name="k8s_nodename",
        hosts={
            "etcd": "etcd runs on the masters",
            "ex_lb": BALANCER,
            "ex-lb": BALANCER,
            "harbor": "set cluster_registry_address to it, or cluster_registry_host to a host of the cluster",
            "chrony": "clocks are checked, not set",
        },
        settings={
            "K8S_VER": as_is("cluster_kubernetes_version", _release),
            "CLUSTER_CIDR": as_is("cluster_pod_cidr", _text),
            "SERVICE_CIDR": as_is("cluster_service_cidr", _text),
            "CLUSTER_DNS_DOMAIN": as_is("cluster_dns_domain", _domain),
            "NODE_CIDR_LEN": _prefix,
            "NODE_PORT_RANGE": _node_ports,
            "CLUSTER_NETWORK": only({"flannel": None}, "", NETWORK),
            "FLANNEL_BACKEND": only({"vxlan": "vxlan", "host-gw": "host-gw"}, "flannel_backend", ""),
            "CONTAINER_RUNTIME": only({"containerd": None}, "", RUNTIME),
            "PROXY_MODE": only(PROXY_MODES, "master_kube_proxy_config", IPVS),
            "MAX_PODS": as_is("cluster_kubelet_config", _max_pods),
            "MASTER_CERT_HOSTS": as_is("master_certificate_names", _listed),
            "dashboard_install": only(DASHBOARD, "dashboard_provider", ""),
            "K8S_NODENAME": elsewhere,  # is k8s_nodename
            "k8s_nodename": elsewhere,
        },
    ),
    "k3s-ansible": Peer(
        masters=("server", "master"),
        nodes=("agent", "node"),
        everywhere=True,
        settings={
            "k3s_version": as_is("cluster_kubernetes_version", _release),
            "api_endpoint": _k3s_endpoint,
            "apiserver_endpoint": _k3s_endpoint,
            "api_port": elsewhere,  # with api_endpoint
            "cluster_cidr": as_is("cluster_pod_cidr", _text),
            "service_cidr": as_is("cluster_service_cidr", _text),
            "proxy_env": _proxies,
            "k3s_master_taint": elsewhere,  # of hosts: see host_marks
            "extra_server_args": _k3s_config,
            "server_config_yaml": _k3s_config,
            "registries_config_yaml": _k3s_mirrors,
            "extra_agent_args": elsewhere,  # of hosts: see host_marks
            "agent_config_yaml": elsewhere,
        },
        reasons={
            "token": "each joining host gets its own token",
            "k3s_token": "each joining host gets its own token",
            "kube_vip_tag_version": VIRTUAL,
        },
    ),
}
