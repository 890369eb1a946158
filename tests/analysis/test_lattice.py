"""The parent's setting through supercells; layers; space groups."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal

from atomsim.analysis.lattice import d_spacing, lattice_of, layers, map_reflection, parent_cell, space_group

MONOCLINIC = np.array([[4.92, 0, 0], [0, 8.77, 0], [-1.72, 0, 9.73]])
SUPERCELLS = [
    np.eye(3),
    np.diag([2, 1, 1]),
    np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]),
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
]
STRAIN = np.array([[1.02, 0.01, 0.0], [0.0, 0.97, -0.02], [0.005, 0.0, 1.03]])


def lithium_cobaltate(z_oxygen=0.2605):
    """Orman & Wiseman 1984, Acta Cryst. C 40, 12: R-3m, a = 2.8166 Å, c = 14.052 Å."""
    return crystal(
        ["Li", "Co", "O"],
        [(0, 0, 0.5), (0, 0, 0), (0, 0, z_oxygen)],
        spacegroup=166,
        cellpar=[2.8166, 2.8166, 14.052, 90, 90, 120],
    )


@pytest.mark.parametrize("supercell", SUPERCELLS)
def test_a_strained_supercell_leads_back_to_the_strained_parent(supercell):
    strained = supercell @ MONOCLINIC @ STRAIN
    assert parent_cell(strained, supercell) == pytest.approx(MONOCLINIC @ STRAIN)


@pytest.mark.parametrize("supercell", SUPERCELLS)
@pytest.mark.parametrize("hkl", [(0, 0, 2), (1, -1, 3), (0, 2, 0)])
def test_a_reflection_keeps_its_spacing_through_supercell_and_strain(supercell, hkl):
    parent = MONOCLINIC @ STRAIN
    child = supercell @ parent
    assert d_spacing(child, map_reflection(hkl, supercell)) == pytest.approx(d_spacing(parent, hkl), rel=1e-12)


def test_a_primitive_cell_maps_with_fractions():
    primitive = np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]])
    hkl = map_reflection((0, 0, 2), primitive)
    assert d_spacing(primitive @ MONOCLINIC, hkl) == pytest.approx(d_spacing(MONOCLINIC, (0, 0, 2)))


def test_002_of_lithium_ruthenate_is_the_published_spacing():
    # C2/c Li2RuO3, a = 4.92, b = 8.77, c = 9.88 Å, β = 100.0°: d(002) = c sin β / 2 = 0.484–0.487 nm.
    assert d_spacing(MONOCLINIC, (0, 0, 2)) == pytest.approx(9.73 / 2)


def test_lattice_parameters_of_a_known_cell():
    found = lattice_of(MONOCLINIC)
    assert (found.a, found.b) == pytest.approx((4.92, 8.77))
    assert found.c == pytest.approx(np.hypot(1.72, 9.73))
    assert found.beta == pytest.approx(90 + np.degrees(np.arctan(1.72 / 9.73)))
    assert found.volume == pytest.approx(4.92 * 8.77 * 9.73)


def test_slab_and_gap_of_lithium_cobaltate():
    atoms = lithium_cobaltate()
    found = layers(atoms, (0, 0, 3), ["Co"])
    # z(O) = 0.2605: O planes lie (1/3 − 0.2605) c = 1.02 Å above and below Co.
    assert found.d_spacing == pytest.approx(14.052 / 3)
    assert found.slab == pytest.approx(2 * (1 / 3 - 0.2605) * 14.052)
    assert found.slab + found.gap == pytest.approx(found.d_spacing)


def test_slab_is_the_same_in_a_shifted_supercell():
    supercell = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 2]])
    atoms = make_supercell(lithium_cobaltate(), supercell)
    atoms.positions += [0.3, -0.2, 1.7]
    atoms.wrap()
    found = layers(atoms, map_reflection((0, 0, 3), supercell), ["Co"])
    assert found.slab == pytest.approx(layers(lithium_cobaltate(), (0, 0, 3), ["Co"]).slab)


def test_no_layers_where_the_metal_is_everywhere():
    rocksalt = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    # Mg steps by a/2: with the period a its phases cancel.
    assert layers(rocksalt, (0, 0, 1), ["Mg"]) is None


@pytest.mark.parametrize(("symprec", "symbol"), [(0.01, "P1"), (0.1, "R-3m")])
def test_space_group_depends_on_the_stated_tolerance(symprec, symbol):
    atoms = lithium_cobaltate()
    atoms.positions += np.random.default_rng(3).normal(scale=0.01, size=(len(atoms), 3))
    found = space_group(atoms, symprec)
    assert found.symbol == symbol
    assert found.symprec == symprec


def test_a_structure_on_top_of_itself_has_no_space_group():
    assert space_group(Atoms("Li2", [[0, 0, 0], [0, 0, 0]], cell=[3, 3, 3], pbc=True), 0.01) is None
