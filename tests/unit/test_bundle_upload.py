# SPDX-License-Identifier: Apache-2.0
"""The bundle is uploaded to a bucket once and completely, without touching other objects."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import typing as t
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bundle_upload
import pytest
import real_module
from ansible.module_utils.yunkube.cloud import oss
from ansible.module_utils.yunkube.cloud.credentials import Credentials
from fake_alicloud import KEY_ID, SECRET
from fake_oss import FakeOss, RefusedError

ROOT = Path(__file__).resolve().parents[2]
FILES = {"kubelet": b"the kubelet" * 1000, "pause": b"pause", "containerd": b"containerd" * 500}
URL = "oss://shop-bundles"
Json = dict[str, t.Any]
# As Ansible runs it: a process of its own, which can be killed.
AS_ANSIBLE_DOES = f"""
import runpy, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
runpy.run_path({str(ROOT / "library/bundle_upload.py")!r}, run_name="__main__")
"""
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # in oss2


def digest(content: bytes) -> str:
    """Return the sha256."""
    return hashlib.sha256(content).hexdigest()


OBJECTS = {f"yunkube/{digest(content)}": content for content in FILES.values()}
MEGABYTES = f"({sum(map(len, FILES.values())) >> 20} MB)"


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[FakeOss]:
    """An OSS with an empty bucket, and its key in the environment."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between its tries
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET)
    monkeypatch.delenv("ALIBABA_CLOUD_SECURITY_TOKEN", raising=False)
    (tmp_path / "oss").mkdir()
    server = FakeOss(tmp_path / "oss")
    server.buckets["shop-bundles"] = {}
    yield server
    server.close()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A bundle as bundle_build leaves it, by the link of its lock."""
    bundle, link = tmp_path / "bundles/b1", tmp_path / "locks/l1"
    (bundle / "files").mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to("../bundles/b1")
    for content in FILES.values():
        (bundle / "files" / digest(content)).write_bytes(content)
    entries = [{"name": name, "sha256": digest(content), "size": len(content)} for name, content in FILES.items()]
    (bundle / "manifest.json").write_text(json.dumps({"files": [*entries, entries[0]]}))  # one file may serve two hosts
    return link / "manifest.json"


def arguments(cloud: FakeOss, manifest: Path, **given: t.Any) -> Json:
    """Return the module's arguments."""
    store = {"region": "cn-hangzhou", "upload": cloud.address, "ca": str(cloud.ca)} | given.pop("store", {})
    return {"manifest": str(manifest), "url": URL, "cache": str(manifest.parents[2]), "store": store, **given}


@pytest.fixture
def upload(
    cloud: FakeOss, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., Json]:
    """Run the module."""

    def run(**given: t.Any) -> Json:
        return real_module.run(bundle_upload.main, arguments(cloud, manifest, **given), monkeypatch, capsys)[1]

    return run


def actions(cloud: FakeOss) -> list[str]:
    """Return what was asked since the last time."""
    seen = [action for action, _ in cloud.log]
    cloud.log.clear()
    return seen


def test_a_bundle_is_uploaded_once(cloud: FakeOss, upload: t.Callable[..., Json]) -> None:
    first = upload()
    assert first["changes"] == [f"upload 3 files of the bundle to oss://shop-bundles/yunkube {MEGABYTES}"]
    assert cloud.buckets["shop-bundles"] == OBJECTS
    assert actions(cloud) == ["ListObjects", *["PutObject"] * 3, "ListObjects", "GetObject"]
    second = upload()
    assert (second["changed"], second["changes"], second["bytes"]) == (False, [], 0)
    assert actions(cloud) == ["ListObjects", "GetObject"]


def test_a_plan_says_how_much_and_writes_nothing(cloud: FakeOss, upload: t.Callable[..., Json], manifest: Path) -> None:
    before = sorted(manifest.parents[2].rglob("*"))
    told = upload(_ansible_check_mode=True, _ansible_diff=True)
    assert told["changed"]
    assert told["changes"] == [f"upload 3 files of the bundle to oss://shop-bundles/yunkube {MEGABYTES}"]
    assert set(actions(cloud)) == {"ListObjects"}
    assert cloud.buckets["shop-bundles"] == {}
    assert [line.split()[0] for line in told["diff"]["after"].splitlines()] != []
    assert sorted(manifest.parents[2].rglob("*")) == before


def test_a_plan_without_a_bundle_sends_no_request(
    cloud: FakeOss, upload: t.Callable[..., Json], manifest: Path
) -> None:
    manifest.unlink()
    told = upload(_ansible_check_mode=True)
    assert told["changes"] == ["upload the bundle to oss://shop-bundles once it is built"]
    assert cloud.log == []


def test_only_what_is_missing_is_uploaded_and_what_others_have_stays(
    cloud: FakeOss, upload: t.Callable[..., Json]
) -> None:
    others = {"yunkube/readme": b"1", "yunkube/deeper/x": b"2", "photos/y": b"3", digest(FILES["pause"]): b"4"}
    (kept, content), *_ = OBJECTS.items()
    cloud.buckets["shop-bundles"] |= {**others, kept: content}
    cloud.page = 2  # a list comes in parts
    upload()
    assert actions(cloud).count("PutObject") == 2
    assert cloud.buckets["shop-bundles"] == OBJECTS | others


def test_a_prefix_of_ones_own_is_taken(cloud: FakeOss, upload: t.Callable[..., Json]) -> None:
    upload(url="oss://shop-bundles/a/b/")
    assert {key.rpartition("/")[0] for key in cloud.buckets["shop-bundles"]} == {"a/b"}


@pytest.mark.parametrize("other", [b"x", FILES["pause"][::-1]])
def test_other_content_under_a_name_is_replaced(cloud: FakeOss, upload: t.Callable[..., Json], other: bytes) -> None:
    upload()
    cloud.buckets["shop-bundles"][f"yunkube/{digest(FILES['pause'])}"] = other
    assert upload()["changes"] == ["upload 1 files of the bundle to oss://shop-bundles/yunkube (0 MB)"]
    assert cloud.buckets["shop-bundles"] == OBJECTS


def test_a_bucket_that_encrypts_gets_nothing_twice(cloud: FakeOss, upload: t.Callable[..., Json]) -> None:
    """Where the ETag is not the content's MD5, its CRC-64 counts."""
    cloud.encrypts = True
    assert upload()["changed"]
    assert not upload()["changed"]
    cloud.buckets["shop-bundles"][f"yunkube/{digest(FILES['pause'])}"] = FILES["pause"][::-1]
    assert upload()["changed"]


def test_an_answer_that_does_not_come_is_asked_for_again(cloud: FakeOss, upload: t.Callable[..., Json]) -> None:
    cloud.refusals = [RefusedError(503, "ServiceUnavailable"), RefusedError(500, "InternalError")]
    assert upload()["changed"]
    assert cloud.buckets["shop-bundles"] == OBJECTS


def test_a_run_that_was_killed_while_it_uploaded_leaves_no_half_of_an_object(
    cloud: FakeOss, upload: t.Callable[..., Json], manifest: Path
) -> None:
    cloud.stall = True
    told = json.dumps({"ANSIBLE_MODULE_ARGS": arguments(cloud, manifest)})
    argv = [sys.executable, "-c", AS_ANSIBLE_DOES]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        process.stdin.write(told.encode())
        process.stdin.close()
        assert cloud.stalled.wait(30)
        process.kill()
    assert cloud.buckets["shop-bundles"] == {}
    cloud.stall = False
    assert upload()["changed"]
    assert cloud.buckets["shop-bundles"] == OBJECTS


def deny(action: str, cloud: FakeOss) -> None:
    """Make RAM refuse an action."""
    cloud.denied.add(action)


def faults() -> t.Iterator[tuple[str, t.Callable[[FakeOss], None], Json, str, str]]:
    """Yield faults: name, what is done to the cloud, arguments, and what is said."""
    yield (
        "no bucket",
        lambda cloud: cloud.buckets.clear(),
        {},
        "ListObjects: NoSuchBucket: shop-bundles: The specified bucket does not exist",
        "create the bucket in this region, or set another one in cluster_bundle_url",
    )
    yield (
        "wrong secret",
        lambda cloud: cloud.keys.update({KEY_ID: ("another", "")}),
        {},
        "SignatureDoesNotMatch",
        "the secret does not belong to the access key: set both again",
    )
    yield "unknown key", lambda cloud: cloud.keys.clear(), {}, "InvalidAccessKeyId", "see RAM, Users, AccessKey"
    yield (
        "expired token",
        lambda cloud: cloud.keys.update({KEY_ID: (SECRET, "token")}),
        {},
        "SecurityTokenExpired",
        "the STS token has expired: get new credentials",
    )
    for action in ("ListObjects", "PutObject", "GetObject"):
        remedy = f"allow oss:{action} to this user in RAM"
        yield f"denied {action}", functools.partial(deny, action), {}, f"{action}: AccessDenied", remedy
    yield (
        "somebody else's bucket",
        lambda cloud: cloud.foreign.add("shop-bundles"),
        {},
        "does not belong to you",
        "set one of your own in cluster_bundle_url",
    )
    yield "other region", lambda _: None, {"store": {"region": "cn-beijing"}}, "signing region", oss.REGION
    endpoint = "The bucket you are attempting to access must be addressed using the specified endpoint."
    elsewhere = RefusedError(403, "AccessDenied", endpoint, "<Endpoint>oss-cn-beijing.aliyuncs.com</Endpoint>")
    yield (
        "other endpoint",
        lambda cloud: cloud.refusals.append(elsewhere),
        {},
        "specified endpoint oss-cn-beijing.aliyuncs.com",
        oss.REGION,
    )
    yield (
        "wrong clock",
        lambda cloud: setattr(cloud, "late", timedelta(minutes=16)),
        {},
        "RequestTimeTooSkewed",
        "the clock of this machine is wrong: set it by NTP",
    )
    yield (
        "no TLS",
        lambda _: None,
        {"store": {"upload": "http://oss.example"}},
        "is not an OSS endpoint",
        "an https URL",
    )
    yield "no trust", lambda _: None, {"store": {"ca": ""}}, "ListObjects: no answer", "CERTIFICATE_VERIFY_FAILED"


@pytest.mark.parametrize(
    ("change", "given", "message", "remedy"), [one[1:] for one in faults()], ids=[one[0] for one in faults()]
)
def test_a_bucket_that_cannot_be_used_says_why(
    cloud: FakeOss,
    upload: t.Callable[..., Json],
    change: t.Callable[[FakeOss], None],
    given: Json,
    message: str,
    remedy: str,
) -> None:
    change(cloud)
    told = upload(**given)
    assert told["failed"]
    assert message in told["msg"]
    assert remedy in told["msg"]
    assert SECRET not in json.dumps(told)
    assert "StringToSign" not in json.dumps(told)


def test_without_a_key_nothing_is_asked(
    cloud: FakeOss, upload: t.Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET is not" in upload()["msg"]
    assert cloud.log == []


def test_the_credentials_of_a_role_are_asked_for_again_before_they_end(cloud: FakeOss) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=1)
    found = [Credentials(KEY_ID, SECRET, "t1", expires=ends), Credentials(KEY_ID, SECRET, "t2")]
    cloud.keys[KEY_ID] = (SECRET, "t1")
    with oss.Bucket(URL, "cn-hangzhou", cloud.address, lambda: found.pop(0), str(cloud.ca)) as bucket:
        bucket.objects()
        cloud.keys[KEY_ID] = (SECRET, "t2")
        assert bucket.objects() == {}
    assert not found


@pytest.mark.parametrize(
    ("endpoint", "begins"),
    [
        (
            "https://oss-cn-hangzhou-internal.aliyuncs.com",
            "https://shop-bundles.oss-cn-hangzhou-internal.aliyuncs.com/",
        ),
        ("oss-cn-hangzhou.aliyuncs.com", "https://shop-bundles.oss-cn-hangzhou.aliyuncs.com/yunkube/x?"),
        ("files.example.com", "https://files.example.com/yunkube/x?"),  # a name that is bound to the bucket
    ],
)
def test_an_address_names_the_bucket_as_its_endpoint_wants(endpoint: str, begins: str) -> None:
    with oss.Bucket(URL, "cn-hangzhou", endpoint, lambda: Credentials("id", "secret")) as bucket:
        address = bucket.sign("x")
    assert address.startswith(begins)
    assert "secret" not in address
