# SPDX-License-Identifier: Apache-2.0
"""Certificates of addons' servers are renewed in their Secrets, for the same names; their pods are replaced."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import time
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import secrets, unverified
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import workload_problem
from ansible.module_utils.yunkube.kube.objects import OURS, SECRETS, Change, apply_one, name_of, read_data
from ansible.module_utils.yunkube.kube.x509 import is_due, read_certificate

DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
ROLLOUT = 120  # seconds for new pods to be ready


class NoCertificateError(KubeError):
    """A Secret holds no certificate that could be renewed."""


class Renewed(t.NamedTuple):
    """What was renewed, or would be: objects, what was done in words, and a row for each certificate."""

    changes: list[Change]
    words: list[str]
    table: list[Json]


def renew(api: KubeApi, options: Json, *, dry_run: bool) -> Renewed:
    """Renew what is due of the Secrets in `options`, in their order; nothing where one is missing, as `up` makes it."""
    wanted: list[Json] = options["secrets"]
    found = [api.find(api.path_of(outline)) for outline in secrets.named(wanted)]
    there: list[Json] = [one for one in found if one]
    if len(there) < len(found):
        return Renewed([], [], [])
    moment, within = dt.datetime.now(dt.timezone.utc), dt.timedelta(days=options["days"])
    lifetime = dt.timedelta(days=secrets.DAYS)
    by_name = {one["metadata"]["name"]: one for one in there}
    new: list[Json] = []
    renewed: dict[str, Json] = {}
    for one, old in zip(wanted, there):
        made = old
        if one["kind"] == "certificate":
            signer = read_data(by_name.get(one.get("authority", "")))
            by = secrets.Authority(signer["tls.crt"], signer["tls.key"]) if signer else secrets.cluster_authority()
            last = read_certificate(by.certificate).not_after
            if options["all"] or is_due(_ends(old), min(moment + lifetime, last), within, moment):
                made = renewed[one["name"]] = signed(old, by, one.get("common_name", ""))
        new.append(made)
    changes = [change for one in renewed.values() if (change := apply_one(api, one, dry_run=dry_run))]
    words = [f"renew the certificate in {name_of(one)}" for one in renewed.values()]
    # Also where an earlier run was killed between the two.
    for namespace in sorted({one["metadata"]["namespace"] for one in there}):
        words += restart(api, namespace, secrets.digest(new), dry_run=dry_run)
    if options["address"] and renewed and not dry_run:
        _wait_for_server(options["address"], [read_data(one)["tls.crt"] for one in renewed.values()])
    after = new if dry_run else [api.get(api.path_of(outline)) for outline in secrets.named(wanted)]
    table = [
        row(one, _ends(old), _ends(made), moment)
        for one, old, made in zip(wanted, there, after)
        if one["kind"] in ("certificate", "authority")
    ]
    return Renewed(changes, words, table)


def _ends(secret: Json) -> dt.datetime:
    try:
        return read_certificate(read_data(secret)["tls.crt"]).not_after
    except (KeyError, ValueError) as error:
        raise NoCertificateError(f"Secret {secret['metadata']['name']} holds no certificate") from error


def signed(old: Json, by: secrets.Authority, common_name: str) -> Json:
    """Return a Secret with a new key and certificate, for the same names and by the same authority."""
    names = list(read_certificate(read_data(old)["tls.crt"]).names)
    data = secrets.sign(names, by, common_name) | {"ca.crt": by.certificate}
    metadata = old["metadata"]
    kept = {key: value for key, value in (metadata.get("annotations") or {}).items() if key == secrets.MADE}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "labels": dict(OURS), "annotations": kept,
        },
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(data.items())},
    }  # fmt: skip


def restart(api: KubeApi, namespace: str, digest: str, *, dry_run: bool) -> list[str]:
    """Replace the pods of Deployments that have read other Secrets when they started, and wait for the new ones."""
    words = []
    folder = DEPLOYMENTS.format(namespace)
    for one in api.items(folder):
        if (one["spec"]["template"]["metadata"].get("annotations") or {}).get(SECRETS, digest) == digest:
            continue
        name = one["metadata"]["name"]
        words.append(f"replace the pods of Deployment {namespace}/{name}")
        if not dry_run:
            annotations = {SECRETS: digest}
            api.patch(f"{folder}/{name}", {"spec": {"template": {"metadata": {"annotations": annotations}}}})
            _wait(functools.partial(_rollout, api, f"{folder}/{name}"), f"Deployment {namespace}/{name}")
    return words


def _rollout(api: KubeApi, path: str) -> str:
    return workload_problem(api.get(path))


def _wait(problem: t.Callable[[], str], what: str) -> None:
    """Wait until there is no problem any more."""
    limit = scaled(ROLLOUT)
    deadline = time.monotonic() + limit
    while wrong := problem():
        if time.monotonic() > deadline:
            raise KubeError(f"{what} is not ready {limit:.0f} s after its certificate was renewed: {wrong}")
        time.sleep(0.5)


def _wait_for_server(address: str, wanted: list[str]) -> None:
    """Wait until a server shows one of these certificates: an old pod may answer for a moment."""
    where = urlsplit(f"//{address}")
    known = [read_certificate(pem) for pem in wanted]

    def problem() -> str:
        try:
            shown = read_certificate(unverified.certificate(where.hostname or "", where.port or 443, scaled(5)))
        except (OSError, ValueError) as error:
            return str(error)
        return "" if shown in known else "it shows the former certificate"

    _wait(problem, f"https://{address}")


def row(wanted: Json, before: dt.datetime, after: dt.datetime, moment: dt.datetime) -> Json:
    """Return what the table at the end says of a certificate."""
    left = (after - moment).days
    return {
        "check": f"Secret {wanted['namespace']}/{wanted['name']}",
        "target": "cluster",
        "ok": left >= constants.EXPIRES_SOON_SECONDS // 86400,
        "before": (before - moment).days,
        "after": left,
        "detail": "a certificate authority, which is not renewed" if wanted["kind"] == "authority" else "",
    }
