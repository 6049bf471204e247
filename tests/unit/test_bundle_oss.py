# SPDX-License-Identifier: Apache-2.0
"""Hosts fetch the bundle from a bucket by signed addresses, which last an hour and appear in no output."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import typing as t
from datetime import timedelta
from pathlib import Path

import bundle_install
import pytest
import real_module
from ansible.errors import AnsibleActionFail
from ansible.module_utils.yunkube.host import bundle_installation
from ansible.module_utils.yunkube.host.bundle_files import InstallError
from ansible.module_utils.yunkube.host.bundle_source import Source
from fake_alicloud import KEY_ID, SECRET
from fake_oss import FakeOss

CONTENT = b"\x7fELF program" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).resolve().parents[2]
URL = "oss://shop-bundles/clusters"
KEY = f"clusters/{DIGEST}"
SHOWN = "oss://shop-bundles/clusters"
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # in oss2


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[FakeOss]:
    """An OSS with a file of the bundle, which the host trusts, and a host without waiting."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(bundle_installation, "STATE", tmp_path / "state")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
    (tmp_path / "oss").mkdir()
    server = FakeOss(tmp_path / "oss")
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
    server.buckets["shop-bundles"] = {KEY: CONTENT}
    yield server
    server.close()


def program(path: Path) -> dict[str, t.Any]:
    """An entry of the manifest."""
    entry = {"name": path.name, "version": "1", "kind": "kubernetes", "path": str(path), "mode": "0755"}
    return entry | {"sha256": DIGEST, "size": len(CONTENT)}


def signed(cloud: FakeOss, *entries: dict[str, t.Any]) -> dict[str, str]:
    """Return the addresses that the action plugin makes on the control machine."""
    spec = importlib.util.spec_from_file_location("bundle_install_action", ROOT / "plugins/action/bundle_install.py")
    assert spec
    assert spec.loader
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    store = {"region": "cn-hangzhou", "fetch": cloud.address}
    found: dict[str, str] = plugin.addresses(URL, store, list(entries))
    return found


def test_a_file_comes_by_its_address(cloud: FakeOss, tmp_path: Path) -> None:
    entry = program(tmp_path / "kubelet")
    source = Source(URL, 0, signed(cloud, entry, entry))
    source.fetch(entry, tmp_path / "kubelet")
    assert (tmp_path / "kubelet").read_bytes() == CONTENT
    assert cloud.log == [("GetObject", KEY)]
    assert source.bytes == len(CONTENT)


def refused(tmp_path: Path, addresses: dict[str, str]) -> str:
    """Return what is said of a file that did not come, and see that nothing is left and nothing is given away."""
    folder = tmp_path / "bin"
    folder.mkdir()
    entry = program(folder / "kubelet")
    with pytest.raises(InstallError) as failed:
        Source(URL, 0, addresses).fetch(entry, folder / "kubelet")
    assert list(folder.iterdir()) == []
    text = f"{failed.value}: {failed.value.remedy}"
    assert "x-oss" not in text
    assert KEY_ID not in text
    assert SHOWN in text
    return text


def test_an_address_that_has_expired_is_made_again_by_the_next_run(cloud: FakeOss, tmp_path: Path) -> None:
    addresses = signed(cloud, program(tmp_path / "kubelet"))
    cloud.late = timedelta(minutes=61)
    text = refused(tmp_path, addresses)
    assert "HTTP 403 AccessDenied: Request has expired." in text
    assert "run the same command again, which signs new addresses" in text


def test_an_address_gives_one_file_and_only_as_long_as_it_says(cloud: FakeOss, tmp_path: Path) -> None:
    (address,) = signed(cloud, program(tmp_path / "kubelet")).values()
    assert "x-oss-expires=3600&" in address
    for changed in (address.replace("=3600&", "=36000&"), address.replace("/clusters/", "/other/")):
        (tmp_path / changed[-6:]).mkdir()
        assert "SignatureDoesNotMatch" in refused(tmp_path / changed[-6:], {DIGEST: changed})
        (tmp_path / changed[-6:] / "bin").rmdir()
        (tmp_path / changed[-6:]).rmdir()


def test_a_file_that_may_not_be_read_names_the_permission(cloud: FakeOss, tmp_path: Path) -> None:
    cloud.denied.add("GetObject")
    text = refused(tmp_path, signed(cloud, program(tmp_path / "kubelet")))
    assert "HTTP 403 AccessDenied" in text
    assert "must be allowed oss:GetObject" in text


def test_a_file_that_is_not_there_is_said_so(cloud: FakeOss, tmp_path: Path) -> None:
    cloud.buckets["shop-bundles"].clear()
    assert "HTTP 404 NoSuchKey" in refused(tmp_path, signed(cloud, program(tmp_path / "kubelet")))


def test_other_content_is_not_installed(cloud: FakeOss, tmp_path: Path) -> None:
    cloud.buckets["shop-bundles"][KEY] = CONTENT[::-1]
    text = refused(tmp_path, signed(cloud, program(tmp_path / "kubelet")))
    assert "is damaged" in text
    assert "run the same command again, which compares what the bucket has with the bundle" in text


def test_a_host_that_does_not_trust_the_bucket_gets_nothing(
    cloud: FakeOss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = signed(cloud, program(tmp_path / "kubelet"))
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in refused(tmp_path, addresses)
    assert cloud.log == []


def test_addresses_are_in_no_journal_and_no_result(
    cloud: FakeOss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle_installation, "complete_record", lambda _runner: None)
    entry = program(tmp_path / "kubelet")
    (address,) = signed(cloud, entry).values()
    given = {"url": URL, "files": [entry], "signed": {entry["sha256"]: address}}
    journal, told = real_module.run(bundle_install.main, given, monkeypatch, capsys)
    assert told["changed"], told
    assert (tmp_path / "kubelet").read_bytes() == CONTENT
    everywhere = (
        journal
        + json.dumps(told)
        + "".join(
            path.read_text(errors="replace")
            for path in tmp_path.rglob("*")
            if path.is_file() and "oss" not in path.parts
        )
    )
    assert "x-oss-signature" not in everywhere
    assert KEY_ID not in everywhere
    assert SECRET not in everywhere


def test_without_a_key_the_control_machine_says_what_to_set(
    cloud: FakeOss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    with pytest.raises(AnsibleActionFail, match="ALIBABA_CLOUD_ACCESS_KEY_SECRET is not"):
        signed(cloud, program(tmp_path / "kubelet"))


# A module of the same name in place of the real one, which would install on this machine.
STUB = """
from ansible.module_utils.basic import AnsibleModule
import hashlib, ssl, urllib.request
module = AnsibleModule({
    "url": {}, "port": {"type": "int"}, "files": {"type": "list", "elements": "dict"},
    "signed": {"type": "dict", "default": {}, "no_log": True},
}, supports_check_mode=True)
fetched = [urllib.request.urlopen(module.params["signed"][one["sha256"]]).read() for one in module.params["files"]]
same = [hashlib.sha256(content).hexdigest() == one["sha256"] for content, one in zip(fetched, module.params["files"])]
module.exit_json(changed=False, same=same)
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - bundle_upload: {manifest: "{{ manifest }}", url: "{{ url }}", cache: "{{ cache }}", store: "{{ store }}"}
    - bundle_install:
        {url: "{{ url }}", store: "{{ store }}", manifest: "{{ manifest }}", purposes: [node], kinds: [runtime]}
"""


def test_what_is_uploaded_is_fetched_and_the_most_talkative_run_shows_no_address(
    cloud: FakeOss, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundles/b"
    (bundle / "files").mkdir(parents=True)
    (bundle / "files" / DIGEST).write_bytes(CONTENT)
    entry = program(tmp_path / "containerd") | {"kind": "runtime", "purpose": ["node"]}
    (bundle / "manifest.json").write_text(json.dumps({"files": [entry]}))
    (tmp_path / "library").mkdir()
    (tmp_path / "library/bundle_install.py").write_text(f"#!/usr/bin/python\n{STUB}")
    (tmp_path / "play.yml").write_text(PLAY)
    cloud.buckets["shop-bundles"].clear()
    reach = {"region": cloud.region, "upload": cloud.address, "fetch": cloud.address, "ca": str(cloud.ca)}
    given = {"manifest": str(bundle / "manifest.json"), "url": URL, "cache": str(tmp_path), "store": reach}
    command = [
        "-m",
        "ansible",
        "playbook",
        "-vvv",
        "-i",
        "localhost,",
        "-e",
        json.dumps(given),
        str(tmp_path / "play.yml"),
    ]
    environment = os.environ | {"ANSIBLE_LIBRARY": f"{tmp_path}/library:{ROOT}/library", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert cloud.buckets["shop-bundles"] == {KEY: CONTENT}
    assert cloud.log[-1] == ("GetObject", KEY)
    assert "same:" in told
    assert "x-oss" not in told
    assert SECRET not in told
