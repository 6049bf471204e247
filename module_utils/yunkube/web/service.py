# SPDX-License-Identifier: Apache-2.0
"""A web service's declaration, and the manifests that it stands for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t

from ansible.module_utils.yunkube.constants import ARCHITECTURES
from ansible.module_utils.yunkube.kube.api import Json
from ansible.module_utils.yunkube.kube.objects import read_data
from ansible.module_utils.yunkube.web.ownership import OWNER

NAME = "app.kubernetes.io/name"
TEMPLATE = "yunkube/template"  # on a ReplicationController's pods: which template they were made by
BEFORE = "yunkube/previous-template"  # on a ReplicationController: what a rollback goes back to
PULL_SECRET = "registry-pull"  # noqa: S105 - the Secret's name
WORKLOADS = ("Deployment", "ReplicationController", "StatefulSet", "DaemonSet")
DEFINITION = "CustomResourceDefinition"
# Seconds that a pod goes on answering once it is to end: until every node sends its requests elsewhere.
DRAIN = 5

# What a declaration may say, as an argument spec; the role says the same to those who write one.
OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": "default"},
    "kind": {"type": "str", "choices": ["Deployment", "ReplicationController"], "default": "Deployment"},
    "replicas": {"type": "int", "default": 2},
    "architecture": {"type": "str", "choices": sorted(ARCHITECTURES.values())},
    "port": {"type": "int", "default": 8080},
    "node_port": {"type": "int"},
    "cpu": {"type": "str", "default": "500m"},
    "memory": {"type": "str", "default": "600Mi"},
    "pull_policy": {"type": "str", "choices": ["IfNotPresent", "Always", "Never"], "default": "IfNotPresent"},
    "env": {"type": "dict", "default": {}},
    "env_from": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"secret": {"type": "str"}, "config_map": {"type": "str"}},
        "mutually_exclusive": [("secret", "config_map")],
        "required_one_of": [("secret", "config_map")],
    },
    "probe": {
        "type": "dict",
        "default": {},
        "options": {"path": {"type": "str", "default": ""}, "startup_seconds": {"type": "int", "default": 60}},
    },
    "resources": {"type": "list", "elements": "dict", "default": []},
}
# What the module's argument spec says of the services and of how they are brought there.
SPEC: dict[str, dict[str, t.Any]] = {
    # As a whole: Ansible finds a hidden value in its line of the journal only where no letter of it is escaped.
    "services": {"type": "list", "elements": "dict", "required": True, "options": OPTIONS, "no_log": True},
    "registry_secret": {"type": "str", "default": "registry/registry-login", "no_log": False},
    "prune": {"type": "str", "choices": ["keep", "services", "data"], "default": "keep"},
    "ask": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 180},
}


# Environment variables whose value is a secret, by their name, and passwords in URLs.
SECRET_NAME = re.compile(r"pass|secret|token|key|credential|auth|private", re.IGNORECASE)
USERINFO = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
SHORTEST = 4  # letters of a secret: shorter ones would blank out ordinary words of a message


class Login(t.NamedTuple):
    """How pods get images from a registry."""

    address: str
    username: str
    password: str

    def __repr__(self) -> str:
        """Keep the password out of whatever shows this."""
        return f"Login({self.address!r})"


def login_of(secret: Json | None) -> Login | None:
    """Read the Secret that a registry's login is kept in: the account that may only read, where there is one."""
    data = read_data(secret)
    if not data.get("address"):
        return None
    account = "reader_" if data.get("reads") == "reader" else ""
    return Login(data["address"], data.get(f"{account}username", ""), data.get(f"{account}password", ""))


def title(service: Json) -> str:
    """Return namespace/name."""
    return f"{service['namespace']}/{service['name']}"


def secret_values(services: t.Iterable[Json]) -> set[str]:
    """Return what no message may repeat: secret environment variables, and the content of declared Secrets."""
    found: set[str] = set()
    for service in services:
        env = {name: str(value) for name, value in (service["env"] or {}).items() if isinstance(value, (str, int))}
        found |= {value for name, value in env.items() if SECRET_NAME.search(name) or USERINFO.search(value)}
        found |= {password for value in env.values() for password in USERINFO.findall(value)}
        for one in service["resources"]:
            if one.get("kind") == "Secret":
                values = [str(v) for part in ("data", "stringData") for v in (one.get(part) or {}).values()]
                found |= {*values, *(_decoded(str(value)) for value in (one.get("data") or {}).values())}
    return {value for value in found if len(value) >= SHORTEST}


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:  # not base64, or not text
        return ""


def manifests_of(service: Json) -> list[Json]:
    """Return the objects of a declared service: what its files say, or a Service and a workload."""
    if service["resources"]:
        return [ours(manifest) for manifest in service["resources"]]
    return [_service(service), _workload(service)]


def ours(manifest: Json) -> Json:
    """Return a manifest with the label by which its object is known as ours."""
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **OWNER}}}


def namespace(name: str) -> Json:
    """Return the manifest of a namespace."""
    return ours({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def pull_secret(login: Login, space: str) -> Json:
    """Return the Secret by which the pods of a namespace get images."""
    token = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    entry = {"username": login.username, "password": login.password, "auth": token}
    config = json.dumps({"auths": {login.address: entry}}, sort_keys=True)
    return ours(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": PULL_SECRET, "namespace": space},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
        }
    )


def pod_spec(manifest: Json) -> Json | None:
    """Return the pods' part of a workload's manifest."""
    template = (manifest.get("spec") or {}).get("template") if manifest["kind"] in WORKLOADS else None
    spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else None


def images_of(manifest: Json) -> list[str]:
    """Return the images that a workload's pods run."""
    spec = pod_spec(manifest) or {}
    return [str(entry.get("image")) for part in ("initContainers", "containers") for entry in spec.get(part) or []]


def with_login(manifest: Json, login: Login | None) -> Json:
    """Let a workload's pods use the pull secret when their image comes from that registry."""
    if login is None or not any(image.startswith(f"{login.address}/") for image in images_of(manifest)):
        return manifest
    changed = _copy(manifest)
    spec = t.cast("Json", pod_spec(changed))
    spec.setdefault("imagePullSecrets", [{"name": PULL_SECRET}])
    return changed


def needs_login(manifest: Json) -> bool:
    """Say whether pods use the pull secret."""
    return {"name": PULL_SECRET} in ((pod_spec(manifest) or {}).get("imagePullSecrets") or [])


def stamped(manifest: Json) -> Json:
    """Write into a ReplicationController's pods which template they are made by; others pass as they are."""
    if manifest["kind"] != "ReplicationController" or pod_spec(manifest) is None:
        return manifest
    changed = _copy(manifest)
    template = changed["spec"]["template"]
    metadata = template.setdefault("metadata", {})
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE: digest}
    return changed


def stamp_of(found: Json) -> str:
    """Return the stamp on a pod, or on the template of a ReplicationController."""
    metadata = (found["spec"].get("template") or found).get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(TEMPLATE, ""))


def scopes_of(definition: Json) -> dict[tuple[str, str], str]:
    """Return the scope of each apiVersion and kind that a CustomResourceDefinition brings."""
    spec = definition.get("spec") or {}
    kind, scope = (spec.get("names") or {}).get("kind", ""), spec.get("scope", "")
    versions = [one for one in spec.get("versions") or () if one.get("served")]
    return {(f"{spec.get('group')}/{one.get('name')}", kind): scope for one in versions}


def scopes(manifests: t.Iterable[Json]) -> dict[tuple[str, str], str]:
    """Return the scopes that all definitions among manifests bring."""
    definitions = [one for one in manifests if one.get("kind") == DEFINITION]
    return {kind: scope for one in definitions for kind, scope in scopes_of(one).items()}


def in_order_of_applying(manifests: t.Iterable[Json]) -> list[Json]:
    """Sort: what others stand in or read first, workloads last."""
    return sorted(manifests, key=lambda manifest: _rank(manifest["kind"]))


def in_order_of_removing(manifests: t.Iterable[Json]) -> list[Json]:
    """Sort: Services first, then workloads, then the rest; namespaces are the last."""
    ranks = {"Service": 0, **dict.fromkeys(WORKLOADS, 1), "Namespace": 9}
    return sorted(manifests, key=lambda manifest: ranks.get(manifest["kind"], 2))


def _rank(kind: str) -> int:
    if kind in WORKLOADS:
        return 4
    return {"Namespace": 0, DEFINITION: 1, "Service": 3}.get(kind, 2)


def _copy(manifest: Json) -> Json:
    return t.cast("Json", json.loads(json.dumps(manifest)))


def _metadata(service: Json) -> Json:
    return {"name": service["name"], "namespace": service["namespace"], "labels": {NAME: service["name"], **OWNER}}


def _service(service: Json) -> Json:
    port: Json = {"name": "http", "port": service["port"], "targetPort": "http", "protocol": "TCP"}
    if service.get("node_port"):
        port["nodePort"] = service["node_port"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service),
        "spec": {
            "type": "NodePort" if service.get("node_port") else "ClusterIP",
            "selector": {NAME: service["name"]},
            "ports": [port],
        },
    }


def _workload(service: Json) -> Json:
    chosen = {NAME: service["name"]}
    template = {"metadata": {"labels": {**chosen, **OWNER}}, "spec": _pod(service)}
    spec: Json = {"replicas": service["replicas"], "selector": chosen, "template": template}
    if service["kind"] == "ReplicationController":
        return {"apiVersion": "v1", "kind": service["kind"], "metadata": _metadata(service), "spec": spec}
    spec["selector"] = {"matchLabels": chosen}
    spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    template["spec"]["topologySpreadConstraints"][0]["matchLabelKeys"] = ["pod-template-hash"]
    return {"apiVersion": "apps/v1", "kind": service["kind"], "metadata": _metadata(service), "spec": spec}


def _pod(service: Json) -> Json:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {NAME: service["name"]}},
    }
    chosen = {"nodeSelector": {"kubernetes.io/arch": service["architecture"]}} if service.get("architecture") else {}
    return {
        **chosen,
        "automountServiceAccountToken": False,  # a web service has no rights at the API, and nothing to lose there
        "containers": [_container(service)],
        "terminationGracePeriodSeconds": 30 + DRAIN,
        "topologySpreadConstraints": [spread],
    }


def _container(service: Json) -> Json:
    probe = service.get("probe") or {}
    path, startup = probe.get("path") or "", probe.get("startup_seconds") or 60
    asked: Json = {"httpGet": {"path": path, "port": "http"}} if path else {"tcpSocket": {"port": "http"}}
    node = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    env = [_variable(name, value) for name, value in (service["env"] or {}).items()]
    sources = [
        {"secretRef": {"name": one["secret"]}} if one.get("secret") else {"configMapRef": {"name": one["config_map"]}}
        for one in service["env_from"] or []
    ]
    return {
        "name": service["name"],
        "image": service["image"],
        "imagePullPolicy": service["pull_policy"],
        "ports": [{"name": "http", "containerPort": service["port"], "protocol": "TCP"}],
        "env": env if "NODE_NAME" in service["env"] else [node, *env],
        **({"envFrom": sources} if sources else {}),
        "resources": {
            "requests": {"cpu": service["cpu"], "memory": service["memory"]},
            "limits": {"memory": service["memory"]},
        },
        "startupProbe": {**asked, "periodSeconds": 1, "failureThreshold": startup},
        "readinessProbe": {**asked, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**asked, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN}}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }


def _variable(name: str, value: t.Any) -> Json:
    """Return an environment variable: its value, or where the kubelet reads it when a pod starts."""
    if not isinstance(value, dict):
        return {"name": name, "value": _text(value)}
    kind, source = ("secretKeyRef", "secret") if "secret" in value else ("configMapKeyRef", "config_map")
    return {"name": name, "valueFrom": {kind: {"name": value.get(source, ""), "key": value.get("key", "")}}}


def _text(value: t.Any) -> str:
    """Return an environment variable's value as YAML would have it written."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
