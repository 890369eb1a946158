"""Signs of life of long work without force calls, for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 0.5
"""Signs are given no more often."""


class _Pulse:
    def __init__(self) -> None:
        self.report: Callable[[str, int, int], None] | None = None
        self.last = 0.0


_pulse = _Pulse()


@contextmanager
def watched(report: Callable[[str, int, int], None] | None) -> Iterator[None]:
    """Have ``report`` called with what is done, how far it is and how far it goes, now and then, in this block."""
    before = _pulse.report
    _pulse.report = report
    try:
        yield
    finally:
        _pulse.report = before


def at_work(what: str, done: int, total: int) -> None:
    """Report to the watcher, if there is one and it has not just been called."""
    now = time.monotonic()
    if _pulse.report is not None and now - _pulse.last >= EVERY_S:
        _pulse.last = now
        _pulse.report(what, done, total)
