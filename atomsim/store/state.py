"""State checkpoints: where a task stands, so that it continues from there and nothing is replayed.

A task whose history is long (dynamics, Monte Carlo) cannot continue by being asked everything again, as
the evaluation checkpoints do. It saves its state instead, which must be all that decides what comes.

Every writer (a process, at one attempt) alternates between two files, each written whole and
carrying a checksum. Whoever continues reads the newest sound one of any writer: damage to the newest costs
the work since the one before it. A writer removes nobody else's files, so one that was given up but
still runs harms nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atomsim.store.durable import write_durably

FORMAT = 1
FACTS = "__facts__"


@dataclass(frozen=True)
class State:
    """Where a task stands."""

    step: int
    """Steps done; of several states the one with most steps is the newest."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """Numbers, kept to the bit."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Anything else, JSON-able."""


class StateFiles:
    """The saved states of one task."""

    def __init__(self, folder: Path, task: str, identity: str, writer: str, others: Sequence[Path] = ()) -> None:
        """Look at nothing yet.

        Args:
            folder: where this writer saves.
            task: id of the task.
            identity: of code and precision; states of others do not count.
            writer: which attempt this is.
            others: folders of earlier writers, read only.
        """
        self.folder = folder
        self.task = task
        self.identity = identity
        self.others = tuple(others)
        self.stem = f"{task}.{writer}-{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
        self.generation = 0
        self.damaged = 0
        """Files that could not be read by ``load``."""

    def load(self) -> State | None:
        """Return the newest sound state; None if there is none."""
        self.damaged = 0
        found = []
        for folder in dict.fromkeys((self.folder, *self.others)):
            for path in folder.glob(f"{self.task}.*.state") if folder.is_dir() else ():
                header = _header(path)
                if header is None:
                    self.damaged += 1
                elif (header["task"], header["identity"]) == (self.task, self.identity):
                    found.append((int(header["step"]), path.name, path))
        for _, _, path in sorted(found, reverse=True):
            state = _read(path)
            if state is not None:
                return state
            self.damaged += 1
        return None

    def save(self, state: State) -> None:
        """Write a state in place of this writer's last but one.

        Raises:
            StorageError: if it cannot be written; the states before it are untouched.
        """
        path = self.folder / f"{self.stem}.{self.generation % 2}.state"
        write_durably(path, _pack(state, self.task, self.identity), what="the state of a task")
        self.generation += 1


def forget_states(folder: Path, task: str, writers: Sequence[str] | None = None) -> None:
    """Remove the saved states of a task that has its record; of these writers only, if any are named."""
    for writer in ["*"] if writers is None else [f"{each}-*" for each in writers]:
        for path in folder.glob(f"{task}.{writer}.state"):
            path.unlink(missing_ok=True)


def saved_by(folder: Path, writer: str) -> bool:
    """True if a writer has saved the state of any task that is under way."""
    return any(folder.glob(f"*.{writer}-*.state"))


def _pack(state: State, task: str, identity: str) -> bytes:
    buffer = io.BytesIO()
    facts = np.frombuffer(json.dumps(state.facts).encode(), dtype=np.uint8)
    arrays: Mapping[str, Any] = {FACTS: facts} | state.arrays
    np.savez(buffer, **arrays)
    payload = buffer.getvalue()
    header = {"format": FORMAT, "task": task, "identity": identity, "step": state.step}
    header["sha256"] = _digest(header, payload)
    return json.dumps(header).encode() + b"\n" + payload


def _digest(header: Mapping[str, Any], payload: bytes) -> str:
    content = json.dumps({k: v for k, v in header.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(content.encode() + payload).hexdigest()


def _header(path: Path) -> dict[str, Any] | None:
    """Return what a file says of itself; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
        return header if {"format", "task", "identity", "step", "sha256"} <= header.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _read(path: Path) -> State | None:
    """Return the state in a file; None if it is damaged."""
    try:
        head, _, payload = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        if header["format"] != FORMAT or header["sha256"] != _digest(header, payload):
            return None
        with np.load(io.BytesIO(payload), allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    facts = json.loads(arrays.pop(FACTS).tobytes())
    return State(int(header["step"]), arrays, facts)
