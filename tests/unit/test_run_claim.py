# SPDX-License-Identifier: Apache-2.0
"""A claim of its own, for runs whose modules on the control plane host do not take it."""

from __future__ import annotations

import json
import typing as t

import pytest
import real_module
import run_claim
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host import state as host_state

ALICE = {"origin": "a", "owner": "alice@laptop", "verb": "doctor", "since": "2026-11-28 12:00:00 UTC"}
BOB = {"origin": "b", "owner": "bob@desk", "verb": "up", "since": "2026-11-28 12:01:00 UTC"}

Call = t.Callable[..., t.Any]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(**arguments: t.Any) -> t.Any:
        return real_module.run(run_claim.main, arguments, monkeypatch, capsys)[1]

    return run


def test_a_claim_keeps_others_out_until_it_is_given_back(call: Call) -> None:
    assert call(run=ALICE)["claimed"]
    refused = call(run=BOB)
    assert refused["failed"]
    assert "`doctor` of alice@laptop has been running on this cluster since" in refused["msg"]
    call(run=BOB, state="absent")  # not its own
    assert call(run=BOB)["failed"]
    assert not call(run=ALICE, state="absent")["claimed"]
    assert not host_lock.FOLDER.exists()
    assert call(run=BOB)["claimed"]


def test_without_a_run_and_in_check_mode_nothing_is_written(call: Call) -> None:
    assert not call()["claimed"]
    call(run=ALICE, _ansible_check_mode=True)
    assert not host_lock.FOLDER.exists()


def test_a_host_of_another_cluster_is_not_claimed(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    monkeypatch.setattr(host_state, "FOLDER", tmp_path)
    (tmp_path / "before.json").write_text(json.dumps({"cluster": "other", "cluster_id": "b" * 16}))
    refused = call(run=ALICE, cluster="ours", cluster_id="a" * 16)
    assert "belongs to the cluster other" in refused["msg"]
    assert not host_lock.FOLDER.exists()
