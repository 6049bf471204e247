"""Parse, dispatch, and turn what a user can act on into two lines and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from deployer.arguments import Request, parse
from deployer.errors import DeployError, Exit
from deployer.settings import leave_out


def main(argv: Sequence[str]) -> int:
    """Do what the command line says and return the exit code; a bug keeps its traceback (and code 1)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that it cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        request = parse(argv)
        leave_out(os.environ)
        return dispatch(request)
    except DeployError as error:
        from ansible.module_utils.yunkube.control.redact import printable  # noqa: PLC0415 - only what is used

        print(f"deploy.py: {printable(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"           {printable(error.hint)}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED
    except KeyboardInterrupt:  # before or after the run, which has its own handler
        return Exit.INTERRUPTED


def dispatch(request: Request) -> int:
    """Do one verb. Imports stand where they are needed: --help and kubectl are to answer at once."""
    if request.verb == "completion":
        from deployer.completion import script  # noqa: PLC0415

        sys.stdout.write(script(request.shell))
        return Exit.OK

    if request.verb == "import":
        from deployer.import_inventory import import_inventory  # noqa: PLC0415

        return import_inventory(request)

    from deployer.cluster import check_inventory, find_cluster  # noqa: PLC0415

    cluster = find_cluster(request.inventory, request.extra_vars, request.extra_files)
    if request.verb != "reattach":
        check_inventory(cluster)
    if request.verb == "kubectl":
        from deployer.kubectl import become_kubectl  # noqa: PLC0415

        become_kubectl(cluster, request)
    if request.verb == "dashboard":
        from deployer.dashboard import show_dashboard  # noqa: PLC0415

        return show_dashboard(cluster, request)
    if request.verb == "image":
        from deployer.image import push_image  # noqa: PLC0415

        return push_image(cluster, request)
    if request.verb in ("down", "cloud down", "remove") and not request.yes:
        from deployer.confirm import confirmed  # noqa: PLC0415
        from deployer.session import with_passwords  # noqa: PLC0415

        request = with_passwords(request)
        if not confirmed(request, cluster):
            print("Nothing was changed.")
            return Exit.USAGE

    if request.verb in ("cloud up", "cloud plan"):
        from deployer.surplus import without_surplus  # noqa: PLC0415

        request, left = without_surplus(request, cluster)
        if left != Exit.OK:
            return left

    from deployer.session import run_verb  # noqa: PLC0415

    code = run_verb(request, cluster)
    if request.verb in ("down", "cloud down") and code == Exit.OK:
        from deployer.image import distrust  # noqa: PLC0415

        distrust(cluster)
    return code
