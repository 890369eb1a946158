"""Evaluated and relaxed structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.results import NAN, Result, Results
from atomsim.api.views import axes

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes


class Evaluation(Result):
    """Energy, forces and stress of one structure as it was given."""

    columns = ("energy_per_atom_eV", "fmax_eV_per_A", "pressure_GPa")

    @property
    def energy_eV(self) -> float:  # noqa: N802 - units are in names
        """Energy of the cell; NaN where there is none."""
        return self.value("energy_eV")

    @property
    def energy_per_atom_eV(self) -> float:  # noqa: N802
        """Energy per atom."""
        return self.value("energy_per_atom_eV")

    @property
    def forces_eV_per_A(self) -> np.ndarray:  # noqa: N802
        """Forces as the potential gives them, (n_atoms, 3)."""
        return self._array("forces", (len(self.atoms), 3))

    @property
    def stress_GPa(self) -> np.ndarray:  # noqa: N802
        """Stress, positive under tension, (3, 3)."""
        voigt = self.record.values.get("stress_GPa")
        if voigt is None:
            return np.full((3, 3), NAN)
        xx, yy, zz, yz, xz, xy = voigt
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    @property
    def magmoms_muB(self) -> np.ndarray | None:  # noqa: N802
        """Magnetic moments, (n_atoms,); None where the potential has none."""
        known = self.record.structure is not None and "magmoms" in self.record.structure["arrays"]
        return self._array("magmoms", (len(self.atoms),)) if known else None

    @property
    def fmax_eV_per_A(self) -> float:  # noqa: N802
        """Largest force on an atom that constraints leave free."""
        return self.value("fmax_eV_per_A")

    @property
    def unfamiliarity(self) -> float | None:
        """Distance from the potential's training: above 1, expect more than twice the errors of its card.

        None where the potential does not know what it learned from.
        """
        return self.record.values.get("unfamiliarity")

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        arrays = self.record.structure["arrays"] if self.record.structure else {}
        return np.asarray(arrays[name]) if name in arrays else np.full(shape, NAN)


class Relaxation(Evaluation):
    """A relaxed structure, or the last one of a relaxation that failed: ``status`` says which."""

    columns = ("energy_per_atom_eV", "fmax_eV_per_A", "steps")

    @property
    def initial_energy_eV(self) -> float:  # noqa: N802
        """Energy of the first geometry, noise included."""
        return self.value("initial_energy_eV")

    @property
    def lowest_curvature_eV_per_A2(self) -> float | None:  # noqa: N802
        """Curvature of the softest mode at the end; None where it was not looked for."""
        return self.record.values.get("lowest_curvature_eV_per_A2")

    @property
    def steps(self) -> int:
        """Steps of the optimizer."""
        return int(self.record.values.get("steps", 0))

    @property
    def volume_change_percent(self) -> float:
        """Change of the cell's volume from the given one; NaN where the number of atoms changed."""
        if self.given is None or len(self.given) != len(self.atoms) or self.given.cell.rank < 3:
            return NAN
        return 100 * float(self.atoms.cell.volume / self.given.cell.volume - 1)

    @property
    def displacement_A(self) -> float:  # noqa: N802
        """Root mean square displacement at equal fractional coordinates, its mean taken out."""
        from atomsim.analysis.agreement import displacement

        if self.given is None or len(self.given) != len(self.atoms):
            return NAN
        return displacement(self.given, self.atoms)

    def row(self) -> dict[str, Any]:
        """Return the row of a table."""
        found = super().row()
        moved = {"volume_change_percent": self.volume_change_percent, "displacement_A": self.displacement_A}
        return found | {key: value for key, value in moved.items() if np.isfinite(value)}

    def _facts(self) -> dict[str, Any]:
        def describe(atoms: Atoms) -> str:
            lengths = ", ".join(f"{x:.4f}" for x in atoms.cell.lengths())
            return f"{lengths} Å; {', '.join(f'{x:.2f}' for x in atoms.cell.angles())}°"

        cells = {} if self.given is None else {"cell before": describe(self.given)}
        return super()._facts() | cells | {"cell after": describe(self.atoms)}


class Evaluations(Results[Evaluation]):
    """Evaluations of many structures, in the order given."""


class Relaxations(Results[Relaxation]):
    """Relaxations of many structures, in the order given."""

    def plot(self, ax: Axes | None = None, *, column: str | None = None) -> Axes:
        """Draw energy per atom against the label, or against a column of the table; failed ones are left out.

        Args:
            ax: axes to draw on; new ones if not given.
            column: name of a numerical column, such as ``x``.

        Returns:
            The axes.
        """
        drawn, good = axes(ax), self.good
        energies = [r.energy_per_atom_eV for r in good]
        if column is None:
            drawn.plot(range(len(good)), energies, "o")
            drawn.set_xticks(range(len(good)), [r.label for r in good], rotation=90)
        else:
            drawn.plot([r.row().get(column, NAN) for r in good], energies, "o")
            drawn.set_xlabel(column)
        drawn.set_ylabel("energy, eV/atom")
        return drawn
