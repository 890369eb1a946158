"""Computed beside published: the numbers of the papers, kept as data, and how each is computed."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ase import Atoms

from atomsim.analysis.published_quantities import QUANTITIES, Electrode
from atomsim.errors import InputError
from atomsim.structures.prototypes import load_prototype, prototype_names


def layer_reflection(parent: str) -> tuple[int, int, int] | None:
    """Return the reflection that steps by one metal layer in the setting of a prototype, if it is known."""
    hkl = _data()["parents"].get(parent, {}).get("layer_reflection")
    return None if hkl is None else (hkl[0], hkl[1], hkl[2])


def recognised(atoms: Atoms, ion: str, formula: str) -> str | None:
    """Return the prototype with published values whose crystal this is, whatever it is called; None if it is none.

    Args:
        atoms: a relaxed structure, ions may be missing: the hosts are compared (pymatgen's StructureMatcher, which
            allows for strain and for displacements of 0.3 of the mean distance of atoms).
        ion: symbol of the ion that leaves.
        formula: with all ions, which must be the prototype's.
    """
    from pymatgen.core import Composition

    whole = Composition(formula).reduced_composition
    for name, entry in _data()["parents"].items():
        if not entry.get("values") or name not in prototype_names():
            continue
        prototype = load_prototype(name).primitive
        counts = prototype.symbols.formula.count()
        if Composition(counts).reduced_composition.almost_equals(whole, rtol=1e-3) and _same_host(
            atoms, prototype, ion
        ):
            return str(name)
    return None


def _same_host(one: Atoms, other: Atoms, ion: str) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    hosts = []
    for atoms in (one, other):
        bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        hosts.append(AseAtomsAdaptor.get_structure(bare[[s != ion for s in bare.symbols]]))
    # noise hides the primitive cell of a relaxed supercell: one is also laid out in the other's
    matchers = (StructureMatcher(primitive_cell=False, attempt_supercell=True), StructureMatcher())
    return any(matcher.fit(hosts[0], hosts[1]) for matcher in matchers)


def compare(electrode: Electrode, parent: str | None) -> list[dict[str, Any]]:
    """Compare with every value published for a prototype, or for the formula where no prototype stands for it.

    Returns:
        Rows with ``what``, ``quantity`` and ``at`` (its arguments), ``computed``,
        ``reference``, ``unit``, ``deviation`` (computed − reference, numbers
        only), ``agrees`` (words and windows), ``note`` and ``citation``; ``computed`` is None where this electrode
        does not reach, and ``note`` says why.
    """
    parents = _data()["parents"]
    # the formula of a crystal alone does not say that it is that crystal
    of_formula = {} if electrode.formula in prototype_names() else parents.get(electrode.formula, {})
    entries = parents.get(parent, of_formula).get("values", [])
    return [_compare_one(electrode, dict(entry)) for entry in entries]


def doping_values(dopant: str, elements: set[str]) -> list[dict[str, Any]]:
    """Return the published changes of layers by a dopant in a host of some elements: each reading of the labels.

    Args:
        dopant: symbol.
        elements: of the doped crystal; the host of the paper must hold no other.
    """
    found = []
    for entry in _data().get("doping", []):
        if (
            entry["dopant"] == dopant
            and elements <= {*entry["elements"], dopant}
            and set(entry["elements"]) <= elements
        ):
            citation = _data()["citations"][entry["citation"]]
            found += [{**value, "citation": citation} for value in entry["values"]]
    return found


def published_diffusivity(ion: str, elements: set[str]) -> dict[str, Any] | None:
    """Return the range measured for an ion in a host of exactly some elements, cm²/s at 298 K; None if none is known.

    Args:
        ion: symbol.
        elements: of the crystal with the ion or without.
    """
    for entry in _data().get("diffusivity", []):
        if entry["ion"] == ion and elements | {ion} == {*entry["elements"], ion}:
            return {**entry, "citation": _data()["citations"][entry["citation"]]}
    return None


def _compare_one(electrode: Electrode, entry: dict[str, Any]) -> dict[str, Any]:
    head = {key: entry.pop(key, "") for key in ("what", "unit", "citation", "remark")}
    reference: float | str = entry.pop("reference")
    quantity = entry.pop("quantity")
    window = entry.pop("window", None)
    try:
        computed, how = QUANTITIES[quantity](electrode, **entry)
    except InputError as error:
        computed, how = None, str(error)
    both = isinstance(computed, float) and isinstance(reference, float)
    words = isinstance(computed, str) and isinstance(reference, str)
    agrees = computed == reference if words else None
    if window is not None and isinstance(computed, float):
        agrees = window[0] <= computed <= window[1]
    return {
        "what": head["what"],
        "quantity": quantity,
        "at": entry,
        "computed": computed,
        "reference": reference,
        "unit": head["unit"],
        "deviation": computed - reference if both else None,  # type: ignore[operator]
        "agrees": agrees,
        "note": "; ".join(part for part in (how, head["remark"]) if part),
        "citation": _data()["citations"][head["citation"]],
    }


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
