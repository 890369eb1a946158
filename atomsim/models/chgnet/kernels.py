"""Loads ``kernels.c``, or another package's loops, compiled for this processor on first use; None where that cannot be.

A wheel cannot know which vector instructions a node has, and these loops are worth a factor
of two in CHGNet's speed on a CPU, so they are compiled where they run: a second, once, with
the system's C compiler, into the user's cache. Without a compiler everything runs in torch.
``ATOMSIM_KERNELS=off`` turns them off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")


@cache
def library(source: Path = SOURCE) -> ctypes.CDLL | None:
    """Return the compiled kernels of a file, or None: ``reason`` says why."""
    found, _ = _load(source)
    return found


@cache
def reason(source: Path = SOURCE) -> str:
    """Reason why there are no compiled kernels; empty where there are."""
    return _load(source)[1]


@cache
def _load(source: Path = SOURCE) -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("ATOMSIM_KERNELS", "").lower() == "off":
        return None, "ATOMSIM_KERNELS is off"
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None, "no C compiler found"
    path = _cache() / f"{source.stem}-{_key(compiler, source)}.so"
    try:
        if not path.exists():
            _compile(compiler, source, path)
        return ctypes.CDLL(str(path)), ""
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{compiler} could not compile them: {type(error).__name__}"


def _compile(compiler: str, source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        compiled = built.with_suffix(".o")
        # -ffast-math when linking would switch the whole process to flushing denormals
        _run([compiler, *FLAGS, "-c", "-o", str(compiled), str(source)])
        _run([compiler, "-shared", "-o", str(built), str(compiled), "-lm"])
        built.replace(path)  # whole or not at all: other processes may be doing the same


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 (our own source)


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "atomsim"


def _key(compiler: str, source: Path) -> str:
    """Different for each source, compiler and kind of processor: homes are shared between nodes."""
    parts = [source.read_text(), " ".join(FLAGS), compiler, platform.machine(), _processor()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith(wanted))
