"""SevenNet on batches: checkpoints of the package ``sevenn``, of one or several modalities.

The batch's pair vectors go to the model's own modules, but for the convolutions, which are computed with fewer
operations (``sevennet_convolution``), and the last, which would take forces one crystal at a time; forces and stress
come from one derivative with respect to these vectors (``edges``). Vectors are made in float64 and then cast.
Clebsch–Gordan coefficients are made in single precision by the package, so that in float64 forces follow a rotation to
4e-8 eV/Å. A checkpoint is a pickle: it is unpickled from the bytes whose SHA-256 a card pins.

Park, Kim, Hwang, Han, J. Chem. Theory Comput. 20, 4857 (2024).
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError, InputError, nearest
from atomsim.models.edges import evaluate_pairs
from atomsim.models.interface import refuse_unknown_elements
from atomsim.models.neighbors import Neighbors, neighbor_list
from atomsim.models.sevennet_convolution import Convolution, fits

FORCES = "force_output"
"""Module that takes forces, left out here."""
ATOMS_ON_A_CPU = 32
"""Atoms evaluated at once on a CPU: small crystals share overhead, large intermediate results leave the cache."""


class SevenNet:
    """A SevenNet model behind the ``Potential`` protocol."""

    def __init__(
        self,
        model: Any,
        name: str,
        sha256: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        modality: str | None = None,
        elements: Iterable[int] | None = None,
    ) -> None:
        """Take a copy of a model.

        Args:
            model: an ``AtomGraphSequential`` of ``sevenn``.
            name: for records.
            sha256: hash of its file; the potential's own is made of it and the modality where there are several.
            device: where batches will live.
            dtype: float32 or float64.
            modality: functional of a multi-fidelity model; needed where there are several.
            elements: atomic numbers that it may be used for; all that the model has if not given.

        Raises:
            InputError: if the modality is not named, or not there.
        """
        self.device, self.dtype = torch.device(device), dtype
        self.cutoff = float(model.cutoff)
        self._type_map = {int(z): int(n) for z, n in model.type_map.items()}
        known = frozenset(self._type_map)
        self.elements = known if elements is None else known & frozenset(elements)
        self.modality = _modality(dict(model.modal_map or {}), modality, name)
        self._modal = None if self.modality is None else int(model.modal_map[self.modality])
        self.name, self.file_sha256 = name, sha256
        # each modality is a potential of its own: records of two must not be taken for one another's
        of_modality = f"{sha256} modality {self.modality}"
        self.sha256 = sha256 if self.modality is None else hashlib.sha256(of_modality.encode()).hexdigest()
        self.model = copy.deepcopy(model).to(device=self.device, dtype=dtype).eval().requires_grad_(False)
        self.model.set_is_batch_data(True)
        for key, module in list(self.model.named_children()):
            if fits(module):
                setattr(self.model, key, Convolution(module))
        self._modules = [module for key, module in self.model.named_children() if key != FORCES]
        index = torch.full((120,), -1, dtype=torch.int64)
        for z, n in self._type_map.items():
            index[z] = n
        self._index = index.to(self.device)

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses and atomic energies.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        if self.device.type != "cpu":
            return self._evaluate(batch)
        parts = [batch.take(torch.tensor(part)) for part in _pieces(batch.sizes)]
        return self._evaluate(batch) if len(parts) == 1 else Evaluation.join([self._evaluate(p) for p in parts])

    @cached_property
    def double(self) -> SevenNet:
        """The same potential in float64."""
        return SevenNet(
            self.model, self.name, self.file_sha256, self.device, torch.float64, self.modality, self.elements
        )

    def _evaluate(self, batch: Batch) -> Evaluation:
        pairs = neighbor_list(batch, self.cutoff)
        return evaluate_pairs(batch, pairs, lambda vectors: self._energies(batch, pairs, vectors))

    def _energies(self, batch: Batch, pairs: Neighbors, vectors: Tensor) -> Tensor:
        """Atomic energies, eV, (n_atoms,)."""
        import sevenn._keys as key

        data = {
            key.NODE_FEATURE: self._index[batch.numbers],
            key.ATOMIC_NUMBERS: batch.numbers,
            key.EDGE_IDX: torch.stack([pairs.i, pairs.j]),
            key.EDGE_VEC: vectors.to(self.dtype),
            key.BATCH: batch.system,
            key.NUM_ATOMS: batch.counts,
        }
        if self._modal is not None:
            data[key.MODAL_TYPE] = batch.counts.new_full((batch.n_systems,), self._modal)
        for module in self._modules:
            data = self._cast(module(data))
        energies: Tensor = data[key.ATOMIC_ENERGY]
        return energies.reshape(-1).to(torch.float64)

    def _cast(self, data: dict[str, Any]) -> dict[str, Any]:
        """Bring what a module made in single precision, such as one-hot vectors, to the model's own."""
        for name, value in data.items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != self.dtype:
                data[name] = value.to(self.dtype)
        return data


def from_checkpoint(
    data: bytes,
    name: str,
    sha256: str,
    device: torch.device,
    dtype: torch.dtype,
    modality: str | None = None,
    elements: Iterable[int] | None = None,
) -> SevenNet:
    """Load a checkpoint whose hash was checked.

    Raises:
        AtomsimError: if ``sevenn`` is not installed, or too old for the checkpoint.
        InputError: if it is no checkpoint, or its modality is not named.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sevenn.checkpoint import SevenNetCheckpoint
    except (ImportError, ValueError) as error:  # ValueError: its e3nn is too old
        raise AtomsimError(
            f"{name} needs the package 'sevenn' 0.12 or later and e3nn 0.5 or later ({error}); in an environment of "
            "its own: pip install atomsim, then pip install sevenn (docs/how-to/potentials.md)"
        ) from error
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "checkpoint.pth"
        path.write_bytes(data)  # the bytes that were hashed, and no others
        try:
            model = SevenNetCheckpoint(str(path)).build_model()
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{name} is not a readable SevenNet checkpoint: {reason}; give another") from error
    return SevenNet(model, name, sha256, device, dtype, modality, elements)


def _modality(known: dict[str, int], wanted: str | None, name: str) -> str | None:
    """Return the modality's own spelling; None where the model has one functional.

    Raises:
        InputError: if it is not named, or not there.
    """
    if not known:
        if wanted:
            raise InputError(f"{name} has one functional: found modality {wanted!r}, wanted none; leave it out")
        return None
    names = ", ".join(known)
    if not wanted:
        raise InputError(f"{name} has several modalities: found none named, wanted one of {names}; say {name}#NAME")
    found = next((k for k in known if k.lower() == wanted.lower()), None)
    if found is None:
        raise InputError(f"{name} has no modality {wanted!r};{nearest(wanted, known)} wanted one of {names}")
    return found


def _pieces(sizes: list[int]) -> Iterator[list[int]]:
    """Systems in order, as many together as have ``ATOMS_ON_A_CPU`` atoms."""
    part: list[int] = []
    for n, size in enumerate(sizes):
        if part and sum(sizes[k] for k in part) + size > ATOMS_ON_A_CPU:
            yield part
            part = []
        part.append(n)
    yield part
