# SPDX-License-Identifier: Apache-2.0
"""Which Kubernetes releases a cluster can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

EXAMPLES = """\
examples:
  ./scripts/deploy.py versions
  ./scripts/deploy.py versions --json | jq -r '.releases[] | select(.support.state == "ended").kubernetes'

Lists the releases that have a lock in components/, and the clusters of this machine whose state directory is in the
default place, ~/.local/state/yunkube. A new cluster gets the release that cluster_kubernetes_version names.
"""

SUPPORT = {
    "supported": "until {ends}",
    "maintenance": "until {ends}, critical fixes alone",
    "ended": "ended {ends}",
    "unknown": "unknown",
}


def show(request: Request) -> int:
    """Show them."""
    import datetime as dt
    import json

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.cluster import ROOT
    from deployer.versions import versions

    told = versions(ROOT, cache(), bundles.states(), dt.datetime.now(dt.UTC).date())
    if request.json:
        print(json.dumps(told))
    else:
        in_words(told)
    return 0


def in_words(told: dict[str, Any]) -> None:
    """Print the releases and what each is made of."""
    import sys

    from deployer.versions import SKEW
    from deployer.views.summary import Printer

    out = Printer(sys.stdout)
    out.rows(
        [
            _plain(
                f"{one['kubernetes']} (default)" if one["default"] else one["kubernetes"],
                SUPPORT[one["support"]["state"]].format(**one["support"]),
                "yes" if one["tested"] else "no cluster yet",
                *(f"{skew['oldest']} to {skew['newest']}" for skew in one["skew"].values()),
                ", ".join(one["clusters"]) or "none here",
            )
            for one in told["releases"]
        ],
        ["Kubernetes", "Support", "Tested", *(f"With {program}" for program in SKEW), "Clusters"],
    )
    names = dict.fromkeys(name for one in told["releases"] for name in one["components"] if name != "kubernetes")
    out.rows(
        [_plain(name, *(one["components"].get(name, "none") for one in told["releases"])) for name in names],
        ["Component", *(one["kubernetes"] for one in told["releases"])],
    )
    for release, clusters in told["without_lock"].items():
        out.line("")
        why = "its bundle is not in the cache" if release == "unknown" else "which has no lock any more"
        out.line(f"{', '.join(clusters)}: Kubernetes {release}, {why}")


def _plain(*texts: str) -> list[tuple[str, str]]:
    return [(text, "") for text in texts]


COMMAND = Direct(
    name="versions",
    help="list the Kubernetes releases that a cluster can have, with support dates and components",
    examples=EXAMPLES,
    options=(option("--json", action="store_true", help="print one JSON object on stdout"),),
    inventory=False,
    run=show,
)
