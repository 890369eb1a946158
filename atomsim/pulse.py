"""Signs of life of long work without force calls, for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 0.5
"""Signs are given no more often."""


class _Pulse:
    def __init__(self) -> None:
        self.tell: Callable[[str, int, int], None] | None = None
        self.last = 0.0


_pulse = _Pulse()


@contextmanager
def watched(tell: Callable[[str, int, int], None] | None) -> Iterator[None]:
    """Have ``tell`` called with what is done, how far it is and how far it goes, now and then, in this block."""
    before = _pulse.tell
    _pulse.tell = tell
    try:
        yield
    finally:
        _pulse.tell = before


def at_work(what: str, done: int, total: int) -> None:
    """Tell the watcher, if there is one and it has not just been told."""
    now = time.monotonic()
    if _pulse.tell is not None and now - _pulse.last >= EVERY_S:
        _pulse.last = now
        _pulse.tell(what, done, total)
