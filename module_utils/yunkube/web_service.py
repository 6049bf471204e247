"""What a short declaration of a web service means: a workload, a Service, and what they need."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

from ansible.module_utils.yunkube.kube_api import Json

MANAGED = "app.kubernetes.io/managed-by"
NAME = "app.kubernetes.io/name"
OURS = "yunkube"
# Annotations: of a pod's template, which one it is; of a ReplicationController, the one before.
TEMPLATE = "yunkube/template"
PREVIOUS = "yunkube/previous-template"
CONTAINER = "web"
PULL_SECRET = "registry-pull"  # noqa: S105 - its name
# Seconds between the end of an endpoint and that of its process: every node's kube-proxy has heard of it by then.
FAREWELL = 5
# The order of applying; deleting goes the other way, after the Services, so that nobody is sent to what ends.
ORDER = ("Namespace", "ServiceAccount", "Secret", "ConfigMap", "Deployment", "ReplicationController", "Service")

Login = t.Mapping[str, str]  # address, username, password

DECLARATION: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": "default"},
    "kind": {"type": "str", "choices": ["Deployment", "ReplicationController"], "default": "Deployment"},
    "replicas": {"type": "int", "default": 2},
    "port": {"type": "int", "default": 8080},
    "node_port": {"type": "int", "default": 0},
    "cpu": {"type": "str", "default": "500m"},
    "memory": {"type": "str", "default": "600Mi"},
    "pull_policy": {"type": "str", "choices": ["IfNotPresent", "Always", "Never"], "default": "IfNotPresent"},
    "env": {"type": "dict", "default": {}},
    "probe_path": {"type": "str", "default": ""},
    "manifests": {"type": "list", "elements": "dict", "default": []},
}


def key_of(manifest: Json) -> tuple[str, str, str, str]:
    """Return what tells one object from another."""
    metadata = manifest["metadata"]
    return manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"]


def in_order(manifests: t.Iterable[Json]) -> list[Json]:
    """Return manifests in the order of applying; what is not known comes between configuration and workloads."""
    place = {kind: number for number, kind in enumerate(ORDER)}
    return sorted(manifests, key=lambda one: place.get(one["kind"], place["Deployment"] - 0.5))


def manifests_of(service: Json, login: Login | None) -> list[Json]:
    """Return the objects of one declaration; without a name of its own, a manifest is in the service's namespace."""
    labels = {NAME: service["name"], MANAGED: OURS}
    if service["manifests"]:
        return [_labelled(manifest, service["namespace"]) for manifest in service["manifests"]]
    private = login is not None and service["image"].startswith(f"{login['address']}/")
    found = [workload(service, labels, private=private), service_object(service, labels)]
    if private and login is not None:
        found.insert(0, pull_secret(service["namespace"], login))
    return found


def _labelled(manifest: Json, namespace: str) -> Json:
    metadata = manifest.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), MANAGED: OURS}
    return {**manifest, "metadata": {"namespace": namespace, **metadata, "labels": labels}}


def pull_secret(namespace: str, login: Login) -> Json:
    """Return the Secret with which a namespace's pods pull from the registry."""
    user, password = login["username"], login["password"]
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    content = {"auths": {login["address"]: {"username": user, "password": password, "auth": both}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": PULL_SECRET, "namespace": namespace, "labels": {MANAGED: OURS}},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(content, sort_keys=True).encode()).decode()},
    }


def workload(service: Json, labels: Json, *, private: bool) -> Json:
    """Return the Deployment or ReplicationController."""
    template = pod_template(service, labels, private=private)
    metadata: Json = {"name": service["name"], "namespace": service["namespace"], "labels": labels}
    spec: Json = {"replicas": service["replicas"], "template": template}
    if service["kind"] == "ReplicationController":
        # It does not roll by itself; by this one sees which pods are of which template.
        template["metadata"]["annotations"] = {TEMPLATE: template_digest(template)}
        spec["selector"] = {NAME: service["name"]}
        return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": metadata, "spec": spec}
    spec["selector"] = {"matchLabels": {NAME: service["name"]}}
    spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def pod_template(service: Json, labels: Json, *, private: bool) -> Json:
    """Return the pods' template: probed, spread over the nodes, and ended only when nobody is sent there any more."""
    path = service["probe_path"]
    probe: Json = (
        {"httpGet": {"path": path, "port": service["port"]}} if path else {"tcpSocket": {"port": service["port"]}}
    )
    fields = {"POD_NAME": "metadata.name", "NODE_NAME": "spec.nodeName"}
    environment = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    environment += [{"name": name, "value": str(value)} for name, value in sorted(service["env"].items())]
    container: Json = {
        "name": CONTAINER,
        "image": service["image"],
        "imagePullPolicy": service["pull_policy"],
        "ports": [{"containerPort": service["port"], "name": CONTAINER}],
        "env": environment,
        "resources": {
            "requests": {"cpu": service["cpu"], "memory": service["memory"]},
            "limits": {"memory": service["memory"]},
        },
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 2},
        "livenessProbe": {**probe, "periodSeconds": 10},
        "lifecycle": {"preStop": {"sleep": {"seconds": FAREWELL}}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    spread: Json = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {NAME: service["name"]}},
    }
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "topologySpreadConstraints": [spread],
        "containers": [container],
    }
    if private:
        spec["imagePullSecrets"] = [{"name": PULL_SECRET}]
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def template_digest(template: Json) -> str:
    """Return a word for a pods' template."""
    return hashlib.sha256(json.dumps(template["spec"], sort_keys=True).encode()).hexdigest()[:16]


def service_object(service: Json, labels: Json) -> Json:
    """Return the Service: at a port of every node, or inside the cluster only."""
    port: Json = {"name": CONTAINER, "port": service["port"], "targetPort": service["port"], "protocol": "TCP"}
    if service["node_port"]:
        port["nodePort"] = service["node_port"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service["name"], "namespace": service["namespace"], "labels": labels},
        "spec": {
            "type": "NodePort" if service["node_port"] else "ClusterIP",
            "selector": {NAME: service["name"]},
            "ports": [port],
        },
    }
