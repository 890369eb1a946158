"""Every prototype against what is known of it: composition, symmetry, density, bond lengths."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.neighborlist import neighbor_list
from pymatgen.core import Composition

from atomsim.errors import InputError
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.prototypes import Prototype, list_prototypes, load_prototype, prototype_facts
from atomsim.structures.sanity import check_structure

NAMES = [
    "Li2RuO3", "Li2RuO3-R-3", "Li2RuO3-rocksalt", "Li2SO4", "Li2MnO3", "LiMO2", "LRMO", "Li2WO4", "LiCoO2",
    "Na3RuO4", "TiS2", "Mo6S8", "Li", "Na", "K", "Mg", "Ca", "Al", "Zn", "O2", "Li2O", "Na2O", "Li2O2",
    "RuO2", "MnO2", "Ru", "Li2S", "LiCl", "Li3PO4", "Li3PS4", "Li6PS5Cl", "Li3P", "P", "RuS2", "CoS2", "Co9S8",
    "CoO", "Co3O4", "Co", "NiO", "Ni", "MnS", "W", "LiMnO2", "LiMn2O4", "NaCoO2", "NaMnO2",
]  # fmt: skip

BONDS = [
    # prototype, pair, coordination number, shortest and longest bond wanted, Å
    ("Li2RuO3", "Ru", "O", 6, 1.95, 2.10),
    ("Li2RuO3", "Li", "O", 6, 1.95, 2.30),
    ("Li2RuO3-R-3", "Ru", "O", 6, 1.90, 2.05),
    ("Li2RuO3-R-3", "Li", "O", 6, 1.95, 2.30),
    ("Li2RuO3-rocksalt", "Ru", "O", 6, 2.00, 2.12),
    ("Li2SO4", "S", "O", 4, 1.44, 1.50),
    ("Li2SO4", "Li", "O", 4, 1.88, 2.05),
    ("Li2MnO3", "Mn", "O", 6, 1.88, 1.95),
    ("Li2MnO3", "Li", "O", 6, 1.98, 2.20),
    ("LiMO2", "Li", "O", 6, 2.05, 2.15),
    ("LRMO", "Mn", "O", 6, 1.90, 2.00),
    ("Li2WO4", "W", "O", 4, 1.74, 1.83),
    ("Li2WO4", "Li", "O", 4, 1.88, 2.05),
    ("LiCoO2", "Co", "O", 6, 1.90, 1.94),
    ("LiCoO2", "Li", "O", 6, 2.07, 2.11),
    ("Na3RuO4", "Ru", "O", 6, 1.85, 2.15),
    ("TiS2", "Ti", "S", 6, 2.40, 2.45),
    ("Mo6S8", "Mo", "S", 5, 2.40, 2.60),
    ("Li", "Li", "Li", 8, 3.03, 3.05),
    ("Na", "Na", "Na", 8, 3.70, 3.73),
    ("K", "K", "K", 8, 4.54, 4.55),
    ("Mg", "Mg", "Mg", 12, 3.19, 3.22),
    ("Ca", "Ca", "Ca", 12, 3.94, 3.95),
    ("Al", "Al", "Al", 12, 2.86, 2.87),
    ("Zn", "Zn", "Zn", 6, 2.66, 2.67),
    ("O2", "O", "O", 1, 1.207, 1.208),
    ("Li2O", "Li", "O", 4, 1.99, 2.01),
    ("Na2O", "Na", "O", 4, 2.39, 2.41),
    ("Li2O2", "O", "O", 1, 1.50, 1.58),
    ("RuO2", "Ru", "O", 6, 1.93, 1.99),
    ("MnO2", "Mn", "O", 6, 1.87, 1.91),
    ("Ru", "Ru", "Ru", 12, 2.64, 2.71),
    ("Li2S", "Li", "S", 4, 2.46, 2.48),
    ("LiCl", "Li", "Cl", 6, 2.55, 2.57),
    ("Li3PO4", "P", "O", 4, 1.52, 1.57),
    ("Li3PO4", "Li", "O", 4, 1.90, 2.05),
    ("Li3PS4", "P", "S", 4, 2.03, 2.10),
    ("Li3PS4", "Li", "S", 4, 2.30, 2.75),
    ("Li6PS5Cl", "P", "S", 4, 2.04, 2.06),
    ("Li6PS5Cl", "Li", "S", 3, 2.25, 2.50),
    ("Li3P", "P", "Li", 5, 2.45, 2.54),
    ("P", "P", "P", 3, 2.20, 2.26),
    ("RuS2", "Ru", "S", 6, 2.34, 2.36),
    ("RuS2", "S", "S", 1, 2.16, 2.19),
    ("CoS2", "Co", "S", 6, 2.31, 2.34),
    ("CoS2", "S", "S", 1, 2.09, 2.13),
    ("CoO", "Co", "O", 6, 2.12, 2.14),
    ("Co3O4", "O", "Co", 4, 1.91, 1.94),
    ("Co", "Co", "Co", 12, 2.49, 2.52),
    ("NiO", "Ni", "O", 6, 2.08, 2.10),
    ("Ni", "Ni", "Ni", 12, 2.48, 2.50),
    ("MnS", "Mn", "S", 6, 2.60, 2.62),
    ("W", "W", "W", 8, 2.73, 2.75),
]


def spacegroup(atoms: Atoms, numbers=None) -> tuple[str, int]:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers if numbers is None else numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=0.01)
    return dataset.international, dataset.number


def density(atoms: Atoms) -> float:
    return float(atoms.get_masses().sum() / atoms.get_volume() / 0.602214076)


def test_the_library_is_complete():
    assert sorted(p.name for p in list_prototypes()) == sorted(NAMES)


@pytest.fixture(params=NAMES)
def prototype(request) -> Prototype:
    return load_prototype(request.param)


def test_composition(prototype):
    found = Composition(prototype.atoms.get_chemical_formula())
    wanted = Composition(prototype.formula) * prototype.formula_units
    assert found.almost_equals(wanted)


def test_space_group_by_spglib(prototype):
    # A disordered sublattice counts as one species, which is what its space group describes.
    kinds = {name: number for number, name in enumerate(dict.fromkeys(prototype.sublattices), start=1)}
    found = spacegroup(prototype.atoms, [kinds[name] for name in prototype.sublattices])
    assert found == (prototype.space_group.symbol, prototype.space_group.number)


def test_density_within_two_percent_of_the_published(prototype):
    if prototype.density_g_cm3 is None:
        # Nothing to compare with, and the file must say why.
        assert prototype.positions == "derived" or prototype.name == "O2"
        return
    assert density(prototype.atoms) == pytest.approx(prototype.density_g_cm3, rel=0.02)


def test_structure_is_sane(prototype):
    check_structure(prototype.atoms)
    distances = neighbor_list("d", prototype.atoms, 6.0)
    assert distances.min() > 1.2


def test_says_where_it_is_from(prototype):
    assert prototype.citation.authors
    assert prototype.citation.journal
    assert 1930 < prototype.citation.year < 2030
    assert prototype.positions in {"published", "relaxed", "derived"}
    # What is not a published refinement must say how it was made.
    if prototype.positions != "published":
        assert any(word in prototype.notes for word in ("relaxed", "Derived", "derived", "not refined"))


def test_primitive_cell_is_the_same_crystal(prototype):
    primitive, atoms = prototype.primitive, prototype.atoms
    assert len(primitive) <= len(atoms)
    assert density(primitive) == pytest.approx(density(atoms))
    assert spacegroup(primitive) == spacegroup(atoms)
    assert primitive.cell.volume > 0
    shortest = [neighbor_list("d", a, 5.0).min() for a in (primitive, atoms)]
    assert shortest[0] == pytest.approx(shortest[1], abs=1e-4)


def test_atoms_are_fresh_and_in_a_fixed_order(prototype):
    first, second = prototype.atoms, prototype.atoms
    first.positions += 1.0
    assert not np.allclose(first.positions, second.positions)
    assert np.array_equal(second.positions, load_prototype(prototype.name).atoms.positions)
    assert len(prototype.sublattices) == len(second)


@pytest.mark.parametrize(("name", "centre", "ligand", "number", "shortest", "longest"), BONDS)
def test_coordination(name, centre, ligand, number, shortest, longest):
    atoms = load_prototype(name).atoms
    i, j, distance = neighbor_list("ijd", atoms, longest)
    symbols = np.array(atoms.get_chemical_symbols())
    bonds = (symbols[i] == centre) & (symbols[j] == ligand)
    assert distance[bonds].min() >= shortest
    counts = np.bincount(i[bonds], minlength=len(atoms))[symbols == centre]
    assert (counts == number).all()


def test_capacity_of_one_electron_is_the_published_one():
    # 164 mAh/g for one electron of Li2RuO3 (Wu et al. 2022, Energy Environ. Sci. 15, 10.1039/d2ee01067d).
    atoms = load_prototype("Li2RuO3").atoms
    assert 26801.48146 * 8 / atoms.get_masses().sum() == pytest.approx(164, abs=1)


def test_layer_spacing_of_li2ruo3_is_near_the_measured_one():
    # (002) fringe 0.484 nm (same paper).
    cell = load_prototype("Li2RuO3").atoms.cell
    assert cell.volume / np.linalg.norm(np.cross(cell[0], cell[1])) / 2 == pytest.approx(4.84, rel=0.02)


def test_ruthenium_of_na3ruo4_forms_isolated_tetramers():
    atoms = load_prototype("Na3RuO4").atoms
    ruthenium = atoms[atoms.numbers == 44]
    i, j = neighbor_list("ij", ruthenium, 3.6)
    # A lozenge has two corners of two neighbours and two of three.
    assert sorted(np.bincount(i).tolist()) == [2] * 4 + [3] * 4
    # Walking along bonds never leaves the four.
    for start in range(len(ruthenium)):
        reached = {start}
        for _ in range(4):
            reached |= {int(b) for a, b in zip(i, j, strict=True) if int(a) in reached}
        assert len(reached) == 4


def test_metal_layer_of_lrmo_is_in_its_lowest_coulomb_order_and_a_honeycomb():
    prototype = load_prototype("LRMO")
    atoms = prototype.atoms
    charge = {"Li": 1.0, "Mn": 4.0, "Co": 3.0, "Ni": 2.0, "O": -2.0}
    layer = np.flatnonzero(np.array(prototype.sublattices) == "M")
    symbols = np.array(atoms.get_chemical_symbols())
    q = np.array([charge[s] for s in symbols])
    assert q.sum() == 0
    matrix = ewald_matrix(atoms)
    energy = q @ matrix @ q
    generator = np.random.default_rng(0)
    for _ in range(200):
        shuffled = q.copy()
        shuffled[layer] = generator.permutation(q[layer])
        assert energy <= shuffled @ matrix @ shuffled + 1e-9
    i, j = neighbor_list("ij", atoms[layer], 3.0)
    inside = symbols[layer]
    low = np.isin(inside, ["Li", "Ni"])
    assert not np.any(low[i] & low[j])  # never neighbours: they sit on honeycomb centres


def test_cobalt_of_pentlandite_is_an_octahedron_and_eight_tetrahedra():
    atoms = load_prototype("Co9S8").atoms
    i, j = neighbor_list("ij", atoms, 2.45)
    symbols = np.array(atoms.get_chemical_symbols())
    sulfur = np.bincount(i[symbols[j] == "S"], minlength=len(atoms))[symbols == "Co"]
    assert sorted(sulfur.tolist()) == [4] * 32 + [6] * 4


def test_unknown_prototype_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'Li2RuO3'"):
        load_prototype("Li2RuO4")
    with pytest.raises(InputError, match="choose from"):
        load_prototype("xyzzy")


def test_the_list_says_what_the_structures_are() -> None:
    """It is made from the files alone, without building a crystal."""
    facts = {f["name"]: f for f in prototype_facts()}
    assert list(facts) == [p.name for p in list_prototypes()]
    for p in list_prototypes():
        assert facts[p.name]["atoms"] == len(p.atoms)
        assert facts[p.name]["formula"] == p.formula
        assert facts[p.name]["space group"] == f"{p.space_group.symbol} ({p.space_group.number})"
        assert facts[p.name]["title"] == p.title
