"""Opens a page in a real headless browser."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--enable-logging=stderr",
    "--v=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves this machine
    "--virtual-time-budget=10000",
    "--window-size=1400,1200",
)
SOFTWARE_WEBGL = ("--enable-unsafe-swiftshader", "--virtual-time-budget=2000", "--window-size=500,400")
"""A small window, as every pixel is computed by a processor."""


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page."""

    dom: str
    """The document after its scripts ran."""
    console: list[str]
    """Lines that the page wrote to the console: errors of scripts, and every request that it made and was refused."""


def visit(page: Path, scratch: Path, *, webgl: bool = False) -> Visit:
    """Open a page, with or without WebGL (in software); skips the test where there is no browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine: the page cannot be opened")
    command = [
        browser,
        *FLAGS,
        *(SOFTWARE_WEBGL if webgl else ["--disable-3d-apis"]),
        f"--user-data-dir={scratch / 'profile'}",
        "--dump-dom",
        page.as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    console = [line for line in found.stderr.splitlines() if ":CONSOLE" in line and "GL Driver Message" not in line]
    return Visit(found.stdout, console)
