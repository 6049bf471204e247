# SPDX-License-Identifier: Apache-2.0
"""Parse, dispatch, and turn what a user can act on into two lines and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from deployer.arguments import Request, parse
from deployer.commands import DIRECT, PLAYS
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
        from deployer.views import discard_output  # noqa: PLC0415 - rarely needed

        discard_output()
        return Exit.INTERRUPTED
    except KeyboardInterrupt:  # before or after the run, which has its own handler
        return Exit.INTERRUPTED


def dispatch(request: Request) -> int:
    """Do one verb. Imports stand where they are needed: --help and kubectl are to answer at once."""
    if direct := DIRECT.get(request.verb):
        return direct.run(request)
    command = PLAYS[request.verb]

    from deployer.cluster import cluster_of  # noqa: PLC0415

    cluster = cluster_of(request, own=command.needs_inventory)
    if command.asks and not request.yes:
        from deployer.confirm import confirmed  # noqa: PLC0415
        from deployer.session import with_passwords  # noqa: PLC0415

        request = with_passwords(request)
        if not confirmed(request, cluster):
            print("Nothing was changed.")
            return Exit.USAGE
    if command.before:
        request, code = command.before(request, cluster)
        if code != Exit.OK:
            return code

    from deployer.session import run_verb  # noqa: PLC0415

    code = run_verb(request, cluster)
    if command.after and code == Exit.OK:
        command.after(cluster)
    return code
