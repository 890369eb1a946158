"""Removes mobile ions from a host: symmetry-distinct orderings of those left, and a choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ase import Atoms

from atomsim.errors import InputError
from atomsim.structures.charges import FormalCharges, formal_charges, redox_metals
from atomsim.structures.hosts import checked_supercell, host_units, reachable_sizes
from atomsim.structures.mobility import require_mobile
from atomsim.structures.ordering_search import Counts, Ordering, OrderingSearch
from atomsim.structures.superlattices import Superlattice


@dataclass(frozen=True, eq=False)
class Delithiation:
    """Orderings of a host at several compositions, as ``delithiate`` chose them."""

    parent: Atoms = field(repr=False)
    ion: str
    x_max: float
    """Ions per host unit of the parent."""
    orderings: tuple[Ordering, ...]
    """In the order of the requested ``x``, each by Coulomb energy."""
    counts: tuple[Counts, ...]
    charges: FormalCharges
    """Formal charges of the parent, from which Coulomb energies are had."""

    def tags(self, ordering: Ordering, parent_name: str) -> dict[str, Any]:
        """Return the facts of an ordering that go with it from record to report."""
        return {
            "parent": parent_name,
            "ion": self.ion,
            "x": ordering.x,
            "x_max": self.x_max,
            "host_units": ordering.host_units,
            "ordering": ordering.index,
            "multiplicity": ordering.multiplicity,
            "ewald_eV": ordering.ewald_eV,
            "supercell": [list(row) for row in ordering.supercell],
            "vacancies": [list(site) for site in ordering.vacancies],
            "formal_charges": dict(self.charges.by_element),
            "charges_from": self.charges.source,
        }


def delithiate(
    parent: Atoms,
    ion: str,
    x: Sequence[float],
    *,
    host_unit: str | int | None = None,
    orderings: int = 4,
    max_atoms: int = 200,
    supercell: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    enumerate_limit: int = 100_000,
    charges: Mapping[str, float] | None = None,
    states: Mapping[str, float] | None = None,
    choose: Literal["coulomb", "random"] = "coulomb",
) -> Delithiation:
    """Choose symmetry-distinct orderings of the ions left in a host at each composition.

    All superlattices of each size in which ``x`` is possible are looked at, from the smallest on, as long as
    there are no more than ``enumerate_limit`` orderings together; an ordering that has a smaller cell is counted there
    alone. Where even the smallest size has more, random orderings of its superlattices are drawn and some followed
    downhill in Coulomb energy. Of the distinct ones of each size, those of low Coulomb energy per host unit and those
    unlike the rest are chosen (``orderings.choose``), as many of every size. Charges are formal
    (``charges.formal_charges``); as ions leave, the host's metals are oxidised, the easiest first.

    Args:
        parent: host with all ions, a periodic cell; its atoms' order is kept.
        ion: element to remove, ``"Li"``.
        x: ions per host unit to keep, each from 0 to what the parent holds.
        host_unit: formula of one unit of the host without ions (``"RuO3"``), or the number of
            units in the parent; by default its reduced formula.
        orderings: how many to choose at each ``x``.
        max_atoms: largest supercell to build, atoms of the fully occupied cell; ignored with ``supercell``.
        supercell: supercell vectors as rows in units of the parent's, the only superlattice looked at, for every ``x``.
        seed: of the sampling; unused where all orderings are enumerated.
        enumerate_limit: most orderings to enumerate at one ``x``; a superlattice counts as ``PER_LATTICE`` more.
        charges: formal charges of some elements of the parent, e; the others follow from common states and neutrality.
        states: states that moments suggest, taken where they leave the parent neutral.
        choose: ``random``: orderings drawn at random in the smallest cell instead, so that their scatter is that of
            all, as for a glass, which has no order to be found.

    Returns:
        The chosen orderings and how many there were. The same input gives the same answer.

    Raises:
        InputError: if the ion is not in the parent, an ``x`` is out of range or cannot be
            reached, the host unit does not divide the host, or the ion is part of the framework.
    """
    if orderings < 1:
        raise InputError(f"orderings = {orderings}; want at least 1")
    n_ions = parent.get_chemical_symbols().count(ion)
    if n_ions == 0:
        found = ", ".join(dict.fromkeys(parent.get_chemical_symbols()))
        raise InputError(f"no {ion} in {parent.get_chemical_formula()}; choose the ion from {found}")
    require_mobile(parent, ion)
    units = host_units(parent, ion, host_unit)
    given = None if supercell is None else Superlattice(checked_supercell(supercell), 1)
    matrix = given.matrix if given else None
    known = _charges(parent, ion, charges, states)
    search = OrderingSearch(parent, ion, units, known, orderings=orderings, seed=seed, limit=enumerate_limit)
    sizes = [reachable_sizes(parent, n_ions, units, float(value), max_atoms, matrix) for value in x]
    searched = [(search.random_at if choose == "random" else search.at)(reachable, given) for reachable in sizes]
    chosen = tuple(ordering for at_x, _ in searched for ordering in at_x)
    return Delithiation(parent.copy(), ion, n_ions / units, chosen, tuple(count for _, count in searched), known)


def _charges(
    parent: Atoms, ion: str, given: Mapping[str, float] | None, states: Mapping[str, float] | None
) -> FormalCharges:
    if strangers := sorted(set(given or {}) - set(parent.get_chemical_symbols())):
        raise InputError(
            f"formal charges of {', '.join(strangers)}: not in {parent.get_chemical_formula()}; leave them out"
        )
    found = formal_charges(parent, given, states)
    if found is None and given:
        raise InputError(
            f"formal charges {dict(given)} leave {parent.get_chemical_formula()} charged whatever the common states of "
            "the others are; correct them, or give all"
        )
    if found is not None and ion in found.redox:  # it takes its charge with it: what stays is oxidised
        stays = parent[[n for n, symbol in enumerate(parent.symbols) if symbol != ion]]
        found = replace(found, redox=frozenset(redox_metals(stays)))
    # Without a neutral assignment the ions still repel one another, in a uniform background.
    return found or FormalCharges({ion: 1.0}, "ions alone", frozenset())
