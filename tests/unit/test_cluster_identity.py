# SPDX-License-Identifier: Apache-2.0
"""The id of a cluster is made once, belongs to one inventory, and is what hosts are compared with."""

from __future__ import annotations

import socket
import stat
import threading
import typing as t
from pathlib import Path

import host_record
import pytest
from ansible.module_utils.yunkube.control import cluster_identity
from ansible.module_utils.yunkube.control.cluster_identity import IdentityError, State, inventory_of
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import state as host_state

ID = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """An inventory."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "hosts.yml").touch()
    return folder


def run(tmp_path: Path, inventory: Path, *, dry_run: bool = False, **about: t.Any) -> dict[str, t.Any]:
    """Run the module on a state directory of the test's own."""
    params = {"cluster": "prod", "state_dir": str(tmp_path / "state"), "sources": [str(inventory)], "state": "present"}
    return cluster_identity.run({**params, "reattach": False, "hosts": {}, **about}, dry_run=dry_run)


def test_the_id_is_made_once_for_the_owner_alone_and_a_plan_makes_none(tmp_path: Path, mine: Path) -> None:
    planned = run(tmp_path, mine, dry_run=True)
    assert (planned["changed"], planned["cluster_id"]) == (True, "")
    assert not (tmp_path / "state").exists()
    made = run(tmp_path, mine)
    assert made["changed"]
    assert identity.ID.fullmatch(made["cluster_id"])
    file = tmp_path / "state/id"
    assert (file.read_text().strip(), stat.S_IMODE(file.stat().st_mode)) == (made["cluster_id"], 0o600)
    assert run(tmp_path, mine) == {"changed": False, "changes": [], "cluster_id": made["cluster_id"]}


def test_two_runs_at_once_agree_on_one_id(tmp_path: Path) -> None:
    states = [State(tmp_path / "state") for _ in range(4)]
    threads = [
        threading.Thread(target=state.create, args=(f"{number:016x}",)) for number, state in enumerate(states, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {state.cluster_id for state in states} == {(tmp_path / "state/id").read_text().strip()}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["id"]


def test_of_several_sources_the_one_with_the_clusters_variables_is_its_inventory(tmp_path: Path) -> None:
    first, second = tmp_path / "generated", tmp_path / "written"
    first.mkdir()
    (second / "group_vars/all").mkdir(parents=True)
    sources = [str(tmp_path / "gone"), str(first), str(second)]
    assert inventory_of(sources) == str(second)
    assert inventory_of(sources[:2]) == str(first)
    assert inventory_of(sources[:1]) == ""


def test_another_inventory_of_the_same_name_is_refused_and_changes_nothing(tmp_path: Path, mine: Path) -> None:
    made = run(tmp_path, mine)["cluster_id"]
    other = tmp_path / "other"
    other.mkdir()
    for state in ("present", "compared", "absent"):
        with pytest.raises(IdentityError, match=rf"belongs to the inventory {mine} .*{made}.*not to {other}") as error:
            run(tmp_path, other, state=state)
        assert "cluster_name of its own" in str(error.value)
    assert run(tmp_path, mine / "hosts.yml")["cluster_id"] == made  # the same, named by its file


def test_a_moved_inventory_is_refused_until_it_is_attached(tmp_path: Path, mine: Path) -> None:
    made = run(tmp_path, mine)["cluster_id"]
    moved = mine.rename(tmp_path / "moved")
    with pytest.raises(IdentityError, match="reattach"):
        run(tmp_path, moved)
    hosts = {"master1": {"cluster": "prod", "cluster_id": made}}
    assert run(tmp_path, moved, reattach=True, hosts=hosts)["cluster_id"] == made
    assert run(tmp_path, moved) == {"changed": False, "changes": [], "cluster_id": made}


def test_a_lost_state_directory_takes_the_id_that_all_hosts_have(tmp_path: Path, mine: Path) -> None:
    run(tmp_path, mine)  # an `up` that was refused made another one
    hosts = {"master1": {"cluster": "prod", "cluster_id": ID}, "node1": {"cluster": "prod", "cluster_id": ID}}
    assert run(tmp_path, mine, dry_run=True, reattach=True, hosts=hosts)["changes"] == [
        f"keep the id {ID} of the cluster prod"
    ]
    assert run(tmp_path, mine, reattach=True, hosts=hosts)["cluster_id"] == ID
    assert not run(tmp_path, mine, reattach=True, hosts=hosts)["changed"]


@pytest.mark.parametrize("theirs", [("prod", "f" * 16), ("other", ID), ("other", "")])
def test_hosts_that_disagree_are_named_and_nothing_is_taken(
    tmp_path: Path, mine: Path, theirs: tuple[str, str]
) -> None:
    hosts = {
        "master1": {"cluster": "prod", "cluster_id": ID},
        "node1": {"cluster": theirs[0], "cluster_id": theirs[1]},
    }
    with pytest.raises(IdentityError, match="node1: identity: belongs to the cluster"):
        run(tmp_path, mine, reattach=True, hosts=hosts)
    assert not (tmp_path / "state").exists()


def test_the_state_of_another_living_cluster_is_not_taken(tmp_path: Path, mine: Path) -> None:
    made = run(tmp_path, mine)["cluster_id"]
    copy = tmp_path / "copy"
    copy.mkdir()
    for hosts in ({}, {"node1": {"cluster": "prod", "cluster_id": ID}}):
        with pytest.raises(IdentityError, match="belongs to the inventory"):
            run(tmp_path, copy, reattach=True, hosts=hosts)
    assert (tmp_path / "state/id").read_text().strip() == made


def test_without_a_host_there_is_nothing_to_attach(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(IdentityError, match=r"no host of .* belongs to a cluster"):
        run(tmp_path, mine, reattach=True)


def test_hosts_of_before_there_were_ids_get_one(tmp_path: Path, mine: Path) -> None:
    made = run(tmp_path, mine, reattach=True, hosts={"node1": {"cluster": "prod", "cluster_id": ""}})["cluster_id"]
    assert identity.ID.fullmatch(made)


def test_a_cluster_that_is_gone_is_forgotten(tmp_path: Path, mine: Path) -> None:
    first = run(tmp_path, mine)["cluster_id"]
    assert run(tmp_path, mine, state="absent", dry_run=True)["changed"]
    assert run(tmp_path, mine, state="absent")["changed"]
    assert not run(tmp_path, mine, state="absent")["changed"]
    assert list((tmp_path / "state").iterdir()) == []
    assert run(tmp_path, mine)["cluster_id"] != first


@pytest.mark.parametrize("text", ["", "0123", "0123456789ABCDEF", f"{ID}0"])
def test_a_damaged_id_is_named(tmp_path: Path, mine: Path, text: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/id").write_text(text)
    if not text:
        assert State(tmp_path / "state").cluster_id == ""
        return
    with pytest.raises(IdentityError, match="16 hexadecimal digits"):
        run(tmp_path, mine)


def test_a_cluster_without_a_name_has_no_id(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(IdentityError, match="cluster_name is empty"):
        run(tmp_path, mine, cluster="")


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (("prod", ID), ("prod", "f" * 16), f"prod (id {ID}), not to prod (id ffffffffffffffff)"),
        (("shop", ID), ("prod", ID), f"shop (id {ID}), not to prod (id {ID})"),
        (("prod", ""), ("prod", ID), f"prod (without an id), not to prod (id {ID})"),
        (("prod", ID), ("prod", ""), f"prod (id {ID}), not to prod (without an id)"),
        (("prod", ""), ("prod", ""), "prod (without an id), not to prod (without an id)"),
    ],
)
def test_only_the_same_name_and_id_are_the_same_cluster(
    theirs: tuple[str, str], ours: tuple[str, str], words: str
) -> None:
    found = identity.difference(theirs, ours)
    assert found is not None
    assert words in found[0]
    assert found[1]
    assert identity.difference(("prod", ID), ("prod", ID)) is None


class Ended(Exception):  # noqa: N818 - no error, a way out
    """What a module ended with."""


class Module:
    """As much of AnsibleModule as is asked for."""

    def __init__(self, *, check_mode: bool = False, **params: t.Any) -> None:
        """Take the options."""
        self.params, self.check_mode = params, check_mode

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End well."""
        raise Ended(result)

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        """End badly."""
        raise Ended(result | {"failed": True})


def ended(module: Module, call: t.Callable[..., t.Any], *arguments: t.Any) -> dict[str, t.Any]:
    """Return what a module ends with, nothing where it goes on."""
    try:
        call(module, *arguments)
    except Ended as end:
        return dict(end.args[0])
    return {}


def test_a_record_without_an_id_gets_one_on_purpose_and_another_clusters_never() -> None:
    old = {"cluster": "prod", "packages": {}}
    host_state.write_record(old)
    module = Module(check_mode=True)
    planned = ended(module, host_record.reattach, old, "prod", ID)
    assert planned["changed"]
    assert host_state.read_record() == old
    assert ended(Module(), host_record.reattach, old, "prod", ID)["changed"]
    assert host_state.read_record() == {**old, "cluster_id": ID}
    for record in ({"cluster": "prod", "cluster_id": "f" * 16}, {"cluster": "shop"}, None):
        assert not ended(Module(), host_record.reattach, record, "prod", ID)["changed"]


def test_a_module_that_acts_on_a_host_refuses_that_of_another_cluster() -> None:
    ours: dict[str, t.Any] = {"cluster": "prod", "cluster_id": ID}
    assert ended(Module(check_mode=True, **ours), identity.refuse_another) == {}  # a plan on a bare host
    assert "has no record" in ended(Module(**ours), identity.refuse_another)["msg"]
    host_state.write_record({"cluster": "prod", "cluster_id": "f" * 16})
    for check_mode in (True, False):
        refused = ended(Module(check_mode=check_mode, **ours), identity.refuse_another)
        assert refused["msg"].startswith(
            f"{socket.gethostname()}: other cluster: belongs to the cluster prod (id {'f' * 16}), not to prod (id {ID})"
        )
        assert refused["faults"][0]["host"] == socket.gethostname()
    host_state.write_record(ours)
    assert ended(Module(**ours), identity.refuse_another) == {}
    assert ended(Module(cluster="", cluster_id=None), identity.refuse_another) == {}
