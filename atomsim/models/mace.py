"""MACE on batches: any ``.model`` file, one forward for the whole batch.

The batch's tensors go to the model as they are; no per-structure graph objects. Pair vectors
are made in float64 and only then cast to the model's precision, so single precision does not
suffer from large coordinates, and forces and stress come from one derivative with respect to
those vectors. The model runs in evaluation mode with frozen parameters.

Batatia et al., NeurIPS 35 (2022), arXiv:2206.07697.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError, InputError, nearest
from atomsim.models.edges import evaluate_pairs
from atomsim.models.interface import refuse_unknown_elements
from atomsim.models.mace_prune import keep_elements
from atomsim.neighbors import Neighbors, SkinList

SUPPORTED = ("MACE", "ScaleShiftMACE")
"""Classes of MACE models with an energy and nothing but geometry as input."""


class MacePotential:
    """A MACE model behind the ``Potential`` protocol."""

    def __init__(
        self,
        model: Any,
        *,
        name: str = "mace",
        sha256: str = "",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        head: str | None = None,
    ) -> None:
        """Take a copy of a model.

        Args:
            model: a ``MACE`` or ``ScaleShiftMACE``; not changed.
            name: for records.
            sha256: hash of the weights' file; of the parameters if not given.
            device: where batches will live.
            dtype: float32 or float64; the model's own if not given.
            head: which head of a multi-head model; needed if none is called "default".

        Raises:
            InputError: if the model is of another kind, or has no such head.
        """
        _require_supported(model)
        self.name = name
        self.sha256 = sha256 or fingerprint(model)
        self.device = torch.device(device)
        self.dtype = dtype or next(model.parameters()).dtype
        self.model = copy.deepcopy(model).to(device=self.device, dtype=self.dtype).eval().requires_grad_(False)
        self.cutoff = float(model.r_max)
        self._neighbors = SkinList(self.cutoff)
        self.heads: tuple[str, ...] = tuple(getattr(model, "heads", None) or ("Default",))
        self.head = _choose_head(self.heads, head, name)
        self._know([int(z) for z in model.atomic_numbers])

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses and atomic energies of every system.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        pairs = self._neighbors(batch)
        return evaluate_pairs(batch, pairs, partial(self._atom_energies, batch, pairs))

    def prune(self, elements: Iterable[int]) -> MacePotential:
        """Return the same potential for some of its elements only: equal, and smaller.

        Weights that belong to one element are dropped for the others; nothing is refitted.
        Name and sha256 stay: it is the same potential.

        Args:
            elements: atomic numbers to keep.

        Raises:
            InputError: if an element is not in ``elements``.
            AtomsimError: if the model has a part that cannot be cut, so energies would differ.
        """
        wanted = sorted(set(elements))
        probe = _probe(wanted, self.device)
        refuse_unknown_elements(probe, self.elements, self.name)
        rows = [self._numbers.index(z) for z in wanted]
        pruned = copy.copy(self)
        pruned._neighbors = SkinList(self.cutoff)
        with quiet_mace():
            pruned.model = keep_elements(self.model, rows)
        pruned._know(wanted)
        allowed = 1e-9 if self.dtype == torch.float64 else 1e-4
        if not (self(probe).energy - pruned(probe).energy).abs().item() < allowed * probe.n_atoms:
            raise AtomsimError(f"{self.name} has parts that cannot be cut down to some elements; use it whole")
        return pruned

    def _know(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self.elements = frozenset(numbers)
        self._row = torch.full((119,), -1, dtype=torch.int64)
        self._row[numbers] = torch.arange(len(numbers))
        self._row = self._row.to(self.device)

    def _atom_energies(self, batch: Batch, pairs: Neighbors, vectors: Tensor) -> Tensor:
        n_atoms, device, dtype = batch.n_atoms, batch.device, self.dtype
        attributes = torch.nn.functional.one_hot(self._row[batch.numbers], len(self._numbers)).to(dtype)
        # MACE sends from edge_index[0] to edge_index[1] along r[1] − r[0] + shift. With all
        # positions zero the shift is the vector: the model never sees a coordinate. The list is
        # sorted by i, so i receives: sums over neighbours then run through memory in order.
        data = {
            "positions": torch.zeros(n_atoms, 3, dtype=dtype, device=device),
            "node_attrs": attributes,
            "edge_index": torch.stack([pairs.j, pairs.i]),
            "shifts": -vectors.to(dtype),
            "unit_shifts": -pairs.shift.to(dtype),
            "cell": batch.cell.reshape(-1, 3).to(dtype),
            "batch": batch.system,
            "ptr": torch.cat([batch.starts, batch.starts.new_tensor([n_atoms])]),
            "head": torch.full((batch.n_systems,), self.head, dtype=torch.int64, device=device),
        }
        energies: Tensor = self.model(data, training=False, compute_force=False)["node_energy"]
        return energies.to(torch.float64)


@contextmanager
def quiet_mace() -> Iterator[None]:
    """Import or unpickle MACE without its side effects.

    Importing mace sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, which would make every later
    ``torch.load`` of the process unsafe, and prints; e3nn's TorchScript warns once per block.
    """
    key = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.pop(key, None)
        if before is not None:
            os.environ[key] = before


def fingerprint(model: torch.nn.Module) -> str:
    """Return a SHA-256 over names, types and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _require_supported(model: torch.nn.Module) -> None:
    kind = type(model).__name__
    if kind not in SUPPORTED:
        raise InputError(f"found a model of class {kind}, wanted {' or '.join(SUPPORTED)}; use one with plain energies")
    if hasattr(model, "joint_embedding"):
        names = ", ".join(getattr(model, "embedding_specs", {})) or "unknown"
        raise InputError(f"this MACE model needs more than a geometry (inputs: {names}); use one without them")


def _choose_head(heads: tuple[str, ...], wanted: str | None, name: str) -> int:
    if wanted is None and len(heads) == 1:
        return 0
    if wanted is None:
        default = [k for k, head in enumerate(heads) if head.lower() == "default"]
        if default:
            return default[0]
        raise InputError(f"{name} has several heads and none is called 'default'; name one of {', '.join(heads)}")
    if wanted not in heads:
        raise InputError(f"{name} has no head {wanted!r};{nearest(wanted, heads)} heads: {', '.join(heads)}")
    return heads.index(wanted)


def _probe(numbers: list[int], device: torch.device) -> Batch:
    """A zigzag of two atoms per element, each within reach of others: every element's weights count."""
    numbers = 2 * numbers
    n = torch.arange(len(numbers), dtype=torch.float64)
    positions = torch.stack([1.6 * n, 0.9 * (n % 2), 0.3 * (n % 3)], dim=1)
    batch = Batch(
        positions=positions,
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        numbers=torch.tensor(numbers, dtype=torch.int64),
        system=torch.zeros(len(numbers), dtype=torch.int64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        fixed=torch.zeros(len(numbers), dtype=torch.bool),
    )
    return batch.to(device)
