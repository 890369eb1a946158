"""Phonons against phonopy with the same calculator: frequencies, free energy, calls and time.

    python -m benchmarks.phonons [--pairs 3] [--hosts Li2O LiCoO2] [--out phonons.json]

Phonopy as its users have it: its own displacements of the same supercell, chgnet's calculator called one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from atomsim.execution.machine import tune_process
from atomsim.models.interface import EnergyModel
from atomsim.models.load import load_potential
from atomsim.relaxation import RelaxSettings, relax
from atomsim.structures.prototypes import load_prototype
from atomsim.vibrations.phonons import ForceConstants, force_constants
from atomsim.vibrations.settings import PhononSettings
from benchmarks.chgnet import calculator
from benchmarks.paired import Row, arguments, paired, report

SETTINGS = PhononSettings(supercell_min_A=8.0, max_atoms=60)
MESH, AT_K, KJ_PER_EV = [8, 8, 8], 300.0, 96.4853321
STILL_THZ = 0.01
"""Acoustic modes at Γ are zero but for rounding, and ln of that is no free energy."""


@dataclass(frozen=True)
class Compared:
    """Differences of two sets of force constants of one cell."""

    frequency_THz: float
    free_energy_meV: float
    """Per atom, at 300 K."""


def by_phonopy(found: ForceConstants, peer: Any) -> Phonopy:
    """Force constants of the same supercell by phonopy and an ASE calculator."""
    primitive = found.primitive
    unit = PhonopyAtoms(primitive.symbols, cell=primitive.cell.array, scaled_positions=primitive.get_scaled_positions())
    phonon = Phonopy(unit, supercell_matrix=found.matrix.T, primitive_matrix="P")
    phonon.generate_displacements(distance=found.displacement_A)
    forces = []
    for cell in phonon.supercells_with_displacements:
        peer.calculate(Atoms(cell.symbols, cell.positions, cell=cell.cell, pbc=True))
        forces.append(peer.results["forces"])
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def compared(one: Phonopy, other: Phonopy) -> Compared:
    """Largest difference of frequencies on a mesh, and of the free energy."""
    frequencies, energies = [], []
    for phonon in (one, other):
        phonon.run_mesh(MESH, is_gamma_center=True)
        frequencies.append(np.asarray(phonon.mesh.frequencies))
        phonon.run_thermal_properties(temperatures=[AT_K], cutoff_frequency=STILL_THZ)
        energies.append(float(phonon.thermal_properties.free_energy[0]) / KJ_PER_EV / len(phonon.primitive))
    return Compared(float(np.abs(frequencies[0] - frequencies[1]).max()), 1000 * abs(energies[0] - energies[1]))


def one_host(name: str, potential: EnergyModel, peer: Any, pairs: int) -> Row:
    """Phonons of one relaxed crystal, both ways."""
    settings = RelaxSettings(fmax_eV_per_A=0.005, keep_symmetry=True)
    (host,) = relax([load_prototype(name).primitive], potential, settings=settings)
    found, _ = force_constants(host.atoms, potential, SETTINGS)
    reference = by_phonopy(found, peer)
    apart = compared(found.phonopy, reference)
    timed = paired(lambda _: by_phonopy(found, peer), lambda _: force_constants(host.atoms, potential, SETTINGS), pairs)
    cells = len(reference.supercells_with_displacements)
    atoms = len(reference.supercell)
    good = apart.frequency_THz < 0.05 and apart.free_energy_meV < 1.0 and timed.ratio >= 1.0
    detail = (
        f"{timed.detail()}; {apart.frequency_THz:.4f} THz, {apart.free_energy_meV:.4f} meV/atom apart; "
        f"calls: phonopy {cells}, ours {found.force_calls} (the perfect cell too), {atoms} atoms"
    )
    return Row(name, "phonons, chgnet-0.3.0, against phonopy with CHGNetCalculator", timed.ratio, "≥ 1", good, detail)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--hosts", nargs="+", default=["Li2O", "LiCoO2", "TiS2"])
    chosen = parser.parse_args()
    tune_process()
    potential, peer = load_potential("chgnet-0.3.0", "cpu"), calculator()
    report([one_host(name, potential, peer, chosen.pairs) for name in chosen.hosts], "Phonons", chosen.out)


if __name__ == "__main__":
    main()
