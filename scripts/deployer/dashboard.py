"""Say where the dashboard is and how to get in, and open it."""

from __future__ import annotations

import base64
import json
import os
import sys
import webbrowser

from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.control.redact import printable

from deployer.arguments import Request
from deployer.authority import browser_authority
from deployer.cluster import Cluster
from deployer.errors import DeployError, Exit
from deployer.kubectl import ask, find

NAMESPACE = "dashboard"
ACCOUNTS = {False: "dashboard-viewer", True: "dashboard-admin"}
LASTS = "1h"


def show_dashboard(cluster: Cluster, request: Request) -> int:
    """Print address and login; open the browser where there is one."""
    service = find(cluster, request.inventory, "service", NAMESPACE, "dashboard")
    if service is None:
        raise DeployError(
            f"cluster {cluster.name} has no dashboard",
            f"set dashboard_provider to headlamp or kube_web_view in {request.inventory}, then: "
            f"{command('up', request.inventory)}",
            Exit.FAILED,
        )
    notes = service["metadata"]["annotations"]
    told = {"address": notes["yunkube/address"]}
    if notes["yunkube/login"] == "token":
        account = ACCOUNTS[request.admin]
        arguments = ("create", "token", account, "-n", NAMESPACE, f"--duration={LASTS}")
        told |= {"account": account, "token": ask(cluster, request.inventory, *arguments).strip()}
    else:
        login = (find(cluster, request.inventory, "secret", NAMESPACE, "dashboard-login") or {}).get("data", {})
        told |= {key: base64.b64decode(login[key]).decode() for key in ("username", "password") if key in login}
    if told["address"].startswith("https:"):
        certificate = find(cluster, request.inventory, "secret", NAMESPACE, "dashboard-tls") or {"data": {}}
        if path := browser_authority(cluster, certificate["data"].get("ca.crt", "")):
            told["authority"] = str(path)
    if request.json:
        print(json.dumps(told))
    else:
        print(in_words(told))
    if not (request.print or request.json) and has_browser():
        webbrowser.open(told["address"])
    return Exit.OK


def in_words(told: dict[str, str]) -> str:
    """Return what a person reads."""
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
