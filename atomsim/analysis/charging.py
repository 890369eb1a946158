"""Charging of a glass: distortion, O–O lengths and voltages against x, with their scatter over removals and glasses.

A glass has no lowest ordering that a search could find: ions are removed at random, several times at each x, from
several glasses, and the result at an x is a mean with its scatter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.analysis.coordination import RADII, SHELL_CUTOFF, anions_of, metal_shell
from atomsim.analysis.hull import SAME_X
from atomsim.analysis.oxygen import between_units, oxygen_pairs
from atomsim.analysis.polyhedra import angles, bonds
from atomsim.analysis.voltage import average_voltage
from atomsim.structures.charges import redox_metals

OCTAHEDRON = 6
CIS = 12
"""Angles of 90° in an octahedron; the three others are of 180°."""
OO = ("O2", "superoxide", "peroxide", "peroxo-like")
"""Species by length that are no lattice oxygen."""


@dataclass(frozen=True)
class Spread:
    """Mean over structures, with their scatter."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None for one structure."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """Return the spread of the values that there are; None without any."""
        known = [float(v) for v in values if v is not None and np.isfinite(v)]
        if not known:
            return None
        return cls(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Polyhedra:
    """Shells of anions around one metal, averaged over its atoms."""

    coordination: float
    mean_length_A: float | None
    distortion: float | None
    """Bond-length distortion index, Baur 1974, Acta Cryst. B 30, 1195, Eq. 2."""
    octahedra: float
    """Part of the atoms with six anions."""
    angle_variance_deg2: float | None
    """Mean octahedral angle variance, Robinson, Gibbs & Ribbe 1971, Science 172, 567; of the six-fold atoms alone."""


@dataclass(frozen=True)
class ChargedStructure:
    """One relaxed structure: its energy, metal polyhedra and O–O pairs."""

    label: str
    x: float
    """Ions per formula unit of the host."""
    energy_per_fu_eV: float
    metals: dict[str, Polyhedra]
    shortest_OO_A: float | None
    """Shortest of those that are no edge of one polyanion."""
    OO_per_fu: dict[str, float]
    """Pairs shorter than those of lattice oxygen by species, per formula unit."""


@dataclass(frozen=True)
class ChargeState:
    """Structures of one x."""

    x: float
    removed: float
    """Part of the ions that has left."""
    structures: int
    energy_per_fu_eV: Spread
    metals: dict[str, dict[str, Spread]]
    """By metal: each quantity of ``Polyhedra``."""
    shortest_OO_A: float | None
    """Shortest of all."""
    OO_per_fu: dict[str, float]
    """Mean number of pairs by species."""


@dataclass(frozen=True)
class ScatteredVoltage:
    """Average voltage between two x of one glass."""

    x_high: float
    x_low: float
    lowest_V: float
    """Between the lowest energies at both x."""
    mean_V: float
    """Between the mean energies."""
    scatter_V: float | None
    """Standard deviation over pairs of independent removals; None where neither x has two structures."""


def polyhedra(atoms: Atoms, metal: str) -> Polyhedra:
    """Measure the shells of one metal, with the cut-offs of ``coordination``."""
    anions = anions_of(atoms)
    if not anions:
        return Polyhedra(0.0, None, None, 0.0, None)
    shell = metal_shell(atoms, metal, anions)
    found = bonds(atoms, metal, anions, {a: SHELL_CUTOFF + RADII[a] - RADII["O"] for a in anions})
    variances = []
    centres, counts = np.unique(found.centre, return_counts=True)
    for centre in centres[counts == OCTAHEDRON]:
        own = found.centre == centre
        one = type(found)(*(getattr(found, k)[own] for k in ("centre", "anion", "vector", "length", "shift")))
        cis = np.sort(angles(one))[:CIS]
        variances.append(float(((cis - 90.0) ** 2).sum() / (CIS - 1)))
    known = bool(shell.lengths)
    return Polyhedra(
        coordination=shell.coordination,
        mean_length_A=shell.mean_length if known else None,
        distortion=shell.distortion if known else None,
        octahedra=len(variances) / max(shell.n_atoms, 1),
        angle_variance_deg2=float(np.mean(variances)) if variances else None,
    )


def charged_structure(label: str, atoms: Atoms, x: float, host_units: float, energy_eV: float) -> ChargedStructure:
    """Measure one relaxed structure.

    Args:
        label: for a person.
        atoms: the structure.
        x: ions per formula unit of the host.
        host_units: formula units in the cell.
        energy_eV: of the cell.
    """
    pairs = between_units(atoms, oxygen_pairs(atoms))
    counts = pairs.counts()
    return ChargedStructure(
        label,
        x,
        energy_eV / host_units,
        {metal: polyhedra(atoms, metal) for metal in redox_metals(atoms)},
        pairs.shortest,
        {name: counts[name] / host_units for name in OO},
    )


def charge_states(structures: Sequence[ChargedStructure], x_max: float) -> list[ChargeState]:
    """Return means and scatter at each x, ion-rich first; structures may be of several glasses.

    Args:
        structures: of one host.
        x_max: ions per formula unit when full.
    """
    return [_state(same, x_max) for same in _by_x(structures)]


def _by_x(structures: Sequence[ChargedStructure]) -> list[list[ChargedStructure]]:
    groups: list[list[ChargedStructure]] = []
    for one in sorted(structures, key=lambda s: -s.x):
        if groups and abs(groups[-1][0].x - one.x) < SAME_X:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _state(same: Sequence[ChargedStructure], x_max: float) -> ChargeState:
    metals: dict[str, dict[str, Spread]] = {}
    for metal in dict.fromkeys(m for s in same for m in s.metals):
        shells = [asdict(s.metals[metal]) for s in same if metal in s.metals]
        spreads = {key: Spread.of([shell[key] for shell in shells]) for key in shells[0]}
        metals[metal] = {key: spread for key, spread in spreads.items() if spread is not None}
    energy = Spread.of([s.energy_per_fu_eV for s in same])
    assert energy is not None
    lengths = [s.shortest_OO_A for s in same if s.shortest_OO_A is not None]
    return ChargeState(
        x=same[0].x,
        removed=1.0 - same[0].x / x_max,
        structures=len(same),
        energy_per_fu_eV=energy,
        metals=metals,
        shortest_OO_A=min(lengths) if lengths else None,
        OO_per_fu={name: float(np.mean([s.OO_per_fu.get(name, 0.0) for s in same])) for name in OO},
    )


def charge_voltages(
    structures: Sequence[ChargedStructure], ion_energy_eV: float, charge: int = 1
) -> list[ScatteredVoltage]:
    """Return the average voltages between neighbouring x of one glass, ion-rich first, with their scatter.

    Args:
        structures: of one glass: energies of several share no zero but by chance.
        ion_energy_eV: energy of the ion's metal, eV per atom, from the same potential.
        charge: of the ion, e.
    """
    found = []
    for rich, poor in pairwise(_by_x(structures)):
        high, low = ([s.energy_per_fu_eV for s in same] for same in (rich, poor))
        x_high, x_low = rich[0].x, poor[0].x
        # removals at two x are independent: variances of their energies add
        variances = [float(np.var(e, ddof=1)) for e in (high, low) if len(e) > 1]
        scatter = float(np.sqrt(sum(variances))) / (charge * (x_high - x_low)) if variances else None
        lowest = average_voltage(x_high, min(high), x_low, min(low), ion_energy_eV, charge)
        mean = average_voltage(x_high, float(np.mean(high)), x_low, float(np.mean(low)), ion_energy_eV, charge)
        found.append(ScatteredVoltage(x_high, x_low, lowest, mean, scatter))
    return found


def charged_from(content: Mapping[str, Any]) -> ChargedStructure:
    """Rebuild a structure from the JSON that ``asdict`` gave."""
    metals = {m: Polyhedra(**shell) for m, shell in content["metals"].items()}
    return ChargedStructure(**{**content, "metals": metals})
