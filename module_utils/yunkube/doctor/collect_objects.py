# SPDX-License-Identifier: Apache-2.0
"""Ask the API for objects that are missing, changed or in the way: what `up` declares, webhooks, leftovers."""

from __future__ import annotations

import json
import re
import typing as t

from ansible.module_utils.yunkube.doctor import addons as kubeadms
from ansible.module_utils.yunkube.doctor.declared_fields import differing_fields, shown
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Json
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, instant
from ansible.module_utils.yunkube.kube.health import condition
from ansible.module_utils.yunkube.kube.objects import SECRETS, name_of

RBAC = "/apis/rbac.authorization.k8s.io/v1"
SYSTEM = "/namespaces/kube-system"
# What `kubeadm init phase addon` makes for each, besides the workload itself, which has a rule of its own.
ADDONS = {
    "coredns": {
        "ServiceAccount kube-system/coredns": f"/api/v1{SYSTEM}/serviceaccounts/coredns",
        "ConfigMap kube-system/coredns": f"/api/v1{SYSTEM}/configmaps/coredns",
        "Service kube-system/kube-dns": f"/api/v1{SYSTEM}/services/kube-dns",
        "ClusterRole system:coredns": f"{RBAC}/clusterroles/system:coredns",
        "ClusterRoleBinding system:coredns": f"{RBAC}/clusterrolebindings/system:coredns",
    },
    "kube-proxy": {
        "ServiceAccount kube-system/kube-proxy": f"/api/v1{SYSTEM}/serviceaccounts/kube-proxy",
        "ConfigMap kube-system/kube-proxy": f"/api/v1{SYSTEM}/configmaps/kube-proxy",
        "Role kube-system/kube-proxy": f"{RBAC}{SYSTEM}/roles/kube-proxy",
        "RoleBinding kube-system/kube-proxy": f"{RBAC}{SYSTEM}/rolebindings/kube-proxy",
        "ClusterRoleBinding kubeadm:node-proxier": f"{RBAC}/clusterrolebindings/kubeadm:node-proxier",
    },
}
# What a join reads, and who may read it.
KUBEADM = {
    "ConfigMap kube-system/kubeadm-config": f"/api/v1{SYSTEM}/configmaps/kubeadm-config",
    "ConfigMap kube-system/kubelet-config": f"/api/v1{SYSTEM}/configmaps/kubelet-config",
    "ConfigMap kube-public/cluster-info": "/api/v1/namespaces/kube-public/configmaps/cluster-info",
    "ClusterRoleBinding kubeadm:kubelet-bootstrap": f"{RBAC}/clusterrolebindings/kubeadm:kubelet-bootstrap",
    "ClusterRoleBinding kubeadm:node-autoapprove-bootstrap": (
        f"{RBAC}/clusterrolebindings/kubeadm:node-autoapprove-bootstrap"
    ),
}
# Of kubeadm's objects, those of which every field that it declares is compared. A role may grant more, and an account
# and a Corefile have nothing that must be so.
COMPARED = (
    "Service kube-system/kube-dns",
    "DaemonSet kube-system/kube-proxy",
    "ConfigMap kube-system/kube-proxy",
    "Deployment kube-system/coredns",
)
# What cannot work otherwise of the Service that all pods ask, whatever else is or is not as declared: where it is, whom
# it asks, and its port of DNS.
SERVICE = "Service kube-system/kube-dns"
SERVING = re.compile(
    r"spec\.(?:selector(?:\..+)?|clusterIPs?(?:\[.+)?|ports(?:\[53, \w+\](?:\.(?:port|protocol|targetPort))?)?)"
)
NAMED = re.compile(r"targetPort is dns(?:-tcp)?,")  # as CoreDNS's container calls its port
# As the API names a field that it does not change, and the value that it is to have.
IMMUTABLE = re.compile(
    r"([a-z][\w.]*)(?:\[\d+\])?: Invalid value: ((?:(?!Invalid value: ).)*?): "
    r"(?:field is immutable|may not change once set|cannot change roleRef)"
)
# Objects that are made again for these fields, and no others: their pods, or their address, come back with them.
MADE_AGAIN = {
    "Service": ("spec.clusterIP", "spec.clusterIPs"),
    "Deployment": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "ClusterRoleBinding": ("roleRef",),
    "RoleBinding": ("roleRef",),
}
# What these roles must at least allow; more is no fault.
READ = ("list", "watch")
GRANTS = {"ClusterRole system:coredns": {"endpointslices": READ, "services": READ, "namespaces": READ, "pods": READ}}
SUBJECTS = {
    "ClusterRoleBinding system:coredns": ("system:coredns", "ServiceAccount kube-system/coredns"),
    "ClusterRoleBinding kubeadm:node-proxier": ("system:node-proxier", "ServiceAccount kube-system/kube-proxy"),
    "RoleBinding kube-system/kube-proxy": ("kube-proxy", "Group system:bootstrappers:kubeadm:default-node-token"),
}
OWNERS = {
    "ReplicaSet": "/apis/apps/v1/namespaces/{0}/replicasets/{1}",
    "DaemonSet": "/apis/apps/v1/namespaces/{0}/daemonsets/{1}",
    "StatefulSet": "/apis/apps/v1/namespaces/{0}/statefulsets/{1}",
}
DEPLOYMENT = OWNERS["ReplicaSet"].replace("replicasets", "deployments")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
WEBHOOKS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
ANNOTATIONS = ("spec", "template", "metadata", "annotations")
ASKED = 20  # owners of pods that were refused, and no more


def fill(facts: ClusterFacts, api: KubeApi, events: list[Json], addons: t.Sequence[str] = ()) -> None:
    """Add what is found to the facts of the cluster."""
    facts.addons = [name for name in addons if api.find(DEPLOYMENT.format(*name.split()[1].split("/"))) is None]
    for addon, objects in ADDONS.items():
        if addon in facts.disabled:
            continue
        facts.missing += [{"name": name, "addon": addon, **problem} for name, problem in compared(api, objects)]
    facts.missing += [{"name": name, "addon": "", **problem} for name, problem in compared(api, KUBEADM)]
    facts.webhooks = webhooks(api)
    facts.refused = refused(api, events)
    facts.api_services = api_services(api, facts.now)
    facts.stuck_namespaces = stuck_namespaces(api, facts.now)


def compare(
    facts: ClusterFacts, api: KubeApi, declared: t.Sequence[Json], printed: t.Callable[[], kubeadms.Printed]
) -> None:
    """Add which objects are not as declared, by `up` or by kubeadm."""
    facts.declared = differing(api, declared)
    facts.printed, facts.not_printed = printed()
    compared = [facts.printed[name] for name in COMPARED if name in facts.printed]
    changed = [one for one in differing(api, compared) if one["there"]]  # those that are gone have other rules
    facts.changed = [one for one in map(serving, changed) if one["fields"]]
    for one in facts.declared:
        if not one["there"]:
            one["lacks"] = lacking_secrets(api, one["manifest"])


def serving(one: Json) -> Json:
    """Return a difference, of Service kube-dns without what people may change."""
    if one["name"] != SERVICE:
        return one
    said = {
        field: words
        for field, words in zip(one["fields"], one["said"])
        if SERVING.fullmatch(field) and not NAMED.search(words)
    }
    return {**one, "fields": [*said], "said": [*said.values()]}


def lacking_secrets(api: KubeApi, manifest: Json) -> list[str]:
    """Return the Secrets that the pods of a workload need, and that are not there: `up` alone makes them."""
    spec = part(manifest, "spec", "template", "spec")
    namespace = manifest["metadata"].get("namespace", "default")
    path = f"/api/v1/namespaces/{namespace}/secrets/"
    return [f"Secret {namespace}/{name}" for name in secrets_of(spec) if api.find(path + name) is None]


def secrets_of(spec: Json) -> list[str]:
    """Return the names of the Secrets without which pods do not start."""
    volumes = [one.get("secret") or {} for one in spec.get("volumes") or []]
    wanted = [{**one, "name": one.get("secretName")} for one in volumes]
    for one in spec.get("volumes") or []:
        wanted += [source.get("secret") or {} for source in part(one, "projected").get("sources") or []]
    for one in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        wanted += [part(entry, "valueFrom", "secretKeyRef") for entry in one.get("env") or []]
        wanted += [part(entry, "secretRef") for entry in one.get("envFrom") or []]
    return [*dict.fromkeys(str(one["name"]) for one in wanted if one.get("name") and not one.get("optional"))]


def compared(api: KubeApi, objects: t.Mapping[str, str]) -> t.Iterator[tuple[str, Json]]:
    """Return what of kubeadm's objects is not there, or does not grant what it is there for."""
    for name, path in objects.items():
        found = api.find(path)
        if found is None:
            yield name, {"problem": "is missing", "there": False}
        elif wrong := wrong_with(name, found):
            yield name, {"problem": wrong, "there": True}


def wrong_with(name: str, found: Json) -> str:
    """Return what a role or a binding does not do."""
    if name in SUBJECTS:
        role, subject = SUBJECTS[name]
        there = [name_of({"kind": one.get("kind"), "metadata": one}) for one in found.get("subjects") or []]
        if found["roleRef"]["name"] != role or subject not in there:
            return f"binds {found['roleRef']['name']} to {', '.join(there) or 'nobody'}, not {role} to {subject}"
    for resource, verbs in GRANTS.get(name, {}).items():
        rules = [rule for rule in found.get("rules") or [] if {resource, "*"} & {*(rule.get("resources") or [])}]
        granted = {verb for rule in rules for verb in rule["verbs"]}
        if missing := [verb for verb in verbs if not {verb, "*"} & granted]:
            return f"does not allow to {' and '.join(missing)} {resource}"
    return ""


def differing(api: KubeApi, declared: t.Sequence[Json]) -> list[Json]:
    """Return which objects are not as declared: the server itself says what applying them would change."""
    found = []
    for wanted in declared:
        before, manifest = None, wanted
        try:
            before = api.find(api.path_of(wanted))
            manifest = with_digest(wanted, before)
            after = kubeadms.apply(api, manifest, before, dry_run=True) if before is not None else None
        except KubeError as error:
            if error.silent:
                break  # a webhook that takes longer than we wait; an API that is gone, the next question shows
            fields = unchangeable(before, manifest, error) if before is not None else {}
            if not fields:
                continue  # a webhook in the way, say, which has a rule of its own
        else:
            fields = differing_fields(before, after) if before is not None and after is not None else {}
        if fields or before is None:
            there = before is not None
            differs: Json = {"fields": [*fields], "said": [*fields.values()]}
            found.append({"name": name_of(manifest), "there": there, **differs, "manifest": manifest})
    return found


def with_digest(manifest: Json, there: Json | None) -> Json:
    """Return a manifest with the digest of Secrets that the pods have: `up` adds it, on a master."""
    digest = part(there, *ANNOTATIONS).get(SECRETS)
    if not digest or not part(manifest, "spec", "template"):
        return manifest
    copied: Json = json.loads(json.dumps(manifest))
    template: Json = copied["spec"]["template"].setdefault("metadata", {})
    template["annotations"] = {**(template.get("annotations") or {}), SECRETS: digest}
    return copied


def unchangeable(before: Json, manifest: Json, error: KubeError) -> dict[str, str]:
    """Return the fields because of which an object has to be deleted before it can be applied."""
    if other_role(before, manifest):
        there, wanted = before["roleRef"].get("name"), manifest["roleRef"].get("name")
        return {"roleRef": f"roleRef is {there}, declared is {wanted}"}
    named = dict(IMMUTABLE.findall(str(error))) if error.status == 422 else {}
    if not {*named} <= {*MADE_AGAIN.get(manifest["kind"], ())}:
        return {}
    return {
        name: f"{name} is {there}, declared is {shown(value)}; the API does not change it"
        for name, value in named.items()
        for there in [shown(part(before, *name.split(".")))]
    }


def part(found: t.Any, *path: str) -> t.Any:
    """Return a field of an object, an empty dictionary where there is none."""
    for name in path:
        found = (found or {}).get(name)
    return found or {}


def other_role(binding: Json, manifest: Json) -> bool:
    """Say whether a binding is to another role than declared: it has to be deleted before it can be applied."""
    role: Json = manifest.get("roleRef") or {}
    return not role.items() <= (binding.get("roleRef") or {}).items()


def webhooks(api: KubeApi) -> dict[str, Json]:
    """Return the admission webhooks that refuse where they do not answer, by name."""
    found = {}
    for kind in WEBHOOKS:
        for configuration in api.items(f"{ADMISSION}/{kind}"):
            for one in configuration.get("webhooks") or []:
                if one.get("failurePolicy", "Fail") == "Fail":
                    path = f"{ADMISSION}/{kind}/{configuration['metadata']['name']}"
                    twice = {"undo": ""} if one["name"] in found else {}  # events do not say which one refused
                    found[one["name"]] = {
                        **twice,
                        "configuration": configuration["metadata"]["name"],
                        "path": path,
                        "kind": kind,
                    }
    return found


def refused(api: KubeApi, events: list[Json]) -> list[Json]:
    """Return the owners of pods that still lack some because their creation was refused, with the newest reason."""
    newest: dict[tuple[str, str, str], str] = {}
    for event in sorted(events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or "")):
        about = event.get("involvedObject", {})
        if event.get("reason") == "FailedCreate" and about.get("kind") in OWNERS:
            key = (str(about["kind"]), str(about.get("namespace")), str(about.get("name")))
            newest[key] = " ".join(str(event.get("message")).split())[:400]
    found = []
    for (kind, namespace, name), message in list(newest.items())[-ASKED:]:
        owner = api.find(OWNERS[kind].format(namespace, name))
        if owner is None or (lacks := lacking(owner)) <= 0:
            continue
        above = next(
            (one for one in owner["metadata"].get("ownerReferences") or [] if one["kind"] == "Deployment"), None
        )
        top = above or {"kind": kind, "name": name}
        place = {"kind": str(top["kind"]), "namespace": namespace, "name": str(top["name"])}
        found.append({**place, "lacks": lacks, "message": message})
    return found


def lacking(owner: Json) -> int:
    """Return how many pods an owner has yet to create."""
    status = owner.get("status", {})
    if "desiredNumberScheduled" in status:
        return int(status["desiredNumberScheduled"]) - int(status.get("currentNumberScheduled", 0))
    return int(owner["spec"].get("replicas", 1)) - int(status.get("replicas", 0))


def api_services(api: KubeApi, now: float) -> list[Json]:
    """Return the parts of the API that are served by pods of the cluster, and do not answer."""
    found = []
    for one in api.items("/apis/apiregistration.k8s.io/v1/apiservices"):
        state = condition(one, "Available")
        if one["spec"].get("service") and state.get("status") == "False":
            said = ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key))
            service = one["spec"]["service"]
            place = f"{service.get('namespace')}/{service.get('name')}"
            since = state.get("lastTransitionTime") or one["metadata"]["creationTimestamp"]
            seconds = round(now - instant(since).timestamp(), 1)
            found.append({"name": one["metadata"]["name"], "service": place, "problem": said[:300], "seconds": seconds})
    return found


def stuck_namespaces(api: KubeApi, now: float) -> list[Json]:
    """Return the namespaces that are being deleted, and what the API says that they wait for."""
    found = []
    for one in api.items("/api/v1/namespaces"):
        if deleted := one["metadata"].get("deletionTimestamp"):
            waits = [
                str(state.get("message"))[:300]
                for state in one.get("status", {}).get("conditions") or []
                if state.get("status") == "True"
            ]
            since = round(now - instant(deleted).timestamp(), 1)
            found.append({"name": one["metadata"]["name"], "seconds": since, "waits": waits})
    return found
