# SPDX-License-Identifier: Apache-2.0
"""Calls to Alibaba Cloud, by the real footmark to a server that checks its signatures."""

from __future__ import annotations

import ast
import gc
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.credentials import Credentials
from ansible.module_utils.yunkube.cloud.errors import CloudError
from fake_alicloud import KEY_ID, SECRET, FakeCloud, Json, RefusedError

REGION = "cn-hangzhou"
# The SDK closes no session: the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeCloud]:
    """Start a cloud."""
    fake = FakeCloud(tmp_path)
    yield fake
    fake.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def client(cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of the cloud, which does not wait."""
    monkeypatch.setenv("ALIBABA_CLOUD_CA_BUNDLE", "")
    return make(cloud)


def make(cloud: FakeCloud, secret: str = SECRET, token: str = "") -> Client:
    """Return a client with these credentials."""
    endpoints = dict.fromkeys(("ecs", "vpc"), cloud.address)
    return Client(REGION, lambda: Credentials(KEY_ID, secret, token), endpoints, str(cloud.ca), lambda _: None)


def instances(count: int, page: int) -> tuple[list[Json], int]:
    """Return so many instances, and how many a page holds."""
    return [{"InstanceId": f"i-{number}", "PublicIpAddress": {"IpAddress": []}} for number in range(count)], page


def test_a_list_has_all_pages_by_token(cloud: FakeCloud, client: Client) -> None:
    there, page = instances(230, 100)

    def describe(given: Json) -> Json:
        assert (given["MaxResults"], given["Tag.1.Key"], given["Tag.1.Value"]) == ("100", "cluster", "prod")
        start = int(given.get("NextToken", 0))
        more = {"NextToken": str(start + page)} if start + page < len(there) else {}
        return {"Instances": {"Instance": there[start : start + page]}, "TotalCount": 0, **more}

    cloud.actions["DescribeInstances"] = describe
    tags = [{"Key": "cluster", "Value": "prod"}]
    found = list(client.pages("ecs", "DescribeInstances", "Instances", "Instance", tags=tags))
    assert [one["InstanceId"] for one in found] == [one["InstanceId"] for one in there]
    assert client.calls == len(cloud.log) == 3


@pytest.mark.parametrize("answer", [{}, {"Instances": {}}, {"Instances": None}, {"Instances": []}, {"TotalCount": 0}])
def test_an_answer_without_the_list_is_not_an_empty_list(cloud: FakeCloud, client: Client, answer: Json) -> None:
    cloud.actions["DescribeInstances"] = lambda _: answer
    with pytest.raises(CloudError, match=r"Instances\.Instance"):
        list(client.pages("ecs", "DescribeInstances", "Instances", "Instance"))


def test_a_list_has_all_pages_by_number(cloud: FakeCloud, client: Client) -> None:
    def describe(given: Json) -> Json:
        start = (int(given["PageNumber"]) - 1) * int(given["PageSize"])
        return {"Vpcs": {"Vpc": [{"VpcId": f"vpc-{n}"} for n in range(start, min(120, start + 50))]}, "TotalCount": 120}

    cloud.actions["DescribeVpcs"] = describe
    assert len(list(client.pages("vpc", "DescribeVpcs", "Vpcs", "Vpc"))) == 120
    assert [one["PageNumber"] for one in cloud.log] == ["1", "2", "3"]


def test_a_parameter_that_an_action_does_not_have_is_an_error(cloud: FakeCloud, client: Client) -> None:
    with pytest.raises(TypeError, match="DescribeVpcs has no parameter vcp_id"):
        client.call("vpc", "DescribeVpcs", vcp_id="vpc-1")
    assert cloud.log == []


@pytest.mark.parametrize(
    "refusal",
    [
        RefusedError(400, "Throttling.User"),
        RefusedError(503, "ServiceUnavailable"),
        RefusedError(500, "InternalError"),
        RefusedError(400, "TaskConflict"),
        RefusedError(409, "IncorrectVpcStatus"),
    ],
    ids=lambda refusal: refusal.code,
)
def test_transient_errors_are_retried_with_the_same_token(
    cloud: FakeCloud, client: Client, refusal: RefusedError
) -> None:
    cloud.actions["CreateVpc"] = lambda _: {"VpcId": "vpc-1"}
    cloud.refusals = [refusal, refusal]
    assert client.call("vpc", "CreateVpc", cidr_block="10.0.0.0/16")["VpcId"] == "vpc-1"
    assert len(cloud.log) == 3
    assert len({one["ClientToken"] for one in cloud.log}) == 1
    client.call("vpc", "CreateVpc", cidr_block="10.0.0.0/16")
    assert len({one["ClientToken"] for one in cloud.log}) == 2


def test_a_lost_answer_makes_nothing_twice(cloud: FakeCloud, client: Client) -> None:
    made: dict[str, str] = {}
    cloud.actions["RunInstances"] = lambda given: {"Made": made.setdefault(given["ClientToken"], f"i-{len(made)}")}
    cloud.silent = 1
    assert client.call("ecs", "RunInstances", instance_type="ecs.g7.large", amount=1)["Made"] == "i-0"
    assert len(cloud.log) >= 2
    assert list(made.values()) == ["i-0"]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (RefusedError(403, "Forbidden.RAM", "not authorized."), "allow ecs:RunInstances to this user in RAM"),
        (RefusedError(403, "QuotaExceed.ElasticQuota"), "raise the quota"),
        (RefusedError(403, "OperationDenied.NoStock"), "choose another type or zone"),
        (RefusedError(400, "InvalidSecurityToken.Expired"), "has expired: get new credentials"),
        (RefusedError(400, "InvalidSpotPriceLimit.LowerThanPublicPrice"), "raise the price limit"),
        (RefusedError(400, "Unknown.Code", "Something."), r"RunInstances: Unknown.Code: Something \(request R-0\)$"),
    ],
    ids=lambda one: one.code if isinstance(one, RefusedError) else "",
)
def test_what_is_refused_for_good_says_what_to_do(
    cloud: FakeCloud, client: Client, refusal: RefusedError, words: str
) -> None:
    cloud.refusals = [refusal]
    with pytest.raises(CloudError, match=words) as failed:
        client.call("ecs", "RunInstances", amount=1)
    assert (failed.value.code, failed.value.request_id, len(cloud.log)) == (refusal.code, "R-0", 1)
    assert failed.value.denied == (refusal.code == "Forbidden.RAM")


def test_retries_are_limited(cloud: FakeCloud, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.yunkube.cloud.client.PATIENCE", 0.4)
    cloud.refusals = [RefusedError(400, "TaskConflict") for _ in range(50)]
    with pytest.raises(CloudError, match="CreateVpc: TaskConflict"):
        client.call("vpc", "CreateVpc")


def test_wrong_credentials_are_distinguished(cloud: FakeCloud) -> None:
    with pytest.raises(CloudError, match="the secret does not belong to the access key") as wrong:
        make(cloud, secret="wrong").call("ecs", "DescribeRegions")
    assert "server string" not in str(wrong.value)
    with pytest.raises(CloudError, match="the STS token does not belong"):
        make(cloud, token="old").call("ecs", "DescribeRegions")
    cloud.keys = {}
    with pytest.raises(CloudError, match="the access key does not exist or is disabled"):
        make(cloud).call("ecs", "DescribeRegions")


def test_nothing_is_sent_in_clear_text(cloud: FakeCloud) -> None:
    clear = cloud.address.replace("https://", "http://")
    client = Client(REGION, lambda: Credentials(KEY_ID, SECRET), dict.fromkeys(("ecs", "vpc"), clear))
    for product, action in (("ecs", "DescribeRegions"), ("vpc", "DescribeVpcs")):
        with pytest.raises(
            CloudError, match=f"{clear} is not https; write a host name or an https URL in alicloud_end"
        ):
            client.call(product, action)
    assert client.calls == 0
    assert cloud.requests == []


def test_the_client_alone_knows_the_sdk() -> None:
    project = Path(__file__).resolve().parents[2]
    files = [
        file for room in ("module_utils", "library", "plugins", "scripts") for file in (project / room).rglob("*.py")
    ]
    found = {
        file.relative_to(project).as_posix()
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and re.match(r"(import|from) (footmark|aliyunsdk)", ast.unparse(node))
    }
    assert found == {"module_utils/yunkube/cloud/client.py"}


def test_an_authority_that_is_not_known_is_refused(cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALIBABA_CLOUD_CA_BUNDLE", raising=False)
    monkeypatch.setattr("ansible.module_utils.yunkube.cloud.client.PATIENCE", 0)
    stranger = Client(REGION, lambda: Credentials(KEY_ID, SECRET), {"ecs": cloud.address}, "", lambda _: None)
    with pytest.raises(CloudError, match=r"DescribeRegions: SDK\.HttpError"):
        stranger.call("ecs", "DescribeRegions")
    assert cloud.log == []


def test_credentials_of_a_role_are_asked_for_again_when_they_end(cloud: FakeCloud) -> None:
    asked = []

    def role() -> Credentials:
        asked.append(1)
        return Credentials(KEY_ID, SECRET, expires=datetime.now(UTC) + timedelta(minutes=4 if len(asked) == 1 else 60))

    cloud.actions["DescribeRegions"] = lambda _: {}
    client = Client(REGION, role, {"ecs": cloud.address}, str(cloud.ca), lambda _: None)
    for _ in range(3):
        client.call("ecs", "DescribeRegions")
    assert len(asked) == 2


def test_one_client_of_the_sdk_makes_all_calls_with_the_same_credentials(
    cloud: FakeCloud, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aliyunsdkcore.client import AcsClient  # noqa: PLC0415 - slow

    made, init = [], AcsClient.__init__

    def count(self: object, **given: object) -> None:
        made.append(given)
        init(self, **given)

    monkeypatch.setattr(AcsClient, "__init__", count)
    cloud.actions |= dict.fromkeys(("DescribeRegions", "DescribeVpcs"), lambda _: {})
    for product, action in (("ecs", "DescribeRegions"), ("vpc", "DescribeVpcs"), ("ecs", "DescribeRegions")):
        client.call(product, action)
    assert (len(made), client.calls) == (1, 3)


def test_what_the_sdk_does_not_understand_is_an_error_like_others(cloud: FakeCloud, client: Client) -> None:
    cloud.refusals = [RefusedError(400, "SignatureDoesNotMatch", "It does not match")]
    with pytest.raises(CloudError, match="DescribeVpcs: SignatureDoesNotMatch"):
        client.call("vpc", "DescribeVpcs")
    cloud.actions["DescribeVpcs"] = lambda _: {}
    cloud.page = b"<html>Log in</html>"
    with pytest.raises(CloudError, match="the answer is not JSON"):
        client.call("vpc", "DescribeVpcs")
