"""Ways to compute one MACE model, and the check that lets one take the place of another.

``fast``       the same function with far fewer operations (``mace_fast``), for standard models
``reference``  the model's own forward
``compiled``   ``fast`` through torch.compile: the first calls take up to two minutes, and on a CPU nothing
               was gained (0.98× of ``fast``, MACE-MP-0 small's shape); for GPUs, where launches count
``cueq``       the model's own forward on NVIDIA's cuEquivariance kernels
"""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation, take_scoped
from atomsim.errors import AtomsimError, InputError, nearest
from atomsim.models.chgnet.graph import one_direction
from atomsim.models.edges import forces_and_stress
from atomsim.models.mace.fast import FastMace
from atomsim.models.mace.layers import path_message
from atomsim.models.mace.weights import NotStandardError
from atomsim.models.neighbors import Neighbors, neighbor_list

KERNELS = ("auto", "fast", "reference", "compiled", "cueq")

AGREE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference from the reference, eV per atom and eV/Å, relative to forces above 1 eV/Å. In
single precision 1e-5 is typical of two orders of summation; a wrong weight shows in the first digits."""

_PROBED = 6
"""Elements in the check: the others' weights are read by the same code."""


class Kernel(Protocol):
    """Atomic energies of a batch from its pair vectors."""

    both_directions: bool
    """True if it wants every pair in both directions, and not once."""

    def atom_energies(self, batch: Batch, pairs: Neighbors, vectors: Tensor) -> Tensor:
        """Return atomic energies, eV, (n_atoms,), in float64; ``vectors`` lead from i to j, Å, (n_pairs, 3)."""
        ...


class Reference:
    """The model's own forward."""

    both_directions = True

    def __init__(self, model: Any, head: int) -> None:
        self.model, self.head = model, head
        row = torch.full((119,), -1, dtype=torch.int64)
        row[model.atomic_numbers.cpu()] = torch.arange(len(model.atomic_numbers))
        self._row = row.to(model.atomic_numbers.device)

    def atom_energies(self, batch: Batch, pairs: Neighbors, vectors: Tensor) -> Tensor:
        """Return atomic energies, eV, (n_atoms,)."""
        n_atoms, device, dtype = batch.n_atoms, batch.device, self.model.r_max.dtype
        attributes = torch.nn.functional.one_hot(self._row[batch.numbers], len(self.model.atomic_numbers)).to(dtype)
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


class Compiled(FastMace):
    """The fast forward, its largest part through torch.compile."""

    use_loops = False

    def __init__(self, model: Any, head: int) -> None:
        super().__init__(model, head)
        self.path_message = torch.compile(path_message, dynamic=True)


def choose(kernel: str, model: Any, head: int, name: str) -> tuple[str, Kernel, str]:
    """Return the kernel's name, the kernel, and why it is not the fastest if it is not.

    Args:
        kernel: one of ``KERNELS``; ``auto`` is ``fast`` where that agrees, else ``reference``.
        model: a ``MACE`` or ``ScaleShiftMACE`` on its device, in evaluation mode, frozen.
        head: index of the head.
        name: for messages.

    Raises:
        InputError: if there is no such kernel.
        AtomsimError: if the kernel that was asked for cannot be had or does not agree with the reference.
    """
    if kernel not in KERNELS:
        raise InputError(
            f"unknown MACE kernel {kernel!r};{nearest(kernel, KERNELS)} wanted one of {', '.join(KERNELS)}"
        )
    reference = Reference(model, head)
    if kernel == "reference":
        return kernel, reference, ""
    wanted = "fast" if kernel == "auto" else kernel
    try:
        candidate = _build(wanted, model, head)
        off = difference(candidate, reference)
        if isinstance(candidate, FastMace) and candidate.use_loops and not off <= AGREE[model.r_max.dtype]:
            candidate = candidate.without_loops()
            off = difference(candidate, reference)
    except NotStandardError as error:
        reason = f"{name} has {error}"
    except Exception as error:  # whatever somebody else's kernels raise is a reason not to use them
        text = str(error).strip().splitlines() or [""]
        reason = text[0] if isinstance(error, AtomsimError) else f"{type(error).__name__}: {text[0]}"
    else:
        allowed = AGREE[model.r_max.dtype]
        if off <= allowed:
            return wanted, candidate, ""
        reason = f"energies or forces differ from the reference by {off:.1e} eV/Å, allowed {allowed:.0e}"
    if kernel == "auto":
        return "reference", reference, f"kernel 'fast' is not used: {reason}"
    raise AtomsimError(f"kernel {kernel!r} is refused: {reason}; use kernel='auto'")


def evaluate_kernel(kernel: Kernel, batch: Batch, pairs: Neighbors, pieces: list[range] | None = None) -> Evaluation:
    """Evaluate a batch whose pairs are known, differentiating piece by piece.

    Args:
        kernel: gives atomic energies.
        batch: the systems.
        pairs: all pairs within the cutoff, in both directions, sorted by i.
        pieces: consecutive systems that are computed together; all of them if not given.
    """
    if not kernel.both_directions:
        once = one_direction(pairs)
        pairs = Neighbors(pairs.i[once], pairs.j[once], pairs.shift[once])
    vectors = pairs.vectors(batch)
    if pieces is None or len(pieces) == 1:
        energies, gradient = _differentiate(kernel, batch, pairs, vectors)
    else:
        parts = [_differentiate(kernel, *part) for part in _cut(batch, pairs, vectors, pieces)]
        energies, gradient = (torch.cat(values) for values in zip(*parts, strict=True))
    forces, stress = forces_and_stress(batch, pairs, vectors, gradient)
    energy = energies.new_zeros(batch.n_systems).index_add_(0, batch.system, energies)
    return Evaluation(energy, forces, stress, energies=energies)


def _cut(batch: Batch, pairs: Neighbors, vectors: Tensor, pieces: list[range]) -> list[tuple[Batch, Neighbors, Tensor]]:
    """Views of consecutive systems and of their pairs, which are consecutive too."""
    ends = [0, *(piece.stop for piece in pieces)]
    atoms = [0, *accumulate(sum(batch.sizes[p.start : p.stop]) for p in pieces)]
    edges = torch.searchsorted(pairs.i, pairs.i.new_tensor(atoms)).tolist()
    parts = []
    for n in range(len(pieces)):
        own, of, at = slice(atoms[n], atoms[n + 1]), slice(ends[n], ends[n + 1]), slice(edges[n], edges[n + 1])
        piece = take_scoped(batch, own, of)
        piece = replace(piece, system=piece.system - ends[n])
        inside = Neighbors(pairs.i[at] - atoms[n], pairs.j[at] - atoms[n], pairs.shift[at])
        parts.append((piece, inside, vectors[at]))
    return parts


def _differentiate(kernel: Kernel, batch: Batch, pairs: Neighbors, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Atomic energies, eV, (n_atoms,), and their sum's derivative by pair vectors, eV/Å, (n_pairs, 3)."""
    with torch.enable_grad():
        vectors = vectors.detach().requires_grad_(True)
        energies = kernel.atom_energies(batch, pairs, vectors)
        if len(vectors) == 0:
            return energies.detach(), torch.zeros_like(vectors)
        (gradient,) = torch.autograd.grad(energies.sum(), vectors)
    return energies.detach(), gradient


def difference(kernel: Kernel, reference: Reference) -> float:
    """Largest difference of energies per atom and forces on a probe, relative to forces above 1 eV/Å."""
    numbers = [int(z) for z in reference.model.atomic_numbers]
    chosen = numbers[:: -(-len(numbers) // _PROBED)]
    batch = probe(chosen, reference.model.r_max.device)
    pairs = neighbor_list(batch, float(reference.model.r_max))
    ours, theirs = (evaluate_kernel(k, batch, pairs) for k in (kernel, reference))
    energy = (ours.energy - theirs.energy).abs().max() / batch.n_atoms
    forces = (ours.forces - theirs.forces).abs().max()
    off = torch.maximum(energy, forces) / theirs.forces.abs().max().clamp(min=1.0)
    return float(torch.nan_to_num(off, nan=torch.inf))


def probe(numbers: list[int], device: torch.device | str) -> Batch:
    """Return two atoms of each element in a periodic zigzag, each within reach of others: all weights count."""
    numbers = 2 * numbers
    n = torch.arange(len(numbers), dtype=torch.float64)
    batch = Batch(
        positions=torch.stack([1.6 * n, 0.9 * (n % 2), 0.3 * (n % 3)], dim=1),
        cell=torch.diag(torch.tensor([1.6 * len(numbers), 5.1, 5.7], dtype=torch.float64))[None],
        numbers=torch.tensor(numbers, dtype=torch.int64),
        system=torch.zeros(len(numbers), dtype=torch.int64),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        fixed=torch.zeros(len(numbers), dtype=torch.bool),
    )
    return batch.to(device)


def _build(kernel: str, model: Any, head: int) -> Kernel:
    if kernel == "fast":
        return FastMace(model, head)
    if kernel == "compiled":
        return Compiled(model, head)
    return Reference(_on_cuequivariance(model), head)


def _on_cuequivariance(model: Any) -> Any:
    """Return the model on cuEquivariance's kernels.

    Raises:
        AtomsimError: if they are not installed, or there is no CUDA device.
    """
    if find_spec("cuequivariance_torch") is None:
        raise AtomsimError("cuEquivariance is not installed (pip install cuequivariance-torch)")
    device = model.r_max.device
    if device.type != "cuda":
        raise AtomsimError(f"cuEquivariance needs a CUDA device, this model is on {device}")
    from mace.cli.convert_e3nn_cueq import run

    before = torch.get_default_dtype()
    try:  # the converter builds a model with random weights, and changes the default precision
        with torch.random.fork_rng(devices=[]):
            converted = run(copy.deepcopy(model), device=device.type, return_model=True)
    finally:
        torch.set_default_dtype(before)
    return converted.to(device).eval().requires_grad_(False)
