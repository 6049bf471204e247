# SPDX-License-Identifier: Apache-2.0
"""What the project never does, read from its files."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.constants import MAGIC_VARIABLE_MAPPING
from deployer.commands import PLAYS

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TASK_FILES = sorted(
    path
    for where in ("roles/*/tasks", "roles/*/handlers", "playbooks/tasks")
    for path in ROOT.glob(f"{where}/**/*.yml")
)
PLAYBOOKS = [path for path in (ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml"))) if path.exists()]
MODULES = {path.stem for where in ("library", "plugins/action") for path in ROOT.glob(f"{where}/*.py")}
COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.raw", "ansible.builtin.script"}
DOCUMENTED = ("DOCUMENTATION", "EXAMPLES", "RETURN")
THIN = 60  # lines of a file in library/ beside these
BLOCKS = ("block", "rescue", "always")
# Keywords of a task; what is left over is its action.
KEYWORDS = {
    "action", "any_errors_fatal", "args", "async", "become", "become_user", "changed_when", "check_mode", "collections",
    "connection", "delay", "delegate_facts", "delegate_to", "diff", "environment", "failed_when", "ignore_errors",
    "ignore_unreachable", "listen", "loop", "loop_control", "module_defaults", "name", "no_log", "notify", "poll",
    "port", "register", "remote_user", "retries", "run_once", "tags", "throttle", "timeout", "until", "vars", "when",
}  # fmt: skip
# Host names of package registries, in halves, so that this file does not name them either.
REGISTRIES = [
    ".".join(halves)
    for halves in (
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("proxy", "golang", "org"), ("sum", "golang", "org"),
        ("goproxy", "io"), ("goproxy", "cn"), ("deb", "debian", "org"), ("security", "debian", "org"),
        ("archive", "ubuntu", "com"), ("registry", "npmjs", "org"), ("galaxy", "ansible", "com"),
        ("index", "crates", "io"),
    )
]  # fmt: skip


class _Loader(yaml.SafeLoader):
    """YAML with Ansible's tags."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: "tagged")


def load(file: Path) -> Any:
    """Return a YAML file's content."""
    return yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 - a safe loader's child


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield tasks and blocks, with those inside of them."""
    for task in tasks or []:
        yield task
        for part in BLOCKS:
            yield from flat(task.get(part) or [])


def tasks_of(file: Path) -> list[dict[str, Any]]:
    """Return the tasks of a role's file or of a playbook's plays."""
    top = load(file) or []
    if file in PLAYBOOKS:
        top = [
            task
            for play in top
            for part in ("pre_tasks", "tasks", "post_tasks", "handlers")
            for task in play.get(part) or []
        ]
    return list(flat(top))


def action(task: dict[str, Any]) -> str | None:
    """Return the module that a task calls, none for a block."""
    return next(
        (key for key in task if key not in KEYWORDS and key not in BLOCKS and not key.startswith("with_")), None
    )


each_tasks_file = pytest.mark.parametrize(
    "file", [*TASK_FILES, *PLAYBOOKS], ids=lambda file: str(file.relative_to(ROOT))
)


@each_tasks_file
def test_tasks_are_steps_and_not_a_program(file: Path) -> None:
    for task in tasks_of(file):
        name = task.get("name", action(task))
        assert action(task) not in ("ansible.builtin.set_fact", "set_fact"), f"{name}: derive it in vars"
        assert "ignore_errors" not in task, f"{name}: say which failure is none"
        assert task.get("failed_when") is not False, f"{name}: say which failure is none"
        if file in TASK_FILES:
            # `never` loads a role's variables without its tasks.
            loads = (task.get("tags"), task.get("when")) == (["never"], False)
            assert "tags" not in task or loads, f"{name}: tags belong to plays"


@each_tasks_file
def test_a_module_is_called_by_its_full_name_unless_it_is_ours(file: Path) -> None:
    for task in tasks_of(file):
        called = action(task)
        assert called is None or called.count(".") >= 2 or called in MODULES, task.get("name", called)


@each_tasks_file
def test_a_command_says_when_it_changes_something(file: Path) -> None:
    for task in tasks_of(file):
        if action(task) in COMMANDS:
            assert "changed_when" in task, task["name"]


@each_tasks_file
def test_what_runs_on_the_control_machine_runs_as_the_user(file: Path) -> None:
    plays = [play for play in load(file) or [] if file in PLAYBOOKS and play.get("hosts") == "localhost"]
    tasks = [task for task in tasks_of(file) if task.get("delegate_to") == "localhost"]
    for entry in (*plays, *tasks):
        # The keyword `become` does not count where the inventory sets the variable.
        common = load(ROOT / "playbooks/vars/control_machine.yml") if "vars_files" in entry else {}
        assert {**common, **entry.get("vars", {})}.get("ansible_become") is False, entry["name"]
        if entry.get("connection") == "local":  # nor how hosts are reached; elsewhere a task is delegated to one
            assert entry.get("vars_files") == ["vars/control_machine.yml"], entry["name"]


def test_the_control_machine_is_reached_by_no_variable_of_hosts() -> None:
    given = set(load(ROOT / "playbooks/vars/control_machine.yml"))
    used = ("connection", "shell", "executable", "remote_addr", "remote_user", "password", "port", "private_key_file")
    become = ("become", "become_method", "become_user", "become_pass", "become_exe", "become_flags")
    assert {name for attribute in (*used, *become) for name in MAGIC_VARIABLE_MAPPING[attribute]} <= given


def test_commands_are_the_exception() -> None:
    actions = [called for file in TASK_FILES for task in tasks_of(file) if (called := action(task))]
    commands = [called for called in actions if called in COMMANDS]
    assert len(commands) * 8 <= len(actions), f"{len(commands)} of {len(actions)}"


def test_handlers_have_names_of_their_own() -> None:
    names = [task["name"] for file in TASK_FILES if "handlers" in file.parts for task in tasks_of(file)]
    assert len(names) == len(set(names))


def test_a_host_that_is_down_keeps_no_later_one_from_its_turn() -> None:
    """A play with `serial` ends where all hosts of a batch are down, which is wanted of an upgrade alone."""
    batches = [
        (file.name, play.get("max_fail_percentage")) for file in PLAYBOOKS for play in load(file) if "serial" in play
    ]
    assert batches == [("upgrade.yml", 0)] * 2
    join = next(task for task in tasks_of(ROOT / "roles/node/tasks/join.yml") if action(task) == "kubeadm_join")
    assert join["throttle"] == "{{ 1 if cluster_is_master else 0 }}"  # what has etcd's members come one by one instead


def test_the_docs_have_the_stages_in_the_order_in_which_they_run() -> None:
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs/how-it-works.md").read_text()
    stages = [play["name"] for play in load(ROOT / "site.yml")]
    assert re.findall(r"(?m)^\| ([\w ]+) \| `playbooks/", page) == stages
    shown = re.findall(rf"(?m)^\[ *[\d.]+s\] ({'|'.join(stages)})$", readme)
    assert shown == [name for name in stages if name in shown]


def test_both_readmes_name_the_same_commands() -> None:
    def commands(name: str) -> list[str]:
        return re.findall(
            r"(?m)^(make [a-z]+|\./scripts/deploy\.py [^ ]+(?: [^ ]+)*?)(?=  |$)", (ROOT / name).read_text()
        )

    assert commands("README.md") == commands("README.zh-CN.md")
    verbs = {name.partition(" ")[0] for name in PLAYS} | {"kubectl", "dashboard", "versions", "image", "import"}
    assert {line.split()[1] for line in commands("README.md") if line.startswith("./")} == verbs


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert [f"{page.relative_to(ROOT)}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_nothing_teaches_to_remove_all_web_services() -> None:
    files = [ROOT / "README.md", ROOT / "scripts/demo", *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile"]
    assert [file.name for file in files if "web_services=[]" in file.read_text()] == []


def test_files_can_be_read_in_one_sitting() -> None:
    programs = [
        path
        for part in ("library", "module_utils", "scripts", "tests", "bench", "plugins")
        for path in (ROOT / part).rglob("*.py")
    ]
    long = {
        str(path.relative_to(ROOT)): lines for path in programs if (lines := len(path.read_text().splitlines())) > 450
    }
    long |= {
        str(path.relative_to(ROOT)): lines for path in TASK_FILES if (lines := len(path.read_text().splitlines())) > 120
    }
    assert not long


def lines_of_code(source: str) -> int:
    """Return how many lines a module has beside its documentation."""
    documentation = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in DOCUMENTED
    ]
    return len(source.splitlines()) - sum((node.end_lineno or 0) - node.lineno + 1 for node in documentation)


@pytest.mark.parametrize("file", sorted((ROOT / "library").glob("*.py")), ids=lambda file: file.stem)
def test_a_module_file_leaves_the_work_to_a_room(file: Path) -> None:
    lines = lines_of_code(file.read_text())
    assert lines <= THIN, "move the work to module_utils/yunkube (docs/architecture.md)"


def test_a_module_file_that_does_the_work_itself_is_found() -> None:
    documentation = "".join(name + ' = r"""\n' + "a: b\n" * 100 + '"""\n' for name in DOCUMENTED)
    assert lines_of_code(documentation) == 0
    assert lines_of_code(documentation + "OTHER = 1\n" * (THIN + 1)) > THIN


def tracked() -> list[Path]:
    """Return the files under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    named = re.compile("|".join(re.escape(host) for host in REGISTRIES))
    files = [str(path.relative_to(ROOT)) for path in tracked() if named.search(path.read_text(errors="replace"))]
    assert files == []


def test_an_install_is_a_list_that_one_can_read() -> None:
    listed = subprocess.run(
        [BIN / "ansible-playbook", "--list-tasks", "-i", ROOT / "inventory/docker", ROOT / "site.yml"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert listed.returncode == 0, listed.stderr
    tasks = [line for line in listed.stdout.splitlines() if "TAGS:" in line and not line.startswith("  play #")]
    assert 5 <= len(tasks) <= 120


def test_the_reference_of_cluster_yml_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts/reference", "--check"], capture_output=True, text=True, check=False, timeout=30
    )
    assert checked.returncode == 0, checked.stderr


def test_a_time_limit_of_cluster_yml_is_shown_as_a_number() -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    assert "`360` × `cluster_slow_factor`" in page
    assert "* cluster_slow_factor" not in page


def test_what_ansible_lint_passes_over_holds_nothing_of_ansible() -> None:
    text = (ROOT / ".ansible-lint").read_text(encoding="utf-8")
    folders = re.findall(r"(?m)^  - (\S+)/$", text[text.index("# Python and texts alone") :])
    assert "scripts" in folders
    found = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".yml", ".yaml", ".j2")
    ]
    assert not found
