# SPDX-License-Identifier: Apache-2.0
"""Whether a host belongs to the cluster: hosts that never joined, or joined with the wrong token or CA."""

from __future__ import annotations

import datetime as dt
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules import kubelet
from ansible.module_utils.yunkube.doctor.rules.consequences import FLANNEL, NODE

CA = "/etc/kubernetes/pki/ca.crt"


def not_joined(facts: Facts) -> t.Iterator[Hit]:
    """Hosts of the inventory that never became nodes."""
    for host in facts.reached:
        known = facts.cluster.node(host.name)
        if not host.joined and "/etc/kubernetes/kubelet.conf" not in host.modes and not known:
            yield Hit(host.host, ["it has no /etc/kubernetes/kubelet.conf", "the API knows no node of its name"])


HOST_NOT_JOINED = Rule(
    "host-not-joined",
    title="The host is in the inventory, but not in the cluster",
    looks="The node is missing from `get nodes`, as after a join with an expired token or a wrong CA hash.",
    proof=not_joined,
    remedy="{command}: it joins with its own token and CA hash",
    call="add {host}",
    before=("node-not-ready", "api-silent"),
)


def token_expired(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that joined with a token that has expired, and wait for a certificate in vain."""
    if not facts.cluster.answers:
        return
    for host in facts.reached:
        if not host.bootstrap_token or kubelet.CURRENT in host.certificates:
            continue
        ends = facts.cluster.tokens.get(host.bootstrap_token)
        if ends is None:
            yield Hit(host.host, [f"the cluster has no token {host.bootstrap_token} (any more)"])
        elif ends and dt.datetime.fromisoformat(ends).timestamp() < host.now:
            yield Hit(host.host, [f"token {host.bootstrap_token} ended at {ends}"])


JOIN_TOKEN_EXPIRED = Rule(
    "join-token-expired",
    title="The host joined with a token that has expired",
    looks="The kubelet exits with `Unauthorized` and gets no certificate; the node does not register.",
    proof=token_expired,
    remedy="{command}: it joins with a fresh token",
    call="up --limit {host}",
    before=("kubelet-conf-missing", "kubelet-crash-looping", "node-not-ready"),
    link="https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-token/",
)


def authority_differs(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that trust another cluster's authority."""
    pins = {host.host: host.certificates[CA]["pin"] for host in facts.masters if "pin" in host.certificates.get(CA, {})}
    if not pins:
        return
    first, wanted = next(iter(pins.items()))
    for host in facts.reached:
        pin = host.certificates.get(CA, {}).get("pin")
        if pin and pin != wanted:
            yield Hit(host.host, [f"{CA} is {pin[:23]}…", f"that of {first} is {wanted[:23]}…"], CA)


AUTHORITY_DIFFERS = Rule(
    "authority-differs",
    title="The host trusts another cluster's CA",
    looks="`x509: certificate signed by unknown authority`; a join with the wrong CA hash, or a cloned disk.",
    proof=authority_differs,
    remedy="{command}, then add it again: the CA is checked by its hash",
    call="remove {host}",
    before=("kubelet-crash-looping", *FLANNEL, *NODE),
)
