# SPDX-License-Identifier: Apache-2.0
"""What a teardown leaves of its own folder: a disk that is mounted there, with all that is on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import paths


@pytest.mark.parametrize("mounted", ["registry", "registry/docker", ""])
def test_a_disk_below_the_folder_of_the_record_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str
) -> None:
    folder = tmp_path / "yunkube"
    image, record = folder / "registry/docker/blob", folder / host_state.RECORD
    image.parent.mkdir(parents=True)
    image.write_text("an image")
    record.write_text("{}")
    points = [str(folder / mounted)]
    monkeypatch.setattr(paths, "mount_points", lambda _mounts: points if mounted else [])
    paths.remove_own(folder)
    assert not record.exists()
    assert image.exists() == bool(mounted)
    assert folder.exists() == bool(mounted)
