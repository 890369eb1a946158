"""Independent systems, concatenated: the one state that everything else passes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from atomsim.batch.scoped import PER_ATOM, PER_SYSTEM, join_scoped, take_scoped, to_host
from atomsim.constraints.projectors import free_projectors
from atomsim.constraints.rules import as_constraints, read_constraints
from atomsim.errors import InputError


class Known(NamedTuple):
    """Facts that do not change while a batch moves, kept on the host."""

    sizes: NDArray[np.int64]
    """Atoms in each system, (n_systems,)."""
    numbers: NDArray[np.int64]
    """Atomic numbers, (n_atoms,)."""
    periodic: NDArray[np.bool_]
    """Periodic in three dimensions, (n_systems,)."""
    fixed: NDArray[np.bool_]
    """Atoms that nothing may move, (n_atoms,)."""


@dataclass(frozen=True)
class Batch:
    """Independent atomic systems, one after another.

    The scope of a field (per atom or per system) is declared on the field; nothing is
    inferred from a length. Geometry is always float64: a potential casts interatomic
    vectors, never positions, to its own precision.
    """

    positions: Tensor = field(metadata=PER_ATOM)
    """Cartesian positions, Å, (n_atoms, 3), float64. Not wrapped."""
    cell: Tensor = field(metadata=PER_SYSTEM)
    """Lattice vectors as rows, Å, (n_systems, 3, 3), float64. Zero rows where not periodic."""
    numbers: Tensor = field(metadata=PER_ATOM)
    """Atomic numbers, (n_atoms,), int64."""
    system: Tensor = field(metadata=PER_ATOM)
    """System that each atom belongs to, (n_atoms,), int64, never decreasing."""
    pbc: Tensor = field(metadata=PER_SYSTEM)
    """Periodic along each lattice vector, (n_systems, 3), bool."""
    fixed: Tensor = field(metadata=PER_ATOM)
    """Atoms that nothing may move, (n_atoms,), bool."""
    rule: Tensor | None = field(default=None, metadata=PER_ATOM)
    """Constraints that leave some directions free: ``Kind`` and mask or direction of each atom, (n_atoms, 4), float64
    (see ``constraints.read_constraints``); None where there is none but fixed atoms."""

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return self.cell.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all systems together."""
        return self.positions.shape[0]

    @property
    def device(self) -> torch.device:
        """Where all tensors of this batch live."""
        return self.positions.device

    @cached_property
    def counts(self) -> Tensor:
        """Atoms in each system, (n_systems,), int64."""
        return torch.tensor(self.sizes, dtype=torch.int64, device=self.device)

    @cached_property
    def known(self) -> Known:
        """Facts about the systems kept on the host, for which a device need not be asked."""
        system, numbers, pbc, fixed = to_host([self.system, self.numbers, self.pbc, self.fixed])
        sizes = np.bincount(system.numpy(), minlength=self.n_systems)
        return Known(sizes, numbers.numpy(), np.asarray(pbc.numpy().all(axis=1)), fixed.numpy())

    @cached_property
    def sizes(self) -> list[int]:
        """Atoms in each system, as Python integers."""
        result: list[int] = self.known.sizes.tolist()
        return result

    @cached_property
    def starts(self) -> Tensor:
        """Index of the first atom of each system, (n_systems,), int64."""
        return torch.cumsum(self.counts, 0) - self.counts

    @cached_property
    def volume(self) -> Tensor:
        """Volume of each cell, Å³, (n_systems,); 0 without a full cell."""
        result: Tensor = torch.linalg.det(self.cell).abs()
        return result

    @cached_property
    def free(self) -> Tensor:
        """Projectors onto the directions in which atoms may move, (n_atoms, 3, 3)."""
        rule = self.positions.new_zeros(self.n_atoms, 4) if self.rule is None else self.rule
        return free_projectors(self.fixed, rule, self.cell[self.system])

    def free_part(self, vectors: Tensor) -> Tensor:
        """Project vectors on atoms, (n_atoms, 3), onto the directions in which these may move."""
        if self.rule is None:
            return vectors.masked_fill(self.fixed[:, None], 0.0) if self.known.fixed.any() else vectors
        return torch.einsum("aij,aj->ai", self.free, vectors)

    @property
    def n_free(self) -> Tensor:
        """Directions in which each atom may move, (n_atoms,), float64."""
        if self.rule is None:
            return 3.0 * (~self.fixed).to(torch.float64)
        return self.free.diagonal(dim1=1, dim2=2).sum(dim=1).round()

    @property
    def free_shifts(self) -> Tensor:
        """Orthonormal directions along which each system may be shifted as a whole, or zeros, (n_systems, 3, 3)."""
        if self.rule is None:
            return self.loose
        eye = torch.eye(3, dtype=torch.float64, device=self.device)
        blocked = self.cell.new_zeros(self.n_systems, 3, 3).index_add_(0, self.system, eye - self.free)
        values, vectors = torch.linalg.eigh(blocked)
        return torch.where(values[:, None] < 1e-9, vectors, 0.0).mT

    @cached_property
    def loose(self) -> Tensor:
        """Unit matrix for each system in which no atom is fixed, zeros for the others, (n_systems, 3, 3)."""
        fixed = self.cell.new_zeros(self.n_systems).index_add_(0, self.system, self.fixed.to(torch.float64))
        eye = torch.eye(3, dtype=torch.float64, device=self.device)
        return torch.where(fixed[:, None, None] > 0.0, 0.0, eye)

    @classmethod
    def pack(cls, systems: Sequence[Atoms], device: torch.device | str = "cpu") -> Self:
        """Concatenate ASE Atoms into one batch.

        Constraints on single atoms are taken along (see ``constraints``).

        Raises:
            InputError: if there is no system, or one without atoms, or with a constraint
                that is not on single atoms.
        """
        if not systems:
            raise InputError("nothing to pack: found 0 systems, wanted at least one")
        for n, atoms in enumerate(systems):
            if len(atoms) == 0:
                raise InputError(f"system {n} is empty: found 0 atoms, wanted at least one")
        as_tensor = torch.as_tensor
        fixed, found = zip(*(read_constraints(a) for a in systems), strict=True)
        rules = [None if r is None else as_tensor(r).to(device) for r in found]
        sizes = [len(a) for a in systems]
        numbers = np.concatenate([a.numbers for a in systems]).astype(np.int64)
        packed = cls(
            positions=as_tensor(np.concatenate([a.get_positions() for a in systems])).to(device),
            cell=as_tensor(np.stack([a.cell.array for a in systems])).to(device),
            numbers=as_tensor(numbers).to(device),
            system=_owners(sizes, device),
            pbc=as_tensor(np.stack([a.pbc for a in systems])).to(device),
            fixed=as_tensor(np.concatenate(fixed)).to(device),
            rule=_joined_rules(rules, sizes),
        )
        periodic = np.array([a.pbc.all() for a in systems])
        return packed.knowing(Known(np.array(sizes), numbers, periodic, np.concatenate(fixed)))

    def split(self) -> list[Atoms]:
        """Return each system as ASE Atoms, with constraints of the kinds that were packed."""
        systems = []
        for n, (start, size) in enumerate(zip(self.starts.tolist(), self.sizes, strict=True)):
            span = slice(start, start + size)
            atoms = Atoms(
                numbers=self.numbers[span].cpu().numpy(),
                positions=self.positions[span].cpu().numpy(),
                cell=self.cell[n].cpu().numpy(),
                pbc=self.pbc[n].cpu().numpy(),
            )
            rule = None if self.rule is None else self.rule[span].cpu().numpy()
            atoms.set_constraint(as_constraints(self.fixed[span].cpu().numpy(), rule))
            systems.append(atoms)
        return systems

    def atoms_of(self, systems: Sequence[int] | Tensor) -> Tensor:
        """Indices of the atoms of these systems, in the order of ``systems``."""
        return torch.from_numpy(self._atoms_of(order_of(systems))).to(self.device)

    def _atoms_of(self, order: list[int]) -> NDArray[np.int64]:
        ends = np.cumsum([0, *self.sizes])
        return np.concatenate([np.arange(ends[k], ends[k + 1]) for k in order] or [np.zeros(0, dtype=np.int64)])

    def take(self, systems: Sequence[int] | Tensor) -> Self:
        """Return the given systems, in the given order, as a new batch."""
        order = order_of(systems)
        atoms = self._atoms_of(order)
        known = Known(
            self.known.sizes[order], self.known.numbers[atoms], self.known.periodic[order], self.known.fixed[atoms]
        )
        index = torch.tensor(order, dtype=torch.int64, device=self.device)
        taken = take_scoped(self, torch.from_numpy(atoms).to(self.device), index)
        return replace(taken, system=_owners(known.sizes, self.device)).knowing(known)

    def moved(self, positions: Tensor, cell: Tensor | None = None) -> Self:
        """Return the same systems elsewhere; what the host knows of them it need not ask the device again."""
        other = replace(self, positions=positions, cell=self.cell if cell is None else cell)
        kept = ("known", "sizes", "counts", "starts", "loose")
        other.__dict__.update({name: self.__dict__[name] for name in kept if name in self.__dict__})
        return other

    @classmethod
    def join(cls, batches: Sequence[Self]) -> Self:
        """Concatenate batches, systems renumbered in order."""
        rule = _joined_rules([b.rule for b in batches], [b.n_atoms for b in batches])
        joined = replace(join_scoped(batches), rule=rule)
        known = Known(*(np.concatenate(parts) for parts in zip(*(b.known for b in batches), strict=True)))
        return replace(joined, system=_owners(known.sizes, joined.device)).knowing(known)

    def to(self, device: torch.device | str) -> Self:
        """Return this batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        names = [name for name, value in values.items() if value is not None]
        found = to_host([values[n] for n in names]) if torch.device(device).type == "cpu" else None
        moved = found or [values[n].to(device) for n in names]
        return replace(self, **dict(zip(names, moved, strict=True))).knowing(self.known)

    def knowing(self, known: Known) -> Self:
        """Note what the host knows."""
        self.__dict__["known"] = known
        return self


def _joined_rules(rules: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor | None:
    """Concatenate rules, zeros where there is none; None where no atom has one."""
    some = next((r for r in rules if r is not None), None)
    if some is None:
        return None
    return torch.cat([some.new_zeros(n, 4) if r is None else r for r, n in zip(rules, sizes, strict=True)])


def order_of(systems: Sequence[int] | Tensor) -> list[int]:
    """Return numbers of systems as a list on the host."""
    return systems.tolist() if isinstance(systems, Tensor) else [int(k) for k in systems]


def _owners(sizes: Sequence[int] | NDArray[np.int64], device: torch.device | str) -> Tensor:
    """System of each atom, (n_atoms,), int64."""
    return torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
