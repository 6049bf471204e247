# SPDX-License-Identifier: Apache-2.0
"""Whatever stops an `up`, and whenever, the next one ends with the cluster that an undisturbed one makes.

How many times is set by YUNKUBE_DISTURBANCES, 4 without it and 8 with YUNKUBE_FULL. When, where and in which order is
drawn from a fixed seed, from a random one with YUNKUBE_FULL=1, or from YUNKUBE_SEED; it is printed. Of every four
disturbances each kind is one.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from laboratory import Lab, docker, kill, serving
from many_hosts import many_hosts

LAB = ("resume", "10.89.0", 1, 1)
TASKS = 30  # of a whole `up`, as `bench/run tasks` counts them
COUNT = int(os.environ.get("YUNKUBE_DISTURBANCES", "8" if "YUNKUBE_FULL" in os.environ else "4"))
DRAWN = random.randrange(1 << 20) if "YUNKUBE_FULL" in os.environ else 4252  # noqa: S311 - no secret
SEED = int(os.environ.get("YUNKUBE_SEED") or DRAWN)


@dataclass(frozen=True)
class Disturbance:
    """What happens to an `up`, on which host, and how long after a task began."""

    what: str
    host: str
    seconds: float

    def happen(self, lab: Lab, process: subprocess.Popen[str]) -> None:
        """Let it happen."""
        time.sleep(self.seconds)
        match self.what:
            case "the control machine crashes":
                kill(process)
            case "a host loses its power":
                docker("restart", "--time", "0", f"yunkube-{lab.name}-{self.host}")
            case "a host is cut off until the run gives up":
                # The kernel forgets the default route with the link; a real host's network service sets it again.
                route = lab.run(self.host, "ip route show default")
                lab.run(self.host, "ip link set eth0 down")
                try:
                    process.wait(260)
                finally:
                    lab.run(self.host, f"ip link set eth0 up && ip route replace {route}")


# What happens in four disturbances; the first is what happens most.
KINDS = ("the control machine crashes",) * 2 + ("a host loses its power", "a host is cut off until the run gives up")


def test_up_goes_on_after_disturbances_at_random_moments(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(SEED)  # noqa: S311 - to be drawn again, not to be secret
    with capsys.disabled():
        sys.stdout.write(f"\nYUNKUBE_SEED={SEED} YUNKUBE_DISTURBANCES={COUNT}")
    kinds = [kind for _ in range(0, COUNT, len(KINDS)) for kind in draw.sample(KINDS, len(KINDS))]
    for number in range(COUNT):
        # One in each part of the way, so that what came before does not use all of them up.
        tasks = int((number + draw.random()) * TASKS / COUNT) + 1
        drawn = Disturbance(kinds[number], draw.choice(("master1", "node1")), round(draw.uniform(0, 2), 1))
        name, code = lab.disturbed(tasks, functools.partial(drawn.happen, lab))
        with capsys.disabled():
            sys.stdout.write(f"\n  {drawn.seconds} s into {name!r}: {drawn.what} ({drawn.host}): exit code {code}")
        # With little left to do, it may end by itself before it is to crash.
        assert code in ((-9, 0) if drawn.what == KINDS[0] else (0, 3, 4))
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])


def test_and_another_up_changes_nothing(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert result.changed == {"localhost": 0, "master1": 0, "node1": 0}


def test_a_run_waits_for_modules_of_a_killed_one_and_other_control_machines_are_refused(lab: Lab) -> None:
    elsewhere = lab.state.with_name(f"{lab.name}-elsewhere")
    shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.copytree(lab.state, elsewhere, symlinks=True, ignore=shutil.ignore_patterns("lock", "run", "logs"))
    lab.run("node1", "rm /usr/local/bin/crictl")
    with serving(lab) as server:
        server.open.clear()  # what node1 fetches does not come
        argv = lab.argv("up", cluster_bundle_url=server.url)
        first = subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            assert server.asked.wait(120)
            holder = json.loads(lab.run("node1", "cat /run/yunkube/host.lock"))
            assert holder["module"] == "bundle_install"
            lab.run("node1", f"kill -STOP {holder['pid']}")  # or it would give up after half a minute
            # master1 alone: node1 is waited for as long as its module may take.
            other = lab.deploy("up", "--limit", "master1", cluster_state_dir=str(elsewhere))
            assert other.code == 3, other.errors
            assert "`up` of " in other.faults
            assert "has been running on this cluster since" in other.faults
            assert "remove /run/yunkube/run.json on this host" in other.faults
        finally:
            kill(first)
        second = subprocess.Popen(lab.argv("up"), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            openers = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c yunkube/host.lock"
            while not lab.succeeds("node1", f"test $({openers}) = 2"):  # it has come, and waits for the old module
                assert second.poll() is None
            assert json.loads(lab.run("node1", "cat /run/yunkube/host.lock")) == holder
            lab.run("node1", f"kill -CONT {holder['pid']}")
            server.open.set()
            assert second.wait(200) == 0
        finally:
            kill(second)
    assert not lab.succeeds("node1", "test -e /run/yunkube/host.lock")
    other = lab.deploy("up", cluster_state_dir=str(elsewhere))  # the claim ended with the run that was whole
    assert other.code == 0, other.errors
    assert other.changed == {"localhost": 0, "master1": 0, "node1": 0}
    shutil.rmtree(elsewhere)


def test_forty_hosts_join_at_once(lab: Lab, tmp_path: Path) -> None:
    """The control plane host has sshd as Debian has it: 10 sessions a connection, few connections without a login."""
    address = f"{lab.network}.21"
    with many_hosts(lab, "node1", address, 40, tmp_path) as many:
        many.fail("sim7")
        done = many.join()
        assert done.returncode == 2, done.stdout
        recap = dict(re.findall(r"^(sim\d+) .*unreachable=0 +failed=(\d)", done.stdout, re.MULTILINE))
        assert recap == {f"sim{number}": "1" if number == 7 else "0" for number in range(1, 41)}, done.stdout
        assert "this host was told to fail" in done.stdout
        tokens = many.tokens()
        assert len(set(tokens.values())) == len(tokens) == 40
        assert not any(token.strip('"') in done.stdout for token in tokens.values())
        assert not lab.succeeds("master1", "journalctl --boot --unit ssh | grep 'no more sessions'")
        assert "bootstrap-token" not in lab.kubectl("get", "secrets", "-n", "kube-system", "-o", "name")
        # A control plane host that cannot be reached is named, and costs no other host its place in the run.
        gone = tmp_path / "gone.json"
        gone.write_text(json.dumps({"all": {"hosts": {"master1": {"ansible_port": 1}}}}))
        done = many.join("-i", str(gone), "--limit", "sim1,sim2")
        recap = dict(re.findall(r"^(sim\d) .*unreachable=0 +failed=(\d)", done.stdout, re.MULTILINE))
        assert recap == {"sim1": "1", "sim2": "1"}, done.stdout
        assert "no token from the control plane host master1: " in done.stdout
        assert "Connection refused" in done.stdout
