# SPDX-License-Identifier: Apache-2.0
"""Passwords of sudo on hosts and of vaulted files: asked for once, used where needed, and nowhere afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import ROOT, Lab, docker
from terminal import answered

USER = "deployer"
PASSWORD = "canary-sudo-6127"
VAULT = "canary-vault-3350"
WRONG = "canary-wrong-9034"
# The password of sudo is the user's; its key is that of root.
SETUP = f"""set -e
dpkg --install /root/sudo.deb >/dev/null
id {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo {USER}
echo '{USER}:{PASSWORD}' | chpasswd
install -d -m 0700 -o {USER} /home/{USER}/.ssh
install -m 0600 -o {USER} /root/.ssh/authorized_keys /home/{USER}/.ssh/authorized_keys
"""
AWAY = f"userdel --remove {USER} 2>/dev/null; dpkg --purge sudo >/dev/null 2>&1; rm -f /root/sudo.deb"


@pytest.fixture(scope="module")
def sudo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's package of sudo; the hosts are of the release that this machine has."""
    if shutil.which("apt-get") is None or 'VERSION_ID="12"' not in Path("/etc/os-release").read_text():
        pytest.skip("sudo for the hosts comes from this machine's own archive, which is not Debian 12's")
    folder = tmp_path_factory.mktemp("sudo")
    folder.chmod(0o755)
    done = subprocess.run(["apt-get", "download", "sudo"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (package,) = folder.glob("sudo_*.deb")
    return package


@pytest.fixture(scope="module")
def hosts(lab: Lab, sudo: Path) -> Iterator[Lab]:
    """Hosts on which only sudo makes an administrator of the user who may log in."""
    lab.make_hosts()  # those of other tests may be gone
    for host in ("master1", "node1"):
        docker("cp", str(sudo), f"yunkube-{lab.name}-{host}:/root/sudo.deb")
        lab.run(host, SETUP)
    yield lab
    for host in ("master1", "node1"):
        lab.run(host, f"{AWAY}; true")


def typed(lab: Lab, prompt: str, answer: str, *words: str) -> tuple[int, str]:
    """Run a verb and type a password; return all that was shown, or is kept on this machine."""
    argv = [str(ROOT / "scripts/deploy.py"), words[0], "-i", str(lab.inventory), *words[1:], "-vvv"]
    code, shown = answered(argv, prompt, answer, {**os.environ, "TERM": "dumb"}, ROOT)
    places = (lab.inventory.parent, lab.state)
    kept = [path.read_text(errors="replace") for place in places for path in place.rglob("*") if path.is_file()]
    return code, "\n".join([shown, *kept])


def plan(hosts: Lab, password: str) -> tuple[int, str]:
    """Plan as the user whose sudo requires a password."""
    options = ("-K", "-e", f"ansible_user={USER}", "-e", "cluster_provider=existing")
    code, everything = typed(hosts, "BECOME password: ", password, "plan", *options)
    return code, "\n".join([everything, *(hosts.run(host, "journalctl --no-pager") for host in ("master1", "node1"))])


def test_the_password_of_sudo_is_typed_once_and_is_nowhere_afterwards(hosts: Lab) -> None:
    code, everything = plan(hosts, PASSWORD)
    assert code == 5, everything[:4000]
    for host in ("master1", "node1"):
        assert f"{USER} : PWD=" in hosts.run(host, "journalctl --no-pager --identifier sudo")
    assert PASSWORD not in everything


def test_a_wrong_password_is_reported_as_such(hosts: Lab) -> None:
    code, everything = plan(hosts, WRONG)
    assert code == 3, everything[:4000]
    assert "Incorrect sudo password" in everything
    assert WRONG not in everything


@pytest.fixture
def vaulted(tmp_path: Path) -> Lab:
    """An inventory with a vaulted file, without hosts, of a cluster of its own."""
    lab = Lab.at(tmp_path / "lab", "vaulted", "10.82.8", settings=f"cluster_state_dir: {tmp_path}/lab/state\n")
    (tmp_path / "password").write_text(f"{VAULT}\n")
    file = lab.inventory / "group_vars/all/vault.yml"
    file.write_text("x_vaulted: opened-4711\n")
    argv = [str(ROOT / ".venv/bin/ansible-vault"), "encrypt", f"--vault-password-file={tmp_path}/password", str(file)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return lab


def test_a_vault_is_opened_with_what_is_typed(vaulted: Lab) -> None:
    code, everything = typed(vaulted, "Vault password: ", WRONG, "down", "--yes", "--ask-vault-pass")
    assert code == 2, everything[:4000]
    assert "vault.yml:1: the given vault password does not decrypt all of it" in everything
    assert WRONG not in everything
    code, everything = typed(vaulted, "Vault password: ", VAULT, "down", "--yes", "--ask-vault-pass")
    assert code == 0, everything[:4000]
    assert VAULT not in everything


def test_a_vault_is_opened_with_a_file(vaulted: Lab, tmp_path: Path) -> None:
    assert vaulted.deploy("down", "--yes").code == 2
    result = vaulted.deploy("down", "--yes", "--vault-password-file", str(tmp_path / "password"))
    assert result.code == 0, result.errors
