# SPDX-License-Identifier: Apache-2.0
"""Why pods do not run, from what a real cluster says of them."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.web import diagnosis as web_diagnosis
from ansible.module_utils.yunkube.web.diagnosis import Seen, diagnose, holder_of, log_of, refusal

SPEC: Json = {
    "containers": [
        {
            "name": "web",
            "ports": [{"containerPort": 9999}],
            "resources": {"requests": {"cpu": "500", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
            "startupProbe": {"httpGet": {"path": "/healthz"}},
            "readinessProbe": {"httpGet": {"path": "/healthz"}, "timeoutSeconds": 2},
        }
    ]
}
ENDED: Json = {"exitCode": 1, "reason": "Error"}


def said(
    container: Json | None = None,
    *events: tuple[str, str],
    conditions: t.Sequence[Json] = (),
    log: str = "",
    owner: t.Sequence[Json] = (),
) -> tuple[str, str, bool]:
    """Return check, message and whether it lasts, of one pod that is not ready."""
    status: Json = {"conditions": list(conditions)}
    if container is not None:
        status["containerStatuses"] = [{"name": "web", "image": "web:9", **container}]
    pod = {"metadata": {"name": "web-1"}, "spec": SPEC, "status": status}
    noted = [{"reason": r, "message": m, "involvedObject": {"name": "web-1"}} for r, m in events]
    trouble = diagnose(Seen({"status": {}}, [pod], noted, {"status": {"conditions": list(owner)}}), lambda *_: log)
    assert trouble is not None
    assert trouble.fault.remedy
    return trouble.fault.check, trouble.fault.message, trouble.lasting


def waiting(reason: str, message: str = "") -> Json:
    """Return the status of a container that waits."""
    return {"state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ('failed to resolve reference "r/web:9": not found', "push it first"),
        ("unexpected status from HEAD request: 401 Unauthorized", "refuses the login"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "can the nodes reach it"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named_with_the_registrys_answer(answer: str, remedy: str) -> None:
    text = f'Failed to pull image "r/web:9": rpc error: code = Unknown desc = {answer}'
    status = {"image": "r/web:9", **waiting("ImagePullBackOff", 'Back-off pulling image "r/web:9"')}
    pod = {"metadata": {"name": "a"}, "spec": SPEC, "status": {"containerStatuses": [{"name": "web", **status}]}}
    events = [{"reason": "Failed", "message": text, "involvedObject": {"name": "a"}}]
    trouble = diagnose(Seen({}, [pod], events, {}), lambda *_: "")
    assert trouble is not None
    assert trouble.fault.message == f"the image r/web:9 cannot be pulled: {answer}"
    assert remedy in trouble.fault.remedy
    assert trouble.lasting


def test_a_first_failure_to_pull_may_pass() -> None:
    assert said(waiting("ErrImagePull", "timeout"))[2] is False


def test_a_crash_shows_exit_code_and_last_words() -> None:
    container = {**waiting("CrashLoopBackOff"), "lastState": {"terminated": ENDED}, "restartCount": 3}
    check, message, lasting = said(container, log="one\nno database\n")
    assert (check, lasting) == ("crash", True)
    assert message == "the program exits with code 1, 3 restarts; end of its log: one | no database"
    assert said({**container, "restartCount": 1})[2] is False


def test_a_crash_is_no_probe_failure_even_if_a_probe_was_refused() -> None:
    container = {**waiting("CrashLoopBackOff"), "lastState": {"terminated": ENDED}}
    refused = (
        'Startup probe failed: Get "http://10.244.1.5:9999/": dial tcp 10.244.1.5:9999: connect: connection refused'
    )
    assert said(container, ("Unhealthy", refused))[0] == "crash"
    killed = ("Killing", "Container web failed startup probe, will be restarted")
    assert said(container, ("Unhealthy", refused), killed)[0] == "probe"


def test_too_much_memory_names_the_limit() -> None:
    container = {**waiting("CrashLoopBackOff"), "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    check, message, _ = said(container)
    assert check == "memory"
    assert "64Mi" in message


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            'Startup probe failed: Get "http://x": dial tcp 10.0.0.1:9999: connect: connection refused',
            "nothing listens on port 9999",
        ),
        (
            "Readiness probe failed: HTTP probe failed with statuscode: 404",
            "GET /healthz on port 9999 was answered with 404",
        ),
        ('Readiness probe failed: Get "http://x": context deadline exceeded', "got no answer in 2 s"),
    ],
)
def test_a_probe_that_fails_says_what_was_asked_and_answered(event: str, expected: str) -> None:
    check, message, lasting = said({"state": {"running": {}}}, ("Unhealthy", event))
    assert check == "probe"
    assert expected in message
    assert not lasting


def test_no_room_says_what_was_asked_for() -> None:
    refused = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}
    check, message, lasting = said(conditions=[refused])
    assert (check, lasting) == ("nodes", True)
    assert "cpu 500" in message
    assert "Insufficient cpu" in message


def test_an_exhausted_quota_is_reported_with_its_limit() -> None:
    text = 'pods "web-x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    failed = {"type": "ReplicaFailure", "status": "True", "message": text}
    check, message, _ = said(owner=[failed])
    assert check == "quota"
    assert message == "quota few has no room for a pod: it requests pods=1; pods=1 of pods=1 is used"


def test_a_ready_pod_has_no_trouble_and_a_new_one_none_yet() -> None:
    ready = {"metadata": {"name": "a"}, "spec": SPEC, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    new = {"metadata": {"name": "b"}, "spec": SPEC, "status": {}}
    assert diagnose(Seen({}, [ready, new], [], {}), lambda *_: "") is None


def test_a_node_port_out_of_range_names_the_range() -> None:
    text = (
        "nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
    )
    manifest = {"kind": "Service", "metadata": {"name": "web"}}
    assert "30000-32767" in refusal(KubeError(text, 422), manifest, list).message


def test_the_holder_of_a_node_port_is_found() -> None:
    service: Json = {"metadata": {"namespace": "a", "name": "b"}, "spec": {"ports": [{"nodePort": 31111}, {"port": 1}]}}
    assert holder_of(31111, [service]) == "a/b"
    assert holder_of(31112, [service]) == ""


@pytest.mark.parametrize(
    "gone",
    [
        "unable to retrieve container logs for containerd://3bda",
        'failed to try resolving symlinks in path "/var/log/pods/a/b/2.log": lstat /var/log/pods: no such file',
    ],
)
@pytest.mark.parametrize(("times", "log"), [(1, "last words"), (99, "")])
def test_a_log_that_was_just_removed_is_asked_for_again(
    times: int, log: str, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([*[gone] * times, "last words\n"])

    class Api:
        def get(self, path: str, **query: str) -> Json:
            assert (path, query["previous"]) == ("/api/v1/namespaces/shop/pods/web-1/log", "true")
            return {"text": next(answers)}

    monkeypatch.setattr(web_diagnosis, "GONE_SECONDS", 0.4)
    read = log_of(t.cast("KubeApi", Api()))
    assert read({"metadata": {"namespace": "shop", "name": "web-1"}}, "web", True) == log
