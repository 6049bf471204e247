# SPDX-License-Identifier: Apache-2.0
"""Push an image of this machine's Docker engine to the cluster's registry."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.yunkube.control.commands import command

from deployer.arguments import Request
from deployer.authority import write_authority
from deployer.cluster import Cluster
from deployer.errors import DeployError, Exit
from deployer.kubectl import find

# Where the engine looks for the authorities of a registry, at each connection: in every file whose name ends with .crt.
TRUSTED = Path("/etc/docker/certs.d")

# What was written there for a cluster, in its state directory: each path with the text, for `down` to take back.
RECORD = "engine-trusts.json"

_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}")
_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[A-Za-z0-9_][\w.-]{0,127})?")

# What the engine and registries say, what it means, and what to do. The order matters: the first that fits.
ANSWERS = (
    (
        r"x509|certificate|server gave HTTP response",
        "the Docker engine does not trust its certificate",
        "the registry was recreated, or another machine answers: run `up`, then push again",
    ),
    (
        r"unauthorized|authentication required|incorrect username or password|401",
        "it rejected the login of registry_username",
        "correct registry_username and registry_password (the latter in a vault), then run `up`",
    ),
    (
        r"denied|project .*not found|name unknown|repository .*not (?:found|known)|404",
        "it has no such repository, or the login has no write access to it",
        "create the repository or project there first, or use one that the login can write to",
    ),
    (r"no space left|insufficient", "its disk is full", "free disk space on its host"),
    (
        r"refused|no route|unreachable|[Tt]imeout|deadline|no such host|EOF|reset",
        "it does not answer",
        "check that it runs: {pods}",
    ),
)


def push_image(cluster: Cluster, request: Request) -> int:
    """Log in, tag, push; the engine's own progress is shown. A tag that was not there before is removed again."""
    name = checked(request.options["image"])
    secret = find(cluster, request.inventory, "secret", "registry", "registry-login")
    if secret is None:
        raise DeployError(
            f"cluster {cluster.name} has no registry",
            f"set cluster_registry_host, or cluster_registry_address of an existing registry, in {request.inventory}, "
            f"then: {command('up', request.inventory)}",
            Exit.FAILED,
        )
    login = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    login["inventory"] = request.inventory
    docker = shutil.which("docker")
    if docker is None:
        raise DeployError(
            "the docker command is not installed on this machine", "install it: apt-get install docker.io"
        )
    trust(cluster, login["address"])
    target = f"{login['address']}/{name}"
    with tempfile.TemporaryDirectory(prefix="push-", dir=cluster.state_dir) as folder:  # 0700, gone at the end
        environment = os.environ | {"DOCKER_CONFIG": folder}
        _call([docker, "image", "inspect", "--format", "{{.Id}}", name], environment, name, login)
        arguments = [docker, "login", "--username", login["username"], "--password-stdin", login["address"]]
        _call(arguments, environment, name, login, stdin=login["password"])
        was_there = _call([docker, "image", "ls", "--quiet", target], environment, name, login)
        _call([docker, "tag", name, target], environment, name, login)
        try:
            _call([docker, "push", target], environment, name, login, shown=not request.json)
        finally:
            if not was_there:
                with contextlib.suppress(DeployError):  # the push decides
                    _call([docker, "rmi", target], environment, name, login)
    print(f"image: {target}" if not request.json else f'{{"image": "{target}"}}')
    return Exit.OK


def checked(name: str) -> str:
    """Return the image's name with its tag."""
    if not _NAME.fullmatch(name):
        raise DeployError(f"{name} is not an image name", "use a name such as shop or team/shop:1.4")
    return name if ":" in name else f"{name}:latest"


def trust(cluster: Cluster, address: str) -> None:
    """Let the engine trust the registry's authority, for the registry's address alone."""
    if not _ADDRESS.fullmatch(address):  # it becomes part of a path
        raise DeployError(
            f"the Secret registry/registry-login names the address {address!r}, which is not host:port",
            "correct cluster_registry_address, then run `up`",
        )
    wanted = authority(cluster)
    path = TRUSTED / address / f"yunkube-{cluster.name}.crt"  # beside a ca.crt of somebody else
    if wanted is None:
        return
    text, record = wanted.read_text(encoding="utf-8"), cluster.state_dir / RECORD
    record.write_text(json.dumps(read_record(record) | {str(path): text}), encoding="utf-8")
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except PermissionError:
        raise DeployError(
            f"the Docker engine does not trust the CA of {address} yet, and {path} is not writable",
            f"sudo install -D -m 644 {wanted} {path}",
        ) from None


def read_record(record: Path) -> dict[str, str]:
    """Return what was written into the engine's folder for a cluster."""
    return dict(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else {}


def distrust(cluster: Cluster) -> None:
    """Remove the authorities that were given to the engine, unless they are others by now."""
    record = cluster.state_dir / RECORD
    for name, text in read_record(record).items():
        path = Path(name)
        with contextlib.suppress(OSError):  # not ours to remove, or others have files in its folder
            if path.read_text(encoding="utf-8") == text:
                path.unlink()
                path.parent.rmdir()
    record.unlink(missing_ok=True)


def authority(cluster: Cluster) -> Path | None:
    """Return the file of the registry's authority; None where it is one that every machine trusts."""
    if cluster.variables.get("cluster_registry_host"):
        return write_authority(cluster)
    if text := cluster.variables.get("cluster_registry_ca"):
        path = cluster.state_dir / "registry-ca.crt"
        path.write_text(str(text), encoding="utf-8")
        return path
    return None


def _call(
    argv: list[str],
    environment: dict[str, str],
    name: str,
    login: dict[str, str],
    *,
    stdin: str = "",
    shown: bool = False,
) -> str:
    done = subprocess.run(
        argv,
        env=environment,
        input=stdin,
        stdout=None if shown else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise explain(argv[1], done.stderr.strip(), name, login["address"], login["inventory"])
    return done.stdout or ""


def explain(what: str, said: str, name: str, address: str, inventory: str) -> DeployError:
    """Say in one line why it failed, and what to do."""
    if "Cannot connect to the Docker daemon" in said:
        return DeployError("the Docker engine does not answer", "start it: systemctl start docker", Exit.FAILED)
    if what == "image":
        return DeployError(f"the local Docker engine has no image {name}", f"build it: docker build -t {name} .")
    pods = command("kubectl -- get pods -n registry", inventory)
    for pattern, meaning, remedy in ANSWERS:
        if re.search(pattern, said):
            return DeployError(f"{address}: {meaning} ({_last(said)})", remedy.format(pods=pods), Exit.FAILED)
    return DeployError(f"docker {what} failed: {_last(said)}", "", Exit.FAILED)


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return lines[-1].removeprefix("Error response from daemon: ") if lines else "no reason given"
