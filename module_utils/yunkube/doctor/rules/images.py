# SPDX-License-Identifier: Apache-2.0
"""Images that a node cannot pull."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import BROKEN
from ansible.module_utils.yunkube.doctor.rules.pods import place, pod_hit

PULLING = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
REFUSED = re.compile(r"unauthorized|authoriz|authentication|401|403|denied", re.IGNORECASE)
UNTRUSTED = re.compile(r"x509|certificate|tls: |HTTP response to HTTPS", re.IGNORECASE)
UNREACHED = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|no route|unreachable|deadline|server misbehaving",
    re.IGNORECASE,
)
PULL = "https://kubernetes.io/docs/concepts/containers/images/"


def pull_reason(reason: str, said: str) -> str:
    """Classify why an image cannot be pulled."""
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return "name"
    for kind, pattern in (("tls", UNTRUSTED), ("unreachable", UNREACHED), ("access", REFUSED)):
        if pattern.search(said):
            return kind
    return "name"


def pull_fails(facts: Facts, kind: str) -> t.Iterator[Hit]:
    """Return the pods whose image cannot be pulled for one kind of reason."""
    for pod in facts.cluster.pods:
        if pod["reason"] in PULLING and not pod["leaving"]:
            said = " ".join([pod["message"], *pod["warnings"]])
            if pull_reason(pod["reason"], said) == kind:
                longest = max([pod["message"], *pod["warnings"]], key=len)
                yield pod_hit(facts, pod, [f"{place(pod)}: {pod['reason']}", longest], image=pod["images"][0])


IMAGE_REGISTRY_TLS = Rule(
    "image-registry-tls",
    title="The registry's certificate is not trusted",
    looks="The image is not pulled: `x509: certificate signed by unknown authority`.",
    proof=lambda facts: pull_fails(facts, "tls"),
    remedy="put the registry's CA into /etc/containerd/certs.d/REGISTRY/hosts.toml on {host}; do not skip the check",
    before=BROKEN,
    scope="target",
    link="https://github.com/containerd/containerd/blob/main/docs/hosts.md",
)


IMAGE_REGISTRY_UNREACHABLE = Rule(
    "image-registry-unreachable",
    title="The registry is unreachable",
    looks="The image is not pulled: `dial tcp`, `no such host` or `i/o timeout`.",
    proof=lambda facts: pull_fails(facts, "unreachable"),
    remedy="check from {host} that the registry answers; without internet, name a mirror or import the image with ctr",
    before=BROKEN,
    scope="target",
    link=PULL,
)


IMAGE_ACCESS_DENIED = Rule(
    "image-access-denied",
    title="The registry denies the node access",
    looks="The image is not pulled: `unauthorized` or `denied`.",
    proof=lambda facts: pull_fails(facts, "access"),
    remedy="give {target} an imagePullSecret for the registry",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/",
)


IMAGE_NAME_WRONG = Rule(
    "image-name-wrong",
    title="The image does not exist",
    looks="The image is not pulled: `not found`, or its name is invalid.",
    proof=lambda facts: pull_fails(facts, "name"),
    remedy="correct the image of {target}: {image}",
    before=BROKEN,
    scope="target",
    link=PULL,
)
