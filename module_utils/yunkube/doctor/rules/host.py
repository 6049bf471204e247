# SPDX-License-Identifier: Apache-2.0
"""The host itself: whether it answers, its clock and names, its disks, its kernel."""

from __future__ import annotations

import collections
import statistics
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import (
    CONTROL_PLANE,
    DATA_PLANE,
    FLANNEL,
    NODE,
    PODS,
    RUNTIME,
    SERVICES,
)

SKEW = 30  # seconds between clocks, beside what collecting takes: each host reads its clock at its end
FULL = 0.03  # of a file system, and no more than
LITTLE = 1 << 30  # bytes


def unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that did not answer."""
    for host in facts.hosts:
        if host.unreachable:
            yield Hit(host.host, [host.unreachable], severity="critical" if host.master else "error")


HOST_UNREACHABLE = Rule(
    "host-unreachable",
    title="The host does not answer",
    looks="Nothing is known about the host; its node turns NotReady after 40 seconds.",
    proof=unreachable,
    remedy="check that {host} is on, and try `ssh -v` to it with the inventory's user, key and address",
    before=(*CONTROL_PLANE, *DATA_PLANE, *NODE),
    link="https://kubernetes.io/docs/concepts/architecture/nodes/#condition",
)


def not_inspected(facts: Facts) -> t.Iterator[Hit]:
    """Hosts on which a program hangs, so that nobody knows what it would have listed."""
    for host in facts.reached:
        if host.unread:
            yield Hit(host.host, host.unread)


HOST_NOT_INSPECTED = Rule(
    "host-not-inspected",
    title="The host was only inspected in part",
    looks="A program that lists services, rules or addresses hangs; a fault that it would show is not reported.",
    proof=not_inspected,
    remedy="run the command on {host}, and see what it waits for (`ps`, `dmesg`); if the host was only busy: {command}",
    call="doctor",
)


def clock_skew(facts: Facts) -> t.Iterator[Hit]:
    """Clocks that are far from the median of all, by more than what collecting took on the slowest host."""
    allowed = SKEW + max((host.seconds for host in facts.reached), default=0)
    clocks = [host.now for host in facts.reached if host.now]
    middle = statistics.median([*clocks, facts.now or clocks[0]]) if clocks else 0
    for host in facts.reached:
        if host.now and abs(host.now - middle) > allowed:
            yield Hit(host.host, [f"its clock is {host.now - middle:+.0f} s from that of the others"])


CLOCK_SKEW = Rule(
    "clock-skew",
    title="The host's clock is wrong",
    looks="Certificates are rejected as not yet valid or expired, and leases are lost.",
    proof=clock_skew,
    remedy="synchronize the clock of {host}: timedatectl set-ntp true",
    before=(*CONTROL_PLANE, *NODE),
)


def shared(facts: Facts, name: str, what: str) -> t.Iterator[Hit]:
    """Return hosts that have an identity in common."""
    holders = collections.defaultdict(list)
    for host in facts.reached:
        if value := getattr(host, name):
            holders[value].append(host.host)
    for value, hosts in holders.items():
        for second in hosts[1:]:
            yield Hit(second, [f"{what} {value} is also that of {hosts[0]}"])


DUPLICATE_HOSTNAME = Rule(
    "duplicate-hostname",
    title="Two hosts have the same name",
    looks="Two kubelets fight over one node: its addresses and pods keep changing.",
    proof=lambda facts: shared(facts, "hostname", "the hostname"),
    remedy="give {host} a unique name: hostnamectl set-hostname NAME, then remove it and add it again",
    before=NODE,
    scope="all",
)


DUPLICATE_MACHINE_ID = Rule(
    "duplicate-machine-id",
    title="Two hosts have the same machine-id",
    looks="Networks and addresses are assigned to the wrong host; usually after cloning a disk.",
    proof=lambda facts: shared(facts, "machine_id", "the machine-id"),
    remedy="empty /etc/machine-id on {host}, run systemd-machine-id-setup, and reboot",
    severity="warning",
)


def disk_full(facts: Facts) -> t.Iterator[Hit]:
    """File systems without free space."""
    for host in facts.reached:
        for disk in host.disks:
            if disk["free"] < min(disk["size"] * FULL, LITTLE):
                evidence = f"{disk['mount']}: {disk['free'] >> 20} of {disk['size'] >> 20} MiB are free"
                yield Hit(host.host, [evidence], disk["mount"])


DISK_FULL = Rule(
    "disk-full",
    title="A file system is full",
    looks="Pods are evicted or do not start, etcd stops, logs are truncated.",
    proof=disk_full,
    remedy="free space on {host}: du -xh {target} | sort -h | tail; `crictl rmi --prune` removes unused images",
    severity="critical",
    before=("containerd-config-broken", "containerd-stopped", *RUNTIME),
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
)


def inodes(facts: Facts) -> t.Iterator[Hit]:
    """File systems without free inodes."""
    for host in facts.reached:
        for disk in host.disks:
            if disk["inodes"] and disk["inodes_free"] < disk["inodes"] * FULL:
                evidence = f"{disk['mount']}: {disk['inodes_free']} of {disk['inodes']} inodes are free"
                yield Hit(host.host, [evidence], disk["mount"])


INODES_EXHAUSTED = Rule(
    "inodes-exhausted",
    title="A file system is out of inodes",
    looks="`No space left on device` although df shows room.",
    proof=inodes,
    remedy="find what creates the files on {host}: du --inodes -x {target} | sort -n | tail",
    severity="critical",
    before=("containerd-config-broken", "containerd-stopped", *RUNTIME),
)


def swap_on(facts: Facts) -> t.Iterator[Hit]:
    """Swap with which the kubelet does not start."""
    for host in facts.reached:
        if host.swaps and host.joined and host.kubelet.get("failSwapOn") != "false":
            yield Hit(host.host, [f"/proc/swaps: {', '.join(host.swaps)}", "failSwapOn is not off"])


SWAP_ON = Rule(
    "swap-on",
    title="Swap is on",
    looks="The kubelet exits with `running with swap on is not supported`.",
    proof=swap_on,
    remedy="swapoff --all on {host}, and remove swap from /etc/fstab",
    before=("kubelet-crash-looping", *NODE),
    repair="turn_swap_off",
    safe=True,
    link="https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/",
)


def sysctl(facts: Facts, name: str) -> t.Iterator[Hit]:
    """Return hosts with a sysctl that breaks the network of pods."""
    for host in facts.reached:
        if host.joined and host.sysctls.get(name) != "1":
            there = f"{name} is {host.sysctls[name]}" if name in host.sysctls else f"the kernel has no {name}"
            yield Hit(host.host, [there], name, {"values": {name: "1"}})


BRIDGE_FILTER_OFF = Rule(
    "bridge-filter-off",
    title="Bridged packets bypass the packet filter",
    looks="flanneld does not start, or Services answer some pods but not others.",
    proof=lambda facts: sysctl(facts, "net.bridge.bridge-nf-call-iptables"),
    remedy="modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1, on {host}",
    before=(*FLANNEL, *SERVICES, *PODS),
    repair="set_sysctls",
    safe=True,
)


IP_FORWARD_OFF = Rule(
    "ip-forward-off",
    title="The host does not forward packets",
    looks="Pods of the host reach nothing outside of it, and nothing reaches them.",
    proof=lambda facts: sysctl(facts, "net.ipv4.ip_forward"),
    remedy="sysctl -w net.ipv4.ip_forward=1 on {host}",
    before=(*FLANNEL, *SERVICES, *PODS),
    repair="set_sysctls",
    safe=True,
)
