"""Campaigns on one crystal: barriers of its ion, phonons, a dopant in it."""

from __future__ import annotations

import math

import numpy as np
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError, nearest
from atomsim.questions.facts import Subject, copies, image_distance, mobile_ion
from atomsim.questions.written import CampaignText, Key, StepText
from atomsim.structures.charges import INACTIVE, formal_charges
from atomsim.structures.supercells import choose_supercell

HOP_A, LONGEST_HOP_A = 4.0, 10.0
"""Longest hop looked for unless the ions stand farther apart, and the longest that a step takes, Å."""
HOP_IMAGE_A, HOP_ATOMS = 8.0, 120
PHONON_IMAGE_A, PHONON_ATOMS = 9.0, 110
FOLLOW_ATOMS = 40
"""Largest primitive cell whose imaginary modes are followed on two cores."""
DOPED_IMAGE_A, DOPED_ATOMS = 8.0, 110


def barriers(crystal: Subject, asked: str | None) -> CampaignText:
    """Hops of the mobile ion, their barriers, percolation.

    Raises:
        InputError: if there is no mobile ion, or the ions are too far apart for a hop.
    """
    ion, why = mobile_ion(crystal, asked)
    largest = max(HOP_ATOMS, len(crystal.primitive))
    cell = choose_supercell(crystal.primitive, HOP_IMAGE_A, largest) @ crystal.primitive.cell.array
    distance = image_distance(cell)
    wide = f"images {distance:.1f} Å apart" + ("" if distance >= HOP_IMAGE_A else "; more atoms for numbers to keep")
    length = _hop_length(crystal, ion)
    found = crystal.stacking(ion)
    remarks = crystal.remarks()
    if found is not None:
        remarks.append(f"Layered: {ion} moves between metal layers {found.spacing:.2f} Å apart.")
    steps = [
        StepText("host", "relax", [
            Key("structures", crystal.word),
            Key("fmax_eV_per_A", 0.01),
            Key("keep_symmetry", True, "hops alike by symmetry stay alike, and are computed once"),
            *_standard(crystal),
        ], f"The crystal with all its {ion}, atoms and cell."),
        StepText("barriers", "barriers", [
            Key("structures", "host"),
            Key("ion", ion, why),
            Key("max_length_A", length, "longest hop; longer ones go by way of shorter ones" if length == HOP_A else
                f"the {ion} stand farther apart than is usual"),
            Key("supercell_min_A", HOP_IMAGE_A, "wanted between an ion and its image"),
            Key("max_atoms", largest, wide),
            Key("prefactors", True, "attempt frequencies: rates and a diffusivity come from them"),
        ], f"Every symmetry-distinct hop of {ion} into a vacancy: path, barrier, proof of the saddle, and the barrier "
           "at which hops join through the crystal."),
    ]  # fmt: skip
    answers = "which hops there are, what they cost, and whether they lead through the crystal."
    return CampaignText(f"Barriers of {ion} in {crystal.formula}", answers, remarks, steps, "docs/how-to/trust.md")


def _standard(crystal: Subject) -> list[Key]:
    if len(crystal.primitive) == len(crystal.atoms):
        return []
    return [Key("standard_cell", True, f"the primitive cell, {len(crystal.primitive)} atoms: the same crystal")]


def _hop_length(crystal: Subject, ion: str) -> float:
    """Longest hop to look for, Å: past the nearest neighbours, and a shell more where they are close."""
    ions = crystal.primitive[crystal.primitive.numbers == atomic_numbers[ion]]
    distances = neighbor_list("d", ions, LONGEST_HOP_A)
    if not len(distances):
        raise InputError(
            f"{crystal.name}: the {ion} of {crystal.formula} are more than {LONGEST_HOP_A:g} Å apart; wanted an ion "
            "with neighbours to hop to"
        )
    return max(HOP_A, math.ceil(10 * float(distances.min()) + 2) / 10)


def phonons(crystal: Subject, asked: str | None) -> CampaignText:
    """Bands, stability and free energy."""
    del asked
    p = len(crystal.primitive)
    largest = max(PHONON_ATOMS, p)
    distance = image_distance(
        choose_supercell(crystal.primitive, PHONON_IMAGE_A, largest) @ crystal.primitive.cell.array
    )
    wide = f"for two cores, images {distance:.1f} Å apart; 200 and 10 Å or more for numbers to keep"
    follow = p <= FOLLOW_ATOMS
    steps = [
        StepText("relaxed", "relax", [
            Key("structures", crystal.word),
            Key("fmax_eV_per_A", 0.005),
            Key("keep_symmetry", True, "a saddle stays one, and its imaginary modes are named below"),
            *_standard(crystal),
        ], "Atoms and cell in their space group, to small forces: a phonon is a second derivative at rest."),
        StepText("phonons", "phonons", [
            Key("structures", "relaxed"),
            Key("supercell_min_A", PHONON_IMAGE_A),
            Key("max_atoms", largest, wide),
            Key("follow", follow, "where a mode is imaginary, relax along it to the lower structure" if follow else
                "true relaxes along imaginary modes; long in a cell of this size"),
        ], "All symmetry-distinct displacements of a supercell of the primitive cell."),
    ]  # fmt: skip
    answers = "bands, densities of states, whether it is stable, free energy, entropy and heat capacity."
    remarks = [*crystal.remarks(), "Universal potentials are softer than DFT: frequencies come out too low."]
    return CampaignText(f"Phonons of {crystal.formula}", answers, remarks, steps, "docs/phonons.md")


def dopant(crystal: Subject, asked: str | None, element: str | None, site: str | None) -> CampaignText:
    """An element in place of another: where it sits, what it does to the crystal.

    Raises:
        InputError: if no dopant is named, it is no element or is in the crystal, or the site is not.
    """
    if element is None:
        raise InputError("--dopant is missing, wanted an element to put in, such as --dopant Al")
    if element not in atomic_numbers or element == "X":
        raise InputError(f"--dopant: {element!r} is no element;{nearest(element, atomic_numbers)}")
    if element in crystal.elements:
        raise InputError(f"--dopant: {element} is in {crystal.formula} already, wanted an element that is not")
    try:
        ion = mobile_ion(crystal, asked)[0]
    except InputError:
        if asked is not None:
            raise
        ion = ""
    replaced, why_site = _site(crystal, ion, site)
    repeat = copies(crystal.atoms, DOPED_IMAGE_A, DOPED_ATOMS)
    distance = image_distance(crystal.atoms.cell.array, repeat)
    pays, why = _compensation(crystal, element, replaced, ion)
    own = f"{ion}:ion-layer" if ion and crystal.stacking(ion) is not None else ion
    sites = [replaced, own] if ion and pays == "none" and replaced not in (ion, own) else [replaced]
    exchanged = "; on the ion's it is exchanged, at the same composition" if sites[1:] else ""
    n = int(np.prod(repeat)) * crystal.atoms.get_chemical_symbols().count(replaced)
    steps = [
        StepText("cell", "structures", [
            Key("structures", crystal.word),
            Key("repeat", repeat, f"dopants {distance:.1f} Å from their images, one of {n} {replaced} replaced"),
        ], "The cell that is doped: the dopant's concentration is its size."),
        StepText("doped", "dope", [
            Key("structures", "cell"),
            Key("dopant", element),
            Key("sites", sites, why_site + exchanged),
            Key("count", 1, "dopants in the cell"),
            Key("per_site", 3, "configurations on each sublattice, by Coulomb energy"),
            Key("compensation", pays, why),
            *([Key("ion", ion)] if ion else []),
        ], "The undoped cell, and the dopant on each sublattice: energies at fixed composition, layers and lattice."),
    ]  # fmt: skip
    answers = "on which site it has the least energy, and what it does to the lattice and the layers."
    return CampaignText(f"{element} in {crystal.formula}", answers, crystal.remarks(), steps, "docs/cations.md")


def _site(crystal: Subject, ion: str, asked: str | None) -> tuple[str, str]:
    counts = crystal.atoms.symbols.formula.count()
    if asked is not None:
        if asked.partition(":")[0] not in counts:
            raise InputError(
                f"--site: no {asked} in {crystal.formula};{nearest(asked, counts)} wanted one of its elements"
            )
        return asked, "the first gives up atoms, as asked for"
    metals = [m for m in crystal.redox if m != ion]
    if metals:
        return max(
            metals, key=lambda m: counts[m]
        ), "the first gives up atoms: the commonest metal that may change its charge"
    charges = formal_charges(crystal.atoms)
    cations = [e for e in counts if e != ion and (charges is None or charges.by_element[e] > 0)]
    if not cations:
        raise InputError(
            f"{crystal.name}: no cation in {crystal.formula} beside its ion; name what is replaced by --site"
        )
    return max(cations, key=lambda e: counts[e]), "the first gives up atoms: the commonest cation beside the ion"


def _compensation(crystal: Subject, element: str, replaced: str, ion: str) -> tuple[str, str]:
    from atomsim.cations.compensation import dopant_charge

    charges, own = formal_charges(crystal.atoms), dopant_charge(element)
    site = replaced.partition(":")[0]
    metals = [m for m in crystal.redox if m not in INACTIVE | {ion, site}] + [m for m in crystal.redox if m == site]
    if charges is None or own is None or site not in charges.by_element:
        return "none", "charges are not known here: metals pay for what the dopant brings; or remove_ion, swap"
    excess = own - charges.by_element[site]
    brings = f"{element}{own:+g} for {site}{charges.by_element[site]:+g}"
    if abs(excess) < 1e-9:
        return "none", f"{brings} brings no charge"
    if metals:
        return "none", f"{brings}: {' and '.join(dict.fromkeys(metals))} pay for {excess:+g} e; or remove_ion, swap"
    if excess > 0 and ion and abs(excess / charges.by_element[ion] % 1) < 1e-6:
        return "remove_ion", f"{brings}: {excess:+g} e are paid by {ion} that leave"
    return "none", f"{brings}: nothing here pays for {excess:+g} e, the anions do"
