"""Watches a worker: heartbeat, its own clock, signals as a flag, hangs, and whether it still counts."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from atomsim.errors import AtomsimError
from atomsim.io.files import write_atomically
from atomsim.store.claims import Attempt, superseded
from atomsim.store.records import Record

BEAT_S = 15.0
"""Interval of a worker's heartbeat."""
TICK_S = 0.25
SIGNALS = {signal.SIGUSR1: "walltime", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """The worker is to stop now. No ``Exception``: nothing that guards tasks against errors may catch it."""


@dataclass
class AttemptTally:
    """Achievements of an attempt; written as its ``beat`` and its ``end``."""

    counts: dict[str, int] = field(default_factory=dict)
    """Records by status."""
    weight: float = 0.0
    """Size of the finished tasks, as costs are counted."""
    calls: int = 0
    """Systems evaluated anew, not answered from a checkpoint."""
    bytes: int = 0
    """Length of the ledger that ``counts`` counts."""

    def add(self, record: Record, weight: float, length: int) -> None:
        """Count a record that was written."""
        self.counts = self.counts | {record.status: self.counts.get(record.status, 0) + 1}
        self.weight += weight
        self.bytes = length


@dataclass
class Watch:
    """A thread beside the work, and the flag that it sets."""

    step: Path
    attempt: Attempt
    host: str
    deadline: float
    """When to stop, ``time.time()``."""
    hang_s: float
    grace_s: float
    """Time for the work to stop after the flag."""
    tally: AttemptTally = field(default_factory=AttemptTally)
    why: str = ""
    """Reason to stop; empty while there is none."""
    started: float = field(default_factory=time.time)
    work_started: float | None = None
    active: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    hard: Callable[[], object] = lambda: None
    """Called before the process ends itself, as the work does not stop."""
    left_something: Callable[[], bool] = lambda: True
    """True if a successor can continue from the evaluations: always, but for tasks that keep their state."""

    @property
    def progress(self) -> bool:
        """True if work was done that a successor need not do again."""
        return self.tally.calls > 0 and self.left_something()

    def start(self) -> None:
        """Watch from now on."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        self.write("beat")
        threading.Thread(target=self._run, daemon=True).start()

    def begin(self) -> None:
        """Write down that the tasks are begun: from now on a death may be theirs."""
        self.check()
        self.work_started = time.time()
        self.write("beat")

    def check(self) -> None:
        """Say that work continues.

        Raises:
            Stopped: if it must not.
        """
        self.active = time.monotonic()
        if self.why:
            raise Stopped(self.why)

    def worked(self, calls: int) -> None:
        """Count evaluations; stop if there is a reason."""
        self.tally.calls += calls
        self.check()

    def write(self, what: str, why: str = "", message: str = "") -> None:
        """Write the attempt's ``beat`` or ``end``."""
        now = time.time()
        content: dict[str, Any] = {
            "time": now,
            "host": self.host,
            "counts": self.tally.counts,
            "weight": self.tally.weight,
            "calls": self.tally.calls,
            "progress": self.progress,
            "bytes": self.tally.bytes,
            "wall_s": round(now - self.started, 3),
            "working": self.work_started is not None,
            "work_s": round(now - self.work_started, 3) if self.work_started else 0.0,
        }
        if what == "end":
            content |= {"why": why, "message": message}
        write_atomically(self.step / f"{self.attempt.stem}.{what}.json", json.dumps(content) + "\n")

    def finish(self, why: str, message: str = "") -> None:
        """Write how the attempt ended, once."""
        if not self.over.is_set():
            self.over.set()
            self.write("end", why, message)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.why = self.why or SIGNALS[signal.Signals(number)]

    def _run(self) -> None:
        """Tick until the attempt is over; end the process if the work neither continues nor stops."""
        beaten = time.monotonic()
        flagged: float | None = None
        while not self.over.wait(TICK_S):
            now = time.monotonic()
            if not self.why and time.time() > self.deadline:
                self.why = "walltime"
            if now - beaten > BEAT_S:
                beaten = now
                self._beat()
            if not self.why and now - self.active > self.hang_s:
                self._end("hang", f"no sign of work for {self.hang_s:.0f} s", 1)
            if self.why:
                flagged = flagged or now
                if now - flagged > self.grace_s:
                    self._end(self.why, "the work under way did not stop by itself", 0)

    def _beat(self) -> None:
        try:
            self.write("beat")
            reason = superseded(self.step, self.attempt)
        except (AtomsimError, OSError):  # a full disk is found out by the record that is written next
            return
        if reason:
            self.why = self.why or "fenced"

    def _end(self, why: str, message: str, code: int) -> None:
        try:
            self.finish(why, message)
            self.hard()
        finally:
            os._exit(code)
