# SPDX-License-Identifier: Apache-2.0
"""Run modules in check mode under the Python that runs this, which may be older than the control machine's.

Standard input is a list of [file of a module, its arguments]; standard output says what each came to. Arguments are the
folder with the package `ansible`, and the project's.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import traceback


def outcome(module: str, arguments: dict[str, object]) -> dict[str, object]:
    """Return a module's result, or how it ended without one."""
    from ansible.module_utils import basic  # noqa: PLC0415 - needs the path that main() adds

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": True}}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(module, run_name="__main__")
    except SystemExit:
        return dict(json.loads(said.getvalue()))
    except BaseException:  # whatever it is, it is told
        return {"traceback": traceback.format_exc()}
    return {"traceback": "it ended without a result"}


def main() -> None:
    """Run all, one after the other."""
    packages, project = sys.argv[1:]
    sys.path.insert(0, packages)
    import ansible.module_utils  # noqa: PLC0415 - needs that path

    ansible.module_utils.__path__.append(f"{project}/module_utils")
    results = [[module, outcome(module, arguments)] for module, arguments in json.load(sys.stdin)]
    print(json.dumps({"python": list(sys.version_info[:2]), "results": results}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
