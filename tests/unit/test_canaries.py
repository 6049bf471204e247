# SPDX-License-Identifier: Apache-2.0
"""The search for secrets that labs rely on finds what is there, and passes over what disappears meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

from canaries import Canaries


def test_files_with_a_secret_are_named_however_deep(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/found").write_text("key=the-secret-word\n")
    (tmp_path / "a/other").write_text("nothing\n")
    canaries = Canaries("the-secret-word")
    canaries.look_at_files([tmp_path, tmp_path / "missing"])
    assert canaries.seen == {str(tmp_path / "a/b/found")}


def test_a_folder_that_disappears_meanwhile_is_passed_over(tmp_path: Path) -> None:
    runs = [tmp_path / "run-1", tmp_path / "run-2"]
    for run in runs:
        (run / "artifacts").mkdir(parents=True)
        (run / "event").write_text("the-secret-word")

    class Ending(Canaries):
        """The run that is not looked at ends, and its folder disappears."""

        def check(self, place: str, text: str | bytes) -> None:
            super().check(place, text)
            for run in runs:
                if not Path(place).is_relative_to(run):
                    shutil.rmtree(run, ignore_errors=True)

    canaries = Ending("the-secret-word")
    canaries.look_at_files([tmp_path])
    assert len(canaries.seen) == 1
