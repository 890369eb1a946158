"""Scans of a pair's length, relaxed at every point with the length kept exactly: in, and out again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.constraints import FixedDistance, FixedDistances
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.entering import Group
from atomsim.optimize.newton import Newton
from atomsim.optimize.noise import seeded_noise
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess
from atomsim.optimize.stop import Stop
from atomsim.oxygen.settings import DimerSettings
from atomsim.structures.pairs import BOND_A, MOBILE, Pair
from atomsim.types import FloatArray

POINT_STEPS = 60
"""Steps at one length; what has not converged then continues to the next and is marked."""
ELSEWHERE_EV = 0.15
"""A scan whose way out ends this far from the intact cell has gone to another minimum, eV."""
HOME_A = 0.35
"""Points this near to the start's length and no higher belong to the intact cell, Å."""
JUMP_A = 0.4
"""Where another atom goes further between two points, the scan has fallen into another valley, Å."""
BRIDGE_IMAGES = 5


@dataclass(frozen=True, eq=False)
class ScanPoint:
    """One length of a scan."""

    length_A: float
    inward: bool
    """The pair is being pushed together; else it is let apart again."""
    energy_eV: float
    """Above the intact cell, eV."""
    mean_force_eV_per_A: float
    """dE/dL; negative where the pair is pushed apart."""
    converged: bool
    atoms: Atoms = field(repr=False)
    magmoms: FloatArray | None = field(repr=False)
    """μB, (n_atoms,), or None."""
    metal_bonds: tuple[int, int]
    """Metal neighbors of each of the two atoms within 2.6 Å."""
    shortest_metal_A: float
    """Shortest bond of the two to a metal, Å; infinite without one."""
    jump_A: float
    """Longest way that another atom went since the point before, Å."""
    squeezed_eV: float
    """Energy above the intact cell before anything else had followed the pair, eV."""
    force_calls: int

    @property
    def name(self) -> str:
        """``in 1.32 Å``."""
        return f"{'in' if self.inward else 'out'} {self.length_A:.2f} Å"


@dataclass(frozen=True)
class Scan:
    """A pair to be driven, and the intact cell that it is counted from."""

    key: Hashable
    atoms: Atoms
    """The intact cell, relaxed."""
    energy_eV: float
    pair: Pair
    hessian: Tensor | None = None


def lengths(start: float, target: float, points: int) -> list[float]:
    """Lengths of a scan in both directions, the start left out on the way in and the target on the way out."""
    inward = np.linspace(start, target, points + 1)[1:]
    return [float(x) for x in (*inward, *inward[-2::-1])]


def run_scans(
    scans: Sequence[Scan], potential: EnergyModel, settings: DimerSettings, capacity: Capacity
) -> dict[Hashable, list[ScanPoint]]:
    """Drive all pairs in step: one length of every scan is relaxed in one batch, then the next."""
    device = device_of(potential)
    plans = {s.key: lengths(s.pair.length_A, settings.target_A, settings.points) for s in scans}
    by_key = {s.key: s for s in scans}
    points: dict[Hashable, list[ScanPoint]] = {s.key: [] for s in scans}
    groups = {s.key: _start(s, settings, device) for s in scans}
    stop = Stop(fmax=settings.scan_fmax_eV_per_A, max_steps=POINT_STEPS, exploded_force=1e3)
    for n in range(2 * settings.points - 1):
        held = FixedDistances({key: _held(by_key[key].pair, plans[key][n]) for key in groups})
        now = list(groups.values())
        found = drive(now, potential, Newton(), Space(), stop, capacity, project=held, settle=held.settle)
        groups = {}
        for outcome in found:
            scan = by_key[outcome.key]
            if outcome.status not in ("converged", "max_steps"):
                continue  # what comes apart here has no point to continue from
            before = points[scan.key][-1].atoms if points[scan.key] else scan.atoms
            inward = n < settings.points
            points[scan.key].append(_point(scan, outcome, plans[scan.key][n], inward, held, before))
            groups[scan.key] = Group(scan.key, outcome.batch, outcome.inverse_hessian)
    return points


def _held(pair: Pair, length: float) -> FixedDistance:
    return FixedDistance(pair.first, pair.second, pair.shift, length)


def _start(scan: Scan, settings: DimerSettings, device: torch.device) -> Group:
    """The intact cell with noise, and a model of its springs."""
    atoms = scan.atoms.copy()
    atoms.calc = None
    guess = spring_guess(Batch.pack([atoms]), Space())
    atoms.positions += settings.noise_A * seeded_noise(atoms, settings.seed, "start")
    return Group(scan.key, Batch.pack([atoms], device), guess.to(device))


def _point(scan: Scan, outcome: Outcome, length: float, inward: bool, held: FixedDistances, before: Atoms) -> ScanPoint:
    (moved,) = outcome.batch.to("cpu").split()
    atoms = scan.atoms.copy()
    atoms.calc = None
    atoms.positions = moved.positions
    evaluation = outcome.evaluation
    bonds, shortest = metal_bonds(atoms, scan.pair.first, scan.pair.second)
    others = np.setdiff1d(np.arange(len(atoms)), [scan.pair.first, scan.pair.second])
    way = np.linalg.norm(atoms.positions - before.positions, axis=1)[others]
    return ScanPoint(
        length_A=length,
        inward=inward,
        energy_eV=float(evaluation.energy[0]) - scan.energy_eV,
        mean_force_eV_per_A=held.mean_force[scan.key],
        converged=outcome.status == "converged",
        atoms=atoms,
        magmoms=None if evaluation.magmoms is None else evaluation.magmoms.cpu().numpy(),
        metal_bonds=bonds,
        shortest_metal_A=shortest,
        jump_A=float(way.max(initial=0.0)),
        squeezed_eV=outcome.first_energy - scan.energy_eV,
        force_calls=outcome.force_calls,
    )


def metal_bonds(atoms: Atoms, first: int, second: int) -> tuple[tuple[int, int], float]:
    """Metals within 2.6 Å of each of two atoms, and the shortest of these bonds, Å."""
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    i, j, d = neighbor_list("ijd", plain, BOND_A)
    symbols = np.array(atoms.get_chemical_symbols())
    metal = ~np.isin(symbols[j], [*MOBILE, symbols[first]])
    counts = tuple(int(((i == n) & metal).sum()) for n in (first, second))
    of_both = d[metal & np.isin(i, [first, second])]
    return (counts[0], counts[1]), float(of_both.min()) if len(of_both) else float("inf")


def release_points(points: Sequence[ScanPoint], start_A: float) -> list[ScanPoint]:
    """Points of a scan that lie next to a minimum of its profile, those of both directions once.

    Between two neighbors the profile is the cubic through both energies and both mean forces. Where it has a
    minimum the lower of the two is released; so is the shortest point, where the pair still pulls together, and the
    last one, where the way out has ended elsewhere than the way in began.
    """
    chosen: list[ScanPoint] = []
    for part in (inward_part(points), [p for p in points if not p.inward]):
        for a, b in pairwise(part):
            if _dips(a, b):
                chosen.append(min(a, b, key=lambda p: p.energy_eV))
    shortest = min(points, key=lambda p: p.length_A, default=None)
    if shortest is not None and shortest.mean_force_eV_per_A > 0:
        chosen.append(shortest)
    if points and not points[-1].inward and abs(points[-1].energy_eV) > ELSEWHERE_EV:
        chosen.append(points[-1])
    kept: list[ScanPoint] = []
    for p in chosen:
        home = p.length_A > start_A - HOME_A and abs(p.energy_eV) < ELSEWHERE_EV
        if not home and not any(_alike(p, k) for k in kept):
            kept.append(p)
    return kept


def inward_part(points: Sequence[ScanPoint]) -> list[ScanPoint]:
    """The way in."""
    return [p for p in points if p.inward]


def _alike(a: ScanPoint, b: ScanPoint) -> bool:
    near = abs(a.length_A - b.length_A) < 0.2 and abs(a.energy_eV - b.energy_eV) < 0.1
    return near and a.metal_bonds == b.metal_bonds


def _dips(a: ScanPoint, b: ScanPoint) -> bool:
    """True if the cubic through two points has a minimum between them, ends included."""
    if a.length_A > b.length_A:
        a, b = b, a
    width = b.length_A - a.length_A
    t = np.linspace(0, 1, 101)
    slope = _cubic_slope(a, b, width, t)
    return bool(((slope[:-1] <= 0) & (slope[1:] > 0)).any())


def _cubic_slope(a: ScanPoint, b: ScanPoint, width: float, t: FloatArray) -> FloatArray:
    """dE/dL of the cubic Hermite polynomial through two points at fractions t of the way."""
    rise = (b.energy_eV - a.energy_eV) / width
    left, right = a.mean_force_eV_per_A, b.mean_force_eV_per_A
    return np.asarray(6 * t * (1 - t) * rise + (1 - t) * (1 - 3 * t) * left + t * (3 * t - 2) * right)


def bound(points: Sequence[ScanPoint], bridges: Mapping[int, float]) -> float:
    """Highest energy on the way along a profile, between its points too, eV above the intact cell.

    Where other atoms jump there is no profile between two points. One way across is to push the pair while nothing
    follows and to let the others relax, downhill; another is the straight line: the lower of the two counts.
    """
    top = max((p.energy_eV for p in points), default=float("nan"))
    t = np.linspace(0, 1, 101)
    for n, (a, b) in enumerate(pairwise(points), 1):
        if b.jump_A > JUMP_A:
            top = max(top, min(b.squeezed_eV, bridges.get(n, np.inf)))
            continue
        width = b.length_A - a.length_A
        slope = _cubic_slope(a, b, width, t)
        climb = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1])) * width / 100])
        top = max(top, float((a.energy_eV + climb).max()))
    return top


def bridge(scan: Scan, points: Sequence[ScanPoint], potential: EnergyModel) -> dict[int, float]:
    """Highest energies on straight lines across the jumps of a scan, by the number of the later point.

    In eV above the intact cell; ``BRIDGE_IMAGES`` force calls each.
    """
    found: dict[int, float] = {}
    for n in range(1, len(points)):
        if points[n].jump_A <= JUMP_A:
            continue
        first, last = points[n - 1].atoms, points[n].atoms
        between = []
        for f in np.linspace(0, 1, BRIDGE_IMAGES + 2)[1:-1]:
            between.append(first.copy())
            between[-1].positions = first.positions + f * (last.positions - first.positions)
        found[n] = (
            max(float(evaluation.energy.max()) for _, evaluation in evaluate_all(between, potential)) - scan.energy_eV
        )
    return found
