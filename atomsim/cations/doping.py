"""Dopants on named sublattices: sites, exchanges that keep the composition, and what pays for the charge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice, product
from math import comb

import numpy as np
from ase import Atoms

from atomsim.cations.compensation import CoulombEnergy, Payment, compensate, excess_charge, known_charges
from atomsim.cations.settings import DopingSettings
from atomsim.cations.sublattice import sites_of
from atomsim.errors import AtomsimError, InputError, note_once
from atomsim.structures.supercells import site_permutations
from atomsim.types import IntArray

SAME_FRACTION = 1e-3
"""Difference up to which a share is the one that was asked for."""
ALL = 4000
"""Configurations up to which all are listed; beyond, as many are drawn at random."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """One doped cell, unrelaxed."""

    atoms: Atoms = field(repr=False)
    site: str
    """Sublattice of the dopant."""
    dopants: tuple[int, ...]
    """Atoms of the host in whose place dopants stand."""
    donors: tuple[int, ...] = ()
    """Atoms of the first sublattice in whose place what the dopants displaced stands."""
    removed: tuple[int, ...] = ()
    """Ions of the host that left."""
    swapped: tuple[int, ...] = ()
    """Atoms of the host that became ions."""
    of: int = 1
    """Symmetry-distinct configurations on this sublattice that there are, or were met."""
    sampled: bool = False
    """True where these were drawn at random from more."""
    coulomb: float | None = None
    """Coulomb energy of formal charges, eV; None where no charges are known."""


def dopings(host: Atoms, settings: DopingSettings) -> list[Configuration]:
    """Return the configurations that are computed, sublattice by sublattice.

    Args:
        host: undoped cell.
        settings: dopant and sublattices.

    Raises:
        InputError: if the dopant is in the host already, a sublattice matches nothing or holds several elements, less
            than one or more atoms than the sublattice has would be replaced, or the charge cannot be balanced.
    """
    if settings.dopant in host.get_chemical_symbols():
        raise InputError(
            f"dopant {settings.dopant}: {host.get_chemical_formula()} holds it already; wanted an element that is not "
            "in the host (order places an element among those that are there)"
        )
    sites = {name: sites_of(host, name, settings.ion) for name in settings.sites}
    elements = {name: _one_element(host, name, found) for name, found in sites.items()}
    first = settings.sites[0]
    number = _number(host, settings, first, len(sites[first]))
    for name, found in sites.items():
        if number > len(found):
            raise InputError(
                f"{number} {settings.dopant} on {name!r}: found {len(found)} atoms there, wanted at least as many"
            )
    charges = known_charges(host, settings)
    plan = compensate(host, settings, charges, number * excess_charge(settings, charges, elements[first]))
    field_ = CoulombEnergy(host, charges)
    permutations = _permutations(host)
    configurations = []
    for place, (name, found) in enumerate(sites.items()):
        exchanged = elements[name] != elements[first]
        donors = sites[first] if exchanged else None
        generator = np.random.default_rng([settings.seed, place])
        ways, sampled = _ways(found, donors, number, permutations, generator)
        chosen = _chosen(host, settings, name, ways, field_, generator)
        configurations += [_paid(c, host, settings, plan, field_, len(ways), sampled) for c in chosen]
    return configurations


def dope_at(host: Atoms, settings: DopingSettings, atoms: Sequence[int]) -> Configuration:
    """Return the host with dopants in place of given atoms, and their charge paid as the settings say."""
    charges = known_charges(host, settings)
    element = host.symbols[atoms[0]]
    plan = compensate(host, settings, charges, len(atoms) * excess_charge(settings, charges, element))
    made = _made(host, settings, settings.sites[0], tuple(int(a) for a in atoms), ())
    return _paid(made, host, settings, plan, CoulombEnergy(host, charges), 1, sampled=False)


def _one_element(host: Atoms, name: str, sites: IntArray) -> str:
    elements = sorted({host.symbols[int(n)] for n in sites})
    if len(elements) > 1:
        raise InputError(
            f"sublattice {name!r} holds {', '.join(elements)}, wanted one element to replace; name it "
            f"'{elements[0]}:{name}'" if ":" not in name and "+" not in name else
            f"sublattice {name!r} holds {', '.join(elements)}, wanted one element to replace"
        )  # fmt: skip
    (element,) = elements
    return str(element)


def _number(host: Atoms, settings: DopingSettings, first: str, available: int) -> int:
    if (settings.count is None) == (settings.fraction is None):
        raise InputError("found " + ("both" if settings.count is not None else "neither") + " of count and fraction, "
                         "wanted one of the two")  # fmt: skip
    number = settings.count if settings.count is not None else round((settings.fraction or 0) * available)
    if number < 1:
        raise InputError(
            f"{settings.fraction:g} of {available} atoms of {first!r} in {host.get_chemical_formula()} is less than "
            f"one {settings.dopant} a cell; wanted {1 / available:.3g} or more, or a larger cell"
        )
    if number > available:
        raise InputError(
            f"{number} {settings.dopant} in place of {first!r}: found {available} atoms there, wanted at most as many"
        )
    if settings.count is None and abs(number / available - (settings.fraction or 0)) > SAME_FRACTION:
        note_once(
            f"fraction = {settings.fraction:g} of {available} atoms of {first!r} is not whole: {number} replaced, "
            f"{number / available:.3g}; take a larger cell for another"
        )
    return number


def _permutations(host: Atoms) -> IntArray:
    everything = np.arange(len(host))
    try:
        return site_permutations(host, everything)
    except AtomsimError:  # no symmetry that holds for all atoms
        return everything[None]


Way = tuple[tuple[int, ...], tuple[int, ...]]
"""Atoms that become dopants, and atoms of the first sublattice that become what was displaced."""


def _ways(
    sites: IntArray, donors: IntArray | None, number: int, permutations: IntArray, generator: np.random.Generator
) -> tuple[list[Way], bool]:
    """Symmetry-distinct ways to place dopants, and whether they were drawn from more."""
    own = sites.tolist()
    other = [] if donors is None else donors.tolist()
    total = comb(len(own), number) * (comb(len(other), number) if donors is not None else 1)
    ways: list[Way]
    if total <= ALL:
        pools = combinations(other, number) if donors is not None else iter([()])
        ways = list(product(combinations(own, number), pools))
    else:
        drawn = (_draw(own, other if donors is not None else None, number, generator) for _ in range(ALL))
        ways = sorted(set(islice(drawn, ALL)))
    found: dict[Way, Way] = {}
    for way in ways:
        images = [
            (tuple(sorted(p[list(way[0])].tolist())), tuple(sorted(p[list(way[1])].tolist())) if way[1] else ())
            for p in permutations
        ]
        found.setdefault(min(images), way)
    return list(found.values()), total > ALL


def _draw(own: list[int], other: list[int] | None, number: int, generator: np.random.Generator) -> Way:
    one = tuple(sorted(int(n) for n in generator.choice(own, number, replace=False)))
    if other is None:
        return one, ()
    return one, tuple(sorted(int(n) for n in generator.choice(other, number, replace=False)))


def _chosen(
    host: Atoms,
    settings: DopingSettings,
    name: str,
    ways: Sequence[Way],
    coulomb: CoulombEnergy,
    generator: np.random.Generator,
) -> list[Configuration]:
    """Half the lowest in Coulomb energy, half drawn from the rest."""
    made = [_made(host, settings, name, *way) for way in ways]
    if len(made) <= settings.per_site:
        return made
    energies = coulomb.of([_changes(host, settings, c) for c in made])
    if energies is None:
        return [made[int(n)] for n in sorted(generator.choice(len(made), settings.per_site, replace=False))]
    order = np.argsort(energies.round(9), kind="stable")
    low = order[: (settings.per_site + 1) // 2].tolist()
    rest = generator.choice(order[len(low) :], settings.per_site - len(low), replace=False).tolist()
    return [made[int(n)] for n in (*low, *sorted(rest))]


def _made(
    host: Atoms, settings: DopingSettings, name: str, dopants: tuple[int, ...], donors: tuple[int, ...]
) -> Configuration:
    atoms = Atoms(host.numbers, host.positions, cell=host.cell, pbc=host.pbc)
    symbols = atoms.get_chemical_symbols()
    displaced = [symbols[n] for n in dopants]
    for n in dopants:
        symbols[n] = settings.dopant
    for n, element in zip(donors, displaced, strict=False):
        symbols[n] = element
    atoms.set_chemical_symbols(symbols)
    return Configuration(atoms, name, dopants, donors)


def _changes(host: Atoms, settings: DopingSettings, configuration: Configuration) -> dict[int, str]:
    symbols = host.get_chemical_symbols()
    changed = dict.fromkeys(configuration.dopants, settings.dopant)
    return changed | {n: symbols[d] for n, d in zip(configuration.donors, configuration.dopants, strict=False)}


def _paid(
    configuration: Configuration,
    host: Atoms,
    settings: DopingSettings,
    plan: Payment,
    coulomb: CoulombEnergy,
    of: int,
    sampled: bool,
) -> Configuration:
    """Remove or swap what pays for the charge, one atom after the other where the Coulomb energy is lowest."""
    changes = _changes(host, settings, configuration)
    symbols = configuration.atoms.get_chemical_symbols()
    paying: list[int] = []
    for _ in range(plan.number):
        candidates = [n for n, s in enumerate(symbols) if s == plan.element and n not in paying]
        new = settings.ion if plan.swap else ""
        energies = coulomb.of([changes | {n: new} for n in candidates])
        assert energies is not None
        best = candidates[int(np.argmin(energies.round(9)))]
        paying.append(best)
        changes |= {best: new}
    atoms = configuration.atoms.copy()
    if plan.swap:
        for n in paying:
            atoms.symbols[n] = settings.ion
    elif paying:
        del atoms[sorted(paying)]
    energy = coulomb.of([changes])
    return Configuration(
        atoms=atoms,
        site=configuration.site,
        dopants=configuration.dopants,
        donors=configuration.donors,
        removed=() if plan.swap else tuple(paying),
        swapped=tuple(paying) if plan.swap else (),
        of=of,
        sampled=sampled,
        coulomb=None if energy is None else float(energy[0]),
    )
