# SPDX-License-Identifier: Apache-2.0
"""Ask the components of a cluster that run on this host whether they are healthy."""

from __future__ import annotations

import concurrent.futures
import re
import socket
import typing as t
import urllib.request

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.read_host import PATIENCE
from ansible.module_utils.yunkube.kube import unverified
from ansible.module_utils.yunkube.kube.etcd import METRICS

# The health endpoints: plain HTTP or, with a certificate of its own, TLS.
PROBES = {
    "kubelet": "http://127.0.0.1:10248/healthz",
    "kube-proxy": "http://127.0.0.1:10256/healthz",
    "flanneld": "http://127.0.0.1:8081/readyz",
}
ETCD_NUMBERS = f"http://127.0.0.1:{METRICS}"  # of this host's member
MASTER_PROBES = {
    "kube-apiserver": f"https://127.0.0.1:{constants.API_PORT}/livez",
    "kube-controller-manager": f"https://127.0.0.1:{constants.CONTROLLER_MANAGER_PORT}/healthz",
    "kube-scheduler": f"https://127.0.0.1:{constants.SCHEDULER_PORT}/healthz",
    "etcd": f"{ETCD_NUMBERS}/health",
}
SIZES = {  # of etcd's file, of what is used in it, and its quota, in bytes
    "size": "etcd_mvcc_db_total_size_in_bytes",
    "used": "etcd_mvcc_db_total_size_in_use_in_bytes",
    "quota": "etcd_server_quota_backend_bytes",
}
SLOW = 0.512  # seconds of an fsync that no etcd should wait for: one of the buckets that it counts in


def reach(url: str) -> str:
    """Return "ok" if a TCP connection to the API succeeds, nothing if its address is unknown, else the reason."""
    host, _, port = url.removeprefix("https://").rpartition(":")
    if not host:
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        return f"{url}: {error.strerror or error}"
    return "ok"


def probes(wanted: t.Mapping[str, str]) -> dict[str, str]:
    """Ask each health endpoint; nothing secret is sent, so any certificate will do."""
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(probe, wanted.values())))


def probe(url: str) -> str:
    """Return "ok", or the answer or error instead."""
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=unverified.context()),
    ]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=PATIENCE) as answer:
            return "ok" if answer.status == 200 else f"HTTP status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}: {' '.join(error.read(300).decode(errors='replace').split())}"
    except OSError as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def etcd() -> Json:
    """Return etcd's alarm, the share of its slow writes, and how full its file is, in bytes, from its metrics."""
    handler = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    told = {}
    for name in ("health", "metrics"):
        try:
            with handler.open(f"{ETCD_NUMBERS}/{name}", timeout=PATIENCE) as answer:
                told[name] = answer.read().decode()
        except urllib.error.HTTPError as error:
            told[name] = error.read().decode(errors="replace")
        except OSError:
            told[name] = ""
    number = r"\s+([\d.e+]+)$"
    bucket = r'^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\}'
    counts = dict(re.findall(bucket + number, told["metrics"], re.MULTILINE))
    sizes = {name: re.search(f"^{metric}{number}", told["metrics"], re.MULTILINE) for name, metric in SIZES.items()}
    total, quick = float(counts.get("+Inf", 0)), float(counts.get(str(SLOW), 0))
    return {
        "health": told["health"].strip()[:200],
        "fsyncs": total,
        "slow": round((total - quick) / total, 4) if total else 0.0,
        **{name: float(size[1]) if size else 0 for name, size in sizes.items()},
    }
