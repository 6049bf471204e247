# SPDX-License-Identifier: Apache-2.0
"""How much of a build is done and how long the rest takes follows from what its steps cost."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ansible.module_utils.yunkube.build.forecast import COSTS, OTHERS, Forecast
from ansible.module_utils.yunkube.build.progress import Progress
from deployer import bundle
from deployer.views.text import build_text


class Clock:
    """A time that a test sets, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_takes_as_long_as_what_was_compiled_took_by_its_cost() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.expect(["kubernetes", "etcd"])
    assert forecast.state() == {"percent": 0, "time_left": None}
    whole, kubernetes = COSTS["kubernetes"] + COSTS["etcd"], COSTS["kubernetes"]
    clock.now += 70  # everything is downloaded first
    forecast.note("kubernetes", 0.1)
    assert forecast.state() == {"percent": int(10 * kubernetes / whole), "time_left": None}
    clock.now += 100
    forecast.note("kubernetes", 0.5)
    left = round((whole - 0.5 * kubernetes) * 100 / (0.4 * kubernetes))
    assert forecast.state() == {"percent": int(50 * kubernetes / whole), "time_left": left}
    forecast.note("kubernetes", 0.2)  # what is done stays done
    assert forecast.state()["percent"] == int(50 * kubernetes / whole)
    forecast.end("kubernetes", 200.0)
    forecast.end("etcd", 30.0)
    assert forecast.state() == {"percent": 100, "time_left": 0}


def test_nothing_is_said_of_the_time_before_it_can_be_known() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.expect(["kubernetes"])
    forecast.note("kubernetes", 0.1)
    clock.now += 5
    forecast.note("kubernetes", 0.2)
    assert forecast.state()["time_left"] is None, "too early"
    forecast = Forecast(clock)
    forecast.expect(["kubernetes"])
    forecast.note("kubernetes", 0.1)
    clock.now += 500
    forecast.note("kubernetes", 0.11)
    assert forecast.state()["time_left"] is None, "too little"


def test_what_a_build_before_left_does_not_make_this_machine_look_fast() -> None:
    clock = Clock()
    forecast = Forecast(clock)
    forecast.expect(["kubernetes", "some step"])
    forecast.end("kubernetes", 0.01)
    forecast.note("some step", 0.25)
    clock.now += 60
    forecast.note("some step", 0.5)
    assert forecast.state() == {"percent": 50, "time_left": 120}
    assert OTHERS > 0


def test_a_step_that_nobody_expects_changes_nothing() -> None:
    forecast = Forecast(Clock())
    forecast.note("crictl", 0.5)
    forecast.end("crictl", 9.0)
    assert forecast.state() == {}


def test_a_person_reads_how_far_it_is(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.json", 2)
    progress.forecast.expect(["kubernetes", "etcd"])
    seen = []

    def work() -> Path:
        progress.compiled("kubernetes", 0.5)
        told = json.loads(progress.path.read_text())
        progress.path.write_text(json.dumps(told | {"time_left": 250.0}))
        seen.append(bundle.read_progress(progress.path, now=time.time()))
        return tmp_path

    progress.step("kubernetes", work)
    [one] = seen
    assert one is not None
    assert one.percent is not None
    assert build_text(one) == f"{one.percent} % built, about 4 min left"
    assert one.mark[-1] == one.percent // 10
    assert 40 < one.percent < 50
