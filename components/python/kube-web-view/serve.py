"""Start kube-web-view on a Unix socket, so that nobody gets to it but the proxy beside it, which asks for a login.

By itself it listens on a TCP port of the pod's address and asks nobody who they are.
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "lib"))

import aiohttp.web
import markupsafe

# Jinja 2.11 looks for the name that this had before MarkupSafe 2.1.
markupsafe.soft_unicode = markupsafe.soft_str

import kube_web.main  # noqa: E402 - it imports Jinja

listen = aiohttp.web.run_app
socket = sys.argv.pop(1)


@functools.wraps(listen)
def run_app(app, **_):
    """Listen on the socket in place of a port; SIGTERM ends it as it ends any server."""
    Path(socket).unlink(missing_ok=True)
    listen(app, path=socket)


aiohttp.web.run_app = run_app
kube_web.main.main()
