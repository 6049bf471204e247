# SPDX-License-Identifier: Apache-2.0
"""Where Alibaba Cloud credentials are read from, and the message if there are none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.cloud.credentials import Credentials, CredentialsError, find

KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIa", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "canary-1"}
OLD = {"ALICLOUD_ACCESS_KEY": "LTAIb", "ALICLOUD_SECRET_KEY": "canary-2", "ALICLOUD_SECURITY_TOKEN": "canary-3"}
PROFILES = {
    "current": "prod",
    "profiles": [
        {"name": "prod", "mode": "AK", "access_key_id": "LTAIc", "access_key_secret": "canary-4"},
        {"name": "sts", "mode": "StsToken", "access_key_id": "STSd", "access_key_secret": "canary-5", "sts_token": "t"},
        {"name": "half", "mode": "StsToken", "access_key_id": "STSd", "access_key_secret": "canary-6"},
        {"name": "sso", "mode": "CloudSSO"},
        {"name": "role", "mode": "EcsRamRole", "ram_role_name": "nodes"},
    ],
}


def profile(folder: Path, content: Any = PROFILES, mode: int = 0o600) -> dict[str, str]:
    """Write a profile file; return the environment that names it."""
    file = folder / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)
    return {"ALIBABA_CLOUD_CREDENTIALS_FILE": str(file)}


class Metadata(BaseHTTPRequestHandler):
    """The metadata service in its hardened mode."""

    expires = "2126-11-29T06:00:00Z"

    def do_PUT(self) -> None:
        self._answer("a-token" if self.headers["X-aliyun-ecs-metadata-token-ttl-seconds"] == "60" else "")

    def do_GET(self) -> None:
        place = "/latest/meta-data/ram/security-credentials/"
        if self.headers["X-aliyun-ecs-metadata-token"] != "a-token":
            self.send_error(403)
        elif self.path == place:
            self._answer("nodes")
        elif self.path == f"{place}nodes":
            keys = {"AccessKeyId": "STSe", "AccessKeySecret": "canary-7", "SecurityToken": "canary-8"}
            self._answer(json.dumps({"Code": "Success", "Expiration": self.expires, **keys}))
        else:
            self.send_error(404)

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def metadata() -> Iterator[str]:
    """Serve the metadata of an instance; return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_environment_wins_and_todays_names_before_older_ones(tmp_path: Path) -> None:
    found = find(KEY | OLD | profile(tmp_path))
    assert (found.key_id, found.secret, found.token) == ("LTAIa", "canary-1", "")
    found = find(OLD | profile(tmp_path))
    assert (found.key_id, found.secret, found.token) == ("LTAIb", "canary-2", "canary-3")
    assert found.source == "the environment, ALICLOUD_ACCESS_KEY"
    assert found.fresh


def test_a_profile_is_the_current_one_or_the_one_that_is_named(tmp_path: Path) -> None:
    found = find(profile(tmp_path))
    assert (found.key_id, found.secret, found.token) == ("LTAIc", "canary-4", "")
    found = find({**profile(tmp_path), "ALICLOUD_PROFILE": "sts"})
    assert (found.key_id, found.secret, found.token) == ("STSd", "canary-5", "t")
    assert found.source == f"{tmp_path}/config.json, profile sts"


def test_a_role_has_the_credentials_of_the_metadata_service(tmp_path: Path, metadata: str) -> None:
    for environment in (
        {"ALIBABA_CLOUD_ECS_METADATA": "nodes"},
        {**profile(tmp_path), "ALIBABA_CLOUD_PROFILE": "role"},
    ):
        found = find({**environment, "http_proxy": "http://127.0.0.1:9"}, metadata)
        assert (found.key_id, found.secret, found.token) == ("STSe", "canary-7", "canary-8")
        assert found.source == "the RAM role nodes of this instance"
        assert found.fresh


def test_credentials_that_end_soon_are_not_fresh(metadata: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Metadata, "expires", "2020-01-01T00:00:00Z")
    assert not find({"ALICLOUD_ECS_ROLE_NAME": "nodes"}, metadata).fresh


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIa"}, "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not: set both"),
        ({"ALICLOUD_SECRET_KEY": "canary-9"}, "ALICLOUD_SECRET_KEY is set and ALICLOUD_ACCESS_KEY is not"),
        ({"ALICLOUD_SHARED_CREDENTIALS_FILE": "/dev/null/none"}, "/dev/null/none: does not exist"),
        ({"HOME": "/nonexistent"}, "no credentials for Alibaba Cloud: .* export ALIBABA_CLOUD_ACCESS_KEY_ID"),
    ],
)
def test_what_is_missing_is_named(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CredentialsError, match=words) as refused:
        find(environment)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "wanted", "mode", "words"),
    [
        (PROFILES, "", 0o644, "others may read it: chmod 600"),
        (PROFILES, "nobody", 0o600, "has no profile nobody: set ALIBABA_CLOUD_PROFILE to one of half, prod, role"),
        (PROFILES, "half", 0o600, "profile half: has no sts_token"),
        (PROFILES, "sso", 0o600, "mode CloudSSO is not supported"),
        ("{", "", 0o600, "not a profile file"),
        ([], "", 0o600, "not a profile file"),
        ({"profiles": [{"mode": "AK"}]}, "", 0o600, "not a profile file"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(
    tmp_path: Path, content: Any, wanted: str, mode: int, words: str
) -> None:
    with pytest.raises(CredentialsError, match=words) as refused:
        find({**profile(tmp_path, content, mode), "ALIBABA_CLOUD_PROFILE": wanted})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("role", "words"), [("others", "HTTP 404: does this instance have that RAM role")])
def test_a_role_that_the_instance_does_not_have_is_named(metadata: str, role: str, words: str) -> None:
    with pytest.raises(CredentialsError, match=words):
        find({"ALIBABA_CLOUD_ECS_METADATA": role}, metadata)


def test_a_machine_that_is_not_an_instance_is_reported_as_such() -> None:
    with pytest.raises(CredentialsError, match="the metadata service does not answer: is this an ECS instance"):
        find({"ALIBABA_CLOUD_ECS_METADATA": "nodes"}, "http://127.0.0.1:9")


def test_a_secret_is_not_shown() -> None:
    assert "canary" not in repr(Credentials("LTAIa", "canary", "canary"))
