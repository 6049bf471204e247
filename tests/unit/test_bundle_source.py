# SPDX-License-Identifier: Apache-2.0
"""A download that a slow or lossy link cuts off goes on where it ended, and comes to an end where nothing arrives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import bundle_source
from ansible.module_utils.yunkube.host.bundle_files import InstallError
from ansible.module_utils.yunkube.host.bundle_source import Source
from bundle_web import CONTENT, Web, program
from serving import running


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A running server, and no waiting between tries."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with running(Web()) as server:
        yield server


def names(folder: Path) -> list[str]:
    """Every file of a folder, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_that_is_cut_off_goes_on_where_it_ended(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_source, "WORTH", 4 << 10)
    web.cut_after = 4 << 10
    Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet", tries=1)
    assert (tmp_path / "kubelet").read_bytes() == CONTENT
    assert (len(web.asked), web.sent) == (3, len(CONTENT))
    assert names(tmp_path) == ["kubelet"]


def test_what_came_before_a_connection_fell_silent_is_kept(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_source, "scaled", lambda _seconds: 0.2)
    web.cut_after, web.falls_silent = 4 << 10, True
    Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet", tries=100)
    assert (tmp_path / "kubelet").read_bytes() == CONTENT


def test_tries_that_bring_next_to_nothing_come_to_an_end(web: Web, tmp_path: Path) -> None:
    web.cut_after = 1
    with pytest.raises(InstallError, match=r"^kubelet: .* bytes too early"):
        Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert (len(web.asked), names(tmp_path)) == (3, [])


def test_a_mirror_that_knows_no_ranges_sends_all_of_it_again(web: Web, tmp_path: Path) -> None:
    web.cut_after, web.knows_ranges = 100, False

    def heal(_seconds: float) -> None:
        web.cut_after = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", heal)
        Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == CONTENT


def test_what_arrived_damaged_is_not_gone_on_with(web: Web, tmp_path: Path) -> None:
    web.damaged_answers, web.cut_after = 1, 4 << 10
    Source(web.url, 0).fetch(program(tmp_path / "kubelet"), tmp_path / "kubelet", tries=9)
    assert (tmp_path / "kubelet").read_bytes() == CONTENT


def test_an_old_pythons_timeout_ends_a_try() -> None:
    """Before 3.10 socket.timeout is no TimeoutError; later they are the same, so the source is asked."""
    tree = ast.parse(Path(str(bundle_source.__file__)).read_text())
    (failures,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["FAILURES"]
    ]
    assert isinstance(failures, ast.Tuple)
    assert "socket.timeout" in [ast.unparse(one) for one in failures.elts]
