"""Further potentials on oxygen vacancies and release (``check_with`` of an ``oxygen`` step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atomsim.errors import AtomsimError
from atomsim.models.shared import Shared
from atomsim.registry.cards import from_folder
from atomsim.tasks.barriers_checks import further_potential
from atomsim.tasks.relax_checks import second_opinions

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.models.interface import EnergyModel
    from atomsim.relaxation import Relaxation, RelaxSettings
    from atomsim.tasks.base import Context


@dataclass(frozen=True)
class Judges:
    """Further potentials of a step, asked for what the first one has relaxed."""

    names: Sequence[str]
    again: bool
    """Relax again by each."""
    potential: EnergyModel
    """The first."""
    context: Context
    shared: Shared | None

    def on(self, found: Relaxation, how: RelaxSettings) -> dict[str, Any]:
        """Return keys of a record: energies of a relaxed cell by each."""
        return second_opinions(found, self.names, how if self.again else None, self.potential, self.context)

    def on_vacancy(self, intact: Relaxation, found: Relaxation, how: RelaxSettings) -> dict[str, Any]:
        """Return keys of a record: energies of a vacancy by each, without the gas, against its own intact cell."""
        if not self.names or not found.converged:
            return {}
        what = ("opinions", tuple(self.names), self.again, repr(how), intact.atoms.positions.tobytes())
        before = (self.shared or Shared()).get(self.potential, what, lambda: self.on(intact, how))
        after = self.on(found, how)
        checked = {
            name: {
                "relaxed_without_gas_eV": entry["energy_eV"] - before["checked_with"][name]["energy_eV"],
                "force_rms_eV_per_A": entry["force_rms_eV_per_A"],
            }
            for name, entry in after["checked_with"].items()
            if name in before["checked_with"]
        }
        failed = before.get("checks_failed", {}) | after.get("checks_failed", {})
        return {"checked_with": checked} | ({"checks_failed": failed} if failed else {})

    def on_oxygen(self, atoms: Atoms) -> dict[str, Any]:
        """Return keys of a record: each potential's own O2, relaxed by itself."""
        from atomsim.models.interface import device_of
        from atomsim.oxygen.vacancies import as_molecule, relaxed_oxygen

        checked, failed = {}, {}
        for name in self.names:
            try:
                word = from_folder(name, self.context.base_dir)
                other = further_potential(word, str(device_of(self.potential)), self.context.trust_file)
                molecule = as_molecule(relaxed_oxygen(other, atoms))
            except AtomsimError as error:
                failed[name] = str(error)
                continue
            checked[name] = {"energy_eV": molecule.energy_eV, "bond_A": molecule.bond_A}
        return ({"checked_with": checked} if checked else {}) | ({"checks_failed": failed} if failed else {})
