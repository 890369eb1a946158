"""Both ways between ASE and atomsim: any calculator as a potential, any potential as a calculator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, PropertyNotImplementedError, all_changes
from ase.data import atomic_numbers
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError, nearest
from atomsim.models.identity import identity_or_name
from atomsim.models.interface import Potential, refuse_unknown_elements
from atomsim.registry.cards import ALL_ELEMENTS


class AsePotential:
    """An ASE calculator behind the ``Potential`` protocol; serial, on the CPU, in float64.

    The stress is zero where the calculator has none or there is no full cell. Forces are the
    calculator's own: constraints are the optimizer's business.
    """

    def __init__(
        self,
        calculator: BaseCalculator,
        elements: Iterable[int | str] | None = None,
        cutoff: float = 0.0,
        *,
        name: str = "",
        sha256: str = "",
    ) -> None:
        """Wrap a calculator.

        It is identified by all numbers that can be reached from it. One that cannot be, such as a program outside, has
        the identity of the name that it is given here; without one it computes, and no records are made of it.

        Args:
            calculator: anything that gives ``energy`` and ``forces``.
            elements: atomic numbers or symbols that it was made for; all if not given.
            cutoff: its interaction range, Å, where known.
            name: for records; the calculator's class name if not given.
            sha256: identity for records; a hash of its content, or else of its name, if not given.

        Raises:
            InputError: if it gives no energy or no forces, or an element is not one.
        """
        lacking = [p for p in ("energy", "forces") if p not in calculator.implemented_properties]
        if lacking:
            kind = type(calculator).__name__
            raise InputError(f"{kind} gives no {' and no '.join(lacking)}; choose a calculator that does")
        self.calculator = calculator
        self.name = name or f"ase-{type(calculator).__name__}"
        self.sha256, self.why_unidentified = (sha256, "") if sha256 else identity_or_name(calculator, name)
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        self.cutoff = cutoff
        self.elements = ALL_ELEMENTS if elements is None else frozenset(_number(e) for e in elements)

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate the systems one by one.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        with _default_dtype_kept():
            return Evaluation.join([self._evaluate(atoms) for atoms in batch.split()])

    def _evaluate(self, atoms: Atoms) -> Evaluation:
        calculator = self.calculator
        magmoms = self._optional("magmoms", atoms)
        energies = self._optional("energies", atoms)
        return Evaluation(
            energy=torch.tensor([float(calculator.get_property("energy", atoms))], dtype=torch.float64),
            forces=_tensor(calculator.get_property("forces", atoms)).reshape(-1, 3),
            stress=_tensor(self._stress(atoms)),
            magmoms=None if magmoms is None else _tensor(magmoms),
            energies=None if energies is None else _tensor(energies),
        )

    def _stress(self, atoms: Atoms) -> np.ndarray:
        stress = self._optional("stress", atoms) if atoms.cell.rank == 3 else None
        if stress is None:
            return np.zeros((1, 3, 3))
        full = np.asarray(stress) if np.shape(stress) == (3, 3) else voigt_6_to_full_3x3_stress(stress)
        return full[None]

    def _optional(self, quantity: str, atoms: Atoms) -> np.ndarray | None:
        if quantity not in self.calculator.implemented_properties:
            return None
        try:
            found: np.ndarray | None = self.calculator.get_property(quantity, atoms)
        except PropertyNotImplementedError:
            return None
        return found


@contextmanager
def _default_dtype_kept() -> Iterator[None]:
    """Undo what some calculators do to torch's default dtype (MACE's sets it, for one)."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _tensor(values: np.ndarray) -> torch.Tensor:
    # A copy: calculators hand out their own result arrays.
    return torch.tensor(np.asarray(values, dtype=np.float64))


def _number(element: int | str) -> int:
    number = atomic_numbers.get(element, 0) if isinstance(element, str) else int(element)
    if number not in ALL_ELEMENTS:
        hint = nearest(str(element), atomic_numbers)
        raise InputError(f"{element!r} is not an element;{hint} wanted a chemical symbol or an atomic number 1–118")
    return number


class PotentialCalculator(Calculator):
    """Any ``Potential`` as an ASE calculator, for what ASE does and atomsim does not.

    Name and hash of the potential are in ``parameters``, which reach extended XYZ and ``ase.db``.

    Args:
        potential: what to ask.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "magmoms", "energies"]  # noqa: RUF012 (ASE's)

    def __init__(self, potential: Potential) -> None:
        super().__init__(
            name=potential.name, sha256=potential.sha256, dtype=str(potential.dtype).removeprefix("torch.")
        )
        self.potential = potential

    def copy(self) -> PotentialCalculator:
        """Return another calculator of the same potential, which is shared: one for each image of a band."""
        return PotentialCalculator(self.potential)

    def __deepcopy__(self, memo: dict[int, object]) -> PotentialCalculator:
        del memo
        return self.copy()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate one structure; all properties come from one evaluation."""
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        plain = atoms.copy()
        plain.set_constraint()
        evaluation = self.potential(Batch.pack([plain], self.potential.device))
        energy = float(evaluation.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": evaluation.forces.cpu().numpy(),
            "stress": full_3x3_to_voigt_6_stress(evaluation.stress[0].cpu().numpy()),
        }
        if evaluation.magmoms is not None:
            self.results["magmoms"] = evaluation.magmoms.cpu().numpy()
        if evaluation.energies is not None:
            self.results["energies"] = evaluation.energies.cpu().numpy()
