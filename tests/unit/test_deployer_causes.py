# SPDX-License-Identifier: Apache-2.0
"""Every failure has a cause, also where its result is hidden."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import kubeadm
from checkout import ROOT, Deploy
from deployer.failures import failure_of, unreachable_of

CENSORED = {"censored": "the output has been hidden"}


def test_a_hidden_result_shows_its_reason_and_no_secret(deploy: Deploy, tmp_path: Path) -> None:
    result = deploy("hidden", "up")
    assert result.returncode == 3
    assert "  cause   the API does not answer\n" in result.stderr
    (log,) = (tmp_path / "state/logs").iterdir()
    assert "canary" not in result.stdout + result.stderr + log.read_text()


def test_a_failed_module_of_gathering_facts_shows_its_reason(deploy: Deploy) -> None:
    result = deploy("no_facts", "up")
    assert result.returncode == 3
    assert re.search(r"cause   .*: .*'/usr/bin/python3.77' was not found", result.stderr)


@pytest.mark.parametrize(
    ("line", "reason", "key"),
    [
        ("ansible_user: \"{{ 'x' | int('y') + [] }}\"", "Error processing keyword 'remote_user': ", "ansible_user"),
        (
            "ansible_become_password: \"{{ lookup('no.such.one', 1) }}\"",
            "'become_pass': The lookup",
            "ansible_become_pass",
        ),
        ("ansible_timeout: soon", "'timeout': The value 'soon' could not", "ansible_timeout"),
    ],
)
def test_a_wrong_connection_variable_is_named_with_its_place(
    deploy: Deploy, tmp_path: Path, line: str, reason: str, key: str
) -> None:
    file = tmp_path / "checkout/inventory/docker/group_vars/all/cluster.yml"
    file.write_text(f"{file.read_text()}ansible_become: true\n{line}\n")
    result = deploy("no_connection", "up")
    assert result.returncode == 3
    assert reason in result.stderr
    assert re.search(rf"  remedy  correct {key}.* in \S*group_vars/all/cluster\.yml:5\n", result.stderr), result.stderr


@pytest.mark.parametrize("playbook", ["no_connection", "no_facts"])
def test_an_interpreter_that_does_not_run_is_named_with_what_it_said(
    deploy: Deploy, tmp_path: Path, playbook: str
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho one >&2\necho python: it broke >&2\nexit 7\n")
    python.chmod(0o755)
    result = deploy(playbook, "up", "-e", f"ansible_python_interpreter={python}")
    assert result.returncode == 3
    assert re.search(r"  cause   (\S+: )?python: it broke\n", result.stderr), result.stderr
    assert "  remedy  set ansible_python_interpreter to a working Python on this host" in result.stderr


def test_a_lookup_that_fails_says_so_once(deploy: Deploy) -> None:
    result = deploy("no_bundle", "up")
    assert result.returncode == 3
    said = "there is no bundle at /nonexistent/manifest.json; run `up` (site.yml) to build it"
    assert f"  cause   {said}\n" in result.stderr
    assert f"Look for the probe: {said}\n" in result.stdout


def test_a_hidden_result_of_an_unreachable_host_says_that_ssh_failed() -> None:
    printed = "[ERROR]: Task failed: Failed to connect to the host via ssh: <error censored due to no log>\r\nOrigin: x"
    failure = unreachable_of({"host": "a", "delegate": "m1", "res": CENSORED}, printed)
    assert (failure.host, failure.origin) == ("m1", "a")
    assert failure.message == "ssh's error is hidden by the task (no_log)"
    assert "ssh -v" in failure.remedy


@pytest.mark.parametrize("form", [[], ["-v"], ["--json"]])
def test_words_of_a_pod_do_not_steer_the_terminal(deploy: Deploy, tmp_path: Path, form: list[str]) -> None:
    words = r"end of its log: \u001b]0;evil\u0007\u001b[2Jhello"
    told = f'x_result={{"msg": "{words}", "failed": true, "notices": ["{words}"], "table": [{{"detail": "{words}"}}]}}'
    result = deploy("reports", "verify", *form, "-e", told)
    assert result.returncode == 3
    assert "end of its log: hello" in result.stderr
    (log,) = (tmp_path / "state/logs").iterdir()
    everything = result.stdout + result.stderr + log.read_text()
    assert "hello" in result.stdout
    assert not {"\x1b", "\x07"} & set(everything)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            "[ERROR]: Task failed: Module failed: no token: it is away\r\nOrigin: x.yml:5:7\r\n\r\n3 tasks:",
            "no token: it is away",
        ),
        ("[ERROR]: Task failed: two\r\nlines\r\nfatal: [a]: FAILED! => {}", "two\nlines"),
        ("fatal: [a]: FAILED! => {}", "the reason is hidden because it may contain a secret (no_log)"),
    ],
)
def test_the_reason_is_taken_from_what_was_printed(printed: str, reason: str) -> None:
    assert failure_of({"host": "a", "res": CENSORED}, printed).message == reason
    assert unreachable_of({"host": "a", "res": CENSORED}, printed).host == "a"


def test_no_module_of_a_hidden_task_fails_with_what_it_hides() -> None:
    """Ansible prints the reason of a hidden task, so the modules must keep secrets out of theirs."""
    hidden = [path for path in (ROOT / "roles").rglob("tasks/*.yml") if "no_log: true" in path.read_text()]
    modules = {
        name
        for path in hidden
        for block in re.split(r"\n\n", path.read_text())
        if "no_log: true" in block
        for name in re.findall(r"^ +([\w.]+):$", block, re.MULTILINE)
        if (ROOT / f"library/{name}.py").exists()
    }
    assert modules == {"kubeadm_token", "support_collect"}
    assert "without_secrets(" in (ROOT / "library/kubeadm_token.py").read_text()
    for file in ("library/support_collect.py", "module_utils/yunkube/doctor/support.py"):
        assert "fail_json" not in (ROOT / file).read_text()


def test_what_looks_like_a_token_or_key_is_taken_out_of_a_reason() -> None:
    key, pin = "ab" * 32, "sha256:" + "cd" * 32
    text = kubeadm.without_secrets(f"token abcdef.0123456789abcdef, key {key}, {pin}")
    assert text == f"token [redacted], key [redacted], {pin}"
