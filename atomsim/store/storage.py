"""Files that a task keeps while it works: its state and its artifacts, which go together.

A saved state holds where every artifact of the task stands, and the frames that fill no chunk yet. So a task
that continues from a state also continues with its artifacts from there, and they come out the same, to the bit,
however often it was interrupted.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atomsim.store.artifacts import FOLDER, ArtifactWriter
from atomsim.store.state import State, StateFiles

INTERVAL_S = 30.0
SEPARATOR = ":"


@dataclass(frozen=True)
class Places:
    """Where tasks keep what they keep; None where nothing outlives this process."""

    run: Path | None = None
    """Folder of the run, which holds ``artifacts/``."""
    states: Path | None = None
    """Folder of saved states."""
    earlier: tuple[Path, ...] = ()
    """Folders of those who worked on the same tasks before; read, never written."""
    writer: str = "local"
    """Which attempt this is."""
    identity: str = ""
    """Identity of code and precision: states of others do not count."""
    interval_s: float = INTERVAL_S
    """Work that a kill may cost, s."""


class TaskStorage:
    """State and artifacts of one task."""

    def __init__(self, task: str, places: Places, folder: Callable[[], Path]) -> None:
        self.task = task
        self.places = places
        self.notes: dict[str, Any] = {}
        """Circumstances for the record's ``run``."""
        self._folder = folder
        self._files = (
            StateFiles(places.states, task, places.identity, places.writer, places.earlier) if places.states else None
        )
        self._artifacts: dict[str, ArtifactWriter] = {}
        self._restored: dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]] = {}
        self._saved = time.monotonic()

    @property
    def save_due(self) -> bool:
        """True if so much time has passed since the last save that a kill would cost too much."""
        return time.monotonic() - self._saved >= self.places.interval_s

    def load_state(self) -> State | None:
        """Return where an earlier attempt at this task stood; None if it is to be begun.

        Artifacts that are asked for after this continue from there too. A newest state that is damaged is passed
        over for the one before. Where all are, the task begins anew and its record's ``run`` says so.
        """
        state = None if self._files is None else self._files.load()
        damaged = 0 if self._files is None else self._files.damaged
        if state is not None and not self._whole(state):
            state, damaged = None, damaged + 1
        if damaged:
            self.notes |= {"damaged_states": damaged} | ({"begun_anew": True} if state is None else {})
        if state is None:
            return None
        facts = dict(state.facts)
        ours = facts.pop("storage")
        self.notes |= {"continued": ours["continued"] + 1, "continued_at_step": state.step}
        arrays = {name: a for name, a in state.arrays.items() if SEPARATOR not in name}
        for name, about in ours["artifacts"].items():
            mine = {k.partition(SEPARATOR)[2]: a for k, a in state.arrays.items() if k.startswith(name + SEPARATOR)}
            self._restored[name] = (about, mine)
        return State(state.step, arrays, facts["task"])

    def save_state(
        self, step: int, arrays: Mapping[str, Any] | None = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Save where the task stands, durably; a later attempt's ``load_state`` returns it.

        Args:
            step: steps done.
            arrays: numbers, kept to the bit.
            facts: anything else, JSON-able.

        Raises:
            StorageError: if it cannot be written; the state before it is untouched.
        """
        self._saved = time.monotonic()
        if self._files is None:
            return
        kept = {name: np.asarray(a) for name, a in (arrays or {}).items()}
        if bad := [name for name in kept if SEPARATOR in name]:
            raise ValueError(f"{SEPARATOR!r} in the names of arrays: {', '.join(bad)}")
        about = {}
        for name, writer in self._artifacts.items():
            about[name], frames = writer.snapshot()
            kept |= {f"{name}{SEPARATOR}{key}": array for key, array in frames.items()}
        for name, (before, frames) in self._restored.items():  # not asked for again yet
            about[name] = before
            kept |= {f"{name}{SEPARATOR}{key}": array for key, array in frames.items()}
        ours = {"continued": self.notes.get("continued", 0), "artifacts": about}
        self._files.save(State(step, kept, {"task": dict(facts or {}), "storage": ours}))

    def artifact(self, name: str, **about: Any) -> ArtifactWriter:
        """Return the writer of an artifact: one that continues where the loaded state left it.

        Args:
            name: of the artifact.
            about: facts that hold for all frames, JSON-able, units in the keys.
        """
        if name not in self._artifacts:
            writer = ArtifactWriter(self._folder() / FOLDER / self.task, name, about)
            if name in self._restored:
                writer.restore(*self._restored.pop(name))
            self._artifacts[name] = writer
        return self._artifacts[name]

    def _whole(self, state: State) -> bool:
        """True if the chunks that a state continues from are there."""
        folder = self._folder() / FOLDER / self.task
        chunks = [chunk for about in state.facts["storage"]["artifacts"].values() for chunk in about["chunks"]]
        return all((folder / c["file"]).is_file() and (folder / c["file"]).stat().st_size == c["bytes"] for c in chunks)

    def finish_artifacts(self) -> dict[str, Any]:
        """Write what is left of all artifacts; return what belongs into the record's ``values["artifacts"]``.

        Those of the loaded state count, though nothing was added to them since.

        Raises:
            StorageError: if it cannot be written.
        """
        for name, (facts, _) in list(self._restored.items()):
            self.artifact(name, **facts.get("about", {}))
        return {name: writer.finish() for name, writer in self._artifacts.items()}


class Storage:
    """State and artifacts of the tasks that a process works on."""

    def __init__(self, places: Places | None = None) -> None:
        self.places = places or Places()
        self._tasks: dict[str, TaskStorage] = {}
        self._temporary: Path | None = None

    def of(self, task: str) -> TaskStorage:
        """Return what a task keeps, by the task's id."""
        if task not in self._tasks:
            self._tasks[task] = TaskStorage(task, self.places, self.folder)
        return self._tasks[task]

    def close(self, task: str) -> dict[str, Any]:
        """Return circumstances for the record of a task that has ended."""
        storage = self._tasks.pop(task, None)
        return {} if storage is None else storage.notes

    def folder(self) -> Path:
        """Return the folder of the run; without one, a temporary folder that lives as long as this."""
        if self.places.run is not None:
            return self.places.run
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="atomsim-"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary
