# SPDX-License-Identifier: Apache-2.0
"""The doctor on a real cluster that is broken again and again: each cause is found first, repaired, and gone.

The subnet.env faults always run, others are chosen by a fixed seed, or by YUNKUBE_SEED; YUNKUBE_FULL=1 runs all. Pairs
are drawn by the same seed, YUNKUBE_PAIRS of them. The tests follow each other on the same two hosts. Faults that
a laboratory cannot have (clocks apart: its hosts share one) are tried on changed facts of a real host, in
tests/unit/test_doctor_faults.py.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from causes import ADDONS, CAUSES, LONG, ROUNDS
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from doctor_pairs import side_by_side
from injections import INJECTIONS, OTHER_SUBNET, PKI, SUBNET_LINE, Injection, no_pod, on, pod, signed
from laboratory import Lab, Result, docker

LAB = ("doctor", "10.92.0", 1, 1)
UP_MAKES_HOSTS = True
SETTINGS = """master_cluster_configuration: {certificateValidityPeriod: 4380h}
node_patches: {kubeletconfiguration: {maxPods: 66}}
"""  # neither is what kubeadm takes by itself
ALWAYS = 6  # the first injections: subnet.env missing, for each of its reasons, and wrong
MORE = 1  # of the others, beside one object of an addon, and what is repaired only if that is allowed: a Corefile
PAIRS = int(os.environ.get("YUNKUBE_PAIRS") or (20 if os.environ.get("YUNKUBE_FULL") else 3))  # of faults at once
PATIENCE = 180  # seconds until a fault shows: a kubelet is missed after 40, and a busy machine takes 20 for a look
# Those restart the control plane, and its clients settle slowly: YUNKUBE_FULL=1 alone has them.
SLOW = {"api-server-down", "etcd-down", "manifest-broken", "control-plane-part-down"}
DRAWN = random.randrange(1 << 30) if "YUNKUBE_FULL" in os.environ else 121483380  # noqa: S311 - no secret
SEED = int(os.environ.get("YUNKUBE_SEED") or DRAWN)


def chosen() -> list[Injection]:
    """Return what is injected in this run."""
    if os.environ.get("YUNKUBE_FULL"):
        return [*INJECTIONS, *CAUSES, *LONG]
    free = [one for one in INJECTIONS[ALWAYS:] if one.fault not in SLOW and not one.allow]
    corefile = next(one for one in CAUSES if one.fault == "corefile-broken")
    drawn = random.Random(SEED)  # noqa: S311 - no secret
    return [*INJECTIONS[:ALWAYS], *drawn.sample(free, MORE), drawn.choice(ADDONS), corefile]


def pairs() -> list[tuple[Injection, Injection]]:
    """Return faults by two that the doctor repairs, and can tell side by side."""
    light = [one for one in INJECTIONS[ALWAYS:] if one.by_hand is None and not one.allow]
    able = [pair for pair in itertools.combinations(light, 2) if side_by_side(*(one.fault for one in pair))]
    return random.Random(SEED).sample(able, min(PAIRS, len(able)))  # noqa: S311 - no secret


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print something that is shown at once."""

    def tell(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text} ")
            sys.stdout.flush()

    return tell


def findings(result: Result) -> list[dict[str, Any]]:
    """Return what the doctor found."""
    return list(result.summary.get("doctor", {}).get("findings", []))


def ids(result: Result) -> list[str]:
    """Return the ids of what it found, the worst first."""
    return [str(one["id"]) for one in findings(result)]


def until(lab: Lab, done: Callable[[Result], bool], seconds: float = PATIENCE) -> tuple[Result, float]:
    """Ask the doctor until something is so; return its last answer and how long that took."""
    began = time.monotonic()
    while not done(result := lab.deploy("doctor")):
        assert time.monotonic() - began < seconds, (findings(result), result.errors)
    return result, time.monotonic() - began


def test_up_makes_a_cluster_without_a_fault(lab: Lab, say: Callable[[str], None]) -> None:
    say(f"seed {SEED}")
    assert lab.deploy("up").code == 0
    began = time.monotonic()
    result = lab.deploy("doctor")
    say(f"{time.monotonic() - began:6.1f} s  doctor of two hosts")
    assert (result.code, findings(result)) == (0, []), result.errors
    assert not any(result.changed.values())


def test_a_fix_of_a_healthy_cluster_changes_nothing(lab: Lab) -> None:
    result = lab.deploy("doctor", "--fix")
    assert (result.code, result.summary["doctor"]["repaired"]) == (0, []), result.errors
    assert not [host for host, count in result.changed.items() if count and host != "localhost"]  # which may serve


@pytest.mark.parametrize("injection", chosen(), ids=lambda one: one.fault)
def test_a_fault_is_found_first_and_fixed(lab: Lab, injection: Injection, say: Callable[[str], None]) -> None:
    injection.break_it(lab)
    result, found = until(lab, lambda answer: ids(answer)[:1] == [injection.fault])
    first = findings(result)[0]
    assert first["evidence"], first
    assert result.code == (0 if first["severity"] == "workload" else 6)
    began = time.monotonic()
    if injection.by_hand:
        injection.by_hand(lab)
        healthy, _ = until(lab, lambda answer: answer.code == 0 and not findings(answer), 180)
    else:  # whose last look is one by itself, but for a network that it may not judge yet: verify tries that one
        allowed = ("--allow", injection.fault) if injection.allow else ()
        if injection.allow:
            left = lab.deploy("doctor", "--fix", "--dry-run")
            assert left.summary["doctor"]["repaired"] == []
        healthy = lab.deploy("doctor", "--fix", "--only", injection.fault, *allowed)
        repaired = healthy.summary["doctor"]["repaired"]
        assert [key.split()[0] for key in repaired] == [injection.fault], healthy.errors
        assert not {*repaired} & {one["key"] for one in findings(healthy)}
    fixed = time.monotonic() - began
    how = "fix by hand" if injection.by_hand else "repair"
    say(f"{found:6.1f} s to find, {fixed:6.1f} s to {how}  {injection.fault}")
    assert (healthy.code, findings(healthy)) == (0, []), healthy.errors
    if injection.settles:
        began = time.monotonic()
        # CoreDNS asks an API that was away again after up to half a minute, and answers of what it knew until then.
        while (proved := lab.deploy("verify")).code != 0:
            assert time.monotonic() - began < PATIENCE, proved.errors


def test_a_kubelet_gets_its_configuration_back_with_the_patches_of_its_host(lab: Lab) -> None:
    injection = next(one for one in INJECTIONS if one.fault == "kubelet-config-broken")
    there = lab.run("node1", "cat /var/lib/kubelet/config.yaml")
    assert "maxPods: 66" in there
    injection.break_it(lab)
    until(lab, lambda answer: ids(answer)[:1] == [injection.fault])
    repaired = lab.deploy("doctor", "--fix")
    assert repaired.code == 0, (findings(repaired), repaired.errors)
    assert lab.run("node1", "cat /var/lib/kubelet/config.yaml") == there


@pytest.mark.parametrize("both", pairs(), ids=lambda both: " and ".join(one.fault for one in both))
def test_two_faults_at_once_are_both_named_and_repaired(lab: Lab, both: tuple[Injection, Injection]) -> None:
    for injection in both:
        injection.break_it(lab)

    def named(answer: Result) -> bool:
        return {one.fault for one in both} <= {
            name for one in findings(answer) for name in (one["id"], *one["implied"])
        }

    until(lab, named)
    repaired = lab.deploy("doctor", "--fix")
    assert (repaired.code, findings(repaired)) == (0, []), repaired.errors


@pytest.mark.parametrize("faults", ROUNDS.values(), ids=list(ROUNDS))
def test_faults_in_different_places_are_all_found_at_once(lab: Lab, faults: tuple[Injection, ...]) -> None:
    for injection in faults:
        injection.break_it(lab)
    until(lab, lambda answer: {one.fault for one in faults} <= {*ids(answer)})
    for injection in faults:
        if injection.by_hand:
            injection.by_hand(lab)
    if any(not injection.by_hand for injection in faults):
        repaired = lab.deploy("doctor", "--fix")
        assert repaired.code == 0, (findings(repaired), repaired.errors)
    until(lab, lambda answer: answer.code == 0 and not findings(answer))


def test_after_all_repairs_the_network_is_judged_and_whole(lab: Lab) -> None:
    """What a host tried does not count just after kube-proxy or flanneld has started, as many repairs let them."""
    result, _ = until(lab, lambda answer: not answer.summary["doctor"]["unjudged"])
    assert (result.code, findings(result)) == (0, []), result.errors


def test_a_dry_run_says_what_would_be_done_and_does_nothing(lab: Lab) -> None:
    lab.run("node1", "sysctl -qw net.ipv4.ip_forward=0")
    result = lab.deploy("doctor", "--fix", "--dry-run")
    assert result.summary["doctor"]["repaired"] == ["ip-forward-off node1 net.ipv4.ip_forward"]
    assert lab.run("node1", "cat /proc/sys/net/ipv4/ip_forward") == "0"
    assert lab.deploy("doctor", "--fix").code == 0


def test_without_the_api_a_certificate_is_renewed_as_the_cluster_was_made(lab: Lab) -> None:
    signed("master1", f"{PKI}/apiserver.crt", -1)(lab)
    until(lab, lambda answer: ids(answer)[:1] == ["api-certificate-expired"])
    repaired = lab.deploy("doctor", "--fix", "--only", "api-certificate-expired")
    assert repaired.code == 0, (findings(repaired), repaired.errors)
    renewed = x509.load_pem_x509_certificate(lab.run("master1", f"cat {PKI}/apiserver.crt").encode())
    key = renewed.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    left = renewed.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=4378) < left < dt.timedelta(hours=4381)


def test_what_a_repair_changes_is_kept(lab: Lab) -> None:
    kept = "find /var/lib/yunkube/doctor/*-subnet-env-wrong -name subnet.env | sort | tail -1"
    if not lab.run("node1", kept):  # as the second injection has left it
        lab.run("node1", f"sed -i 's|{SUBNET_LINE}|{OTHER_SUBNET}|' /run/flannel/subnet.env")
        assert lab.deploy("doctor", "--fix").code == 0
    assert "10.244.77.1" in lab.run("node1", f"cat $({kept})")
    assert lab.run("node1", "stat -c %a /var/lib/yunkube/doctor") == "700"


def test_a_users_broken_pod_is_the_users(lab: Lab) -> None:
    pod("crash", command=["/no-such-program"])(lab)
    result, _ = until(lab, lambda answer: bool(findings(answer)))
    assert [one["severity"] for one in findings(result)] == ["workload"]
    assert result.code == 0
    assert lab.deploy("doctor", "--fix").summary["doctor"]["repaired"] == []
    no_pod("crash")(lab)


def test_a_rolling_update_is_no_fault(lab: Lab) -> None:
    names = ("kube-system ds/kube-proxy", "kube-flannel ds/kube-flannel-ds", "kube-system deploy/coredns")
    places = [(target, "-n", namespace) for namespace, _, target in (name.partition(" ") for name in names)]
    for place in places:
        lab.kubectl("rollout", "restart", *place)
    looks, done = 0, False
    while not done or looks < 2:
        told = [lab.kubectl("rollout", "status", *place, "--watch=false") for place in places]
        done = all("successfully rolled out" in text for text in told)  # and one more look
        result = lab.deploy("doctor")
        assert (result.code, findings(result)) == (0, []), result.errors
        looks += 1
        assert looks < 30, told


def test_an_unknown_fault_is_reported_as_unknown(lab: Lab) -> None:
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    image = lab.kubectl("get", "deploy", "coredns", "-n", "kube-system", "-o", path)
    first = [{"name": "first", "image": image, "command": ["/no-such-program"]}]  # which nobody declares
    patch = [{"op": "add", "path": "/spec/template/spec/initContainers", "value": first}]
    lab.kubectl("patch", "deploy", "coredns", "-n", "kube-system", "--type", "json", "-p", json.dumps(patch))
    result, _ = until(lab, lambda answer: "unknown" in ids(answer))
    assert result.code == 6
    assert any("coredns" in line for one in findings(result) for line in one["evidence"])
    lab.kubectl("rollout", "undo", "deploy/coredns", "-n", "kube-system")
    until(lab, lambda answer: answer.code == 0 and not findings(answer), 180)


def test_a_reboot_that_has_settled_leaves_no_fault(lab: Lab) -> None:
    docker("restart", "yunkube-doctor-node1")
    deadline = time.monotonic() + 120
    while lab.deploy("status").code not in (0, 5):
        assert time.monotonic() < deadline
    result = lab.deploy("doctor")
    assert (result.code, findings(result)) == (0, []), result.errors


def test_no_host_at_all_is_distinguished(lab: Lab) -> None:
    for host in ("node1", "master1"):
        on(host, "systemctl stop ssh; pkill -f '^sshd: root' || true")(lab)
    result = lab.deploy("doctor")
    assert result.code == 4
    assert {one["id"] for one in findings(result)} >= {"host-unreachable"}
    for host in ("node1", "master1"):
        on(host, "systemctl start ssh")(lab)
