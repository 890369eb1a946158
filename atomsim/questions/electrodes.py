"""Campaigns on electrodes: delithiation, and oxygen on charge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.errors import InputError
from atomsim.questions.facts import METALS, Subject, copies, image_distance, mobile_ion
from atomsim.questions.written import CampaignText, Key, StepText
from atomsim.structures.hosts import host_units, reachable_sizes

ORDERING_ATOMS = 56
"""Largest supercell of orderings for two cores; a larger primitive cell is taken as it is."""
MOST_CELLS = 8
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Parts of the ions that are left."""
SCAN_ATOMS = 60
"""Largest primitive cell in which oxygens are driven together on two cores."""
DEFECT_IMAGE_A, DEFECT_ATOMS = 5.5, 40
"""Distance wanted between a defect and its image, and the largest cell taken for it."""


def delithiation(crystal: Subject, asked: str | None) -> CampaignText:
    """Orderings, hull, voltage and lattice against the ions that are left.

    Raises:
        InputError: if there is no mobile ion, or no metal of it to count the voltage from.
    """
    ion, why = mobile_ion(crystal, asked)
    if ion not in METALS:
        raise InputError(
            f"{crystal.name}: no crystal of {ion} metal is shipped, so a voltage would have no zero; wanted an ion of "
            f"{', '.join(sorted(METALS))}"
        )
    cells = max(1, min(MOST_CELLS, ORDERING_ATOMS // len(crystal.primitive)))
    largest = cells * len(crystal.primitive)
    xs = contents(crystal, ion, largest, SHARES)
    keep = 5 if len(crystal.primitive) <= SCAN_ATOMS else 2
    plural = "s in all their shapes" if cells > 1 else ""
    remarks = [*crystal.remarks(), *_redox_remark(crystal, ion)]
    return CampaignText(
        f"{crystal.formula} as {ion} leaves",
        f"which orderings of {ion} are stable, the voltage against {ion} metal, how lattice and O–O distances follow.",
        [*remarks, *_layer_remark(crystal, ion)],
        [
            StepText("orderings", "delithiate", [
                Key("parent", crystal.word),
                Key("ion", ion, why),
                Key("x_per_formula_unit", xs, f"{ion} left; finer steps need larger cells (max_atoms)"),
                Key("orderings", keep, "of each x: those of low Coulomb energy and those unlike each other"),
                Key("max_atoms", largest, f"{cells} primitive cell{plural}; larger ones may hold lower orderings"),
            ], f"All ways to leave x {ion} per formula unit, those alike by symmetry merged."),
            _relaxed("orderings"),
            StepText("metal", "relax", [Key("structures", ion), Key("fmax_eV_per_A", 0.005)],
                     f"Metallic {ion} from the same potential: the zero of the voltage."),
            StepText("electrode", "electrode", [
                Key("structures", "relaxed"), Key("reference", "metal"), *_reflection(crystal, ion),
            ], "Convex hull, voltages, lattice, O–O distances, moments and diffraction against x."),
        ],
        "docs/how-to/trust.md",
    )  # fmt: skip


def contents(
    crystal: Subject, ion: str, max_atoms: int, shares: Sequence[float], supercell: Sequence[int] | None = None
) -> list[float]:
    """Return the ions per formula unit that are parts of all of them, where a supercell can hold them."""
    units = host_units(crystal.primitive, ion, None)
    n_ions = crystal.primitive.get_chemical_symbols().count(ion)
    matrix = None if supercell is None else np.diag(supercell)
    found = []
    for share in shares:
        x = share * n_ions / units
        try:
            reachable_sizes(crystal.primitive, n_ions, units, x, max_atoms, matrix)
        except InputError:
            continue
        found.append(round(x, 6))
    return found


def oxygen(crystal: Subject, asked: str | None) -> CampaignText:
    """Dimers, vacancies and release of O2 at some ion contents.

    Raises:
        InputError: if there is no oxygen, or the ion asked for is not there.
    """
    if "O" not in crystal.elements:
        raise InputError(f"{crystal.name}: no oxygen in {crystal.formula}; wanted an oxide")
    if crystal.elements == ["O"]:
        raise InputError(f"{crystal.name}: it is oxygen alone, wanted an oxide")
    try:
        ion, why = mobile_ion(crystal, asked)
    except InputError:
        if asked is not None:
            raise
        ion, why = "", ""
    steps = [*_charged(crystal, ion, why), *_dimers(crystal), _vacancies(crystal, ion)]
    title = f"Oxygen in {crystal.formula}" + (" on charge" if ion else "")
    remarks = crystal.remarks()
    if not ion:
        remarks.append("No ion that is known to be mobile: only the crystal as it is, and no charging drives O2 out.")
    if len(crystal.primitive) > SCAN_ATOMS:
        size = len(crystal.primitive)
        remarks.append(
            f"'dimerize' is left out: scans of {size} atoms are long on a CPU; append such a step for a GPU."
        )
    answers = "energies of oxygen vacancies, release of O2, and what oxygens become that are driven together."
    return CampaignText(title, answers, remarks, steps, "docs/oxygen.md")


def _charged(crystal: Subject, ion: str, why: str) -> list[StepText]:
    """The host and, where an ion can leave, states of charge; relaxed."""
    repeat = copies(crystal.primitive, DEFECT_IMAGE_A, DEFECT_ATOMS)
    distance = image_distance(crystal.primitive.cell.array, repeat)
    apart = f"of the primitive cell: a vacancy or a pair is then {distance:.1f} Å from its image"
    if not ion:
        whole = copies(crystal.atoms, DEFECT_IMAGE_A, DEFECT_ATOMS)
        distance = image_distance(crystal.atoms.cell.array, whole)
        keys = [Key("structures", crystal.word)]
        keys += [Key("repeat", whole, f"a vacancy or a pair is then {distance:.1f} Å from its image")]
        return [StepText("cell", "structures", keys, "The crystal, wide enough for a defect."), _relaxed("cell")]
    keys = [
        Key("parent", crystal.word),
        Key("ion", ion, why),
        Key("x_per_formula_unit", contents(crystal, ion, 1, (1.0, 0.5, 0.0), repeat), "full, half and empty"),
        Key("orderings", 1, "of each x, the one of least Coulomb energy"),
        Key("supercell", repeat, apart),
    ]
    orderings = StepText("orderings", "delithiate", keys, f"The host and states of charge: {ion} leaves.")
    return [orderings, _relaxed("orderings")]


def _dimers(crystal: Subject) -> list[StepText]:
    if len(crystal.primitive) > SCAN_ATOMS:
        return []
    keys = [
        Key("structures", "relaxed"),
        Key("per_kind", 1, "the shortest pair of each kind of place; 0 for all, on a GPU"),
        Key("points", 8, "lengths of a scan in one direction"),
        Key("saddle", False, "true also finds the saddle and proves it, for about twice the time"),
        Key("symprec_A", 0.1, "atoms alike in the host stay alike after noise and relaxation"),
    ]
    why = "O–O pairs driven to 1.2 Å at an exactly kept length and let apart again, everything else relaxed."
    return [StepText("dimers", "dimerize", keys, why)]


def _vacancies(crystal: Subject, ion: str) -> StepText:
    from atomsim.analysis.thermochemistry import MEASURED

    phases = library_oxides(crystal)
    measured = [p for p in phases if p in MEASURED and set(_elements(p)) - {"O", ion}]
    keys = [
        Key("structures", "relaxed"),
        *([Key("ion", ion)] if ion else []),
        Key("symprec_A", 0.1),
        Key("vacancies", "single", "neutral ones; 'pairs' has neighbouring pairs too"),
        *([Key("phases", phases, "oxides that release may lead to; add yours, as files")] if phases else []),
        *(
            [Key("calibrate", measured, "measured enthalpies: corrected numbers beside the potential's")]
            if measured
            else []
        ),
        Key("temperature_K", 300.0),
        Key("pressure_bar", 1.0),
    ]
    return StepText(
        "oxygen", "oxygen", keys, "Energies of O vacancies, and release of O2 to the host with more ions and oxides."
    )


def library_oxides(crystal: Subject) -> list[str]:
    """Names of shipped oxides of the metals of a crystal, one for each formula, without the crystal itself."""
    from atomsim.structures.prototypes import prototype_facts

    metals = set(crystal.elements) - {"O", "P", "S", "Si", "B", "C"}
    found: dict[str, str] = {}
    for fact in prototype_facts():
        held = set(_elements(str(fact["formula"])))
        binary = len(held) == 2 and "O" in held and held - {"O"} <= metals
        if binary and fact["formula"] != crystal.formula and fact["formula"] != "Li2O2":
            found.setdefault(str(fact["formula"]), str(fact["name"]))
    return list(found.values())


def _elements(formula: str) -> list[str]:
    from ase.formula import Formula

    return list(Formula(formula).count())


def _relaxed(structures: str) -> StepText:
    keys = [
        Key("structures", structures),
        Key("fmax_eV_per_A", 0.02, "small enough for differences of some meV per atom"),
        Key("noise_A", 0.02, "moves atoms off symmetric positions, which would hold them on a saddle"),
    ]
    return StepText("relaxed", "relax", keys, "Atoms and cell.")


def _redox_remark(crystal: Subject, ion: str) -> list[str]:
    if not [m for m in crystal.redox if m != ion]:
        what = f"No metal of {crystal.formula} changes its charge: without {ion} its anions are oxidised"
        return [f"{what}, and the voltage is the one at which they are, as of an electrolyte."]
    return []


def _layer_remark(crystal: Subject, ion: str) -> list[str]:
    found = crystal.stacking(ion)
    if found is None:
        return []
    return [f"Layered: metal layers {found.spacing:.2f} Å apart with {ion} between them."]


def _reflection(crystal: Subject, ion: str) -> list[Key]:
    """The reflection of the layers, where the space group shows it."""
    from atomsim.analysis.lattice import is_extinct
    from atomsim.analysis.published import layer_reflection

    found = crystal.stacking(ion)
    if found is None or layer_reflection(crystal.word) or is_extinct(crystal.atoms, found.hkl, 0.01):
        return []
    return [
        Key(
            "layer_reflection", list(found.hkl), "of the layers, found in the file: its angle tells how they move apart"
        )
    ]
