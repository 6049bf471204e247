# SPDX-License-Identifier: Apache-2.0
"""The hosts of one cluster in Docker: what an engine has of them, and what makes them as they should be."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
import typing as t
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible.module_utils.yunkube.docker.engine import Docker, DockerError, socket_path
from ansible.module_utils.yunkube.docker.machine import (
    AUTHORIZED_KEYS,
    CLUSTER_LABEL,
    HOST_LABEL,
    Described,
    Machine,
    Step,
    address_faults,
    authorized_key,
    container_name,
    container_spec,
    endpoint,
    foreign,
    gateway,
    id_of,
    identity_archive,
    inotify_warning,
    is_of,
    keys_archive,
    name_clashes,
    network_name,
    network_spec,
    plan,
    routes,
    subnet_clashes,
)
from ansible.module_utils.yunkube.docker.registry import registry_images
from ansible.module_utils.yunkube.result import CONFIG, Fault, RefusedError
from ansible.module_utils.yunkube.teardown.paths import Images

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")


class Lab:
    """What an engine has of one cluster."""

    def __init__(self, engine: Docker, cluster: str, cluster_id: str, ssh_dir: str) -> None:
        """See what there is, and whose it is; refuse where another cluster has the name."""
        self.engine = engine
        self.cluster = cluster
        self.cluster_id = cluster_id
        self.ssh_dir = Path(ssh_dir)
        self.containers: list[Described] = engine.get("/containers/json", all=True)
        self.networks: list[Described] = engine.get("/networks")
        named = [container for container in self.containers if is_of(cluster, container)]
        self.hosts: dict[str, str] = {container["Labels"][HOST_LABEL]: container["Id"] for container in named}
        self.network = next((network for network in self.networks if is_of(cluster, network)), None)
        theirs = {
            f"the host {container['Labels'][HOST_LABEL]}": id_of(container)
            for container in named
            if not self._is_ours(container)
        }
        # An old network without an id has only the hosts that were judged.
        if self.network and id_of(self.network) not in ("", cluster_id):
            theirs[f"the network {self.network['Name']}"] = id_of(self.network)
        if theirs:
            raise RefusedError(foreign(cluster, cluster_id, theirs))

    def _is_ours(self, container: Described) -> bool:
        if id_of(container):
            return id_of(container) == self.cluster_id
        keys = keys_of(self.ssh_dir, container["Labels"][HOST_LABEL])
        authorized = self.engine.read_file(container["Id"], AUTHORIZED_KEYS)
        return all(keys) and authorized_key(keys) in authorized.splitlines(keepends=True)

    def plan(self, machine: Machine, info: Described, rebuild: str) -> Step:
        """Return what makes one host as it should be."""
        identity = self.hosts.get(machine.name)
        if identity is None:
            return plan(machine, None, b"", info)
        found = self.engine.get(f"/containers/{identity}/json")
        network = self.network["Id"] if self.network else ""
        return plan(machine, found, self.engine.read_file(identity, AUTHORIZED_KEYS), info, network, rebuild)

    def why_rebuild(self, subnet: ipaddress.IPv4Network) -> str:
        """Return why the network and all that hangs on it must be replaced, if it must."""
        if self.network is None:
            return ""
        old = self.network["IPAM"]["Config"][0]["Subnet"]
        return "" if old == str(subnet) else f"as docker_hosts_subnet changes from {old} to {subnet}"

    def images(self, name: str) -> Images:
        """Return what a host holds as the registry's."""
        running = any(entry["Id"] == self.hosts[name] and entry["State"] == "running" for entry in self.containers)
        return registry_images(self.engine, self.hosts[name], running=running)

    def remove(self, names: t.Iterable[str]) -> None:
        """Remove hosts with all that was on them."""
        _in_parallel(lambda name: self.engine.delete(f"/containers/{self.hosts[name]}", force=True, v=True), names)

    def remove_network(self) -> None:
        """Remove the network, on which no host is left."""
        if self.network:
            self.engine.delete(f"/networks/{self.network['Id']}")


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def keys_of(folder: Path, host: str) -> tuple[bytes, bytes]:
    """Return the private key of a host and the public half of the way in, empty where they are not made yet."""
    return _content(folder / "hosts" / host), _content(folder / "id_ed25519.pub")


def _in_parallel(action: t.Callable[[Item], Result], items: t.Iterable[Item]) -> list[Result]:
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(action, items))


def _speaks_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def carry_out(engine: Docker, machine: Machine, step: Step) -> None:
    """Do to one host what its step says."""
    name = container_name(machine.cluster, machine.name)
    path = f"/containers/{name}"
    if step.create:
        engine.post("/containers/create", container_spec(machine, bounding_set()), name=name)
        engine.put(f"{path}/archive", identity_archive(machine, uuid.uuid4().hex), path="/")
    if step.connect:
        network = f"/networks/{network_name(machine.cluster)}"
        try:  # what is left of the network that was there before, under the same name
            engine.post(f"{network}/disconnect", {"Container": name, "Force": True})
        except DockerError as error:
            if not error.status:
                raise
        engine.post(f"{network}/connect", {"Container": name, "EndpointConfig": endpoint(machine)})
    if step.create or step.rekey:
        engine.put(f"{path}/archive", keys_archive(machine), path="/")
    if step.update:
        engine.post(f"{path}/update", step.update)
    if step.start:
        engine.post(f"{path}/{step.start}")
    if step.rekey and step.start != "start":
        engine.execute(name, "systemctl", "restart", "ssh")


def wait(engine: Docker, machine: Machine, timeout_seconds: float) -> Fault | None:
    """Return when the SSH server of a host answers, with what is wrong when it does not."""
    name = container_name(machine.cluster, machine.name)
    deadline = time.monotonic() + timeout_seconds
    while not _speaks_ssh(machine.address):
        state = engine.get(f"/containers/{name}/json")["State"]
        ended = state["Restarting"] or not state["Running"]
        if ended or time.monotonic() > deadline:
            message = f"{machine.name} ended with code {state['ExitCode']} {state['Error']}".strip()
            if not ended:
                message = (
                    f"the SSH server of {machine.name} ({machine.address}) does not answer after {timeout_seconds} s"
                )
            remedy = f"see why with `docker logs {name}` and `docker exec {name} journalctl --boot`"
            return Fault("boot", message, remedy, machine.name)
        time.sleep(0.05)
    return None


def bounding_set() -> int:
    """Return the capabilities that this process may ever have, a bit each."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 16) if found else 0


def wanted_machines(params: t.Mapping[str, t.Any], info: Described) -> list[Machine]:
    """Return every host that should be. Keys are empty where a check runs before they are made."""
    folder = Path(params["ssh_dir"])
    arguments = params["cgroup_v1_arguments"] if info["CgroupVersion"] == "1" else []
    subnet = ipaddress.IPv4Network(params["subnet"])
    return [
        Machine(
            cluster=params["cluster"],
            cluster_id=params["cluster_id"],
            name=name,
            address=address,
            subnet=subnet,
            image=params["image"],
            command=(params["entry"], gateway(subnet), *arguments),
            keys=keys_of(folder, name),
            memory_bytes=params["memory_mb"] << 20,
            nano_cpus=int(params["cpus"] * 10**9),
            restart_policy=params["restart_policy"],
        )
        for name, address in params["hosts"].items()
    ]


def may_replace(allowed: t.Any, host: str) -> bool:
    """Say whether the input docker_hosts_replace allows it for a host."""
    if isinstance(allowed, (list, tuple)):
        return host in allowed
    return str(allowed).lower() in ("true", "yes", "on", "1") or host in str(allowed).split(",")


def loss_faults(steps: t.Iterable[Step], others: t.Iterable[str], rebuild: str, allowed: t.Any) -> list[Fault]:
    """Return a fault for each host that would be lost with all that is on it, and may not be."""
    lost = {step.host: step.replace for step in steps if step.loses}
    if rebuild:  # hosts that the inventory does not name go with their network
        lost.update(dict.fromkeys(others, rebuild))
    return [
        Fault(
            "replace",
            f"would have to be replaced by a new, empty host, {reason}",
            "undo that change in the inventory, or, to lose all that is on the host (etcd, images, volumes), "
            f"run `up` with -e docker_hosts_replace={host}, or true for every host",
            host,
            commands=(f"up -e docker_hosts_replace={host}",),
        )
        for host, reason in lost.items()
        if not may_replace(allowed, host)
    ]


class Brought(t.NamedTuple):
    """What became of network and hosts."""

    changes: list[str]
    pending: t.Sequence[str] = ()  # hosts that cannot answer, as the changes were not made


def present(module: AnsibleModule, lab: Lab, subnet: ipaddress.IPv4Network) -> Brought:
    """Make network and hosts as they should be."""
    table = routes(Path("/proc/net/route").read_text())
    faults = name_clashes(lab.cluster, module.params["hosts"], lab.containers, lab.networks)
    faults += subnet_clashes(lab.cluster, subnet, lab.networks, table)
    if faults:
        raise RefusedError(faults)
    info = lab.engine.get("/info")
    machines = wanted_machines(module.params, info)
    rebuild = lab.why_rebuild(subnet)
    steps = _in_parallel(lambda machine: lab.plan(machine, info, rebuild), machines)
    others = [name for name in lab.hosts if name not in module.params["hosts"]]
    if faults := loss_faults(steps, others, rebuild, module.params["replace"]):
        raise RefusedError(faults)
    make_network = bool(rebuild) or lab.network is None
    if not module.check_mode:
        lab.remove(lab.hosts if rebuild else [step.host for step in steps if step.replace])
        if make_network:
            lab.remove_network()
            lab.engine.post("/networks/create", network_spec(lab.cluster, lab.cluster_id, subnet))
        timeout = module.params["boot_timeout_seconds"]

        def settle(pair: tuple[Machine, Step]) -> Fault | None:
            carry_out(lab.engine, *pair)
            return wait(lab.engine, pair[0], timeout)

        late = [fault for fault in _in_parallel(settle, zip(machines, steps, strict=True)) if fault]
        if late:
            raise RefusedError(late)
    if any(step.start for step in steps):
        further = sum(CLUSTER_LABEL in container["Labels"] for container in lab.containers) - len(lab.hosts)
        limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
        if warning := inotify_warning(limit, further + len(machines)):
            module.warn(warning)
    made = [f"create network {network_name(lab.cluster)}, {subnet}"] if make_network else []
    pending = [step.host for step in steps if not step.is_up] if module.check_mode else []
    return Brought([*made, *(str(step) for step in steps if step.changes)], pending)


def image_fault(host: str, images: Images) -> Fault:
    """Return why a host is not removed."""
    message = f"{host} holds the registry's images: {images}"
    remedy = "copy what is still needed to another registry, then delete them with `down --force` (`make down FORCE=1`)"
    return Fault("registry", message, remedy, host, commands=("down --force",))


def absent(module: AnsibleModule, lab: Lab) -> list[str]:
    """Remove hosts and network, and return what was removed."""
    only = module.params["only"]
    hosts = list(lab.hosts) if only is None else [name for name in only if name in lab.hosts]
    held = dict(zip(hosts, _in_parallel(lab.images, hosts), strict=True))
    faults = [image_fault(host, images) for host, images in held.items() if images.tags]
    if faults and not module.params["remove_images"]:
        raise RefusedError(faults)
    if not module.check_mode:
        lab.remove(hosts)
        if only is None:
            lab.remove_network()
    lost = {host: f", with the registry's images: {images}" for host, images in held.items() if images.tags}
    gone = [f"remove network {network_name(lab.cluster)}"] if lab.network and only is None else []
    return [*(f"remove host {name}{lost.get(name, '')}" for name in hosts), *gone]


def checked_subnet(text: str, hosts: t.Mapping[str, str]) -> ipaddress.IPv4Network:
    """Return the network, or refuse what the inventory says of it."""
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        fault = Fault("docker_hosts_subnet", str(error), "write it like 10.77.0.0/24")
        raise RefusedError([fault], CONFIG) from error
    faults = address_faults(hosts, subnet)
    if faults:
        raise RefusedError(faults, CONFIG)
    return subnet


def bring_hosts(module: AnsibleModule) -> Brought:
    """Make hosts and network as asked for, or remove them."""
    params = module.params
    wanted = params["state"] == "present"
    subnet = checked_subnet(params["subnet"], params["hosts"]) if wanted else None
    try:
        engine = Docker(socket_path())
    except DockerError:
        if subnet and not module.check_mode:
            raise
        # A check before the engine is installed; or nothing to remove, as no engine is here.
        hosts = list(params["hosts"]) if subnet else []
        return Brought([str(Step(name, create=True)) for name in hosts], hosts)
    lab = Lab(engine, params["cluster"], params["cluster_id"], params["ssh_dir"])
    if wanted and not params["cluster_id"] and not module.check_mode:
        module.fail_json(
            msg="cluster_id is empty: hosts are created after the cluster's id (roles/cluster, identity.yml)"
        )
    return present(module, lab, subnet) if subnet else Brought(absent(module, lab))
