# SPDX-License-Identifier: Apache-2.0
"""Where the dashboard is and how to get in."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster

EXAMPLES = """\
examples:
  ./scripts/deploy.py dashboard                address and login; opens a browser if there is one
  ./scripts/deploy.py dashboard --print        does not open a browser
  ./scripts/deploy.py dashboard --admin        Headlamp: a token with full access; the default is read-only
"""

NAMESPACE = "dashboard"
ACCOUNTS = {False: "dashboard-viewer", True: "dashboard-admin"}
LASTS = "1h"


def show(request: Request) -> int:
    """Show it."""
    from deployer.cluster import cluster_of

    return show_dashboard(cluster_of(request), request)


def show_dashboard(cluster: Cluster, request: Request) -> int:
    """Print address and login; open the browser where there is one."""
    import json
    import webbrowser

    told = find_out(cluster, request.inventory, admin=request.options["admin"])
    print(json.dumps(told) if request.json else in_words(told))
    if not (request.options["print"] or request.json) and has_browser():
        webbrowser.open(told["address"])
    return 0


def find_out(cluster: Cluster, inventory: str, *, admin: bool) -> dict[str, str]:
    """Ask the cluster for the address, and for a login with few rights or all."""
    import base64

    from ansible.module_utils.yunkube.control.commands import command

    from deployer.authority import browser_authority
    from deployer.errors import DeployError, Exit
    from deployer.kubectl import ask, find

    service = find(cluster, inventory, "service", NAMESPACE, "dashboard")
    if service is None:
        raise DeployError(
            f"cluster {cluster.name} has no dashboard",
            f"set dashboard_provider to headlamp or kube_web_view in {inventory}, then: {command('up', inventory)}",
            Exit.FAILED,
        )
    notes = service["metadata"]["annotations"]
    told = {"address": notes["yunkube/address"]}
    if notes["yunkube/login"] == "token":
        account = ACCOUNTS[admin]
        arguments = ("create", "token", account, "-n", NAMESPACE, f"--duration={LASTS}")
        told |= {"account": account, "token": ask(cluster, inventory, *arguments).strip()}
    else:
        login = (find(cluster, inventory, "secret", NAMESPACE, "dashboard-login") or {}).get("data", {})
        told |= {key: base64.b64decode(login[key]).decode() for key in ("username", "password") if key in login}
    if told["address"].startswith("https:"):
        certificate = find(cluster, inventory, "secret", NAMESPACE, "dashboard-tls") or {"data": {}}
        if path := browser_authority(cluster, certificate["data"].get("ca.crt", "")):
            told["authority"] = str(path)
    return told


def in_words(told: dict[str, str]) -> str:
    """Return what a person reads."""
    from ansible.module_utils.yunkube.control.redact import printable

    lines = [f"Address    {told['address']}"]
    if "token" in told:
        rights = "full access" if told["account"] == ACCOUNTS[True] else "read-only; --admin for full access"
        lines += [f"Token      {told['token']}", f"           of {told['account']}, valid for {LASTS}: {rights}"]
    else:
        lines += [f"User       {told.get('username', '')}", f"Password   {told.get('password', '')}"]
    if "authority" in told:
        lines.append(f"Authority  {told['authority']}: import it into the browser to avoid its warning;")
        lines.append("           it can only sign certificates for the dashboard's names")
    return printable("\n".join(lines))


def has_browser() -> bool:
    """Say whether a browser would be seen: at a terminal of a graphical session."""
    return sys.stdout.isatty() and bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    )


COMMAND = Direct(
    name="dashboard",
    help="show the dashboard's address and login, and open it in a browser",
    examples=EXAMPLES,
    options=(
        option("--print", action="store_true", help="do not open a browser"),
        option("--admin", action="store_true", alternative="rights", help="use a token with full access (Headlamp)"),
        option(
            "--viewer",
            action="store_true",
            alternative="rights",
            help="use a read-only token, the default (Headlamp)",
        ),
        option("--json", action="store_true", help="print one JSON object on stdout"),
    ),
    run=show,
)
