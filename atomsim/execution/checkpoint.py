"""Checkpoints: evaluations, kept so that a task that is restarted need not repeat them.

Optimizers, bands and searches are functions of evaluations. So the state of anything
under way is the list of evaluations so far, and continuing after a kill is to run the same code
from the start with the answers at hand: bitwise the same path, at next to no cost, for every
kind of task, and for a structure that moves from a GPU's batch to another batch. An answer is
found by the hash of the very system that was asked about, so a wrong one cannot be given: if
anything has changed, the system differs and is evaluated.

A file belongs to one process, and grows by blocks that carry a checksum and are fsynced; a block
torn by a kill or flipped by a disk is skipped, and the ones before it are used. A process that
runs its tasks one by one keeps three files: the task under way, the one before, whose record
may not be on disk yet, and what tasks share (``lasting``), which later ones need too.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atomsim.batch import Batch, Evaluation
from atomsim.errors import StorageError

if TYPE_CHECKING:
    from atomsim.models.interface import Potential

INTERVAL_S = 30.0
"""Work that a kill may cost, s."""
MAX_BYTES = 2**30
"""A process that has written so much for one file stops; a kill then costs more than one interval."""
MAGIC = b"atomsim1"
BLOCK = struct.Struct("<8sQ32s")
ENTRY = struct.Struct("<16sIBB")
DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f8"), 2: np.dtype("<f4")}
Key = bytes


class Memory:
    """Answers by what was asked, in memory and in the files of this process; other folders are read as well."""

    def __init__(self, folder: Path, interval_s: float = INTERVAL_S, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.interval_s = interval_s
        self.known: dict[Key, bytes] = {k: v for each in (*others, folder) for k, v in _read_all(each)}
        self.buffer: list[bytes] = []
        self.flushed = time.monotonic()
        self.files: list[Path] = []
        self.spent_s = 0.0
        self._begin()
        self.shared = self._new(f"{time.time_ns()}-shared")
        self.lasts = False
        """True if evaluations now go to the file that all tasks share."""
        self.written: dict[Path, int] = {}

    def note(self, keys: list[Key], batch: Batch, evaluation: Evaluation) -> None:
        """Remember the evaluation of a batch; write it if it is time to."""
        start = time.perf_counter()
        self.buffer += _pack(keys, batch, evaluation)
        self.spent_s += time.perf_counter() - start
        if time.monotonic() - self.flushed >= self.interval_s:
            self.flush()

    def next_task(self) -> None:
        """Begin a new file: all but the last finished task's, and what tasks share, are no longer needed."""
        self.flush()
        while len(self.files) > 1:
            self.files.pop(0).unlink(missing_ok=True)
        self._begin()

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Keep the evaluations meanwhile as long as this process works: later tasks need it."""
        before = self.lasts
        self.flush()
        self.lasts = True
        try:
            yield
        finally:
            self.flush()
            self.lasts = before

    def flush(self) -> None:
        """Write the evaluations since the last time, durably.

        Raises:
            StorageError: if the disk is full.
        """
        start = time.perf_counter()
        self.flushed = time.monotonic()
        path = self.shared if self.lasts else self.files[-1]
        if self.buffer and self.written.get(path, 0) < MAX_BYTES:
            payload = b"".join(self.buffer)
            head = BLOCK.pack(MAGIC, len(payload), hashlib.sha256(payload).digest())
            try:
                with path.open("ab") as file:
                    file.write(head + payload)
                    file.flush()
                    os.fsync(file.fileno())
            except FileNotFoundError:  # another has taken over, is done, and removed the folder
                payload = b""
            except OSError as error:
                raise _no_room(error) from error
            self.written[path] = self.written.get(path, 0) + len(payload)
        self.buffer = []
        self.spent_s += time.perf_counter() - start

    def _begin(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_room(error) from error
        self.files.append(self._new(str(time.time_ns())))

    def _new(self, name: str) -> Path:
        return self.folder / f"{os.uname().nodename}-{os.getpid()}-{name}.evals"


class Remembering:
    """A potential that remembers its evaluations, also those of another process before it was killed."""

    def __init__(
        self,
        potential: Potential,
        folder: Path | Memory,
        interval_s: float = INTERVAL_S,
        others: Sequence[Path] = (),
    ) -> None:
        self.potential = potential
        self.memory = folder if isinstance(folder, Memory) else Memory(folder, interval_s, others)
        self.replayed = 0
        """Systems answered from memory."""
        # other weights, or the same in another precision, answer otherwise
        self.salt = f"{getattr(potential, 'sha256', '')} {getattr(potential, 'dtype', '')}".encode()

    @cached_property
    def double(self) -> Remembering:
        """The same potential in float64, remembered in the same files; AttributeError where there is none."""
        return Remembering(self.potential.double, self.memory)  # type: ignore[attr-defined]

    @property
    def spent_s(self) -> float:
        """Time that remembering took, s."""
        return self.memory.spent_s

    def __call__(self, batch: Batch) -> Evaluation:
        """Answer from memory where possible; evaluate the other systems together."""
        start = time.perf_counter()
        known, keys = self.memory.known, _keys(batch, self.salt)
        unknown = [n for n, key in enumerate(keys) if key not in known]
        self.memory.spent_s += time.perf_counter() - start
        if len(unknown) == len(keys):
            evaluation = self.potential(batch)
            self.memory.note(keys, batch, evaluation)
            return evaluation
        self.replayed += len(keys) - len(unknown)
        parts = {n: _unpack(known[key], batch) for n, key in enumerate(keys) if key in known}
        if unknown:
            asked = batch.take(unknown)
            evaluation = self.potential(asked)
            self.memory.note([keys[n] for n in unknown], asked, evaluation)
            parts |= {n: evaluation.take(asked, [i]) for i, n in enumerate(unknown)}
        return Evaluation.join([parts[n] for n in range(len(keys))])

    def next_task(self) -> None:
        """Begin a new file: all but the last finished task's, and what tasks share, are no longer needed."""
        self.memory.next_task()

    def lasting(self) -> AbstractContextManager[None]:
        """Keep the evaluations meanwhile as long as this process works: later tasks need it."""
        return self.memory.lasting()

    def flush(self) -> None:
        """Write the evaluations since the last time, durably.

        Raises:
            StorageError: if the disk is full.
        """
        self.memory.flush()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the potential's."""
        return getattr(self.potential, name)


def _no_room(error: OSError) -> StorageError:
    return StorageError(f"cannot write a checkpoint: {error.strerror}; make room, then run the same command again")


def _keys(batch: Batch, salt: bytes) -> list[Key]:
    """Hash each system: numbers, positions, cell and periodicity, to the bit, and who is asked."""
    positions, numbers = batch.positions.detach().cpu().numpy(), batch.numbers.cpu().numpy()
    cells, periodic = batch.cell.detach().cpu().numpy(), batch.pbc.cpu().numpy()
    keys, start = [], 0
    for n, size in enumerate(batch.sizes):
        digest = hashlib.blake2b(salt, digest_size=16)
        for array in (numbers[start : start + size], positions[start : start + size], cells[n], periodic[n]):
            digest.update(np.ascontiguousarray(array).data)
        keys.append(digest.digest())
        start += size
    return keys


def _pack(keys: list[Key], batch: Batch, evaluation: Evaluation) -> Iterator[bytes]:
    energy, stress = (
        t.detach().cpu().numpy().astype("<f8", copy=False) for t in (evaluation.energy, evaluation.stress)
    )
    forces = evaluation.forces.detach().cpu().numpy().astype("<f8", copy=False)
    optional = [None if t is None else t.detach().cpu().numpy() for t in (evaluation.magmoms, evaluation.energies)]
    codes = [0 if a is None else next(c for c, d in DTYPES.items() if d == a.dtype) for a in optional]
    start = 0
    for n, (key, size) in enumerate(zip(keys, batch.sizes, strict=True)):
        span = slice(start, start + size)
        rows = [energy[n], stress[n], forces[span], *(a[span] for a in optional if a is not None)]
        start += size
        # what is not finite may be a device's fault: whoever tries again shall ask again
        if all(np.isfinite(row).all() for row in rows):
            yield ENTRY.pack(key, size, *codes) + b"".join(np.ascontiguousarray(row).tobytes() for row in rows)


def _unpack(entry: bytes, batch: Batch) -> Evaluation:
    _, size, magnetic, atomic = ENTRY.unpack_from(entry)
    offset = ENTRY.size

    def tensor(shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
        nonlocal offset
        count = int(np.prod(shape))
        array = np.frombuffer(entry, dtype, count, offset).reshape(shape).copy()
        offset += count * dtype.itemsize
        return torch.as_tensor(array).to(batch.device)

    energy, stress, forces = (tensor(shape, DTYPES[1]) for shape in ((1,), (1, 3, 3), (size, 3)))
    optional = [tensor((size,), DTYPES[code]) if code else None for code in (magnetic, atomic)]
    return Evaluation(energy, forces, stress, *optional)


def _entry_size(size: int, *codes: int) -> int:
    return ENTRY.size + 8 * (10 + 3 * size) + sum(size * DTYPES[code].itemsize for code in codes if code)


def _read_all(folder: Path) -> Iterator[tuple[Key, bytes]]:
    for path in sorted(folder.glob("*.evals")) if folder.is_dir() else ():
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # its owner is done with it
            continue
        for payload in _blocks(data):
            offset = 0
            while offset < len(payload):
                key, *facts = ENTRY.unpack_from(payload, offset)
                size = _entry_size(*facts)
                yield key, payload[offset : offset + size]
                offset += size


def _blocks(data: bytes) -> Iterator[bytes]:
    """Yield the sound blocks of a file; after a damaged one, look for the next."""
    offset = 0
    while 0 <= offset <= len(data) - BLOCK.size:
        magic, length, digest = BLOCK.unpack_from(data, offset)
        payload = data[offset + BLOCK.size : offset + BLOCK.size + length]
        if magic == MAGIC and len(payload) == length and hashlib.sha256(payload).digest() == digest:
            yield payload
            offset += BLOCK.size + length
        else:
            offset = data.find(MAGIC, offset + 1)
