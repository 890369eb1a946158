"""Formal charges against what the compounds are known to hold."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.spacegroup import crystal

from atomsim.analysis.redox import charge_balance
from atomsim.structures.charges import formal_charges
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype


@pytest.mark.parametrize(
    ("formula", "known"),
    [
        ("Li3NiMnCoO6", {"Ni": 2, "Mn": 4, "Co": 3}),  # X-ray absorption: Koyama et al. 2003, J. Power Sources 119, 644
        ("Li10Ni8MnCoO20", {"Ni": 2.875, "Mn": 4, "Co": 3}),
        ("Li2Mn3NiO8", {"Ni": 2, "Mn": 4}),  # the 4.7 V spinel
        ("LiMn2O4", {"Mn": 3.5}),
        ("MnFe2O4", {"Mn": 2, "Fe": 3}),
        ("FeTiO3", {"Fe": 2, "Ti": 4}),
        ("LiTiS2", {"Ti": 3}),
        ("LiFePO4", {"Fe": 2, "P": 5}),
        ("Li2FeSiO4", {"Fe": 2, "Si": 4}),
        ("LiFeBO3", {"Fe": 2, "B": 3}),
        ("Li3V2P3O12", {"V": 3, "P": 5}),
        ("ZnMn2O4", {"Zn": 2, "Mn": 3}),
        ("LiNbO3", {"Nb": 5}),
        ("Li2WO4", {"W": 6}),
        ("Li2TiOS2", {"Ti": 4, "O": -2, "S": -2}),
        ("K2FeSe2O8", {"Se": 6, "Fe": 2}),
        ("Na3RuO4", {"Ru": 5}),
        ("Mo6S8", {"Mo": 16 / 6}),
        ("Li6PS5Cl", {"P": 5, "S": -2, "Cl": -1}),
        ("Na3V2P2O8F3", {"V": 3}),
        ("LiVPO5", {"V": 4}),
        ("Li2CoPO4F", {"Co": 2}),
        ("Na2FeP2O7", {"Fe": 2}),
        ("Li3FeF6", {"Fe": 3}),
        ("KFeF3", {"Fe": 2}),
        ("Na4Ni2Mn4O12", {"Ni": 2, "Mn": 4}),  # P2-Na2/3[Ni1/3Mn2/3]O2
        ("Na4Fe3Mn3O12", {"Fe": 3, "Mn": 11 / 3}),
        ("Na2Ni2TeO6", {"Ni": 2}),
        ("Li12Mn4Ti4O20", {"Mn": 3, "Ti": 4}),  # disordered rock salts
        ("Li2VO2F", {"V": 3}),
        ("Li4Mn2O5", {"Mn": 3}),
        ("Li12Ni2Mn6O20", {"Ni": 2, "Mn": 4}),
        ("LiCoMnO4", {"Co": 3, "Mn": 4}),
        ("LiNiVO4", {"Ni": 2, "V": 5}),
        ("Li3ErCl6", {"Er": 3, "Cl": -1}),
        ("Li3YbBr6", {"Yb": 3}),
        ("NaFeS2O8", {"Fe": 3, "S": 6}),
        ("LiMnVO4", {"Mn": 2, "V": 5}),  # olivine and spinel
        ("MnV2O6", {"Mn": 2, "V": 5}),
        ("Fe2VO4", {"Fe": 2.5, "V": 3}),
        ("Na4MnVP3O12", {"Mn": 2, "V": 3}),
        ("Na3Ni2BiO6", {"Ni": 2, "Bi": 5}),
        ("BiNiO3", {"Bi": 4, "Ni": 2}),
        ("BiFeO3", {"Bi": 3, "Fe": 3}),
        ("PbTiO3", {"Pb": 2, "Ti": 4}),
        ("TaS2", {"Ta": 4}),
        ("LiTaO3", {"Ta": 5}),
        ("LiBH4", {"B": 3, "H": -1}),
        ("NaAlH4", {"Al": 3, "H": -1}),
        ("LiNH2", {"N": -3, "H": 1}),
        ("LiPN2", {"P": 5, "N": -3}),
        ("GaAs", {"As": -3}),
    ],
)
def test_states_are_those_known(formula, known):
    found = formal_charges(Atoms(formula))
    assert {s: found.by_element[s] for s in known} == pytest.approx(known)
    counts = Counter(Atoms(formula).get_chemical_symbols())
    assert sum(found.by_element[s] * n for s, n in counts.items()) == pytest.approx(0, abs=1e-9)


def test_what_is_bonded_to_oxygen_decides_about_sulfur_and_peroxide():
    assert formal_charges(load_prototype("Li2SO4").atoms).by_element == {"Li": 1, "S": 6, "O": -2}
    assert formal_charges(load_prototype("Li2O2").atoms).by_element == {"Li": 1, "O": -1}
    sulfur_dioxide = molecule("SO2")
    assert formal_charges(sulfur_dioxide) is None  # no state of sulfur with two oxygens is neutral beside O2-


MOLECULAR_IONS = {
    "nitrate": ("NO3", [(0, 0, 0), (1.25, 0, 0), (-0.625, 1.083, 0), (-0.625, -1.083, 0)], {"N": 5}, 1),
    "nitrite": ("NO2", [(0, 0, 0), (1.08, 0.62, 0), (-1.08, 0.62, 0)], {"N": 3}, 1),
    "oxalate": ("C2O4", [(0.77, 0, 0), (-0.77, 0, 0), (1.4, 1.1, 0), (1.4, -1.1, 0), (-1.4, 1.1, 0), (-1.4, -1.1, 0)],
                {"C": 3}, 2),
    "carbonate": ("CO3", [(0, 0, 0), (1.28, 0, 0), (-0.64, 1.11, 0), (-0.64, -1.11, 0)], {"C": 4}, 2),
    "cyanide": ("CN", [(0, 0, 0), (1.16, 0, 0)], {"C": 2, "N": -3}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", MOLECULAR_IONS)
def test_bonds_decide_about_ions_of_carbon_and_nitrogen(name):
    formula, positions, known, sodium = MOLECULAR_IONS[name]
    salt = Atoms(formula, positions, cell=[12, 12, 12], pbc=True)
    salt += Atoms("Na" * sodium, [(6, 6, 6), (6, 0, 6)][:sodium])
    found = formal_charges(salt)
    assert found is not None
    assert {s: found.by_element[s] for s in known} == known


def ring(n, radius, height, turn=0.0):
    angles = turn + 2 * np.pi * np.arange(n) / n
    return [(radius * np.cos(t), radius * np.sin(t), height) for t in angles]


def chain(n):
    return [(1.74 * k, 1.1 * (k % 2), 0) for k in range(n)]


TETRAHEDRON = [(0, 0, 0), (0.7, 0.7, 0.7), (0.7, -0.7, -0.7), (-0.7, 0.7, -0.7), (-0.7, -0.7, 0.7)]
DIMER = [(0, 0, 1.1), (0, 0, -1.1), *ring(3, 1.9, 1.7), *ring(3, 1.9, -1.7, np.pi / 3)]
BONDED = {
    "superoxide": ("O2", [(0, 0, 0), (0, 0, 1.33)], "K", {"O": -0.5}),
    "peroxide": ("O2", [(0, 0, 0), (0, 0, 1.5)], "Na2", {"O": -1}),
    "oxygen": ("O2", [(0, 0, 0), (0, 0, 1.22)], "", {"O": 0}),
    "disulfide": ("S2", chain(2), "Li2", {"S": -1}),
    "hexasulfide": ("S6", chain(6), "Li2", {"S": -1 / 3}),
    "thiosulfate": ("S2O3", [(0, 0, 0), (0, 0, 2), *ring(3, 1.4, -0.45)], "Na2", {"S": 2, "O": -2}),
    "hexathiohypodiphosphate": ("P2S6", DIMER, "Fe2", {"P": 4, "Fe": 2}),
    "phosphide beside a sulfide": ("S", [(0, 0, 0)], "Li5P", {"P": -3, "S": -2}),
    "borohydride beside an amide": (
        "BH4NH2", [*TETRAHEDRON, (4, 4, 4), (4, 4.8, 4.6), (4, 3.2, 4.6)], "Li2", {"H": -1 / 3, "B": 3, "N": -3}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BONDED)
def test_bonds_decide_about_pairs_chains_hydrides_and_phosphides(name):
    formula, positions, cations, known = BONDED[name]
    salt = Atoms(formula, positions, cell=[30, 30, 30], pbc=True)
    others = Atoms(cations)
    others.positions[:] = [(5 * k, 15, 15) for k in range(len(others))] or np.zeros((0, 3))
    found = formal_charges(salt + others)
    assert found is not None
    assert {s: found.by_element[s] for s in known} == pytest.approx(known)


def test_pyrite_holds_pairs_of_sulfur():
    pyrite = crystal(["Fe", "S"], [(0, 0, 0), (0.385, 0.385, 0.385)], spacegroup=205, cellpar=[5.418] * 3 + [90] * 3)
    assert formal_charges(pyrite).by_element == {"Fe": 2, "S": -1}


@pytest.mark.parametrize("formula", ["LiXe", "Li5O", "Na3MnFeP2O8"])
def test_no_charges_where_no_common_states_are_neutral(formula):
    assert formal_charges(Atoms(formula)) is None


def test_given_states_are_kept_and_the_others_follow():
    found = formal_charges(Atoms("Li2Mn3NiO8"), {"Ni": 3.0})
    assert found.by_element["Ni"] == 3
    assert found.by_element["Mn"] == pytest.approx(11 / 3)
    assert found.source == "given"


def test_states_from_moments_are_taken_where_they_are_neutral():
    suggested = {"Mn": 3.0, "Ni": 3.0, "Co": 3.0}
    assert formal_charges(Atoms("Li3NiMnCoO6"), states=suggested).source == "moments"
    refused = formal_charges(Atoms("Li3NiMnCoO6"), states={"Mn": 3.0, "Ni": 2.0, "Co": 3.0})
    assert refused.source == "common states"


def test_the_easiest_metal_is_oxidised_first_as_ions_leave():
    atoms = Atoms("Li3NiMnCoO6")
    charges = formal_charges(atoms)
    counts = Counter(atoms.get_chemical_symbols())
    assert charges.after(1, counts) == pytest.approx({"Li": 1, "Ni": 3, "Mn": 4, "Co": 3, "O": -2})
    # Co³⁺ is left until all nickel is Ni⁴⁺: Koyama et al. 2003
    assert charges.after(2, counts) == pytest.approx({"Li": 1, "Ni": 4, "Mn": 4, "Co": 3, "O": -2})
    assert charges.after(3, counts) == pytest.approx({"Li": 1, "Ni": 4, "Mn": 4, "Co": 4, "O": -2})


def test_inactive_metals_are_held_beside_others():
    atoms = Atoms("Li2NiTiO4")
    charges = formal_charges(atoms)
    assert charges.after(1, Counter(atoms.get_chemical_symbols()))["Ti"] == 4
    assert charge_balance(atoms) == pytest.approx(2)


@pytest.mark.parametrize(
    ("formula", "state"),
    [("LiFePO4", 2), ("FePO4", 3), ("Li2MnSiO4", 2), ("LiFeBO3", 2), ("Li2MoSe3", 4), ("Li2TiOS2", 4), ("ZnMn2O4", 3)],
)
def test_charge_balance_of_polyanions_borates_selenides_and_oxysulfides(formula, state):
    assert charge_balance(Atoms(formula)) == pytest.approx(state)


def test_records_say_the_charges_and_where_they_are_from():
    host = load_prototype("LiMO2").atoms
    found = delithiate(host, "Li", [1.0], orderings=1, max_atoms=len(host))
    tags = found.tags(found.orderings[0], "LiMO2")
    assert {s: tags["formal_charges"][s] for s in ("Mn", "Co", "Ni")} == {"Mn": 4, "Co": 3, "Ni": 2}
    assert tags["charges_from"] == "common states"


def test_an_ion_that_is_a_redox_metal_leaves_the_others_to_balance_it():
    spinel = crystal(
        ("Cu", "Ti", "S"), [(1 / 8, 1 / 8, 1 / 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)],
        spacegroup=227, setting=2, cellpar=[9.99, 9.99, 9.99, 90, 90, 90], primitive_cell=True,
    )  # fmt: skip
    charges = delithiate(spinel, "Cu", [0.25], max_atoms=14).charges
    counts = Counter(spinel.get_chemical_symbols())
    after = charges.after(charges.by_element["Cu"], counts)
    assert after["Cu"] == charges.by_element["Cu"]
    assert sum(after[s] * (n - (s == "Cu")) for s, n in counts.items()) == pytest.approx(0)
