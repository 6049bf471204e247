# SPDX-License-Identifier: Apache-2.0
"""The image of hosts that Docker runs: Debian, installed by debootstrap into a folder that the engine imports."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

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

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

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


def image_name(distribution: str, recipe: object) -> str:
    """Return the name and tag that a recipe has: another recipe, another tag."""
    return f"{REPOSITORY}:{distribution}-{digest_of(recipe)[:12]}"


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


def bring_image(module: AnsibleModule, image: str, recipe: t.Mapping[str, t.Any]) -> bool:
    """Make the image where the engine has none of that name; return whether it had to be made, or would be."""
    tag = image.partition(":")[2]
    try:
        engine = _engine(module)
        if engine and engine.find(f"/images/{image}/json"):
            return False
        if engine is None or module.check_mode:
            return True
        archive = Path(module.params["cache_dir"]) / f"{tag}.tar"
        with locked(archive.with_suffix(".lock"), IMAGE_SECONDS):
            if engine.find(f"/images/{image}/json"):  # whoever held the lock before made it
                return False
            if not archive.exists():
                build(module, recipe, archive)
            with archive.open("rb") as stream:
                engine.post("/images/create", stream, fromSrc="-", repo=REPOSITORY, tag=tag)
    except (ImageError, DockerError, LockError, PackageError, OSError) as error:
        raise ImageError(f"The image {image} cannot be built: {error}") from error
    return True


def _engine(module: AnsibleModule) -> Docker | None:
    try:
        return Docker(socket_path())
    except DockerError:
        if module.check_mode:  # a check on a machine whose engine is still to be installed
            return None
        raise
