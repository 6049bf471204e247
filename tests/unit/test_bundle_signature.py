# SPDX-License-Identifier: Apache-2.0
"""Archives of bundles, as a person exports, signs, verifies and imports them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build import signature
from ansible.module_utils.yunkube.build.bundle import link_of, point
from deployer import cluster
from deployer.cli import main
from tiny_bundle import make_bundle, make_lock, own_cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that the command finds, and a checkout with the locks of tiny bundles."""
    monkeypatch.setattr(cluster, "ROOT", tmp_path)
    monkeypatch.setattr("deployer.bundles.ROOT", tmp_path)
    return own_cache(tmp_path, monkeypatch)


# -- signatures --------------------------------------------------------------------------------------------


@pytest.fixture
def gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A key of the test's own; return its fingerprint, and the file of its public half."""
    if not shutil.which("gpg"):
        pytest.skip("no gpg here: apt-get install gnupg")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))

    def call(*argv: str) -> str:
        return subprocess.run(["gpg", "--batch", *argv], capture_output=True, text=True, check=True, timeout=60).stdout

    call("--passphrase", "", "--quick-generate-key", "tests@example.com", "ed25519", "sign")
    listed = call("--list-keys", "--with-colons")
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    public = tmp_path / "public.asc"
    public.write_text(call("--armor", "--export", fingerprint))
    yield fingerprint, public
    subprocess.run(["gpgconf", "--kill", "all"], check=True, timeout=60)


def test_a_signature_of_gnupg_is_made_and_verified(gpg: tuple[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "some.tar.zst"
    path.write_text("content")
    with pytest.raises(signature.SignatureError, match="is not there, so nothing shows who made"):
        signature.verify(path, gpg[1])
    assert signature.sign(path, gpg[0]) == signature.signature_of(path) == tmp_path / "some.tar.zst.sig"
    signature.verify(path, gpg[1])
    path.write_text("c0ntent")
    with pytest.raises(signature.SignatureError, match="was not signed with"):
        signature.verify(path, gpg[1])
    with pytest.raises(signature.SignatureError, match="GnuPG has no secret key nobody"):
        signature.sign(path, "nobody")


def test_a_signature_of_minisign_is_made_and_verified(tmp_path: Path) -> None:
    if not shutil.which("minisign"):
        pytest.skip("no minisign here: apt-get install minisign")
    secret, public, path = tmp_path / "secret.key", tmp_path / "public.pub", tmp_path / "some.tar.zst"
    argv = ["minisign", "-G", "-W", "-s", str(secret), "-p", str(public)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=60)
    path.write_text("content")
    assert signature.sign(path, str(secret)) == tmp_path / "some.tar.zst.minisig"
    signature.verify(path, public)
    path.write_text("c0ntent")
    with pytest.raises(signature.SignatureError, match="was not signed with"):
        signature.verify(path, public)


def test_the_question_for_a_password_reaches_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program, secret, path = tmp_path / "bin/minisign", tmp_path / "secret.key", tmp_path / "some.tar.zst"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf 'Password: ' >&2\necho 'Wrong password for that key' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    secret.write_text("untrusted comment: minisign encrypted secret key\n")
    path.write_text("content")
    with pytest.raises(signature.SignatureError, match=r"could not be signed with .*: minisign exited with code 2"):
        signature.sign(path, str(secret))
    assert capfd.readouterr().err == "Password: Wrong password for that key\n"


def test_a_key_of_minisign_with_a_password_signs(tmp_path: Path) -> None:
    if not shutil.which("minisign"):
        pytest.skip("no minisign here: apt-get install minisign")
    secret, public, path = tmp_path / "secret.key", tmp_path / "public.pub", tmp_path / "some.tar.zst"
    argv = ["minisign", "-G", "-s", str(secret), "-p", str(public)]
    subprocess.run(argv, input="one\none\n", text=True, check=True, capture_output=True, timeout=60)
    path.write_text("content")
    code = f"""
import sys, pathlib, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.yunkube.build import signature
signature.sign(pathlib.Path({str(path)!r}), {str(secret)!r})
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, input="one\n", text=True, check=False, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "Password:")
    signature.verify(path, public)


def test_keys_that_are_none_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path, key = tmp_path / "some.tar.zst", tmp_path / "key"
    path.write_text("content")
    key.write_text("no key")
    for name in (str(key), "~/key"):  # as --sign=~/key is given by bash
        with pytest.raises(signature.SignatureError, match="is no secret key file of minisign"):
            signature.sign(path, name)
    path.with_name("some.tar.zst.sig").write_text("no signature")
    with pytest.raises(signature.SignatureError, match="is no public key"):
        signature.verify(path, key)
    with pytest.raises(signature.SignatureError, match="cannot be read: No such file"):
        signature.verify(path, tmp_path / "none")


# -- the command ---------------------------------------------------------------------------------------------


def test_export_and_import_as_a_person_types_them(
    cache: Path, tmp_path: Path, gpg: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name = make_bundle(cache, tmp_path).name
    out = str(tmp_path / "out.tar.zst")
    assert main(["bundle", "export", out, "--sign", gpg[0], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sha256"] == hashlib.sha256(Path(out).read_bytes()).hexdigest()
    assert (told["signature"], told["bundles"][0]["name"]) == (f"{out}.sig", name)
    assert main(["bundle", "export", out]) == 2
    assert "out.tar.zst exists" in capsys.readouterr().err
    shutil.rmtree(cache)
    assert main(["bundle", "import", out, "--verify-key", str(gpg[1])]) == 0
    said = capsys.readouterr()
    assert said.out == f"bundle {name} (Kubernetes 1.37.2, amd64): imported\n"
    assert said.err == ""
    assert main(["bundle", "import", out]) == 0
    said = capsys.readouterr()
    assert said.out == f"bundle {name} (Kubernetes 1.37.2, amd64): is there already\n"
    assert "not verified: " in said.err


@pytest.mark.parametrize(
    ("programs", "key", "words"),
    [
        (("gpg",), "minisign.key", "minisign is not installed on this machine; on Debian: apt-get install minisign"),
        ((), "0123456789ABCDEF", "gpg is not installed on this machine; on Debian: apt-get install gnupg"),
        (("gpg",), "none", "is no secret key file of minisign; for GnuPG, give the key's fingerprint"),
        (("gpg",), "0123456789ABCDEF", "GnuPG has no secret key 0123456789ABCDEF"),
    ],
)
def test_an_export_that_cannot_be_signed_is_refused_before_the_first_byte(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    programs: tuple[str, ...],
    key: str,
    words: str,
) -> None:
    make_bundle(cache, tmp_path)
    (tmp_path / "minisign.key").write_text("untrusted comment: a secret key\n")
    (tmp_path / "none").write_text("no key")
    (tmp_path / "bin").mkdir()
    (tmp_path / "gnupg").mkdir(mode=0o700)
    for program in programs:
        if found := shutil.which(program):
            (tmp_path / "bin" / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "gnupg"))
    out = tmp_path / "out.tar.zst"
    given = str(tmp_path / key) if (tmp_path / key).exists() else key
    assert main(["bundle", "export", str(out), "--sign", given]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Nothing was written." in said
    assert "exporting" not in said
    assert not list(tmp_path.glob("out.tar.zst*"))


def test_import_says_where_up_would_not_find_the_bundle(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(cache, tmp_path)
    make_bundle(cache, tmp_path, architecture="arm64")
    exported = tmp_path / "out"
    assert main(["bundle", "export", str(exported), "--json"]) == 0
    shutil.rmtree(cache)
    capsys.readouterr()
    make_lock(tmp_path).write_text("kubernetes: 1.37.2 # of another checkout\n")
    assert main(["bundle", "import", str(exported), "--json"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)["imported"]) == 2
    assert said.err.count("no lock of this checkout leads to it") == 2
    assert cache.exists()


def test_import_of_what_is_none_ends_with_one_report(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "import", str(tmp_path / "none")]) == 2
    assert f"there is no file {tmp_path}/none" in capsys.readouterr().err
    make_bundle(cache, tmp_path)
    exported = tmp_path / "out"
    assert main(["bundle", "export", str(exported)]) == 0
    shutil.rmtree(cache)
    capsys.readouterr()
    exported.write_bytes(exported.read_bytes()[:-9])
    assert main(["bundle", "import", str(exported)]) == 2
    assert "is damaged or was cut short" in (said := capsys.readouterr().err)
    assert said.endswith("           Nothing was imported.\n")
    assert not cache.exists()


def test_what_cannot_be_read_or_written_is_named(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(cache, tmp_path)
    out = tmp_path / "none/out"
    assert main(["bundle", "export", str(out)]) == 3
    assert f"{out} cannot be written: No such file or directory" in capsys.readouterr().err
    kept = tmp_path / "out"
    assert main(["bundle", "export", str(kept)]) == 0
    file = next((bundle / "files").iterdir())
    file.unlink()
    file.mkdir()
    assert main(["bundle", "export", str(tmp_path / "second")]) == 3
    assert f"{file} cannot be read: Is a directory" in capsys.readouterr().err
    lock = next((cache / "locks").iterdir())
    lock.with_name(f".{lock.name}.lock").symlink_to("none/lock")
    assert main(["bundle", "import", str(kept)]) == 3
    assert f"{lock.parent}/.{lock.name}.lock: No such file or directory" in capsys.readouterr().err


# -- a full disk -----------------------------------------------------------------------------------------------


def on_a_disk_of(size: str, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run deploy.py with a file system of its own at a place, and list at the end what is there."""
    place.mkdir()
    command = f'mount -t tmpfs -o size={size} tmpfs "$1" && "$2" "$3" bundle "$4" "$5"; code=$?; ls -A "$1"; exit $code'
    argv = ["unshare", "--mount", "--map-root-user", "sh", "-c", command, "sh", str(place)]
    argv += [sys.executable, str(ROOT / "scripts/deploy.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_an_export_that_fills_the_disk_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    noise = random.Random(5).randbytes(1 << 20).hex()  # noqa: S311 - what cannot be made small
    point(link_of(cache, ROOT / "components/kubernetes-1.37.2.yml"), make_bundle(cache, tmp_path, more=noise))
    disk = tmp_path / "disk"
    done = on_a_disk_of("64k", disk, "export", str(disk / "out"))
    assert done.returncode == 3
    assert f"{disk}/out cannot be written: No space left on device" in done.stderr
    assert done.stdout == ""


def test_an_import_does_not_begin_on_a_full_disk(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(cache, tmp_path)
    assert main(["bundle", "export", str(tmp_path / "out")]) == 0
    disk = tmp_path / "disk"
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    done = on_a_disk_of("24m", disk, "import", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"{disk}: disk: has 24 MiB free, and the import needs 64; free some space" in done.stderr
    assert done.stdout == ""
