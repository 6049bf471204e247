# SPDX-License-Identifier: Apache-2.0
"""Deploys all declared web services: applies, follows and records them, and removes what is no longer declared.

The record is a ConfigMap that names every object applied. It is written before the first of them is, so
that a run that was cut short leaves nothing unknown. What is no longer declared and stays is still in it.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import node_ports
from ansible.module_utils.yunkube.kube import objects as kube_objects
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.node_ports import NodePort
from ansible.module_utils.yunkube.kube.objects import Change
from ansible.module_utils.yunkube.result import REMOVALS, Fault, Report
from ansible.module_utils.yunkube.web import diagnosis as web_diagnosis
from ansible.module_utils.yunkube.web import ownership as web_ownership
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web import service as web_service
from ansible.module_utils.yunkube.web.ownership import DATA, key_of, reference
from ansible.module_utils.yunkube.web.rollout import Workload
from ansible.module_utils.yunkube.words import joined

RECORD: Json = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "yunkube-web-services", "namespace": "kube-system"},
}
RECORD_PATH = "/api/v1/namespaces/kube-system/configmaps/yunkube-web-services"
# What every namespace has by default, or what is removed with its owner.
INCIDENTAL = ("Event", "Endpoints", "EndpointSlice", "ControllerRevision", "Lease")
GONE = scaled(120)  # seconds for removed objects to end: more than pods' grace period
KNOWN = scaled(30)  # seconds for the API to serve a kind whose definition was applied


class Item(t.NamedTuple):
    """A manifest that is to be applied: for which service, and where."""

    service: str
    manifest: Json
    path: str  # empty while the API does not know its kind


def as_manifest(entry: Json) -> Json:
    """Return an object's outline from the record."""
    metadata = {key: entry[key] for key in ("namespace", "name") if key in entry}
    return {"apiVersion": entry["apiVersion"], "kind": entry["kind"], "metadata": metadata}


def read_record(found: Json | None) -> list[Json]:
    """Return what was applied before."""
    return t.cast("list[Json]", json.loads(((found or {}).get("data") or {}).get("objects", "[]")))


class NotAgreedError(Exception):
    """Objects would be removed, and nobody has confirmed that."""

    WORDS = "no longer declared, and would be removed"

    def __init__(self, names: list[str]) -> None:
        """Name them."""
        super().__init__(joined(names))
        self.names = names
        self.report = Report(tuple(Fault("", self.WORDS, host=name) for name in names), REMOVALS)


class Deploy:
    """One run.

    `prune` says what becomes of objects that are no longer declared: `keep`, remove `services` but not what holds
    data, or remove `data` as well. With `ask` a run that would remove any ends before its first change.
    """

    def __init__(
        self,
        api: KubeApi,
        services: list[Json],
        registry_secret: str,
        *,
        dry_run: bool,
        prune: str = "keep",
        ask: bool = False,
    ) -> None:
        """Read what was applied before, and what the services are now."""
        self.api, self.dry_run = api, dry_run
        self.changes: list[Change] = []
        self.kept: list[str] = []
        self.refused: list[NodePort] = []
        self.faults: list[Fault] = []
        self._words: list[str] = []
        self._failed: set[str] = set()
        self._workloads: list[Workload] = []
        self._services = services
        self._changed: set[str] = set()
        self._record = api.find(RECORD_PATH)
        self._applied = read_record(self._record)
        self._ownership = web_ownership.Ownership(self._record, self._applied)
        space, _, name = registry_secret.partition("/")
        login = web_service.login_of(api.find(f"/api/v1/namespaces/{space}/secrets/{name}"))
        self._items = self._plan(services, login)
        declared = {key_of(reference(item.manifest)) for item in self._items}
        gone = [as_manifest(entry) for entry in self._applied if key_of(entry) not in declared]
        self._gone: list[Json] = []
        self._staying: list[Json] = []
        for manifest in web_service.in_order_of_removing(gone):
            self._sort_out(manifest, prune)
        if ask and (names := [kube_objects.name_of(one) for one in self._gone if not self._is_replaced(one)]):
            raise NotAgreedError(names)

    def _sort_out(self, manifest: Json, prune: str) -> None:
        """Decide what happens to an object that is no longer declared: removed, kept, or no longer ours."""
        path = self._path(manifest)
        found = self.api.find(path) if path else None
        if found is None or not self._ownership.owns(found, manifest):
            return
        # What a refused service applied before may be among it.
        goes = not self._failed and (prune == "data" or (prune == "services" and manifest["kind"] not in DATA))
        if goes or is_leaving(found) or self._is_replaced(manifest):
            self._gone.append(manifest)
            return
        self._staying.append(manifest)
        self.kept.append(kube_objects.name_of(manifest))

    def _is_replaced(self, manifest: Json) -> bool:
        """Say whether a workload makes room for a declared one of the same name and another kind."""
        place = (manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        return manifest["kind"] in web_service.WORKLOADS and any(
            (item.manifest["metadata"].get("namespace"), item.manifest["metadata"]["name"]) == place
            for item in self._items
            if item.manifest["kind"] in web_service.WORKLOADS
        )

    def _plan(self, services: list[Json], login: web_service.Login | None) -> list[Item]:
        """Return everything to apply, in order: what services share comes before the first that needs it."""
        plan: list[Item] = []
        self._scopes = web_service.scopes(one for service in services for one in service["resources"])
        shared: set[tuple[str, str]] = set()
        for service in services:
            name = web_service.title(service)
            manifests = [self._placed(manifest, service) for manifest in web_service.manifests_of(service)]
            if service["namespace"] in web_ownership.RESERVED or any(map(web_ownership.is_reserved, manifests)):
                spaces = ", ".join(web_ownership.RESERVED)
                remedy = f"choose another namespace; these are reserved: {spaces}"
                self._fail(name, Fault("reserved", "its namespace is reserved for Kubernetes and the addons", remedy))
                continue
            if unknown := next((one for one in manifests if not self._is_known(one)), None):
                self._fail(name, web_diagnosis.unknown_kind(unknown))
            manifests = [web_service.stamped(web_service.with_login(manifest, login)) for manifest in manifests]
            first: list[Json] = []
            for space in spaces_of(manifests):
                if ("Namespace", space) not in shared and self._is_to_make(space):
                    first.append(web_service.namespace(space))
                shared.add(("Namespace", space))
            users = [one for one in manifests if login and web_service.needs_login(one)]
            for space in dict.fromkeys(one["metadata"]["namespace"] for one in users if "namespace" in one["metadata"]):
                if login and ("Secret", space) not in shared:
                    first.append(web_service.pull_secret(login, space))
                shared.add(("Secret", space))
            ordered = [*first, *web_service.in_order_of_applying(manifests)]
            plan += [Item(name, manifest, self._path(manifest)) for manifest in ordered]
        # Stable: definitions come before all else, as a service may use what another one defines.
        return sorted(plan, key=lambda item: item.manifest["kind"] != web_service.DEFINITION)

    def _placed(self, manifest: Json, service: Json) -> Json:
        """Return a manifest with the service's namespace where it names none and its kind wants one."""
        kube_objects.check_manifest(manifest)
        try:
            wants = self.api.in_namespace(manifest)
        except KubeError as error:
            if error.status != 404:
                raise
            wants = self._scopes.get((manifest["apiVersion"], manifest["kind"])) == "Namespaced"
        metadata = manifest["metadata"]
        if not wants or metadata.get("namespace"):
            return manifest
        return {**manifest, "metadata": {**metadata, "namespace": service["namespace"]}}

    def _is_known(self, manifest: Json) -> bool:
        """Say whether the API server knows a manifest's kind, or will once the declared definitions are applied."""
        return bool(self._path(manifest)) or (manifest["apiVersion"], manifest["kind"]) in self._scopes

    def _is_to_make(self, space: str) -> bool:
        found = self.api.find(f"/api/v1/namespaces/{space}")
        return found is None or self._ownership.owns(found, web_service.namespace(space)) or is_leaving(found)

    def _path(self, manifest: Json) -> str:
        try:
            return self.api.path_of(manifest)
        except KubeError as error:
            if error.status != 404:
                raise
            return ""

    def run(self, timeout: float) -> None:
        """Do it all."""
        declared = [reference(item.manifest) for item in self._items]
        known = {key_of(entry) for entry in declared}
        self._write([*declared, *(entry for entry in self._applied if key_of(entry) not in known)])
        services = [manifest for manifest in self._gone if manifest["kind"] == "Service"]
        spaces = [manifest for manifest in self._gone if manifest["kind"] == "Namespace"]
        rest = [manifest for manifest in self._gone if manifest["kind"] not in ("Service", "Namespace")]
        for manifest in services:
            self._remove(manifest)
        late = [item for item in self._items if not self._apply(item)]
        for item in late:  # another service may have let its node port go meanwhile
            self._apply(item, last=True)
        leaving = [path for manifest in rest if (path := self._remove(manifest))]
        if not self.dry_run:
            followed = [workload for workload in self._workloads if workload.service not in self._failed]
            for fault in web_rollout.follow(self.api, followed, timeout):
                self._fail(fault.host, fault)
            self._wait_until_gone(leaving)
            self.refused = node_ports.wait(node_ports.of_services(self.api, self._to_answer()))
        for manifest in spaces:
            self._remove_namespace(manifest)
        for manifest in self._staying:
            self._label(manifest)
        self._write([*declared, *map(reference, self._staying)], last=True)

    def _to_answer(self) -> list[Json]:
        """Return the declared services that this run changed, with pods that run."""
        ours = self._changed - self._failed
        return [one for one in self._services if web_service.title(one) in ours and one["image"] and one["replicas"]]

    def in_words(self) -> list[str]:
        """Say what was done, or would be."""
        return self._words

    def _apply(self, item: Item, *, last: bool = False) -> bool:
        """Apply one object; False when that may be tried again."""
        if item.service in self._failed:
            return True
        try:
            self._try(item)
        except KubeError as error:
            fault = web_diagnosis.refusal(error, item.manifest, lambda: self.api.items("/api/v1/services"))
            if fault.check == "node_port" and not last and "taken" in fault.message:
                if self.dry_run and self._will_be_free(item.manifest):
                    self._note(Change(kube_objects.name_of(item.manifest), {}, item.manifest))
                    return True
                return False
            self._fail(item.service, fault)
        return True

    def _try(self, item: Item) -> None:
        path = item.path or self._path(item.manifest)
        before = self.api.find(path) if path else None
        if before is not None and is_leaving(before):  # a run that was cut short removes it
            if not self.dry_run:
                self._wait_until_gone([path])
            before = None
        if before is not None and not self._ownership.owns(before, item.manifest):
            self._fail(item.service, foreign(item.manifest, before))
            return
        manifest = now = item.manifest
        old: list[Json] = []
        if manifest["kind"] == "ReplicationController":
            manifest = web_rollout.planned(manifest, before)
            pods = web_rollout.pods_of(self.api, before) if before else []
            old = web_rollout.old_pods(manifest, pods)
            now = web_rollout.surging(manifest, pods)
        change = kube_objects.apply_one(self.api, manifest if self.dry_run else now, dry_run=self.dry_run)
        if change:
            self._note(change)
            self._changed.add(item.service)
            if manifest["kind"] == web_service.DEFINITION and not self.dry_run:
                self._wait_until_known(manifest)
        elif old:
            name = kube_objects.name_of(manifest)
            self._words.append(f"continue the rollout of {name}: {len(old)} pods have the former template")
        workload = web_rollout.workload_of(item.service, manifest, path or self._path(manifest))
        if workload:
            self._workloads.append(workload)

    def _wait_until_known(self, definition: Json) -> None:
        """Wait until the API server serves the kind of a definition that was just applied."""
        deadline = time.monotonic() + KNOWN
        scopes = web_service.scopes_of(definition)
        kinds = [as_manifest({"apiVersion": version, "kind": kind, "name": ""}) for version, kind in scopes]
        self.api.forget_kinds()
        while not all(map(self._path, kinds)):
            if time.monotonic() > deadline:
                said = f"the API server does not serve it after {KNOWN:.0f} s: see kubectl describe"
                raise KubeError(f"{kube_objects.name_of(definition)}: {said}", status=504)
            time.sleep(web_rollout.PAUSE)
            self.api.forget_kinds()

    def _will_be_free(self, manifest: Json) -> bool:
        """Say whether the Services that have this one's node ports are removed, or get others, in this run."""
        kept = {
            (item.manifest["metadata"]["namespace"], item.manifest["metadata"]["name"]): ports_of(item.manifest)
            for item in self._items
            if item.manifest["kind"] == "Service"
        }
        gone = {(m["metadata"]["namespace"], m["metadata"]["name"]) for m in self._gone if m["kind"] == "Service"}
        wanted = ports_of(manifest)
        holders = [service for service in self.api.items("/api/v1/services") if ports_of(service) & wanted]
        for holder in holders:
            place = (holder["metadata"]["namespace"], holder["metadata"]["name"])
            if place not in gone and not (place in kept and not kept[place] & wanted):
                return False
        return True

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        images = tuple(web_service.images_of({"kind": "", **side})[:1] for side in (change.before, change.after))
        if not change.before:
            more = f" ({images[1][0]})" if images[1] else ""
            self._words.append(f"create {change.name}{more}")
        elif images[0] != images[1] and images[0] and images[1]:
            self._words.append(f"update {change.name} from {images[0][0]} to {images[1][0]}")
        else:
            self._words.append(f"change {change.name}")

    def _fail(self, service: str, fault: Fault) -> None:
        """Note the first fault of a service; the rest follows from it."""
        if service not in self._failed:
            self._failed.add(service)
            self.faults.append(fault.on(service))

    def _remove(self, manifest: Json) -> str:
        """Remove an object that is still ours; return its path if its end must be awaited."""
        path = self._path(manifest)
        found = self.api.find(path) if path else None
        if found is None or not self._ownership.owns(found, manifest):
            return ""
        if not is_leaving(found):
            name = kube_objects.name_of(manifest)
            self.changes.append(Change(name, kube_objects.content_of(found), {}))
            self._words.append(f"remove {name}")
            if not self.dry_run:
                # A workload in the foreground: it is gone when its pods are. A Service at once, with its node port.
                how = "Foreground" if manifest["kind"] in web_service.WORKLOADS else "Background"
                self.api.delete(path, propagationPolicy=how)
        return path

    def _wait_until_gone(self, paths: list[str]) -> None:
        deadline = time.monotonic() + GONE
        while paths := [path for path in paths if self.api.find(path) is not None]:
            if time.monotonic() > deadline:
                raise KubeError(
                    f"not deleted after {GONE:.0f} s: {joined(paths)}: check the nodes of its pods", status=504
                )
            time.sleep(web_rollout.PAUSE)

    def _remove_namespace(self, manifest: Json) -> None:
        """Remove a namespace that we made, unless others use it: then it stays, and in the record."""
        name = manifest["metadata"]["name"]
        found = self.api.find(f"/api/v1/namespaces/{name}")
        if found is None or not self._ownership.owns(found, manifest):
            return
        if self._others_in(name):
            self._staying.append(manifest)
            self.kept.append(kube_objects.name_of(manifest))
        elif (path := self._remove(manifest)) and not self.dry_run:
            self._wait_until_gone([path])

    def _others_in(self, space: str) -> list[str]:
        """Return what a namespace holds beside what belongs to it, to another object, or to what is being removed."""
        leaving = {kube_objects.name_of(manifest) for manifest in self._gone}
        others = []
        for root, resource in self._kinds():
            if resource["kind"] in INCIDENTAL:
                continue
            for found in self.api.items(f"{root}/namespaces/{space}/{resource['name']}"):
                metadata = found["metadata"]
                name = f"{resource['kind']} {space}/{metadata['name']}"
                usual = name in (f"ConfigMap {space}/kube-root-ca.crt", f"ServiceAccount {space}/default")
                if not usual and not metadata.get("ownerReferences") and name not in leaving:
                    others.append(name)
        return others

    def _kinds(self) -> t.Iterator[tuple[str, Json]]:
        """Yield everything that a namespace may hold: the root of its API, and what it is called there."""
        groups = self.api.get("/apis").get("groups") or []
        # Also the others: not every kind has the version that its group prefers.
        versions = [one for group in groups for one in (group["preferredVersion"], *(group.get("versions") or ()))]
        known: dict[tuple[str, str], tuple[str, Json]] = {}
        for root in dict.fromkeys(["/api/v1", *(f"/apis/{one['groupVersion']}" for one in versions)]):
            for resource in self.api.get(root).get("resources") or []:
                listed = resource["namespaced"] and "list" in resource.get("verbs", ()) and "/" not in resource["name"]
                if listed and not root.startswith("/apis/events.k8s.io/") and "metrics.k8s.io" not in root:
                    known.setdefault((root.rpartition("/")[0], resource["name"]), (root, resource))
        yield from known.values()

    def _label(self, manifest: Json) -> None:
        """Give an object that stays the label of web services, where it has the one that they had before."""
        path = self._path(manifest)
        found = None if self.dry_run else self.api.find(path)
        if found is not None and web_ownership.label_of(found) != web_ownership.OWNER[kube_objects.MANAGED_BY]:
            self.api.patch(path, {"metadata": {"labels": dict(web_ownership.OWNER)}})

    def _write(self, entries: list[Json], *, last: bool = False) -> None:
        """Keep the record; none when there is nothing to record.

        Its own label says which one the objects have. It changes when they all have the new one.
        """
        if self.dry_run:
            return
        old = web_ownership.is_old(self._record) and not (last and not self._failed)
        if not entries:
            if self._record is not None:
                self.api.delete(RECORD_PATH)
            self._record = None
        elif old != web_ownership.is_old(self._record) or sorted(map(key_of, entries)) != sorted(
            map(key_of, read_record(self._record))
        ):
            metadata = {**RECORD["metadata"], "labels": dict(kube_objects.OURS if old else web_ownership.OWNER)}
            self._record = self.api.apply({**RECORD, "metadata": metadata, "data": {"objects": json.dumps(entries)}})


def foreign(manifest: Json, found: Json) -> Fault:
    """Say that an object is another's, and how it may be handed over unless it is an addon's."""
    name = kube_objects.name_of(manifest)
    if web_ownership.label_of(found) == kube_objects.OURS[kube_objects.MANAGED_BY]:
        return Fault("foreign", f"{name} belongs to an addon of the cluster", "give the service's object another name")
    space = f" -n {manifest['metadata']['namespace']}" if manifest["metadata"].get("namespace") else ""
    where = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}{space}"
    label = f"{kube_objects.MANAGED_BY}={web_ownership.OWNER[kube_objects.MANAGED_BY]}"
    remedy = f"give the service another name, or hand it over: kubectl label {where} {label}"
    return Fault("foreign", f"{name} exists and was not created by Yunkube", remedy)


def is_leaving(found: Json) -> bool:
    """Say whether an object is being removed."""
    return "deletionTimestamp" in found["metadata"]


def spaces_of(manifests: list[Json]) -> list[str]:
    """Return the namespaces that objects are in and do not bring themselves."""
    brought = {one["metadata"]["name"] for one in manifests if one["kind"] == "Namespace"}
    wanted = dict.fromkeys(one["metadata"]["namespace"] for one in manifests if one["metadata"].get("namespace"))
    return [space for space in wanted if space not in brought]


def ports_of(service: Json) -> set[int]:
    """Return the node ports that a Service has, or asks for."""
    return {port["nodePort"] for port in (service.get("spec") or {}).get("ports") or [] if port.get("nodePort")}


def without_api(services: list[Json]) -> tuple[list[Change], list[str]]:
    """Say what would happen once there is an API."""
    manifests = [manifest for service in services for manifest in web_service.manifests_of(service)]
    changes = [Change(kube_objects.name_of(one), {}, kube_objects.content_of(one)) for one in manifests]
    return changes, [f"create {change.name}" for change in changes]
