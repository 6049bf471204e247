# SPDX-License-Identifier: Apache-2.0
"""The cache is served to hosts for as long as the command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Direct, option

if TYPE_CHECKING:
    from deployer.arguments import Request

PORT = 8742  # as cluster_bundle_port
AGAIN = 5.0  # seconds between two looks whether the server is there

EXAMPLES = """\
examples:
  ./scripts/deploy.py bundle serve                       until Ctrl-C
  ./scripts/deploy.py bundle serve --address 10.0.0.5 --port 8742

Serves every bundle of this cache, for clusters of other control machines, which set cluster_bundle_url to its address.
`up` needs no such command: it serves its bundle itself.
"""


def serve(request: Request) -> int:
    """Serve, and see every few seconds that the server is there."""
    import os
    import signal
    import time

    from ansible.module_utils.yunkube.build import server
    from ansible.module_utils.yunkube.host.file_lock import LockError
    from ansible.module_utils.yunkube.words import counted

    from deployer import bundles
    from deployer.bundle import cache
    from deployer.errors import DeployError, Exit

    names = counted([bundle.name for bundle in bundles.chosen([])], "bundle")
    address, port = request.options["address"], request.options["port"]
    address = address or server.own_address_to("192.0.2.1")  # the way out of this machine
    if not address:
        raise DeployError("cannot tell at which address hosts reach this machine", "add --address")
    place = f"[{address}]" if ":" in address else address
    try:
        server.ensure_served(cache(), address, port, os.getpid())
        # Also where a shell started this in the background, with the signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of a server that was ended
        print(f"serving {names} at http://{place}:{port}; Ctrl-C ends it", flush=True)
        while True:
            time.sleep(AGAIN)
            server.ensure_served(cache(), address, port, os.getpid())
    except server.ServeError as error:
        hint = error.remedy.replace("cluster_bundle_address", "--address").replace("cluster_bundle_port", "--port")
        raise DeployError(str(error), hint, Exit.FAILED) from None
    except LockError as error:
        raise DeployError(f"cannot serve: {error}", code=Exit.FAILED) from None
    except OSError as error:
        raise DeployError(f"cannot serve: {error.filename or place}: {error.strerror}", code=Exit.FAILED) from None
    except KeyboardInterrupt:
        return Exit.OK


COMMAND = Direct(
    name="bundle serve",
    help="serve the bundles of this machine over HTTP until interrupted",
    examples=EXAMPLES,
    inventory=False,
    options=(
        option("--address", default="", help="address to listen at (the one that this machine uses to go out)"),
        option("--port", type=int, default=PORT, help=f"TCP port ({PORT})"),
    ),
    run=serve,
)
