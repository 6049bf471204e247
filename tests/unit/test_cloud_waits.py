# SPDX-License-Identifier: Apache-2.0
"""How what talks to Alibaba Cloud waits: in one place, within a limit, and only for what passes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.cloud import work as work_module
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing
from ansible.module_utils.yunkube.cloud.work import Work, until
from cloud_hosts import THREE

CLOUD = Path(work_module.__file__).parent
# Beside the client, which makes a refused call again, and SSH, which is not the cloud.
WAITS = {("work.py", "until"), ("client.py", "call"), ("reach.py", "answers")}


def test_one_loop_waits_for_the_cloud() -> None:
    found = set()
    for file in CLOUD.glob("*.py"):
        functions = [one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.FunctionDef)]
        for loop in (loop for loop in ast.walk(ast.parse(file.read_text())) if isinstance(loop, ast.While)):
            called = [call.func for call in ast.walk(loop) if isinstance(call, ast.Call)]
            if any(ast.unparse(name).endswith("sleep") for name in called):
                around = [one for one in functions if one.lineno < loop.lineno <= (one.end_lineno or 0)]
                found.add((file.name, max(around, key=lambda one: one.lineno).name))
    assert found == WAITS


def work(pauses: list[float]) -> Work:
    return Work(None, THREE, Existing(), sleep=pauses.append)  # type: ignore[arg-type]


def test_a_wait_ends_with_what_it_waited_for_or_at_its_limit() -> None:
    pauses: list[float] = []
    answers = iter([None, None, "there"])
    assert until(lambda: next(answers), 60, pauses.append, 2) == "there"
    assert pauses == [2, 2]
    assert until(lambda: None, 6, pauses.append, 3) is None
    assert pauses == [2, 2, 3, 3]


def test_a_call_is_made_again_for_the_codes_that_pass_only() -> None:
    pauses: list[float] = []
    codes = ["IncorrectEipStatus", "IncorrectEipStatus", ""]

    def call() -> str:
        if code := codes.pop(0):
            raise CloudError("ReleaseEipAddress", code, "refused")
        return "released"

    assert work(pauses).insist(call, ("IncorrectEipStatus",), 60) == "released"
    assert len(pauses) == 2
    codes = ["Forbidden.RAM"]
    with pytest.raises(CloudError, match=r"Forbidden\.RAM"):
        work(pauses).insist(call, ("IncorrectEipStatus",), 60)
    codes = ["IncorrectEipStatus"] * 9
    with pytest.raises(CloudError, match="IncorrectEipStatus"):
        work(pauses).insist(call, ("IncorrectEipStatus",), 6)
    assert len(codes) == 6
