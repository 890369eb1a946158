"""Large results beside the ledger: frames of trajectories and paths, in chunks that carry checksums.

::

    artifacts/<task>/trajectory-000001-1f3a9c0b52d7.npz   frames, one array a field, the first axis the frame
    artifacts/<task>/trajectory-7be0c2d9a41f.json         names all chunks with their SHA-256

A record names the JSON file and its SHA-256, and so every byte. Files are named by their content and
written whole, so that several writers (a worker that was given up and its successor) never disturb each
other: what counts is what the record names. Chunks are cut by size alone, so that they are the same
however often a task was interrupted.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atomsim.errors import AtomsimError, InputError
from atomsim.store.durable import write_durably
from atomsim.store.records import Record

FOLDER = "artifacts"
KEY = "artifacts"
"""Where a record's ``values`` name its artifacts."""
FORMAT = 1
CHUNK_BYTES = 2**20
DIGITS = 12
"""Digits of a SHA-256 in a file's name."""

Frame = dict[str, np.ndarray]


class ArtifactWriter:
    """One artifact while its task is under way."""

    def __init__(self, folder: Path, name: str, about: Mapping[str, Any] | None = None) -> None:
        """Begin with no frames.

        Args:
            folder: of the task.
            name: of the artifact: letters, digits and ``_``.
            about: facts that hold for all frames, JSON-able, units in the keys.
        """
        if not name.isidentifier():
            raise ValueError(f"an artifact is called {name!r}, wanted letters, digits and '_'")
        self.folder = folder
        self.name = name
        self.about = dict(about or {})
        self.chunks: list[dict[str, Any]] = []
        self.frames: list[Frame] = []
        """Those of the chunk that is not full."""

    def __len__(self) -> int:
        return int(sum(chunk["frames"] for chunk in self.chunks) + len(self.frames))

    def append(self, **fields: Any) -> None:
        """Add a frame: fields of the same names, shapes and types every time.

        Raises:
            StorageError: if a chunk is full and cannot be written; continue from the last saved state.
        """
        frame = {name: np.array(value) for name, value in fields.items()}
        if self.frames and _shape(frame) != _shape(self.frames[0]):
            raise ValueError(f"a frame of {self.name} is {_shape(frame)}, those before are {_shape(self.frames[0])}")
        self.frames.append(frame)
        if len(self.frames) * max(1, sum(a.nbytes for a in frame.values())) >= CHUNK_BYTES:
            self._write_chunk()

    def finish(self) -> dict[str, Any]:
        """Write what is left and the list of chunks; return what a record says of it."""
        if self.frames:
            self._write_chunk()
        content = {"format": FORMAT, "name": self.name, "about": self.about, "chunks": self.chunks}
        data = (json.dumps(content, indent=1) + "\n").encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / f"{self.name}-{digest[:DIGITS]}.json"
        write_durably(path, data, what=f"artifact {self.name}")
        size = sum(chunk["bytes"] for chunk in self.chunks)
        return {"file": path.name, "sha256": digest, "frames": len(self), "bytes": size} | (
            {"about": self.about} if self.about else {}
        )

    def snapshot(self) -> tuple[dict[str, Any], Frame]:
        """Return facts and arrays that, with the chunks on disk, bring it back to where it is now."""
        facts = {"chunks": [dict(c) for c in self.chunks], "frames": len(self.frames), "about": self.about}
        return facts, _stacked(self.frames)

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Bring it to where a snapshot was taken; what was written after that no longer counts."""
        self.chunks = [dict(c) for c in facts["chunks"]]
        self.frames = [{name: array[n] for name, array in arrays.items()} for n in range(facts["frames"])]

    def _write_chunk(self) -> None:
        buffer = io.BytesIO()
        arrays: Mapping[str, Any] = _stacked(self.frames)
        np.savez(buffer, **arrays)  # dates of its members are constant: equal frames give equal bytes
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        name = f"{self.name}-{len(self.chunks) + 1:06d}-{digest[:DIGITS]}.npz"
        write_durably(self.folder / name, data, what=f"artifact {self.name}")
        self.chunks.append({"file": name, "sha256": digest, "frames": len(self.frames), "bytes": len(data)})
        self.frames = []


@dataclass(frozen=True)
class Artifact:
    """An artifact of a record, read chunk by chunk: iterating needs the memory of one chunk."""

    folder: Path
    name: str
    about: dict[str, Any]
    """Facts that hold for all frames."""
    parts: tuple[dict[str, Any], ...]
    _last: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Frame]:
        for chunk in self.chunks():
            for n in range(len(next(iter(chunk.values())))):
                yield {name: array[n] for name, array in chunk.items()}

    def __getitem__(self, number: int) -> Frame:
        wanted = number + len(self) if number < 0 else number
        if not 0 <= wanted < len(self):
            raise IndexError(f"frame {number} of {self.name}, which has {len(self)}")
        part = int(np.searchsorted(self._starts, wanted, side="right")) - 1
        if self._last.get("part") != part:
            self._last.update(part=part, arrays=self._load(self.parts[part]))
        return {name: array[wanted - self._starts[part]] for name, array in self._last["arrays"].items()}

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """Iterate over chunks: arrays by field, the first axis the frame.

        Raises:
            AtomsimError: if a chunk is missing or is not what was written.
        """
        for part in self.parts:
            yield self._load(part)

    def column(self, field: str) -> np.ndarray:
        """Return one field of all frames."""
        return np.concatenate([chunk[field] for chunk in self.chunks()])

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum([part["frames"] for part in self.parts], dtype=int).tolist()]

    def _load(self, part: Mapping[str, Any]) -> dict[str, np.ndarray]:
        data = _checked(self.folder / part["file"], part["sha256"])
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
        except (ValueError, zipfile.BadZipFile) as error:
            raise AtomsimError(f"{self.folder / part['file']} cannot be read ({error})") from error


def artifacts_of(record: Record) -> dict[str, dict[str, Any]]:
    """Return what a record says of its artifacts, by name: ``file``, ``sha256``, ``frames``, ``bytes``, ``about``."""
    found: dict[str, dict[str, Any]] = record.values.get(KEY) or {}
    return found


def open_artifact(run: Path, record: Record, name: str) -> Artifact:
    """Open an artifact of a record, without reading its frames.

    Args:
        run: folder of the run.
        record: of the run.
        name: of the artifact.

    Raises:
        InputError: if the record has no such artifact.
        AtomsimError: if it is missing or is not what was written.
    """
    known = artifacts_of(record)
    if name not in known:
        raise InputError(f"record {record.label} has no artifact {name!r}; it has {', '.join(known) or 'none'}")
    folder = run / FOLDER / record.task
    content = json.loads(_checked(folder / known[name]["file"], known[name]["sha256"]))
    if content["format"] != FORMAT:
        raise InputError(
            f"artifact {name} of {record.label} has format {content['format']}, this atomsim reads {FORMAT}; "
            "read it with the newer atomsim that wrote it"
        )
    return Artifact(folder, content["name"], content["about"], tuple(content["chunks"]))


def problems_of(run: Path, record: Record) -> list[str]:
    """Return one line for each artifact of a record that is not whole, from names and sizes alone."""
    found = []
    for name in artifacts_of(record):
        try:
            artifact = open_artifact(run, record, name)
        except AtomsimError as error:
            found.append(f"{record.label}: {error}")
            continue
        for part in artifact.parts:
            path = artifact.folder / part["file"]
            if not path.exists():
                found.append(f"{record.label}: {_missing(path)}")
            elif path.stat().st_size != part["bytes"]:
                found.append(f"{record.label}: {_changed(path)}")
    return found


def prune(run: Path, records: Iterable[Record]) -> None:
    """Remove what the tasks of these records left in their folders and the records do not name.

    A kill between two states leaves a chunk that the task writes anew, perhaps with other frames. On a network
    file system a folder may be written to by a worker that was given up: whatever it adds counts nothing.
    """
    for record in records:
        folder = run / FOLDER / record.task
        if not folder.is_dir():
            continue
        named = set()
        for name in artifacts_of(record):
            try:
                artifact = open_artifact(run, record, name)
            except AtomsimError:  # a person may still bring it back
                break
            named |= {artifacts_of(record)[name]["file"], *(part["file"] for part in artifact.parts)}
        else:
            for path in folder.iterdir():
                if path.name not in named:
                    path.unlink(missing_ok=True)
            if not named:
                folder.rmdir()


def _checked(path: Path, sha256: str) -> bytes:
    """Read a file that must be what was written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise AtomsimError(_missing(path)) from error
    except OSError as error:
        raise AtomsimError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AtomsimError(_changed(path))
    return data


def _missing(path: Path) -> str:
    return f"{path} is missing; restore it from a copy, or have its task run again in a new folder"


def _changed(path: Path) -> str:
    return (
        f"{path} is not what its record names (its SHA-256 differs); restore it from a copy, or have its task run "
        "again in a new folder"
    )


def _shape(frame: Frame) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in frame.items()}


def _stacked(frames: list[Frame]) -> Frame:
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]} if frames else {}
