# SPDX-License-Identifier: Apache-2.0
"""How the image of a host is named, where it comes from, and what is laid over it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible.module_utils.yunkube.build.system_packages import debian_archive
from ansible.module_utils.yunkube.docker import host_image as image


def test_another_recipe_has_another_tag() -> None:
    recipe = {"suite": "bookworm", "packages": ["python3"]}
    assert image.image_name("debian12", recipe) == image.image_name("debian12", dict(reversed(recipe.items())))
    assert image.image_name("debian12", recipe) != image.image_name("debian12", {**recipe, "packages": []})
    assert image.image_name("debian12", recipe).startswith("yunkube-host:debian12-")


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    lines = "Debian|Debian-Security|http://a.example/security/\nDebian|Debian|http://b.example/debian/\n"
    assert debian_archive(lines) == "http://b.example/debian/"
    assert debian_archive("Ubuntu|Ubuntu|http://c.example/ubuntu/\n") is None
    assert debian_archive("") is None


def test_an_unsigned_archive_is_refused_and_not_only_warned_of() -> None:
    without_apt: Any = SimpleNamespace(get_bin_path=lambda _name: None, params={"mirror": ""})
    argv = image._debootstrap(without_apt, {"suite": "bookworm", "packages": ["python3"]}, Path("/root"))
    assert {"--force-check-gpg", "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"} <= set(argv)


def test_a_mirror_of_the_region_is_taken_where_apt_names_no_archive_of_debian() -> None:
    without_apt: Any = SimpleNamespace(
        get_bin_path=lambda _name: None, params={"mirror": "https://mirror.example/debian/"}
    )
    argv = image._debootstrap(without_apt, {"suite": "bookworm", "packages": ["python3"]}, Path("/root"))
    assert argv[-1] == "https://mirror.example/debian/"


def test_the_line_that_names_the_fault_is_found() -> None:
    assert image.failure_line("I: Retrieving\nE: Invalid Release file\nI: done\n") == "E: Invalid Release file"
    assert image.failure_line("") == "no message"


def test_a_host_gets_its_files_and_no_identity_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    for name in ("etc/ssh/ssh_host_rsa_key", "etc/ssh/sshd_config", "etc/machine-id"):
        (tmp_path / name).write_text("x")
    files = [{"path": "/usr/local/sbin/entry", "content": "#!/bin/sh\n", "mode": "0755"}]
    image.apply_recipe(tmp_path, {"masked_units": ["getty.target"], "files": files})
    assert (tmp_path / "usr/local/sbin/entry").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "etc/systemd/system/getty.target").readlink() == Path("/dev/null")
    assert (tmp_path / "etc/ssh/sshd_config").exists()
    assert not (tmp_path / "etc/ssh/ssh_host_rsa_key").exists()
    assert not (tmp_path / "etc/machine-id").exists()
