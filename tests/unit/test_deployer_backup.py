# SPDX-License-Identifier: Apache-2.0
"""What `backup`, `rehearse` and `restore` refuse before anything is asked of a host."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest
from deployer.arguments import Request, parse
from deployer.commands import PLAYS
from deployer.errors import DeployError, Exit
from deployer.session import next_step

if t.TYPE_CHECKING:
    from deployer.cluster import Cluster


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A file that ends with its digest, as etcd writes one."""
    path = tmp_path / "prod-20261130T094500Z.db"
    content = b"x" * 4096
    path.write_bytes(content + hashlib.sha256(content).digest())
    return path


def test_the_file_is_handed_to_the_play(whole: Path) -> None:
    assert parse(["rehearse", str(whole)]).extra_vars == {"backup_file": str(whole)}
    assert parse(["rehearse"]).extra_vars == {}
    request = parse(["restore", str(whole), "--yes", "--rollback"])
    assert request.extra_vars == {"backup_file": str(whole), "backup_rollback": True}
    assert parse(["backup", "--to", "/srv"]).extra_vars == {"backup_to": "/srv"}
    assert parse(["backup", "--list"]).extra_vars == {"backup_list": True}


def refusal(*argv: str) -> str:
    """Return what is said of a file before a host is asked."""
    request = parse(argv)
    before = PLAYS[request.verb].before
    assert before is not None
    with pytest.raises(DeployError) as refused:
        before(request, t.cast("Cluster", None))
    assert refused.value.code == Exit.USAGE
    return f"{refused.value.message}; {refused.value.hint}"


def test_a_restore_needs_consent(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["restore", str(whole)])
    assert "add --yes" in capsys.readouterr().err


def test_what_cannot_be_restored_is_refused(whole: Path) -> None:
    missing = refusal("rehearse", f"{whole}x")
    assert "No such file" in missing
    assert "name a file that is there" in missing
    assert "another backup" not in missing
    sealed = whole.with_name(f"{whole.name}.cms")
    assert f"openssl cms -decrypt -inform DER -in {sealed} -out {whole}" in refusal("rehearse", str(sealed))
    whole.write_bytes(b"y" + whole.read_bytes()[1:])
    assert f"{whole} is damaged" in refusal("restore", str(whole), "--yes")


def test_the_next_step_names_the_backup_wherever_it_is() -> None:
    backup, request = PLAYS["backup"], Request("backup", "i")
    row = {"detail": "control machine: 1.5 MB", "path": "/srv/my backups/prod-20261130T094500Z.db", "encrypted": False}
    timers = {**row, "detail": "master1: 1.5 MB", "path": "/var/lib/yunkube/backups/a.db"}
    step = next_step(request, backup, Exit.OK, [timers, row])
    assert step.endswith("rehearse -i i '/srv/my backups/prod-20261130T094500Z.db'")
    assert next_step(request, backup, Exit.OK, [timers]) == ""
