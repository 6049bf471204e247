# SPDX-License-Identifier: Apache-2.0
"""What a Docker host is, how an existing one is updated, and what is refused."""

from __future__ import annotations

import io
import ipaddress
import tarfile
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.docker import lab as labs
from ansible.module_utils.yunkube.docker import machine as machines
from ansible.module_utils.yunkube.docker.registry import tags_in
from ansible.module_utils.yunkube.result import RefusedError
from ansible.module_utils.yunkube.teardown.paths import Images

SUBNET = ipaddress.IPv4Network("10.77.0.0/24")
INFO = {"MemTotal": 8 << 30, "NCPU": 4, "CgroupVersion": "1"}
MACHINE = machines.Machine(
    cluster="docker",
    cluster_id="0123456789abcdef",
    name="node1",
    address="10.77.0.21",
    subnet=SUBNET,
    image="yunkube-host:debian12-aaaaaaaaaaaa",
    command=("/entry", "10.77.0.1"),
    keys=(b"SECRET", b"ssh-ed25519 AAAA yunkube\n"),
)
AUTHORIZED = machines.authorized_key(MACHINE.keys)


def found(**changes: t.Any) -> dict[str, t.Any]:
    """Describe a host that is as it should be, but for the changes."""
    described: dict[str, t.Any] = {
        "State": {"Status": "running", "Running": True, "Paused": False, "StartedAt": "2026-11-28T10:00:00Z"},
        "NetworkSettings": {
            "Networks": {"yunkube-docker": {"IPAMConfig": {"IPv4Address": "10.77.0.21"}, "NetworkID": "net"}}
        },
        "Config": {"Image": "yunkube-host:debian12-aaaaaaaaaaaa"},
        "HostConfig": {"Memory": 0, "NanoCpus": 0, "RestartPolicy": {"Name": "unless-stopped"}},
    }
    return {key: {**value, **changes.get(key, {})} for key, value in described.items()}


def plan(
    described: dict[str, t.Any] | None, authorized: bytes = AUTHORIZED, network: str = "net", **changes: t.Any
) -> machines.Step:
    machine = machines.Machine(**{**vars(MACHINE), **changes})
    return machines.plan(machine, described, authorized, INFO, network)


def test_a_host_that_is_as_it_should_be_is_left_alone() -> None:
    assert not plan(found()).changes
    assert plan(found()).is_up


def test_a_missing_host_is_made_and_started() -> None:
    assert plan(None) == machines.Step("node1", create=True, start="start")


@pytest.mark.parametrize(
    ("state", "word"), [({"Running": False, "Status": "exited"}, "start"), ({"Paused": True}, "unpause")]
)
def test_a_host_that_does_not_run_is_started(state: dict[str, t.Any], word: str) -> None:
    step = plan(found(State=state))
    assert (step.start, step.create, step.is_up) == (word, False, False)
    assert str(step) == "start host node1"


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (found(State={"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}), "as its making was cut off"),
        (found(State={"Status": "dead", "Running": False}), "as Docker has removed half of it"),
        (found(Config={"Image": "yunkube-host:debian13-bbbbbbbbbbbb"}), "from debian13 to debian12"),
        (
            found(NetworkSettings={"Networks": {"yunkube-docker": {"IPAMConfig": {"IPv4Address": "10.77.0.9"}}}}),
            "from 10.77.0.9 to 10.77.0.21",
        ),
    ],
)
def test_a_host_that_cannot_become_what_is_asked_for_is_replaced_and_says_why(
    described: dict[str, t.Any], reason: str
) -> None:
    step = plan(described)
    assert step.create
    assert reason in str(step)
    assert step.loses == (reason != "as its making was cut off")


@pytest.mark.parametrize("network", ["net", ""])  # made again, or not yet
@pytest.mark.parametrize(
    "networks", [{}, {"yunkube-docker": {"IPAMConfig": {"IPv4Address": "10.77.0.21"}, "NetworkID": "pruned"}}]
)
def test_a_host_without_its_network_is_connected_and_keeps_what_is_on_it(
    networks: dict[str, t.Any], network: str
) -> None:
    stopped = found(NetworkSettings={"Networks": networks}, State={"Running": False, "Status": "exited"})
    step = plan(stopped, network=network)
    assert (step.connect, step.create, str(step)) == (True, False, "connect and start host node1")


def test_a_host_with_something_on_it_is_replaced_only_where_that_is_allowed() -> None:
    steps = [machines.Step("node1", replace="as x", loses=True, create=True), machines.Step("node2", create=True)]
    for allowed in (False, "false", [], ["node2"], "node2"):
        (fault,) = labs.loss_faults(steps, [], "", allowed)
        assert fault.host == "node1"
        assert fault.message == "would have to be replaced by a new, empty host, as x"
        assert "docker_hosts_replace=node1" in fault.remedy
    for allowed in (True, "true", ["node1"], "node2,node1"):
        assert labs.loss_faults(steps, [], "", allowed) == []


def test_hosts_that_the_inventory_does_not_name_go_with_no_network_unasked() -> None:
    (fault,) = labs.loss_faults([], ["old"], "as docker_hosts_subnet changes", ["node1"])
    assert fault.host == "old"
    assert labs.loss_faults([], ["old"], "", False) == []


def test_a_newer_image_of_the_same_distribution_leaves_the_host() -> None:
    assert not plan(found(), image="yunkube-host:debian12-ffffffffffff").changes


def test_limits_change_as_the_host_runs() -> None:
    step = plan(found(), memory_bytes=1 << 30, nano_cpus=10**9, restart_policy="no")
    assert not step.create
    assert step.update == {
        "Memory": 1 << 30,
        "MemorySwap": 1 << 30,
        "NanoCpus": 10**9,
        "RestartPolicy": {"Name": "no"},
    }


def test_a_limit_is_lifted_to_all_that_there_is_and_then_stays() -> None:
    limited = found(HostConfig={"Memory": 1 << 30})
    assert plan(limited).update == {"Memory": 8 << 30, "MemorySwap": 8 << 30}
    assert not plan(found(HostConfig={"Memory": 8 << 30, "NanoCpus": 4 * 10**9})).changes


@pytest.mark.parametrize("keys", [(b"other", MACHINE.keys[1]), (b"SECRET", b"ssh-ed25519 BBBB yunkube\n")])
def test_other_keys_replace_those_of_the_host(keys: tuple[bytes, bytes]) -> None:
    step = plan(found(), keys=keys)
    assert step.rekey
    assert not step.create


def test_someone_elses_key_beside_ours_is_no_difference() -> None:
    assert not plan(found(), authorized=b"ssh-rsa CCCC me@laptop\n" + AUTHORIZED).changes


def test_a_host_has_every_capability_of_the_machine_and_no_more() -> None:
    without_sys_resource = 0x1FFFEFFFFFF
    wanted = machines.container_spec(MACHINE, without_sys_resource)["HostConfig"]["CapAdd"]
    assert "SYS_ADMIN" in wanted
    assert "SYS_RESOURCE" not in wanted
    assert "SYS_RESOURCE" in machines.container_spec(MACHINE, (1 << 41) - 1)["HostConfig"]["CapAdd"]


def test_private_files_of_a_host_are_for_root_alone() -> None:
    with tarfile.open(fileobj=io.BytesIO(machines.keys_archive(MACHINE))) as archive:
        modes = {entry.name: entry.mode for entry in archive}
    assert modes == {"etc/ssh/ssh_host_ed25519_key": 0o600, "root/.ssh": 0o700, "root/.ssh/authorized_keys": 0o600}


def test_no_key_is_in_what_docker_inspect_shows() -> None:
    assert "SECRET" not in str(machines.container_spec(MACHINE, 0))


def test_the_name_server_is_not_dockers_own() -> None:
    with tarfile.open(fileobj=io.BytesIO(machines.identity_archive(MACHINE, "0" * 32))) as archive:
        stream = archive.extractfile("etc/resolv.conf")
        assert stream is not None
        assert stream.read() == b"nameserver 10.77.0.1\n"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "has no ansible_host"),
        ("node1.example", "no IPv4 address"),
        ("10.78.0.4", "outside of docker_hosts_subnet"),
        ("10.77.0.255", "outside of docker_hosts_subnet"),
        ("10.77.0.1", "and so has this machine"),
        ("10.77.0.11", "and so has master1"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(address: str, message: str) -> None:
    faults = machines.address_faults({"master1": "10.77.0.11", "node1": address}, SUBNET)
    assert len(faults) == 1
    assert faults[0].message.startswith("node1 has ")
    assert message in faults[0].message


def test_good_addresses_have_no_faults() -> None:
    assert machines.address_faults({"a": "10.77.0.2", "b": "10.77.0.254"}, SUBNET) == []


def network(name: str, subnet: str, cluster: str = "", identity: str = "0" * 64) -> dict[str, t.Any]:
    labels = {machines.CLUSTER_LABEL: cluster} if cluster else None
    return {"Name": name, "Id": identity, "Labels": labels, "IPAM": {"Config": [{"Subnet": subnet}]}}


def test_names_that_others_have_are_refused_and_ours_are_not() -> None:
    ours = {"Names": ["/yunkube-docker-a"], "Labels": {machines.CLUSTER_LABEL: "docker"}}
    foreign = {"Names": ["/yunkube-docker-b"], "Labels": {}}
    other = {"Names": ["/web"], "Labels": {}}
    faults = machines.name_clashes(
        "docker", ["a", "b"], [ours, foreign, other], [network("yunkube-docker", "10.0.0.0/8")]
    )
    assert [fault.message.split(" exists")[0] for fault in faults] == [
        "the container yunkube-docker-b",
        "the network yunkube-docker",
    ]


def test_a_subnet_that_something_else_has_is_refused() -> None:
    others = [network("bridge", "172.17.0.0/16"), network("shop", "10.77.0.0/16")]
    faults = machines.subnet_clashes("docker", SUBNET, others, {ipaddress.IPv4Network("10.77.0.128/25"): "eth0"})
    assert [fault.message for fault in faults] == [
        "docker_hosts_subnet 10.77.0.0/24 overlaps 10.77.0.128/25, this machine's route over eth0",
        "docker_hosts_subnet 10.77.0.0/24 overlaps 10.77.0.0/16, the Docker network shop",
    ]


def test_our_own_network_and_its_route_are_no_clash() -> None:
    own = network("yunkube-docker", str(SUBNET), "docker", "5fdcf0579be2" + "0" * 52)
    assert machines.subnet_clashes("docker", SUBNET, [own], {SUBNET: "br-5fdcf0579be2"}) == []


def test_routes_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n"
        "docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
    )
    assert machines.routes(text) == {ipaddress.IPv4Network("172.17.0.0/16"): "docker0"}


def test_a_subnet_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(RefusedError) as refused:
        labs.checked_subnet("10.77.0.3/24", {})
    assert refused.value.report.kind == "config"
    assert "10.77.0.0/24" in str(refused.value)


@pytest.mark.parametrize(("version", "words"), [("1", ("/entry", "10.77.0.1", "v1")), ("2", ("/entry", "10.77.0.1"))])
def test_init_gets_arguments_for_cgroup_v1_only_there(version: str, words: tuple[str, ...]) -> None:
    params = {
        "cluster": "docker", "cluster_id": "0123456789abcdef",
        "subnet": str(SUBNET), "hosts": {"node1": "10.77.0.21"}, "image": "i", "entry": "/entry",
        "cgroup_v1_arguments": ["v1"], "ssh_dir": "/nonexistent", "memory_mb": 512, "cpus": 1.5, "restart_policy": "no",
    }  # fmt: skip
    (machine,) = labs.wanted_machines(params, {**INFO, "CgroupVersion": version})
    assert machine.command == words
    assert (machine.memory_bytes, machine.nano_cpus) == (512 << 20, 1_500_000_000)


def test_more_hosts_than_the_kernel_can_watch_are_warned_of() -> None:
    assert machines.inotify_warning(128, 9) == ""
    assert "enough for 9 hosts, and there are 10" in machines.inotify_warning(128, 10)
    assert "max_user_instances=1024" in machines.inotify_warning(128, 10)


class Engine:
    """As much of an engine as says whose its hosts are."""

    def __init__(self, containers: list[dict[str, t.Any]], networks: list[dict[str, t.Any]], key: bytes = b"") -> None:
        """Hold what there is, and the key that every host lets in."""
        self.answers = {"/containers/json": containers, "/networks": networks}
        self.key = key

    def get(self, path: str, /, **_query: object) -> t.Any:
        """Return what is there."""
        return self.answers[path]

    def read_file(self, _container: str, _path: str) -> bytes:
        """Return the authorized keys."""
        return self.key


def host(name: str, cluster_id: str | None) -> dict[str, t.Any]:
    labels = {machines.CLUSTER_LABEL: "docker", machines.HOST_LABEL: name}
    named = labels if cluster_id is None else {**labels, machines.ID_LABEL: cluster_id}
    return {"Id": name, "State": "running", "Labels": named}


def lab_of(engine: Engine, folder: Path, cluster_id: str = "0123456789abcdef") -> labs.Lab:
    (folder / "hosts").mkdir(exist_ok=True)
    (folder / "hosts/node1").write_bytes(MACHINE.keys[0])
    (folder / "id_ed25519.pub").write_bytes(MACHINE.keys[1])
    return labs.Lab(t.cast("t.Any", engine), "docker", cluster_id, str(folder))


def test_hosts_with_the_clusters_id_are_its_own(tmp_path: Path) -> None:
    stranger = {"Id": "x", "Labels": {machines.CLUSTER_LABEL: "other", machines.HOST_LABEL: "node1"}}
    lab = lab_of(Engine([host("node1", "0123456789abcdef"), stranger, {"Id": "y", "Labels": None}], []), tmp_path)
    assert lab.hosts == {"node1": "node1"}


@pytest.mark.parametrize("ours", ["0123456789abcdef", ""])
def test_hosts_of_another_id_are_refused_with_both(tmp_path: Path, ours: str) -> None:
    net = {**network("yunkube-docker", str(SUBNET), "docker")}
    net["Labels"] = {**net["Labels"], machines.ID_LABEL: "f" * 16}
    with pytest.raises(RefusedError) as refused:
        lab_of(Engine([host("node1", "f" * 16)], [net], AUTHORIZED), tmp_path, ours)
    assert [fault.check for fault in refused.value.faults] == ["other cluster"] * 2
    for fault, what in zip(refused.value.faults, ("host node1", "network yunkube-docker"), strict=True):
        assert what in fault.message
        assert "docker (id ffffffffffffffff), not to docker (" in fault.message
        assert (ours or "without an id") in fault.message


def test_hosts_of_before_there_were_ids_are_ours_when_they_let_us_in(tmp_path: Path) -> None:
    net = network("yunkube-docker", str(SUBNET), "docker")
    assert lab_of(Engine([host("node1", None)], [net], b"other\n" + AUTHORIZED), tmp_path).hosts == {"node1": "node1"}
    for key, name in ((b"other\n", "node1"), (AUTHORIZED, "node2"), (b"", "node2")):
        with pytest.raises(RefusedError, match="without an id"):
            lab_of(Engine([host(name, None)], [net], key), tmp_path)


def test_tagged_images_of_a_registry_are_counted_and_their_digests_are_not() -> None:
    tag = "repositories/team/shop/_manifests/tags/1.0"
    names = ["repositories", "repositories/team/shop/_manifests/tags", tag, f"{tag}/current", f"{tag}/index/sha256/aa"]
    assert tags_in(names) == 1
    assert tags_in([]) == 0


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_host_with_images_of_the_registry_goes_only_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    lab = lab_of(Engine([host("node1", "0123456789abcdef"), host("node2", "0123456789abcdef")], []), tmp_path)
    gone: list[str] = []
    monkeypatch.setattr(labs.Lab, "remove", lambda _self, names: gone.extend(names))
    monkeypatch.setattr(labs, "registry_images", lambda _engine, name, **_: Images(int(name == "node1"), 0))

    def remove(*, images: bool) -> list[str]:
        params = {"only": None, "remove_images": images}
        module = types.SimpleNamespace(params=params, check_mode=check_mode)
        return labs.absent(t.cast("t.Any", module), lab)

    with pytest.raises(RefusedError) as refused:
        remove(images=False)
    assert [fault.message for fault in refused.value.faults] == ["node1 holds the registry's images: 1 image"]
    assert gone == []
    assert remove(images=True) == ["remove host node1, with the registry's images: 1 image", "remove host node2"]
    assert gone == ([] if check_mode else ["node1", "node2"])
