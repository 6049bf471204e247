#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the image of hosts that Docker runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_host_image
short_description: Build a Docker image of a bare Debian host
description:
  - Installs Debian into a folder with debootstrap, lays the given files over it, and imports it into the Docker engine.
  - The image is named by a digest of its recipe, and so is the archive of it in the cache; while either is there,
    nothing is installed again.
  - Packages come from the mirror that this machine's own apt uses; where apt knows no Debian,
    from debootstrap's default.
options:
  distribution: {description: What the image is called, type: str, required: true}
  suite: {description: Debian's name of the release, type: str, required: true}
  packages: {description: Packages in addition to debootstrap's minimal set, type: list, elements: str, required: true}
  masked_units: {description: systemd units that must not start, type: list, elements: str, default: []}
  files:
    description: Files laid over the system.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path within the image, type: str, required: true}
      content: {description: What it holds, type: str, required: true}
      mode: {description: Its permissions, type: str, default: "0644"}
  cache_dir: {description: Folder of the archives, type: path, required: true}
  mirror: {description: "Debian's archive, where apt names only its default or none", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [Reports whether the image would be built.]}
  diff_mode: {support: full}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Build the image of the hosts
  docker_host_image:
    distribution: debian12
    suite: bookworm
    packages: [openssh-server, python3, systemd-sysv]
    masked_units: [getty.target, systemd-udevd.service]
    files:
      - path: /etc/systemd/journald.conf.d/docker-host.conf
        content: |
          [Journal]
          Storage=volatile
    cache_dir: ~/.cache/yunkube/hosts
  register: image
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
image: {description: The image's name and tag, returned: always, type: str}
"""

import os
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.build.store import digest_of
from ansible.module_utils.yunkube.build.system_packages import (
    APT_INDEXES,
    PackageError,
    debian_archive,
    install,
    mirror_of,
)
from ansible.module_utils.yunkube.docker.engine import Docker, DockerError, socket_path
from ansible.module_utils.yunkube.host.file_lock import LockError, locked

REPOSITORY = "yunkube-host"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"  # without it debootstrap only warns and goes on
IMAGE_SECONDS = 3600.0  # how long to wait for another run that makes the same image

# Nothing reads these on a machine that lives for a day; they are a third of the image.
LEFT_OUT = (
    *("proc", "sys", "dev", "run", "tmp", "var/cache/apt", "var/lib/apt/lists", "var/log"),
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
)

# Every process of an installation dies with the module, and its mounts with it: a killed run leaves
# neither a writer in the folder nor a mount under it.
CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


class ImageError(Exception):
    """The image cannot be made; the message says why and what to do."""


def image_tag(distribution: str, recipe: object) -> str:
    """Return the tag that a recipe has: another recipe, another tag."""
    return f"{distribution}-{digest_of(recipe)[:12]}"


def failure_line(output: str) -> str:
    """Return the line of a tool's output that names the fault."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "W: Failure", "tar:", "unshare:", "setpriv:"))]
    return (errors or lines or ["no message"])[-1]


def apply_recipe(root: Path, recipe: t.Mapping[str, t.Any]) -> None:
    """Make a bare host of a freshly installed system."""
    for unit in recipe["masked_units"]:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for file in recipe["files"]:
        path = root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(int(file["mode"], 8))
    # Whoever starts a host gives it an identity of its own.
    for path in [*root.glob("etc/ssh/ssh_host_*"), root / "etc/machine-id", root / "var/lib/dbus/machine-id"]:
        path.unlink(missing_ok=True)


def build(module: AnsibleModule, recipe: t.Mapping[str, t.Any], archive: Path) -> None:
    """Install the system and write it to `archive`, which appears only when whole."""
    if os.geteuid() != 0:
        raise ImageError(
            f"debootstrap needs root; run once as root, or bring {archive.name} from a machine that has it"
        )
    install(module, {"debootstrap": ["debootstrap"], KEYRING: ["debian-archive-keyring"]})
    root = archive.with_name(f".{archive.stem}.root")
    part = archive.with_name(f".{archive.name}.part")
    shutil.rmtree(root, ignore_errors=True)
    try:
        _run(module, [*CONTAINED, *_debootstrap(module, recipe, root)])
        apply_recipe(root, recipe)
        excluded = [f"--exclude=./{path}/*" for path in LEFT_OUT]
        _run(module, ["tar", "--numeric-owner", "--sort=name", *excluded, "-C", str(root), "-cf", str(part), "."])
        part.replace(archive)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        part.unlink(missing_ok=True)


def _debootstrap(module: AnsibleModule, recipe: t.Mapping[str, t.Any], root: Path) -> list[str]:
    argv = ["debootstrap", "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}"]
    argv += [f"--include={','.join(recipe['packages'])}", recipe["suite"], str(root)]
    apt = module.get_bin_path("apt-get")
    archive = debian_archive(module.run_command([apt, *APT_INDEXES])[1]) if apt else None
    mirror = mirror_of(archive, module.params["mirror"])
    return [*argv, mirror] if mirror else argv


def _run(module: AnsibleModule, argv: list[str]) -> None:
    code, out, err = module.run_command(argv, environ_update={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    if code != 0:
        program = next(word for word in argv if word in ("debootstrap", "tar"))
        raise ImageError(f"{program} failed: {failure_line(out + err)}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "distribution": {"type": "str", "required": True},
            "suite": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "required": True},
            "masked_units": {"type": "list", "elements": "str", "default": []},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "cache_dir": {"type": "path", "required": True},
            "mirror": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    recipe = {key: module.params[key] for key in ("suite", "packages", "masked_units", "files")}
    tag = image_tag(module.params["distribution"], recipe)
    image = f"{REPOSITORY}:{tag}"
    diff = {"before": "", "after": f"{image}\n"}
    try:
        engine = _engine(module)
        if engine and engine.find(f"/images/{image}/json"):
            module.exit_json(changed=False, changes=[], image=image)
        if engine is None or module.check_mode:
            module.exit_json(changed=True, changes=[f"build the image {image}"], image=image, diff=diff)
        archive = Path(module.params["cache_dir"]) / f"{tag}.tar"
        with locked(archive.with_suffix(".lock"), IMAGE_SECONDS):
            if engine.find(f"/images/{image}/json"):  # whoever held the lock before made it
                module.exit_json(changed=False, changes=[], image=image)
            if not archive.exists():
                build(module, recipe, archive)
            with archive.open("rb") as stream:
                engine.post("/images/create", stream, fromSrc="-", repo=REPOSITORY, tag=tag)
    except (ImageError, DockerError, LockError, PackageError, OSError) as error:
        module.fail_json(msg=f"The image {image} cannot be built: {error}", kind="preflight")
    module.exit_json(changed=True, changes=[f"build the image {image}"], image=image, diff=diff)


def _engine(module: AnsibleModule) -> Docker | None:
    try:
        return Docker(socket_path())
    except DockerError:
        if module.check_mode:  # a check on a machine whose engine is still to be installed
            return None
        raise


if __name__ == "__main__":
    main()
