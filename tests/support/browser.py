# SPDX-License-Identifier: Apache-2.0
"""A real browser: Debian's Chromium, driven by Playwright; both are installed where they are missing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laboratory import CACHE, ROOT

LOCK = ROOT / "tests/support/browser.lock"
SCREENSHOTS = ROOT / "artifacts/screenshots"
# No GPU and no sandbox in here, and nothing that it would do by itself.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def have_chromium() -> str:
    """Return the path of Chromium."""
    if not shutil.which("chromium"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for argv in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-qqy", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
        ):
            subprocess.run(argv, check=True, env=environment, capture_output=True, timeout=600)
    return shutil.which("chromium") or ""


def have_playwright() -> Any:
    """Return Playwright's module, out of a folder that is named by its lock."""
    folder = CACHE / f"browser-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        argv += ["--require-hashes", "--only-binary=:all:", "--target", str(part), "-r", str(LOCK)]
        subprocess.run(argv, check=True, timeout=600)
        part.rename(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module("playwright.sync_api")


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """Yield a browser of Playwright's."""
    with have_playwright().sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=have_chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page_of(browser: Any, **options: Any) -> Iterator[Any]:
    """Yield a page of a fresh profile; the certificate is checked by the tests themselves, against the cluster's CA."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800}, **options)
    try:
        page = context.new_page()
        page.set_default_timeout(15_000)
        yield page
    finally:
        context.close()


def screenshot(page: Any, name: str) -> Path:
    """Keep a picture of the page as an artefact."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=str(path))
    return path
