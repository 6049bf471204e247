# SPDX-License-Identifier: Apache-2.0
"""Find the credentials of Alibaba Cloud where its own tools look for them, and nowhere else.

In this order: the environment, the profile file of the `aliyun` command, the RAM role of the ECS instance on which this
runs. Names of variables: https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-python-access-credentials,
https://github.com/aliyun/aliyun-cli#configure; the profile file is the one that `aliyun configure` writes.
"""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# (key id, secret, token of STS), the name of today before that of older tools.
VARIABLES = (
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
    ("ALICLOUD_ACCESS_KEY", "ALICLOUD_SECRET_KEY", "ALICLOUD_SECURITY_TOKEN"),
)
PROFILE = ("ALIBABA_CLOUD_PROFILE", "ALICLOUD_PROFILE")
FILE = ("ALIBABA_CLOUD_CREDENTIALS_FILE", "ALICLOUD_SHARED_CREDENTIALS_FILE")
ROLE = ("ALIBABA_CLOUD_ECS_METADATA", "ALICLOUD_ECS_ROLE_NAME")
DEFAULT_FILE = "~/.aliyun/config.json"
METADATA = "http://100.100.100.200"
METADATA_SECONDS = 3  # link-local: it answers at once or never
TOKEN_SECONDS = 60  # that a token of the hardened metadata service lasts
EARLY = timedelta(minutes=5)  # before their end, credentials of a role are asked for again


class CredentialsError(Exception):
    """There are none, or those that there are cannot be used; the message says where and what to do."""


@dataclass(frozen=True)
class Credentials:
    """A key, its secret, and where they come from."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    source: str = ""
    expires: datetime | None = None

    @property
    def fresh(self) -> bool:
        """Whether they last for some minutes more."""
        return self.expires is None or datetime.now(UTC) < self.expires - EARLY


def find(environment: Mapping[str, str], metadata: str = METADATA) -> Credentials:
    """Return the first credentials that there are; CredentialsError where there are none, or half of them."""
    for names in VARIABLES:
        key_id, secret, token = (environment.get(name, "") for name in names)
        if key_id and secret:
            return Credentials(key_id, secret, token, f"the environment, {names[0]}")
        if key_id or secret:
            missing = names[1] if key_id else names[0]
            raise CredentialsError(f"{names[0] if key_id else names[1]} is set and {missing} is not: set both")
    if role := _first(environment, ROLE):
        return of_role(role, metadata)
    named = _first(environment, FILE)
    file = Path(named or DEFAULT_FILE).expanduser()
    if file.exists():
        return _of_profile(file, _first(environment, PROFILE), metadata)
    if named:
        raise CredentialsError(f"{file}: does not exist; it is set in {' or '.join(FILE)}")
    raise CredentialsError(
        f"no credentials for Alibaba Cloud: neither {VARIABLES[0][0]} nor {DEFAULT_FILE} nor {ROLE[0]} is set; "
        f"export {VARIABLES[0][0]} and {VARIABLES[0][1]}, or run `aliyun configure`"
    )


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _of_profile(file: Path, wanted: str, metadata: str) -> Credentials:
    """Return what a profile of the `aliyun` command's file holds."""
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CredentialsError(f"{file}: holds secrets, but others may read it: chmod 600 {file}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        profiles = {str(one["name"]): one for one in content["profiles"]}
        name = wanted or str(content.get("current") or "default")
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialsError(f"{file}: not a profile file of `aliyun`: run `aliyun configure`") from error
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise CredentialsError(f"{file}: has no profile {name}: set {PROFILE[0]} to one of {known}")
    return _of_entry(profiles[name], f"{file}, profile {name}", metadata)


def _of_entry(entry: Mapping[str, Any], source: str, metadata: str) -> Credentials:
    mode = str(entry.get("mode") or "AK")
    if mode == "EcsRamRole":
        return of_role(str(entry.get("ram_role_name") or ""), metadata)
    if mode not in ("AK", "StsToken"):
        raise CredentialsError(f"{source}: mode {mode} is not supported: use AK, StsToken or EcsRamRole")
    wanted = ("access_key_id", "access_key_secret", *(["sts_token"] if mode == "StsToken" else []))
    if missing := [key for key in wanted if not entry.get(key)]:
        raise CredentialsError(f"{source}: has no {' and no '.join(missing)}: run `aliyun configure`")
    token = str(entry["sts_token"]) if mode == "StsToken" else ""
    return Credentials(str(entry["access_key_id"]), str(entry["access_key_secret"]), token, source)


def of_role(role: str, metadata: str = METADATA) -> Credentials:
    """Return the credentials of this instance's RAM role, from the metadata service in its hardened mode.

    https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
    """
    headers = {"X-aliyun-ecs-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    token = _ask(urllib.request.Request(f"{metadata}/latest/api/token", method="PUT", headers=headers))  # noqa: S310 - http, link-local
    place = f"{metadata}/latest/meta-data/ram/security-credentials/"
    headers = {"X-aliyun-ecs-metadata-token": token}
    name = role or _ask(urllib.request.Request(place, headers=headers)).split("\n")[0].strip()  # noqa: S310
    source = f"the RAM role {name} of this instance"
    try:
        found = json.loads(_ask(urllib.request.Request(place + name, headers=headers)))  # noqa: S310
        if found.get("Code") != "Success":
            raise CredentialsError(f"{source}: the metadata service says {found.get('Code')}")
        expires = datetime.fromisoformat(found["Expiration"])
        return Credentials(found["AccessKeyId"], found["AccessKeySecret"], found["SecurityToken"], source, expires)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CredentialsError(f"{source}: the metadata service gave no credentials") from error


def _ask(request: urllib.request.Request) -> str:
    # A proxy for the way out knows nothing of a link-local address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=METADATA_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise CredentialsError(
            f"{request.full_url}: HTTP {error.code}: does this instance have that RAM role?"
        ) from error
    except OSError as error:
        raise CredentialsError(
            f"{request.host}: the metadata service does not answer: is this an ECS instance? If not, unset {ROLE[0]}"
        ) from error
