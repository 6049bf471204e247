# SPDX-License-Identifier: Apache-2.0
"""The table of docs/platforms.md says what the check of hosts says of real samples, and the README claims no more."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.control import host_python
from ansible.module_utils.yunkube.host.os_release import distribution, parse_os_release
from ansible.module_utils.yunkube.host.requirements import find_faults
from sound_host import FIT, NEEDS

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests/unit/data/os-release"
ROLE = ROOT / "roles/prepare_host"
PAGE = (ROOT / "docs/platforms.md").read_text()
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
VARS = yaml.safe_load((ROLE / "vars/main.yml").read_text())
LAB = yaml.safe_load((ROOT / "inventory/docker/group_vars/all/lab.yml").read_text())
NAMES = {"Rocky Linux": "rocky", "Anolis OS": "anolis", "Alibaba Cloud Linux": "alinux"}
BRANCHES = {"apt": "Debian", "dnf": "RedHat"}


class Row(t.NamedTuple):
    """One line of the table."""

    system: str
    version: str
    kernel: str
    python: str
    cgroup: str
    packages: str
    firewall: str
    check: str
    run: str

    @property
    def sample(self) -> dict[str, str]:
        """What its /etc/os-release says."""
        name = NAMES.get(self.system, self.system.lower())
        return parse_os_release((SAMPLES / f"{name}-{self.version}").read_text())


ROWS = [
    Row(*(cell.strip() for cell in line.strip("|").split("|")))
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count("|") == 10 and not line.startswith("| system")
]


def faults(row: Row, **needs: t.Any) -> list[str]:
    """Return what the check of hosts finds on a host that is like this row, and sound in every other way."""
    said = row.sample
    found = dataclasses.replace(
        FIT,
        system=said["ID"],
        system_version=said["VERSION_ID"],
        family=distribution(said)["os_family"],
        kernel=f"{row.kernel}.0-1",
        cgroup_version=1 if row.cgroup == "1" else 2,
        foreign=(),
    )
    given = {"systems": DEFAULTS["prepare_host_systems"], "families": list(VARS["__prepare_host_packages"])}
    python = host_python.fault("python3", f"there\nfound {row.python}.0") if row.python != "?" else None
    return [fault.check for fault in [python, *find_faults(found, NEEDS | given | needs)] if fault]


def test_the_table_has_every_sample_and_no_other() -> None:
    assert len(ROWS) == len(list(SAMPLES.iterdir())) == 16
    assert all(row.sample for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.system} {row.version}")
def test_a_row_is_what_the_check_of_hosts_says(row: Row) -> None:
    told = [] if row.check == "passes" else re.findall(r"`(\w+)`", row.check)
    assert faults(row) == told
    assert row.sample["VERSION_ID"].split(".")[0] == row.version.split(".")[0]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.system} {row.version}")
def test_every_system_has_names_of_packages_once_it_is_admitted(row: Row) -> None:
    facts = distribution(row.sample)
    assert (facts["os_family"], facts["pkg_mgr"]) == (BRANCHES[row.packages], row.packages)
    names = ", ".join(VARS["__prepare_host_packages"][facts["os_family"]])
    assert f"| {facts['os_family']} | {names} |" in PAGE
    admitted = {**DEFAULTS["prepare_host_systems"], row.sample["ID"]: row.version}
    assert "system" not in faults(row, systems=admitted)


def test_cgroup_version_1_is_one_line_and_what_the_lab_sets_is_the_way_out() -> None:
    host = dataclasses.replace(FIT, cgroup_version=1)
    (fault,) = find_faults(host, NEEDS)
    assert str(fault).startswith("cgroup: uses cgroup v1, which the kubelet refuses since Kubernetes 1.35; boot with ")
    assert "\n" not in str(fault)
    assert "systemd.unified_cgroup_hierarchy=1" in fault.remedy
    lab = {"kubelet_config": LAB["cluster_kubelet_config"], "kubeadm_ignores": LAB["cluster_ignore_preflight_errors"]}
    assert find_faults(host, NEEDS | lab) == []
    for key, value in lab.items():
        assert find_faults(host, NEEDS | {key: value}) == [fault], "each alone is not enough"


def listed(rows: list[Row], comma: str, last: str) -> list[str]:
    """Return each system of some rows with its versions, as a sentence has them."""
    versions: dict[str, list[str]] = {}
    for row in rows:
        versions.setdefault(row.system, []).append(row.version)
    return [
        f"{system} {comma.join(found[:-1])}{last}{found[-1]}" if len(found) > 1 else f"{system} {found[0]}"
        for system, found in versions.items()
    ]


@pytest.mark.parametrize(
    ("page", "comma", "last", "tested"),
    [
        ("README.md", ", ", " and ", "{} are tested, on Docker hosts."),
        ("README.zh-CN.md", "、", " 和 ", "{} 已在 Docker 主机上测试"),
    ],
)
def test_the_readme_claims_what_the_table_says(page: str, comma: str, last: str, tested: str) -> None:
    text = (ROOT / page).read_text()
    run = [row for row in ROWS if row.run != "not run"]
    known = [row for row in ROWS if row.run == "not run" and "`system`" not in row.check]
    (claim,) = listed(run, comma, last)
    assert tested.format(claim) in text
    for words in listed(known, comma, last):
        assert words in text
    others = {row.system for row in ROWS} - {row.system for row in [*run, *known]}
    assert len(others) == 3
    paragraph = text[text.index(tested.format(claim)) :].partition("\n\n")[0]
    assert not [system for system in others if system in paragraph]
    assert "docs/platforms.md" in paragraph


def test_the_roles_metadata_and_defaults_name_the_same_systems() -> None:
    known = {row.sample["ID"] for row in ROWS if "`system`" not in row.check}
    assert known | {"centos"} == set(DEFAULTS["prepare_host_systems"])
