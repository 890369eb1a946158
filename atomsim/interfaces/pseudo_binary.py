"""Pseudo-binary reactions of two phases against their mixing ratio.

Zhu, He & Mo, J. Mater. Chem. A 2016, 4, 3253: the interface of two phases has the composition
C(x) = x C_A + (1 − x) C_B; the phases in equilibrium at C(x) are what it turns into. The mutual energy is that of the
equilibrium less those of the two phases' own decompositions, so that it is what the contact adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

import numpy as np

from atomsim.errors import InputError
from atomsim.interfaces.hull import Equilibrium, Hull, Phase
from atomsim.types import FloatArray

ON_HULL_EV = 1e-9
"""A supporting line touches the hull to this, eV per atom."""
SAME_X = 1e-7
"""Mixing ratios this near are one."""
UNSTABLE_EV = 1e-6
"""Own decomposition above this is said, eV per atom."""
LARGEST_FACTOR = 60
"""Largest whole number that an equation is multiplied by."""


@dataclass(frozen=True)
class Reactant:
    """One of the two phases in contact."""

    name: str
    composition: Mapping[str, float]
    """Atoms of each element in one formula unit."""
    energy_eV: float | None = None
    """Energy of the formula unit; None where only its composition is known."""


@dataclass(frozen=True)
class OwnDecomposition:
    """Decomposition of a phase by itself."""

    energy_eV_per_atom: float
    """Decomposition energy, negative where it lies above the hull; NaN where its energy is not known."""
    products: dict[str, float]
    """Formula units of each product from one of the phase."""


@dataclass(frozen=True)
class Kink:
    """A mixing ratio at which the products change, and the reaction there."""

    x: float
    """Atoms of A among all atoms of the two phases, 0 to 1."""
    ratio: float
    """Formula units of A among those of both."""
    mutual_eV_per_atom: float
    """Mutual reaction energy; per atom that is not exchanged where the system is open."""
    total_eV_per_atom: float
    """Reaction energy from the phases as they are; NaN where one's energy is not known."""
    products: dict[str, float]
    """Formula units of each product from one formula unit of both phases together."""
    exchanged: dict[str, float]
    """Atoms that the reservoir takes up (positive) or gives, of the same amount."""
    equation: str
    """Balanced."""


@dataclass(frozen=True)
class PseudoBinary:
    """Reactions of two phases in contact."""

    first: Reactant
    second: Reactant
    own_first: OwnDecomposition
    own_second: OwnDecomposition
    kinks: tuple[Kink, ...]
    """By ascending x, the pure phases included."""
    reservoir: dict[str, float] = field(default_factory=dict)
    """Chemical potentials of the elements that are exchanged, eV."""
    notes: tuple[str, ...] = ()
    """Facts that a reader must know."""

    @property
    def minimum(self) -> Kink:
        """The reaction of lowest mutual energy."""
        return min(self.kinks, key=lambda k: (k.mutual_eV_per_atom, k.x))

    @property
    def reacts(self) -> bool:
        """True where contact lowers the energy."""
        return self.minimum.mutual_eV_per_atom < -UNSTABLE_EV

    @property
    def equilibria(self) -> tuple[Kink, ...]:
        """Mixtures of both phases at which the products change: the kinks without the ends."""
        return tuple(k for k in self.kinks if SAME_X < k.x < 1 - SAME_X)


def pseudo_binary(
    first: Reactant, second: Reactant, phases: Sequence[Phase], reservoir: Mapping[str, float] | None = None
) -> PseudoBinary:
    """Return the reactions of two phases in contact against the mixing ratio.

    Args:
        first: phase A.
        second: phase B.
        phases: all phases that may form, of one potential; A and B themselves need not be among them.
        reservoir: chemical potentials of elements that are exchanged, eV: μLi = μLi⁰ − eφ at φ volts.

    Raises:
        InputError: if a phase consists of what is exchanged alone, or no mixture of the phases has its composition.
    """
    known = [Phase(r.name, r.composition, r.energy_eV) for r in (first, second) if r.energy_eV is not None]
    hull = Hull([*phases, *known], reservoir)
    scales = [_size(hull, r) for r in (first, second)]
    ends = [hull.vector(r.composition) / s for r, s in zip((first, second), scales, strict=True)]
    states = [hull.at(v) for v in ends]
    fractions = _breakpoints(hull, ends[0], ends[1])
    bare = [e.energy_eV for e in states]
    kinks = [_kink(hull, (first, second), scales, ends, bare, w) for w in fractions]
    own = [_own(hull, r, e, s) for r, e, s in zip((first, second), states, scales, strict=True)]
    notes = _notes(hull, (first, second), own, ends)
    return PseudoBinary(first, second, own[0], own[1], tuple(kinks), dict(hull.reservoir), tuple(notes))


def _size(hull: Hull, reactant: Reactant) -> float:
    """Atoms of a formula unit that are not exchanged."""
    missing = sorted(e for e, n in reactant.composition.items() if n > 0 and e not in (*hull.elements, *hull.reservoir))
    if missing:
        raise InputError(f"{reactant.name}: no phase holds {', '.join(missing)}; give the elements among the phases")
    size = float(hull.vector(reactant.composition).sum())
    if size <= 0:
        raise InputError(
            f"{reactant.name} consists of {', '.join(hull.reservoir)} alone, which is exchanged with a reservoir; "
            "its contact is not an open system: leave the reservoir out"
        )
    return size


def _breakpoints(hull: Hull, first: FloatArray, second: FloatArray) -> list[float]:
    """Mixing ratios at which the equilibrium changes, in atoms that are not exchanged; 0 and 1 included.

    The energy of the equilibrium is convex and piecewise linear in the mixing ratio. The chemical potentials at any
    ratio give a line that lies on or below it everywhere, so where the lines of two ratios meet, either the energy lies
    there too and it is a kink, or the chemical potentials there give a new line between the two (Eisner & Severance,
    J. ACM 1976, 23, 619). A ratio met on the way may be a kink itself, where chemical potentials are not unique: all
    are kept, and those between which the energy is straight are left out at the end.
    """

    def line(w: float) -> tuple[float, float, float]:
        """Energy at w, and the values of its supporting line at 0 and 1."""
        state = hull.at(w * first + (1 - w) * second)
        return state.energy_eV, float(state.potentials @ second), float(state.potentials @ first)

    if np.abs(first - second).max() < 1e-12:
        return [0.0, 1.0]
    left, right = line(0.0), line(1.0)
    met = {0.0: left[0], 1.0: right[0]}
    work = [(0.0, left[1:], 1.0, right[1:])]
    for _ in range(10_000):
        if not work:
            return _bends(met)
        low, (a0, a1), high, (b0, b1) = work.pop()
        apart = (a1 - a0) - (b1 - b0)
        if abs(apart) < 1e-12 or high - low < SAME_X:
            continue
        w = (b0 - a0) / apart
        if w <= low + 1e-12 or w >= high - 1e-12:
            continue
        energy, new0, new1 = line(w)
        met[w] = energy
        if energy - (a0 + w * (a1 - a0)) < ON_HULL_EV:
            continue
        work += [(low, (a0, a1), w, (new0, new1)), (w, (new0, new1), high, (b0, b1))]
    raise InputError("the hull between the two phases has no end of kinks; is an energy not a number?")


def _bends(met: Mapping[float, float]) -> list[float]:
    """Ratios at which a convex, piecewise linear energy bends, the ends included; those nearly the same are one."""
    kept: list[float] = []
    for w in sorted(met):
        if not kept or w - kept[-1] > SAME_X:
            kept.append(w)
    if 1.0 - kept[-1] < SAME_X:
        kept[-1] = 1.0
    found = [0.0]
    for low, w, high in zip(kept, kept[1:], kept[2:], strict=False):
        straight = met[low] + (w - low) / (high - low) * (met[high] - met[low])
        if straight - met[w] > ON_HULL_EV * min(1.0, (w - low) * (high - w) / SAME_X):
            found.append(w)
    return [*found, 1.0]


def _kink(
    hull: Hull,
    reactants: tuple[Reactant, Reactant],
    scales: Sequence[float],
    ends: Sequence[FloatArray],
    bare: Sequence[float],
    w: float,
) -> Kink:
    """The reaction at one mixing ratio, given in atoms that are not exchanged."""
    state = hull.at(w * ends[0] + (1 - w) * ends[1])
    units = np.array([w / scales[0], (1 - w) / scales[1]])  # formula units of both for one atom that stays
    atoms = units * [sum(r.composition.values()) for r in reactants]
    total = float(units.sum())
    products = {hull.phases[k].name: float(n / total) for k, n in sorted(state.amounts.items())}
    exchanged = {
        e: sum(u / total * float(r.composition.get(e, 0.0)) for u, r in zip(units, reactants, strict=True))
        - sum(n / total * float(hull.phases[k].composition.get(e, 0.0)) for k, n in state.amounts.items())
        for e in hull.reservoir
    }
    start = [hull.grand(r.composition, r.energy_eV) if r.energy_eV is not None else float("nan") for r in reactants]
    given = {r.name: float(u / total) for r, u in zip(reactants, units, strict=True) if u > 0}
    if reactants[0].name == reactants[1].name:
        given = {reactants[0].name: 1.0}
    as_they_are = state.energy_eV - sum(u * e for u, e in zip(units, start, strict=True) if u > 0)
    return Kink(
        float(atoms[0] / atoms.sum()),
        float(units[0] / total),
        state.energy_eV - w * bare[0] - (1 - w) * bare[1],
        float(as_they_are),
        products,
        {e: float(n) for e, n in exchanged.items() if abs(n) > 1e-9},
        equation(given, products, exchanged),
    )


def _own(hull: Hull, reactant: Reactant, state: Equilibrium, scale: float) -> OwnDecomposition:
    products = {hull.phases[k].name: float(n * scale) for k, n in sorted(state.amounts.items())}
    if reactant.energy_eV is None:
        return OwnDecomposition(float("nan"), products)
    return OwnDecomposition(state.energy_eV - hull.grand(reactant.composition, reactant.energy_eV) / scale, products)


def _notes(
    hull: Hull, reactants: Sequence[Reactant], own: Sequence[OwnDecomposition], ends: Sequence[FloatArray]
) -> list[str]:
    found = []
    if np.abs(ends[0] - ends[1]).max() < 1e-9:
        same = "of one composition" if not hull.reservoir else f"of one composition but for {', '.join(hull.reservoir)}"
        found.append(f"{reactants[0].name} and {reactants[1].name} are {same}: mixing them changes nothing")
    for reactant, alone in zip(reactants, own, strict=True):
        if reactant.energy_eV is None:
            found.append(f"{reactant.name}: no energy is known, so only the mutual energy is")
        elif alone.energy_eV_per_atom < -UNSTABLE_EV:
            into = " + ".join(alone.products)
            found.append(
                f"{reactant.name} lies {-1000 * alone.energy_eV_per_atom:.0f} meV/atom above its own decomposition "
                f"into {into}"
            )
    return found


def equation(given: Mapping[str, float], products: Mapping[str, float], exchanged: Mapping[str, float]) -> str:
    """Return a balanced equation, in whole numbers where small ones do."""
    left = {n: a for n, a in given.items() if a > 1e-9} | {e: -n for e, n in exchanged.items() if n < -1e-9}
    right = {n: a for n, a in products.items() if a > 1e-9} | {e: n for e, n in exchanged.items() if n > 1e-9}
    factor = _factor([*left.values(), *right.values()])
    return f"{_side(left, factor)} → {_side(right, factor)}"


def _factor(amounts: Sequence[float]) -> float:
    """The number that makes all amounts whole, or 1."""
    least = min(amounts)
    scaled = [Fraction(a / least).limit_denominator(LARGEST_FACTOR) for a in amounts]
    if any(abs(float(f) * least - a) > 1e-6 * a for f, a in zip(scaled, amounts, strict=True)):
        return 1.0
    common = lcm(*(f.denominator for f in scaled))
    return common / least if common <= LARGEST_FACTOR else 1.0


def _side(amounts: Mapping[str, float], factor: float) -> str:
    words = []
    for name, amount in amounts.items():
        number = amount * factor
        whole = abs(number - round(number)) < 1e-4 * max(1.0, number)
        count = f"{round(number)}" if whole else f"{number:.4g}"
        words.append(name if count == "1" else f"{count} {name}")
    return " + ".join(words) or "nothing"
