# SPDX-License-Identifier: Apache-2.0
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
from module_spec import asked_by, ends_of, method_of, work_of

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
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("molecule/**/*.yml"), *ROOT.glob("bench/*.yml")]
    assert [file for file in files if "rolespec_validate" in file.read_text()] == []


# Named for what they are to a user, not for a role: the kind of dashboard decides what every host gets, kubeadm marks
# and patches nodes in both of its roles, and the inventory and several roles ask Alibaba Cloud, so the role `cluster`
# has them; the role `web_service` takes a list of services; the preflight asks for what the timer of backups needs.
FEATURES = {
    "alicloud_ca",
    "alicloud_endpoints",
    "alicloud_region",
    "backup_certificate",
    "backup_schedule",
    "dashboard_provider",
    "master_patches",
    "node_labels",
    "node_patches",
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
    "master_kube_proxy_config",  # for the doctor
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
            given = arguments_of_calls(role, other.name)
            known = FEATURES | (CHECKED if role.name == "cluster" else set()) | given
            read = words & (public(other) - known)
            assert not read, f"reads {sorted(read)}, of role {other.name}"


def public(role: Path) -> set[str]:
    """Return a role's inputs, what it derives for others and what its tasks register for them."""
    names = {*options(role), *content(role / "vars/main.yml")}
    for file in role.glob("tasks/*.yml"):
        names |= {task["register"] for task in tasks_in(yaml.safe_load(file.read_text())) if "register" in task}
    return {name for name in names if not name.startswith("__")}


def calls_in(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the role, the entry point and the variables of every call of a role in a file."""
    entries: Any = yaml.safe_load(file.read_text())
    for entry in entries or []:
        for task in tasks_in([entry, *entry.get("tasks", [])]):
            called = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
            if called:
                for role in ROLES if "{{" in called["name"] else [ROOT / "roles" / called["name"]]:
                    if re.fullmatch(re.sub(r"{{.*?}}", r"\\w+", called["name"]), role.name):
                        yield role.name, called.get("tasks_from", "main.yml"), task.get("vars") or {}


def arguments_of_calls(role: Path, other: str) -> set[str]:
    """Return what a role gives to entry points of another one."""
    calls = [call for file in role.glob("tasks/*.yml") for call in calls_in(file)]
    return {name for called, _, given in calls if called == other for name in given}


YAML_FILES = [
    *ROOT.glob("roles/**/*.yml"),
    *ROOT.glob("roles/**/*.j2"),
    *ROOT.glob("playbooks/**/*.yml"),
    ROOT / "site.yml",
]
each_file = pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: str(file.relative_to(ROOT)))


@each_file
def test_private_variables_of_a_role_are_read_only_by_it(file: Path) -> None:
    own = file.relative_to(ROOT / "roles").parts[0] if file.is_relative_to(ROOT / "roles") else ""
    for role in ROLES:
        longer = [other.name for other in ROLES if other.name.startswith(f"{role.name}_")]  # none today
        assert not longer, "then a prefix is not enough to tell whose a name is"
        read = set(re.findall(rf"\b__{role.name}(?:_\w+)?\b", file.read_text()))
        assert role.name == own or not read, f"reads {sorted(read)}, private to role {role.name}"


def test_a_call_gives_an_entry_point_what_its_spec_declares() -> None:
    files = [file for file in YAML_FILES if file.suffix == ".yml" and file.parent.name in ("tasks", "playbooks")]
    calls = [(file, *call) for file in files for call in calls_in(file)]
    assert len(calls) > 40
    for file, name, tasks_from, given in calls:
        role = ROOT / "roles" / name
        specs = entry_points(role)
        entry = (specs.get(Path(tasks_from).stem) or {}).get("options") or {}
        declared = set(entry) | set((specs.get("check") or {}).get("options") or {})
        mine = {key for key in given if key.startswith(f"{name}_")}
        assert mine <= declared, f"{file.relative_to(ROOT)}: {sorted(mine - declared)} in no spec of {name}"
        needed = {key for key, option in entry.items() if option.get("required")}
        assert needed <= set(given), f"{file.relative_to(ROOT)}: {name}, {tasks_from} needs {sorted(needed)}"


@each_role
def test_what_a_role_registers_for_others_stands_in_its_readme(role: Path) -> None:
    for file in role.glob("tasks/*.yml"):
        for task in tasks_in(yaml.safe_load(file.read_text())):
            name = task.get("register", "__")
            assert name.startswith("__") or f"`{name}`" in (role / "README.md").read_text(), name


def test_what_is_compared_with_a_host_is_what_a_teardown_removes() -> None:
    on_host = [content(role / "vars/main.yml").get(f"{role.name}_on_host") or {} for role in ROLES]
    units = {unit for one in on_host for unit in one.get("units", [])}
    paths = {path for one in on_host for kind in ("kernel", "configuration", "data") for path in one.get(kind, [])}
    services = {name: content(ROOT / f"roles/{name}/vars/main.yml") for name in ("container_runtime", "kubelet")}
    settings = content(ROOT / "roles/prepare_host/vars/main.yml")["__prepare_host_settings"]
    compared = {settings["modules_file"], settings["sysctls_file"]}
    named = " ".join(str(variables) for variables in services.values())
    compared |= set(re.findall(r"(?<![\w{}])/(?:etc|opt|run|usr/libexec|var)/[\w./-]*\w", named))
    assert len(compared) > 12
    assert {name for name in compared if not any(f"{name}/".startswith(f"{path}/") for path in paths | units)} == set()
    backup = content(ROOT / "roles/backup/vars/main.yml")
    names = {variables[f"{name}_service"]["name"] for name, variables in services.items()}
    assert names | {backup["backup_service"]["name"]} == units - {"yunkube-backup.service"}  # which the timer starts
    written = {file["path"] for name in ("__backup_certificate", "__backup_files") for file in backup[name]}
    assert written == set(backup["backup_on_host"]["configuration"])


def test_a_teardown_reads_what_each_role_puts_on_a_host() -> None:
    roles = {role.name for role in ROLES if f"{role.name}_on_host" in content(role / "vars/main.yml")}
    variables = content(ROOT / "roles/teardown/vars/main.yml")
    assert set(variables["__teardown_roles"]) == roles
    assert re.findall(r"/(?:etc|run|usr|var)/", str(variables)) == []
    for role in roles:
        assert "{{" not in str(content(ROOT / f"roles/{role}/vars/main.yml")[f"{role}_on_host"])


def test_no_task_file_is_empty() -> None:
    files = [file for file in YAML_FILES if file.parent.name == "tasks"]
    assert [file for file in files if not list(tasks_in(content(file)))] == []


# What may be read of another host: how it is reached, what the inventory says of it, results of modules there.
OF_HOSTS = {
    "ansible_host", "ansible_port", "ansible_user", "cluster_architecture", "cluster_control_plane_host",
    "cluster_node_ip", "docker_hosts_plan", "flannel_backend", "host_drift", "kubelet_configmap",
    "master_certificates", "master_patches",
    "prepare_host_preflight", "__prepare_host_facts", "teardown_look", "teardown_off", "upgrade_plan", "upgrade_proved",
}  # fmt: skip
READS = re.compile(
    r"hostvars(?:\[\w+\]\.(\w+)|, \[?'(\w+)'|\) \| map\(attribute='(\w+)|\) \| selectattr\('(\w+)'"
    r"| \| default\({}\)\)\.get\((?:'localhost'|__masters \| first), {}\)\.(?:get\(')?(\w+))"
)


@each_file
def test_of_another_host_only_what_is_listed_is_read(file: Path) -> None:
    text = " ".join(re.sub(r"(?m)^\s*#.*$", "", file.read_text()).split()).replace("hostvars is defined", "")
    # roles/node/tasks/leave.yml names the hosts once and takes their addresses from that.
    text = text.replace("'extract', hostvars) }}\"", "'extract', hostvars) | map(attribute='ansible_host'")
    names = [next(filter(None, found.groups())) for found in READS.finditer(text)]
    assert len(names) == text.count("hostvars"), "hostvars in another way than those that READS knows"
    own = file.relative_to(ROOT / "roles").parts[0] if file.is_relative_to(ROOT / "roles") else "no role"
    strange = {name for name in names if name not in OF_HOSTS and not re.match(rf"__{own}(_|$)", name)}
    assert not strange, f"reads {sorted(strange)} of other hosts"


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
        {keyword.arg: keyword.value for keyword in call.keywords}
        for call in ends_of(file)
        if method_of(call) == "exit_json"
    ]
    assert all("changed" in call for call in calls)
    changing = [call for call in calls if ast.unparse(call["changed"]) != "False"]
    assert all("changes" in call for call in changing)
    if changing:
        documented = yaml.safe_load(importlib.import_module(file.stem).RETURN)["changes"]
        assert (documented["type"], documented["elements"], documented["returned"]) == ("list", "str", "always")


@each_module
def test_a_module_that_writes_to_the_api_compares_the_cluster_first(file: Path) -> None:
    text = "\n".join(map(ast.unparse, work_of(file)))
    # kubeadm_join is given the CA that it must meet, and compares that.
    # The cloud's Work is about another API.
    work = r"\b(Deploy|Drain|apply_one|probes)\(|\bWork\(module\b"
    writes = re.search(rf"\bapi\.(apply|delete|patch|post|put)\(|{work}", text)
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
