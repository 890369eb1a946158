"""Resources of a process, its set-up and its end: threads, allocator, GPUs. Nothing is done at import.

PyTorch is imported where it is asked: planners and commands that read a run do without it, and start in a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = (2**31 - 1, 2**30, 2**25)
"""Thresholds tried in turn, bytes; glibc refuses what is above its own limit, at least 32 MiB."""


def tune_process(threads: int = 1) -> bool:
    """Set this process up for evaluating potentials on a CPU: call it once, at the start of a worker.

    Returns:
        Whether the allocator could be told to keep freed memory (see ``keep_freed_memory``).
    """
    import torch

    torch.set_num_threads(threads)
    return keep_freed_memory()


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep freed blocks instead of returning them to the kernel.

    An evaluation frees and asks for the same large arrays again and again; each time they come
    fresh from the kernel, every page of them is a fault and is zeroed. The process keeps its
    peak memory. See mallopt(3).

    Returns:
        False where there is no glibc (macOS, musl), and nothing was changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _KEEP)
    return kept and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP[0]))


def allotted_gpus(device: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs that a run may use, each as the ``CUDA_VISIBLE_DEVICES`` of a process of its own.

    These are the ones of the allocation, as the scheduler or the user has set the variable; nothing
    is asked of the cards, as one that is idle now may be another job's a moment later.

    Args:
        device: ``auto`` or ``cuda`` for all of them, ``cuda:N`` for one, ``cpu`` for none.
        environment: of this process.
    """
    if device.partition(":")[0] not in ("auto", "cuda"):
        return ()
    import torch

    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [entry.strip() for entry in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    gpus = tuple(named[:visible] if named else map(str, range(visible)))
    _, _, index = device.partition(":")
    return gpus[int(index) :][:1] if index else gpus


def ending(code: int) -> str:
    """End of a process, in words, from its exit code (negative: the signal that ended it)."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
