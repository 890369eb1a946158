"""Interfaces of relaxed phases: from records to reactions, and reactions as values that a record keeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ase.formula import Formula

from atomsim.analysis.redox import IONS
from atomsim.errors import InputError, nearest
from atomsim.interfaces.conductors import ConductorFraction, Gap, conductor_fraction, mean_fraction
from atomsim.interfaces.hull import Phase
from atomsim.interfaces.pseudo_binary import Kink, OwnDecomposition, PseudoBinary, Reactant, pseudo_binary
from atomsim.store.records import Record

WITHOUT_ZERO = "open_to = '{0}': {0} itself is not among the phases, so μ has no zero; add it"
BELOW = "found {:g} V, wanted 0 or more: below, {} itself leaves the reservoir"


@dataclass(frozen=True)
class Condition:
    """An interface, closed or open at one chemical potential."""

    name: str
    """``closed``, or such as ``Li at 3.74 V``."""
    found: PseudoBinary
    conductors: ConductorFraction
    """Mean over the phase equilibria."""
    at_minimum: ConductorFraction
    """At the reaction of lowest mutual energy."""
    voltage_V: float | None = None


def reduced(formula: str) -> tuple[str, dict[str, float]]:
    """Return the reduced formula as it is usually written, and its atoms.

    Raises:
        InputError: if it is no formula.
    """
    from pymatgen.core import Composition, DummySpecies

    wanted = f"found {formula!r}, wanted a chemical formula such as Li2RuO3"
    try:
        Formula(formula)
        composition = Composition(formula).reduced_composition
        name = composition.reduced_formula
        atoms = {str(e): float(n) for e, n in Composition(name).items()}
    except Exception as error:
        raise InputError(wanted) from error
    if any(isinstance(element, DummySpecies) for element in composition):
        raise InputError(wanted)
    return name, atoms


def phase_of(record: Record) -> Phase:
    """Return the phase that a relaxation is of."""
    name, atoms = reduced(record.atoms.get_chemical_formula())
    return Phase(name, atoms, float(record.values["energy_per_atom_eV"]) * sum(atoms.values()))


def reactant_of(formula: str, phases: Sequence[Phase]) -> Reactant:
    """Return the reactant of a formula, with the energy of its lowest phase.

    Raises:
        InputError: if no phase has the formula.
    """
    name, atoms = named_phase(formula, {p.name for p in phases})
    return Reactant(name, atoms, min(p.energy_eV for p in phases if p.name == name))


def named_phase(formula: str, names: Collection[str]) -> tuple[str, dict[str, float]]:
    """Return the reduced formula that is the name of a phase, and its atoms.

    Raises:
        InputError: if it is no formula, or no phase has it.
    """
    name, atoms = reduced(formula)
    if name not in names:
        known = sorted(names)
        raise InputError(f"{formula} is not among the phases;{nearest(name, known)} there are {', '.join(known)}")
    return name, atoms


def lacking(phases: Sequence[Phase], elements: set[str]) -> list[str]:
    """Known phases of an element set that are not among those given: prototypes and what has a gap in the table."""
    from atomsim.interfaces.conductors import known_gaps
    from atomsim.structures.prototypes import prototype_facts

    names = [str(fact["formula"]) for fact in prototype_facts()] + list(known_gaps())
    known = dict(reduced(name) for name in names)
    return sorted(n for n, atoms in known.items() if set(atoms) <= elements and n not in {p.name for p in phases})


def conditions(
    first: Reactant,
    second: Reactant,
    phases: Sequence[Phase],
    open_to: str | None,
    voltages_V: Sequence[float],
    gaps: Mapping[str, Gap],
    below_eV: float,
) -> list[Condition]:
    """Return the reactions, closed and at each voltage of the open element.

    μ = μ⁰ − z e φ for an ion of charge z, counted from its metal; for any other element z is 1, and for oxygen φ counts
    down from half an O2.

    Raises:
        InputError: if the open element is not among the phases, or a voltage lies below its own phase.
    """
    found = [_condition("closed", pseudo_binary(first, second, phases), gaps, below_eV, None)]
    if open_to is None:
        return found
    own = [p for p in phases if set(p.composition) == {open_to}]
    if not own:
        raise InputError(WITHOUT_ZERO.format(open_to))
    zero, charge = min(p.energy_eV_per_atom for p in own), IONS.get(open_to, 1)
    for voltage in voltages_V:
        if voltage < 0:
            raise InputError(BELOW.format(voltage, open_to))
        binary = pseudo_binary(first, second, phases, {open_to: zero - charge * voltage})
        found.append(_condition(f"{open_to} at {voltage:g} V", binary, gaps, below_eV, voltage))
    return found


def _condition(
    name: str, binary: PseudoBinary, gaps: Mapping[str, Gap], below_eV: float, voltage: float | None
) -> Condition:
    mean = mean_fraction(binary.equilibria, gaps, below_eV)
    return Condition(name, binary, mean, conductor_fraction(binary.minimum.products, gaps, below_eV), voltage)


def to_values(found: Condition) -> dict[str, Any]:
    """Return a condition as JSON."""
    binary = found.found
    return {
        "name": found.name, "voltage_V": found.voltage_V, "conductors": asdict(found.conductors),
        "at_minimum": asdict(found.at_minimum), "first": asdict(binary.first), "second": asdict(binary.second),
        "own_first": _plain(asdict(binary.own_first)), "own_second": _plain(asdict(binary.own_second)),
        "kinks": [_plain(asdict(k)) for k in binary.kinks], "reservoir": binary.reservoir, "notes": list(binary.notes),
    }  # fmt: skip


def from_values(kept: Mapping[str, Any]) -> Condition:
    """Return the condition that a record keeps."""
    binary = PseudoBinary(
        Reactant(**kept["first"]), Reactant(**kept["second"]), OwnDecomposition(**kept["own_first"]),
        OwnDecomposition(**kept["own_second"]), tuple(Kink(**k) for k in kept["kinks"]), dict(kept["reservoir"]),
        tuple(kept["notes"]),
    )  # fmt: skip
    fractions = [
        ConductorFraction(**{**kept[k], "unknown": tuple(kept[k]["unknown"])}) for k in ("conductors", "at_minimum")
    ]
    return Condition(kept["name"], binary, fractions[0], fractions[1], kept["voltage_V"])


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """NumPy's numbers as Python's own."""
    return {
        k: {n: float(a) for n, a in v.items()} if isinstance(v, dict) else v if isinstance(v, str) else float(v)
        for k, v in content.items()
    }
