"""Campaigns on what is no single crystal: a glass of a formula, and two phases in contact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atomsim.errors import InputError
from atomsim.questions.facts import IONS, METALS, Subject, subject
from atomsim.questions.written import CampaignText, Key, StepText

GLASS_ATOMS, MOST_GLASS_ATOMS = 90, 400
PHASE_ATOMS = 60
"""Largest phase of the library that is relaxed on two cores."""


def glass(words: Sequence[str]) -> CampaignText:
    """Melt, quench and anneal a composition; verdict.

    Args:
        words: a formula, or parts of a mixture as ``Li2RuO3:0.8``.

    Raises:
        InputError: if it is no formula, or not whole within a cell of some hundred atoms.
    """
    from atomsim.amorphous.units import units_in

    given = _mixture(words)
    n_atoms = _size(given)
    what = _composition(given, n_atoms)
    units = units_in(what)
    start = "units" if units else "atoms"
    why = (
        f"rigid {' and '.join(units)} and ions are packed; a melt at 1500 K keeps them whole"
        if units
        else "no rigid units in it: atoms are packed, and melted at 3000 K"
    )
    crystals = _crystals(what.mixture)
    remarks = [f"{what.formula}: {n_atoms} atoms, the smallest cell of {GLASS_ATOMS} or more in which it is whole."]
    if what.warning:
        remarks.append(f"{what.warning}.")
    if crystals:
        why_crystals = "Crystals that the glass could fall apart into: its density means something beside theirs only."
        keys = [Key("structures", crystals), Key("fmax_eV_per_A", 0.02)]
        first = [StepText("crystals", "relax", keys, why_crystals)]
    else:
        first = []
        remarks.append(
            "No crystal of every part is shipped: add a relax step of yours, and 'crystals' to the last step."
        )
    verdict = [Key("structures", "glasses"), *([Key("crystals", "crystals")] if crystals else [])]
    steps = [
        *first,
        StepText("glasses", "amorphize", [
            Key("formula", given),
            Key("n_atoms", n_atoms),
            Key("seeds", 2, "each is another glass; 4 or more for numbers with an error"),
            Key("start", start, why),
            Key("melt_ps", 2.0),
            Key("quench_ps", 6.0, "short, for two cores: real glasses cool a million times slower"),
            Key("anneal_ps", 2.0),
        ], "Packed by ionic distances, melted, quenched at constant pressure, annealed and relaxed."),
        StepText("verdicts", "glass", verdict, "Glass or not: whole units, no O2, no lattice, mixed, at rest."),
    ]  # fmt: skip
    answers = "structures by melt and quench, whether they are a glass, and their density, g(r) and S(q)."
    return CampaignText(f"Glass of {what.name}", answers, remarks, steps, "docs/glass.md")


def _mixture(words: Sequence[str]) -> Any:
    parts: dict[str, float] = {}
    for word in words:
        formula, _, share = word.partition(":")
        try:
            parts[formula] = parts.get(formula, 0.0) + float(share or 1)
        except ValueError as error:
            raise InputError(f"found {word!r}, wanted a formula or FORMULA:SHARE, such as Li2RuO3:0.8") from error
        if Path(formula).suffix.lower() in (".cif", ".vasp", ".xyz", ".extxyz"):
            raise InputError(
                f"found the file {formula}, wanted a formula: a glass is made of a composition, not of a crystal"
            )
    return words[0] if list(parts.values()) == [1.0] else parts


def _composition(given: Any, n_atoms: int) -> Any:
    from atomsim.amorphous.composition import composition

    return composition(given, n_atoms)


def _size(given: Any) -> int:
    problem: InputError | None = None
    for n_atoms in range(GLASS_ATOMS, MOST_GLASS_ATOMS + 1):
        try:
            _composition(given, n_atoms)
        except InputError as error:
            problem = error
            if "whole in multiples" not in str(error):
                raise
        else:
            return n_atoms
    assert problem is not None
    raise problem


def _crystals(mixture: Any) -> list[str]:
    """Shipped crystals of the parts of a mixture, one for each formula; none unless there is one of every part."""
    found = [_prototype(formula) for formula in mixture]
    return list(dict.fromkeys(name for name in found if name)) if all(found) else []


def _prototype(formula: str) -> str | None:
    """Name of the shipped prototype of a formula: the one of that name before others."""
    from atomsim.interfaces.record import reduced
    from atomsim.structures.prototypes import prototype_facts, prototype_names

    if formula in prototype_names():
        return formula
    wanted = reduced(formula)[0]
    return next((str(f["name"]) for f in prototype_facts() if _reduced(str(f["formula"])) == wanted), None)


def _reduced(formula: str) -> str:
    from atomsim.interfaces.record import reduced

    return reduced(formula)[0]


def interface(words: Sequence[str], folder: Path) -> CampaignText:
    """Reaction of two phases in contact, closed and open to their ion.

    Args:
        words: two structures or formulas, and further phases that may form.
        folder: of the campaign file.

    Raises:
        InputError: if there are fewer than two, they are alike, or there is no structure of one.
    """
    if len(words) < 2:
        raise InputError("found one phase, wanted two structures or formulas: atomsim new interface LiCoO2 mine.cif")
    given = [_phase(word, folder) for word in words]
    first, second, more = given[0], given[1], given[2:]
    if first.formula == second.formula:
        raise InputError(f"found {first.formula} on both sides, wanted two phases: alike ones have nothing to react to")
    elements = {e for phase in (first, second) for e in phase.elements}
    phases, missing = _library(elements, [p.formula for p in given])
    words_of = [p.word for p in given] + phases
    ion = next((i for i in IONS if i in elements and i in METALS), None)
    touches_metal = any(p.elements == [ion] for p in (first, second))
    remarks = [line for phase in (first, second, *more) for line in phase.remarks()]
    remarks += _absent(elements - {e for p in more for e in p.elements}, phases, missing)
    keys = [Key("phases", ["phases"]), Key("first", [first.formula]), Key("second", [second.formula])]
    if ion in words_of and not touches_metal:
        volts = [2.0, 4.0] if [m for p in (first, second) for m in p.redox if m != ion] else [0.0, 3.0]
        keys += [Key("open_to", ion, f"{ion} may come and go, as in a cell under voltage")]
        keys += [Key("voltages_V", volts, f"against {ion} metal: μ = μ⁰ − z e φ; 0 is contact with the metal itself")]
    steps = [
        StepText("phases", "relax", [
            Key("structures", words_of, "the two, and all shipped phases of their elements"),
            Key("fmax_eV_per_A", 0.02),
            Key("noise_A", 0.02, "moves atoms off symmetric positions, which would hold them on a saddle"),
        ], "All phases that may form, with one potential: energies of two are never mixed."),
        StepText("interface", "interface", keys, "Reaction energies against the mixing ratio, balanced equations, "
                 "and the share of electronic conductors among the products."),
    ]  # fmt: skip
    answers = "whether they react, to what, with how much energy, and whether the products conduct electrons."
    return CampaignText(
        f"Contact of {first.formula} and {second.formula}", answers, remarks, steps, "docs/interfaces.md"
    )


def _absent(elements: set[str], phases: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Remarks on phases that are not there: of elements that no shipped one holds, and known ones."""
    found = []
    strangers = sorted(elements - {e for name in phases for e in _elements(_formula(name))})
    if strangers:
        what = " and ".join(strangers)
        found.append(
            f"No shipped phase holds {what}: what it forms is missing, and the contact looks more stable than it is. "
            f"Add CIFs to 'phases' below: {what} itself, and its compounds with the other elements."
        )
    if missing:
        names = ", ".join(missing)
        found.append(f"Known phases without a structure here: {names}. Add CIFs of them: each may lower the hull.")
    return found


def _phase(word: str, folder: Path) -> Subject:
    from atomsim.tasks.base import find_files

    if find_files(word, Path()):
        return subject(word, folder)
    try:
        name = _prototype(word)
    except InputError as error:
        raise InputError(f"{word!r} is neither a file, a prototype nor a formula; check the name") from error
    if name is None:
        raise InputError(f"no structure of {word} is shipped; give one: a CIF in place of the formula")
    return subject(name, folder)


def _library(elements: set[str], given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Shipped phases of some elements, and the formulas of known ones that are not shipped."""
    from atomsim.interfaces.conductors import known_gaps
    from atomsim.structures.prototypes import prototype_facts

    facts = [f for f in prototype_facts() if f["name"] != "O2" and f["atoms"] <= PHASE_ATOMS]
    names: dict[str, str] = {}
    for fact in facts:
        formula = _reduced(str(fact["formula"]))
        if set(_elements(formula)) <= elements and formula not in given:
            names.setdefault(formula, str(fact["name"]))
    known = {_reduced(formula) for formula in known_gaps()}
    missing = sorted(f for f in known if set(_elements(f)) <= elements and f not in names and f not in given)
    return list(names.values()), missing


def _formula(name: str) -> str:
    """Formula of a shipped prototype."""
    from atomsim.structures.prototypes import prototype_facts

    return next(str(fact["formula"]) for fact in prototype_facts() if fact["name"] == name)


def _elements(formula: str) -> list[str]:
    from pymatgen.core import Composition

    return [str(e) for e in Composition(formula)]
