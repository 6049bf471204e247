"""What every role and every module of the project keeps to."""

from __future__ import annotations

import ast
import configparser
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from module_spec import asked_by

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))
MODULES = sorted((ROOT / "library").glob("*.py"))
DEFAULT = re.compile(r"^(\w+):", re.MULTILINE)

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
each_module = pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)


def content(file: Path) -> dict[str, Any]:
    """Return a YAML file's content, empty when there is none."""
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}


def entry_points(role: Path) -> dict[str, Any]:
    """Return a role's argument specs by entry point."""
    return content(role / "meta/argument_specs.yml").get("argument_specs") or {}


def options(role: Path) -> dict[str, Any]:
    """Return the inputs of all of a role's entry points."""
    return {
        name: option for entry in entry_points(role).values() for name, option in (entry.get("options") or {}).items()
    }


def text(role: Path) -> str:
    """Return everything that a role runs or renders."""
    files = (
        path for path in role.rglob("*") if path.is_file() and path.parts[len(role.parts)] not in ("README.md", "files")
    )
    return "\n".join(path.read_text(errors="replace") for path in files)


def nested(items: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield options and suboptions."""
    for name, option in items.items():
        yield name, option
        yield from nested(option.get("options") or {})


@each_role
def test_defaults_match_argument_specs(role: Path) -> None:
    defaults = set(content(role / "defaults/main.yml"))
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert optional <= defaults <= set(options(role))


@each_role
def test_types_live_in_the_spec_and_values_in_the_defaults(role: Path) -> None:
    for name, option in nested(options(role)):
        assert "default" not in option, f"{name}: its default belongs to defaults/main.yml"
        assert option.get("type"), f"{name} has no type"
        assert option.get("description"), f"{name} has no description"


@each_role
def test_every_entry_point_says_what_it_is_for(role: Path) -> None:
    assert all(entry.get("short_description") for entry in entry_points(role).values())


@each_role
def test_the_inventory_is_checked_once_and_what_a_caller_gives_at_each_call(role: Path) -> None:
    """Ansible checks an entry point that is named like its file, on every host and in every play that calls it."""
    files = {file.stem for file in role.glob("tasks/*.yml")} - {"main"}
    assert set(entry_points(role)) <= files | {"check"}
    assert not re.search(r"\brolespec_validate\b", text(role))


def test_no_playbook_switches_a_check_off() -> None:
    assert [file for file in ROOT.glob("playbooks/**/*.yml") if "rolespec_validate" in file.read_text()] == []


# Named for what they are to a user, not for a role: the kind of dashboard decides what every host gets, kubeadm marks
# nodes in both of its roles, and the inventory and several roles ask Alibaba Cloud, so the role `cluster` has them; the
# role `web_service` takes a list of services.
FEATURES = {
    "alicloud_ca",
    "alicloud_endpoints",
    "alicloud_region",
    "dashboard_provider",
    "node_labels",
    "node_taints",
    "web_services",
}
# Read by the check of the inventory as a whole, too.
CHECKED = {
    "dashboard_node_port",
    "dashboard_headlamp_image",
    "dashboard_headlamp_allow_tag",
    "flannel_backend",
    "flannel_backend_options",
    "flannel_vpc_quota",
    "master_cluster_configuration",
}


@each_role
def test_names_begin_with_the_name_of_the_role(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in set(options(role)) - FEATURES)
    derived = [name for file in (role / "vars").glob("*.yml") for name in content(file)]
    assert all(name.startswith((f"{role.name}_", f"__{role.name}_")) for name in derived)


@each_role
def test_every_default_has_a_reason_over_it(role: Path) -> None:
    file = role / "defaults/main.yml"
    lines = file.read_text().splitlines() if file.exists() else []
    for number, line in enumerate(lines):
        if DEFAULT.match(line):
            over = next((above for above in reversed(lines[:number]) if not DEFAULT.match(above)), "")
            assert over.startswith("#"), f"{file.relative_to(ROOT)}:{number + 1}: say why one would change it"


@each_role
def test_a_role_that_reads_the_cluster_depends_on_it(role: Path) -> None:
    if role.name == "cluster":
        return
    reads = set(re.findall(r"\bcluster_\w+", text(role))) & set(cluster_names())
    dependencies = content(role / "meta/main.yml").get("dependencies") or []
    named = {item if isinstance(item, str) else item["role"] for item in dependencies}
    assert "cluster" in named or not reads, f"reads {sorted(reads)}"


def cluster_names() -> list[str]:
    """Return what the cluster role gives."""
    cluster = ROOT / "roles/cluster"
    return [*options(cluster), *content(cluster / "vars/main.yml")]


@each_role
def test_a_role_reads_no_other_roles_inputs(role: Path) -> None:
    words = set(re.findall(r"\b\w+\b", text(role)))
    for other in ROLES:
        if other.name not in ("cluster", role.name):
            read = words & (set(options(other)) - FEATURES - (CHECKED if role.name == "cluster" else set()))
            assert not read, f"reads {sorted(read)}, of role {other.name}"


@each_role
def test_a_role_is_described(role: Path) -> None:
    assert (role / "README.md").exists()


def tasks_in(found: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a file, those in blocks as well."""
    for task in found or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part))


@each_role
def test_many_hosts_do_not_meet_on_one(role: Path) -> None:
    """A task that every host delegates to the same host is one connection each; sshd refuses some of them."""
    for file in role.glob("tasks/*.yml"):
        for task in tasks_in(yaml.safe_load(file.read_text())):
            # leave.yml runs on one host; where the items of a loop are hosts, each is asked once.
            alone = task.get("run_once") or task.get("throttle") or file.name == "leave.yml"
            spread = task.get("delegate_to", "localhost") in ("localhost", "{{ item }}")
            assert spread or alone, f"{file}: {task['name']}"


def test_a_host_that_is_off_or_cut_off_costs_about_half_a_minute() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "ansible.cfg")
    ssh = config["ssh_connection"]
    option = {name: int(value) for name, value in re.findall(r"-o (\w+)=(\d+)s?\b", ssh["ssh_args"])}
    retries = int(ssh["retries"])
    assert retries >= 3
    again = sum(option["ConnectTimeout"] + 2**attempt - 1 for attempt in range(retries))
    assert option["ConnectTimeout"] + again <= 20
    assert option["ServerAliveInterval"] * option["ServerAliveCountMax"] + again <= 31


@each_module
def test_a_module_works_in_check_mode(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked_by(file, monkeypatch).settings.get("supports_check_mode") is True
    documented = yaml.safe_load(importlib.import_module(file.stem).DOCUMENTATION)
    assert documented["attributes"]["check_mode"]["support"] in ("full", "partial")


@each_module
def test_a_module_that_may_change_something_says_in_words_what(file: Path) -> None:
    calls = [
        {keyword.arg: keyword.value for keyword in node.keywords}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exit_json"
    ]
    assert all("changed" in call for call in calls)
    changing = [call for call in calls if ast.unparse(call["changed"]) != "False"]
    assert all("changes" in call for call in changing)
    if changing:
        documented = yaml.safe_load(importlib.import_module(file.stem).RETURN)["changes"]
        assert (documented["type"], documented["elements"], documented["returned"]) == ("list", "str", "always")


@each_module
def test_a_module_that_writes_to_the_api_compares_the_cluster_first(file: Path) -> None:
    text = file.read_text()
    # kubeadm_join is given the CA that it must meet, and compares that.
    writes = re.search(r"\bapi\.(apply|delete|patch|post|put)\(|\b(Deploy|Drain|Work|apply_one|probes)\(", text)
    assert not writes or "identity.refuse_another(" in text


def test_every_task_names_the_cluster_to_a_module_that_compares_it() -> None:
    compares = {file.stem for file in MODULES if "identity.refuse_another(" in file.read_text()}
    playbooks = [file for file in ROOT.glob("playbooks/**/*.yml") if file.parent.name != "vars"]
    for file in (*ROOT.glob("roles/*/tasks/*.yml"), *playbooks):
        for entry in yaml.safe_load(file.read_text()) or []:
            for task in tasks_in([entry, *entry.get("tasks", [])]):
                if compares & set(task):
                    arguments = f"{task[(compares & set(task)).pop()]} {task.get('args')}"
                    assert "cluster_name" in arguments, f"{file.relative_to(ROOT)}: {task['name']}"
                    assert "cluster_id" in arguments, f"{file.relative_to(ROOT)}: {task['name']}"


@each_module
def test_a_module_has_unit_tests(file: Path) -> None:
    assert (ROOT / f"tests/unit/test_{file.stem}.py").exists()
