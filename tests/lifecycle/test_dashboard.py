# SPDX-License-Identifier: Apache-2.0
"""What a person opens in a browser: the dashboard, and a web service out of the cluster's own registry.

The tests follow each other on the same two hosts. Passwords are canaries: in the end they are looked for everywhere.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import secrets
import ssl
import struct
import subprocess
import sys
import tarfile
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import demo_image
import pytest
from browser import browsing, page_of, screenshot
from canaries import Watch
from laboratory import ROOT, Lab, Result, docker

LAB = ("dashboard", "10.95.0", 1, 1)
UP_MAKES_HOSTS = True
SETTINGS = "dashboard_provider: kube_web_view\ncluster_registry_host: node1\ndashboard_names: [localhost]\n"
REGISTRY = "10.95.0.21:5000"
DASHBOARD = "https://10.95.0.21:30443/"
DEMO = "http://10.95.0.11:31111/"
CANARIES = {
    "dashboard_password": f"canary-{secrets.token_hex(8)}",
    "registry_password": f"canary-{secrets.token_hex(8)}",
}
DEMO_SERVICE = {"name": "demo", "node_port": 31111, "cpu": "50m", "memory": "32Mi", "probe": {"path": "/healthz"}}
WEB = [DEMO_SERVICE | {"image": f"{REGISTRY}/demo:1"}]
MEGABYTES = 100


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    watch = Watch(*CANARIES.values())
    yield watch
    watch.stop()


@pytest.fixture(scope="module")
def variables(lab: Lab, watch: Watch) -> Path:
    """A file of secrets, as a vault's would be."""
    del watch
    path = lab.inventory.parent / "secrets.json"
    path.write_text(json.dumps(CANARIES | {"web_services": WEB}))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


def up(lab: Lab, variables: Path, verb: str = "up") -> Result:
    """Run a verb with the secrets."""
    return lab.deploy(verb, "-e", f"@{variables}")


def ask(lab: Lab, url: str, user: str = "", password: str = "", method: str = "GET") -> tuple[int, str]:
    """Ask with TLS checked against the dashboard's authority or the cluster's; return status and body."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the tests' own addresses
    if user:
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    trusted = dashboard_authority(lab) if ":30443/" in url else authority(lab)
    context = ssl.create_default_context(cadata=trusted) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def authority(lab: Lab) -> str:
    """The cluster's authority, in PEM."""
    encoded = lab.kubectl("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}")
    return base64.b64decode(encoded).decode()


def dashboard_authority(lab: Lab) -> str:
    """The authority that browsers import, in PEM, as a person gets it."""
    argv = [str(ROOT / "scripts/deploy.py"), "dashboard", "--json", "-i", str(lab.inventory)]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout)
    return Path(told["authority"]).read_text()


def build(lab: Lab, name: str, version: str = "1", *, filler_mb: int = 0) -> None:
    """Build the demo's image."""
    demo_image.build(lab.bundle / "bin/demo", name, version, filler_mb=filler_mb)


def push(lab: Lab, name: str) -> subprocess.CompletedProcess[str]:
    """Push an image as a user does."""
    argv = [str(ROOT / "scripts/deploy.py"), "image", "push", name, "-i", str(lab.inventory)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)


def test_up_brings_dashboard_registry_and_web_service(lab: Lab, variables: Path) -> None:
    first = lab.deploy("up", "-e", f"@{variables}", "-e", "web_services=[]")
    assert first.code == 0, first.errors
    build(lab, "demo:1")
    pushed = push(lab, "demo:1")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.splitlines()[-1] == f"image: {REGISTRY}/demo:1"
    plan = up(lab, variables, "plan")
    assert plan.code == 5, plan.errors
    assert "Deployment default/demo" in json.dumps(plan.summary["plan"])
    second = up(lab, variables)
    assert second.code == 0, second.errors


def test_again_changes_nothing(lab: Lab, variables: Path) -> None:
    plan = up(lab, variables, "plan")
    assert plan.code == 0, (plan.summary["plan"], plan.errors)
    again = up(lab, variables)
    assert again.code == 0, again.errors
    assert set(again.changed.values()) == {0}, again.changed


def test_the_doctor_finds_nothing_wrong_with_all_that(lab: Lab) -> None:
    result = lab.deploy("doctor")
    assert (result.code, result.summary["doctor"]["findings"]) == (0, []), result.errors


ARGS = "containers[registry].args is "
PATCH = ("patch", "--type", "json", "-p")
SELECTOR = '[{"op": "replace", "path": "/spec/selector", "value": {"app": "dashboard"}}]'
ARGUMENTS = '[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["/etc/registry/none.yml"]}]'
SETTING = '[{"op": "replace", "path": "/data/config.yml", "value": "version: 0"}]'


@pytest.mark.parametrize(
    ("fault", "change", "said"),
    [
        ("declared-object-changed", (*PATCH, SELECTOR, "service/dashboard", "-n", "dashboard"), "spec.selector is "),
        ("declared-object-changed", (*PATCH, ARGUMENTS, "deploy/registry", "-n", "registry"), ARGS),
        ("declared-object-changed", (*PATCH, SETTING, "cm/registry", "-n", "registry"), "version: 0, declared"),
        ("declared-object-missing", ("delete", "clusterrole", "dashboard-viewer"), "is missing"),
        ("addon-missing", ("delete", "deploy", "dashboard", "-n", "dashboard"), "does not exist"),
    ],
)  # fmt: skip
def test_the_doctor_names_what_was_changed_and_applies_it_again(
    lab: Lab, fault: str, change: tuple[str, ...], said: str
) -> None:
    lab.kubectl(*change)
    first = lab.deploy("doctor").summary["doctor"]["findings"][0]
    assert (first["id"], said in first["evidence"][0]) == (fault, True), first
    repaired = lab.deploy("doctor", "--fix")
    assert (repaired.code, repaired.summary["doctor"]["findings"]) == (0, []), repaired.errors
    assert [key.split()[0] for key in repaired.summary["doctor"]["repaired"]] == [fault]


def test_the_dashboard_shows_nodes_and_pods_by_name(lab: Lab, browser: Any) -> None:
    pods = lab.kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert len(pods) > 8
    login = {"username": "admin", "password": CANARIES["dashboard_password"]}
    with page_of(browser, http_credentials=login) as page:
        page.goto(f"{DASHBOARD}clusters/local/nodes")
        for host in ("master1", "node1"):
            assert page.get_by_role("link", name=host, exact=True).is_visible()
        screenshot(page, "dashboard-nodes")
        page.goto(f"{DASHBOARD}clusters/local/namespaces/_all/pods")
        text = page.inner_text("body")
        assert [pod for pod in pods if pod not in text] == []
        screenshot(page, "dashboard-pods")
        assert page.goto(f"{DASHBOARD}clusters/local/namespaces/_all/secrets").status == 403


@pytest.mark.parametrize(
    "login", [None, {"username": "admin", "password": "wrong"}, {"username": "x", "password": "x"}]
)
def test_a_wrong_password_is_refused_by_every_host(browser: Any, login: dict[str, str] | None) -> None:
    options = {"http_credentials": login} if login else {}
    for host in ("10.95.0.11", "10.95.0.21"):
        with page_of(browser, **options) as page:
            try:
                answer = page.goto(f"https://{host}:30443/clusters/local/nodes")
            except Exception as error:
                assert "ERR_INVALID_AUTH_CREDENTIALS" in str(error)  # noqa: PT017 - one of two ways to say no
            else:
                assert answer.status == 401
                assert "master1" not in page.inner_text("body")


def test_its_certificate_is_not_the_clusters_and_the_proxy_cannot_be_bypassed(lab: Lab) -> None:
    assert dashboard_authority(lab) != authority(lab)
    checked = ["curl", "-so", "/dev/null", "-w", "%{http_code}", "--cacert", str(lab.state / "dashboard-ca.crt")]
    assert subprocess.run([*checked, DASHBOARD], capture_output=True, text=True, check=True).stdout == "401"
    other = subprocess.run([*checked, f"https://{REGISTRY}/v2/"], capture_output=True, text=True, check=False)
    assert other.returncode == 60  # the registry's certificate is of the cluster's CA, which browsers need not trust
    password = CANARIES["dashboard_password"]
    assert ask(lab, f"{DASHBOARD}clusters", "admin", password)[0] == 200
    assert ask(lab, "https://10.95.0.11:30443/clusters", "admin", password)[0] == 200
    pod = lab.kubectl("get", "pod", "-n", "dashboard", "-o", "jsonpath={.items[0].status.podIP}")
    listening = lab.run(
        "node1", f"for port in 80 8080 8443; do curl -so /dev/null -m 2 http://{pod}:$port/ && echo $port; done; true"
    )
    assert listening.split() == ["8443"]  # and that one speaks TLS and asks


def test_the_way_to_log_in_is_printed(lab: Lab) -> None:
    argv = [str(ROOT / "scripts/deploy.py"), "dashboard", "--print", "-i", str(lab.inventory)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.search(rf"^Address +{re.escape(DASHBOARD)}$", said, re.MULTILINE)
    assert re.search(r"^User +admin$", said, re.MULTILINE)
    assert CANARIES["dashboard_password"] in said


def test_the_page_shows_two_replicas_in_twenty_loads(browser: Any) -> None:
    seen = set()
    with page_of(browser) as page:
        for _ in range(20):
            page.goto(DEMO)
            page.wait_for_function("document.getElementById('replica').textContent !== '…'")
            assert page.inner_text("#node") == "on node1, version 1"
            seen.add(page.inner_text("#replica"))
        page.wait_for_function("document.querySelectorAll('.row').length === 2")
        page.wait_for_function("Number(document.getElementById('lost').textContent.split(' ')[0]) > 20")
        screenshot(page, "demo")
    assert len(seen) == 2


def test_the_api_takes_headlamps_manifests(lab: Lab, variables: Path) -> None:
    chosen = ["-e", f"@{variables}", "-e", "dashboard_headlamp_image=ghcr.io/headlamp-k8s/headlamp:v0.45.0"]
    tagged = lab.deploy("plan", *chosen, dashboard_provider="headlamp")
    assert tagged.code == 2, tagged.errors
    assert "names no digest" in tagged.faults
    plan = lab.deploy("plan", "-e", f"@{variables}", dashboard_provider="headlamp")  # a dry run on the server
    assert plan.code == 5, plan.errors
    words = json.dumps(plan.summary["plan"])
    assert "ServiceAccount dashboard/headlamp" in words
    assert "Deployment dashboard/dashboard" in words


def test_pushing_and_pulling_require_a_login(lab: Lab) -> None:
    manifest = f"https://{REGISTRY}/v2/demo/manifests/1"
    assert ask(lab, manifest)[0] == 401
    assert ask(lab, manifest, "admin", "wrong")[0] == 401
    assert ask(lab, f"https://{REGISTRY}/v2/demo/blobs/uploads/", method="POST")[0] == 401
    assert ask(lab, manifest, "admin", CANARIES["registry_password"])[0] == 200
    assert ask(lab, f"https://{REGISTRY}/v2/nosuch/manifests/1", "admin", CANARIES["registry_password"])[0] == 404


def test_the_account_of_pods_pulls_and_nothing_else(lab: Lab) -> None:
    encoded = json.loads(lab.kubectl("get", "secret", "registry-pull", "-n", "default", "-o", "json"))["data"]
    (entry,) = json.loads(base64.b64decode(encoded[".dockerconfigjson"]))["auths"].values()
    reader: tuple[str, str] = (entry["username"], entry["password"])
    writer = ("admin", CANARIES["registry_password"])
    assert writer[1] not in reader
    pulls = REGISTRY.replace(":5000", ":5001")
    manifest, upload = "/v2/demo/manifests/1", "/v2/demo/blobs/uploads/"
    assert ask(lab, f"https://{pulls}{manifest}", *reader)[0] == 200
    assert ask(lab, f"https://{pulls}{manifest}")[0] == 401
    for user, password in (reader, writer):  # nobody writes there
        assert ask(lab, f"https://{pulls}{upload}", user, password, "POST")[0] == 405
        assert ask(lab, f"https://{pulls}{manifest}", user, password, "DELETE")[0] == 405
    for path, method in ((upload, "POST"), (manifest, "PUT"), (manifest, "DELETE"), (manifest, "GET")):
        assert ask(lab, f"https://{REGISTRY}{path}", *reader, method)[0] == 401
    assert ask(lab, f"https://{REGISTRY}{manifest}", *writer, "DELETE")[0] == 405
    assert ask(lab, f"https://{pulls}{manifest}", *reader)[0] == 200


def test_the_push_of_a_large_image_shows_progress(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    docker("image", "rm", f"{REGISTRY}/large:1", check=False)  # of a run that was cut off
    build(lab, "large:1", filler_mb=MEGABYTES)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))  # room for bars
    argv = [str(ROOT / "scripts/deploy.py"), "image", "push", "large:1", "-i", str(lab.inventory)]
    started = time.monotonic()
    process = subprocess.Popen(argv, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while block := os.read(master, 65536):
            said += block
    os.close(master)
    assert process.wait(timeout=600) == 0, said.decode(errors="replace")
    steps = set(re.findall(rb"Pushing +\[[=> ]+\] +([\d.]+[kM]?B)/", said))
    with capsys.disabled():
        sys.stdout.write(f"\n{MEGABYTES} MB in {time.monotonic() - started:.1f} s, {len(steps)} steps shown ")
    assert len(steps) > 5, said[-2000:]
    docker("image", "rm", "large:1")
    assert docker("image", "ls", "--quiet", f"{REGISTRY}/large:1") == ""  # the tag was for the push only


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        ("password", "rejected the login"),
        ("authority", "does not trust its certificate"),
        ("stopped", "does not answer"),
    ],
)
def test_causes_of_a_failed_push_are_distinguished(lab: Lab, breaking: str, words: str) -> None:
    patch = lab.kubectl("get", "secret", "registry-login", "-n", "registry", "-o", "json")
    trusted = Path(f"/etc/docker/certs.d/{REGISTRY}/yunkube-dashboard.crt")
    try:
        if breaking == "password":
            wrong = base64.b64encode(b"wrong").decode()
            lab.kubectl(
                "patch", "secret", "registry-login", "-n", "registry", "-p", json.dumps({"data": {"password": wrong}})
            )
        elif breaking == "authority":
            lab.write("cluster_registry_host: ''\n")  # as for a registry that is somebody else's
            trusted.unlink()
        else:
            lab.kubectl("scale", "deployment", "registry", "-n", "registry", "--replicas=0")
            gone = ["-l", "app.kubernetes.io/name=registry", "-n", "registry", "--timeout=60s"]
            lab.kubectl("wait", "--for=delete", "pod", *gone)
        pushed = push(lab, "demo:1")
    finally:
        if breaking == "password":
            lab.kubectl("replace", "-f", "-", stdin=re.sub(r'"resourceVersion": "\d+",?', "", patch))
        elif breaking == "authority":
            settings = lab.inventory / "group_vars/all/cluster.yml"
            settings.write_text(settings.read_text().replace("cluster_registry_host: ''\n", ""))
        else:
            lab.kubectl("scale", "deployment", "registry", "-n", "registry", "--replicas=1")
            lab.kubectl("rollout", "status", "deployment/registry", "-n", "registry", "--timeout=60s")
    assert pushed.returncode == 3, pushed.stdout + pushed.stderr
    assert words in pushed.stderr


def test_an_image_that_is_not_there_is_named(lab: Lab) -> None:
    pushed = push(lab, "nosuch:1")
    assert pushed.returncode == 2
    assert "no image nosuch:1" in pushed.stderr


def test_its_images_survive_a_restart_of_its_host(lab: Lab) -> None:
    docker("restart", "--time", "5", "yunkube-dashboard-node1")
    deadline = time.monotonic() + 90
    status = 0
    while status != 200 and time.monotonic() < deadline:
        try:
            status, _ = ask(lab, f"https://{REGISTRY}/v2/large/manifests/1", "admin", CANARIES["registry_password"])
        except OSError:
            time.sleep(0.5)
    assert status == 200


def test_a_registry_that_is_there_already_is_used_by_its_address(lab: Lab, variables: Path) -> None:
    settings = lab.inventory / "group_vars/all/cluster.yml"
    before = settings.read_text()
    as_another = {"cluster_registry_address": REGISTRY, "cluster_registry_ca": authority(lab)}
    settings.write_text(
        before.replace("cluster_registry_host: node1\n", "")
        + "".join(f"{key}: {json.dumps(value)}\n" for key, value in as_another.items())
    )
    try:
        build(lab, "demo:2", "2")
        newer = CANARIES | {"web_services": [{**WEB[0], "image": f"{REGISTRY}/demo:2"}]}
        other = variables.with_name("other.json")
        Path(f"/etc/docker/certs.d/{REGISTRY}/yunkube-dashboard.crt").unlink()
        pushed = push(lab, "demo:2")
        assert pushed.returncode == 0, pushed.stderr
        other.write_text(json.dumps(newer))
        used = lab.deploy("up", "-e", f"@{other}")
        assert used.code == 0, used.errors
        assert lab.succeeds("node1", f"test -s /etc/containerd/certs.d/{REGISTRY}/ca.crt")
        deadline = time.monotonic() + 30  # kube-proxy may for a while know an old pod
        while (said := ask(lab, f"{DEMO}who"))[0] != 200 or json.loads(said[1])["version"] != "2":
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
    finally:
        settings.write_text(before)


def test_no_password_is_where_others_can_read_it(lab: Lab, watch: Watch) -> None:
    watch.stop()
    assert watch.seen == set()
    words = [
        *CANARIES.values(),
        *(base64.b64encode(word.encode()).decode().rstrip("=")[:-1] for word in CANARIES.values()),
    ]
    pattern = "|".join(words)
    for host in ("master1", "node1"):
        journal = lab.run(host, f"journalctl --no-pager --output=cat | grep -cE '{pattern}' || true")
        assert journal == "0", host
        # As a user who is nobody, through every file that this user can open.
        nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
        look = f"{nobody} grep -rlsE '{pattern}' / --exclude-dir=proc --exclude-dir=sys || true"
        assert lab.run(host, look) == "", host
        logs = lab.run(host, f"grep -rlsE '{pattern}' /var/log /tmp /var/tmp /root /home || true")
        assert logs == "", host
    archive = lab.inventory.parent / "support.tar.gz"
    assert lab.deploy("support-bundle", "--output", str(archive)).code == 0
    with tarfile.open(archive) as bundle:
        files = [(one.name, bundle.extractfile(one)) for one in bundle if one.isfile()]
        assert len(files) > 40
        assert [name for name, file in files if file and re.search(pattern, file.read().decode(errors="replace"))] == []
    kept = subprocess.run(
        ["grep", "-rlsE", pattern, str(lab.state)], capture_output=True, text=True, check=False
    ).stdout
    assert kept == "", "the control machine keeps a password"


def test_what_is_taken_away_leaves_no_object(lab: Lab, variables: Path) -> None:
    lab.write("dashboard_provider: absent\n")
    text = (lab.inventory / "group_vars/all/cluster.yml").read_text().replace("dashboard_provider: kube_web_view\n", "")
    (lab.inventory / "group_vars/all/cluster.yml").write_text(text)
    variables.write_text(json.dumps(CANARIES | {"web_services": []}))
    plan = up(lab, variables, "plan")
    assert plan.code == 5
    assert "delete" in json.dumps(plan.summary["plan"])
    gone = up(lab, variables)
    assert gone.code == 0, gone.errors
    removed = lab.deploy("web apply", "--yes", "-e", f"@{variables}")
    assert removed.code == 0, removed.errors
    deadline = time.monotonic() + 60
    kinds = "namespace,all,configmap,secret,serviceaccount,clusterrole,clusterrolebinding"
    ours = "app.kubernetes.io/managed-by in (yunkube,yunkube-web-services)"
    left = "?"
    while left and time.monotonic() < deadline:
        listed = lab.kubectl("get", kinds, "-A", "-l", ours, "-o", "name", "--ignore-not-found")
        left = "\n".join(line for line in listed.splitlines() if "registry" not in line)
        time.sleep(0.5)
    assert left == ""
    assert set(up(lab, variables).changed.values()) == {0}


def test_down_with_force_deletes_the_registry_with_its_images(lab: Lab) -> None:
    kept = lab.deploy("down", "--yes")
    assert kept.code != 0
    assert "holds the registry's images" in kept.errors
    assert lab.containers()
    result = lab.deploy("down", "--yes", "--force")
    assert result.code == 0, result.errors
    assert not lab.containers()
    assert not [*Path("/etc/docker/certs.d").glob(f"*/yunkube-{lab.name}.crt")]
