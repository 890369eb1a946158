"""Reading whatever users have, writing extended XYZ with results."""

import json
import os

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.errors import AtomsimError, InputError
from atomsim.io import read_structures, write_extxyz


@pytest.fixture
def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def same(a: Atoms, b: Atoms) -> bool:
    return sorted(a.numbers) == sorted(b.numbers) and np.allclose(a.cell.cellpar(), b.cell.cellpar(), atol=1e-4)


@pytest.mark.parametrize("name", ["s.cif", "POSCAR", "s.extxyz", "s.traj", "s.vasp", "s.json"])
def test_formats_of_ase(tmp_path, salt, name):
    ase.io.write(tmp_path / name, salt)
    (read,) = read_structures(tmp_path / name)
    assert same(read, salt)


def test_hostile_file_names(tmp_path, salt):
    folder = tmp_path / "a b'c"
    folder.mkdir()
    path = folder / "x@2 $(y).extxyz"
    write_extxyz(path, [salt])
    assert same(read_structures(path)[0], salt)


def test_formats_of_pymatgen(tmp_path, salt):
    path = tmp_path / "structure.json"
    path.write_text(AseAtomsAdaptor.get_structure(salt).to_json())
    (read,) = read_structures(path)
    assert same(read, salt)


def test_many_structures_in_order(tmp_path, salt):
    images = [bulk("NaCl", "rocksalt", a=a) for a in (5.4, 5.6, 5.8)]
    for name in ("many.extxyz", "many.traj", "many.cif"):
        ase.io.write(tmp_path / name, images)
        volumes = [a.get_volume() for a in read_structures(tmp_path / name)]
        assert volumes == pytest.approx([a.get_volume() for a in images], rel=1e-4)


CIF = """data_disordered
_symmetry_space_group_name_H-M 'P 1'
_cell_length_a 4.1
_cell_length_b 4.1
_cell_length_c 4.1
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0 {li}
O1 O 0.5 0.5 0.5 1.0
"""


@pytest.mark.parametrize("occupancy", ["0.667", "0.667(3)", ".5"])
def test_partial_occupancy_names_the_site(tmp_path, occupancy):
    path = tmp_path / "disordered.cif"
    path.write_text(CIF.format(li=occupancy))
    with pytest.raises(InputError, match=r"site Li1 has occupancy 0\.\d+.*ordered supercell"):
        read_structures(path)


@pytest.mark.parametrize("occupancy", ["1", "1.0", "1.000(2)", "."])
def test_full_occupancy_is_read(tmp_path, occupancy):
    path = tmp_path / "full.cif"
    path.write_text(CIF.format(li=occupancy))
    assert read_structures(path)[0].symbols.formula.count() == {"Li": 1, "O": 1}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.cif", "", "is empty"),
        ("no.extxyz", None, "does not exist"),
        ("text.cif", "this is not a structure\n", "cannot be read"),
        ("noise.bin", "\x00\x01\x02 nothing\n", "cannot be read"),
        ("cut.extxyz", '4\nLattice="4 0 0 0 4 0 0 0 4"\nLi 0 0 0\n', "cannot be read"),
        ("zero.xyz", "0\n\n", "no structure"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_structures(path)
    message = str(caught.value)
    assert words in message
    assert name in message
    assert "\n" not in message


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(InputError, match="folder"):
        read_structures(tmp_path)


def test_results_come_back(tmp_path, salt):
    generator = np.random.default_rng(0)
    n = len(salt)
    results = {
        "energy": -1.25,
        "forces": generator.normal(size=(n, 3)),
        "stress": generator.normal(size=6),
        "magmoms": generator.normal(size=n),
    }
    salt.info["label"] = "x=1.50-03"
    path = tmp_path / "out.extxyz"
    write_extxyz(path, [salt, salt], [results, {"energy": 2.0, "forces": None}])
    first, second = read_structures(path)
    assert first.get_potential_energy() == -1.25
    assert np.allclose(first.get_forces(), results["forces"], atol=1e-7)
    assert np.allclose(first.get_stress(), results["stress"], atol=1e-7)
    assert np.allclose(first.get_magnetic_moments(), results["magmoms"], atol=1e-7)
    assert first.info["label"] == "x=1.50-03"
    assert second.get_potential_energy() == 2.0
    assert "forces" not in second.calc.results
    assert salt.calc is None


def test_what_a_calculator_computed_is_written(tmp_path):
    copper = bulk("Cu")
    copper.calc = EMT()
    energy = copper.get_potential_energy()
    write_extxyz(tmp_path / "cu.extxyz", [copper])
    assert read_structures(tmp_path / "cu.extxyz")[0].get_potential_energy() == pytest.approx(energy)


def test_one_result_for_each(tmp_path, salt):
    with pytest.raises(InputError, match="1 results for 2 structures"):
        write_extxyz(tmp_path / "out.extxyz", [salt, salt], [{"energy": 1.0}])


def test_full_disk_leaves_the_old_file(tmp_path, salt, monkeypatch):
    path = tmp_path / "out.extxyz"
    write_extxyz(path, [salt])
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AtomsimError, match="No space left on device"):
        write_extxyz(path, [salt, salt])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.extxyz"]


def test_json_that_is_no_structure(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="cannot be read"):
        read_structures(path)


POSCAR = """{comment}
1.0
4 0 0
0 4 0
0 0 4
{header}
Direct
0 0 0
0.5 0.5 0.5
"""


@pytest.mark.parametrize(
    ("comment", "header"), [("a crystal", "Li O\n1 1"), ("Li O", "1 1"), ("a crystal", "Li_sv/1a2b O ! why\n1 1")]
)
def test_poscars_that_name_their_elements(tmp_path, comment, header):
    (tmp_path / "POSCAR").write_text(POSCAR.format(comment=comment, header=header))
    assert list(read_structures(tmp_path / "POSCAR")[0].symbols) == ["Li", "O"]


@pytest.mark.parametrize(
    ("comment", "header", "words"),
    [
        ("a crystal", "1 1", "no symbols of elements"),
        ("In As grown on Si", "1 1", "no symbols of elements"),
        ("Li", "1 1", "no symbols of elements"),
        ("a crystal", "A B\n1 1", "'A' in line 6 is no element"),
        ("a crystal", "Va O\n1 1", "'Va' in line 6 is no element"),
        ("a crystal", "Li Na O\n1 1", "3 symbols but 2 numbers"),
        ("a crystal", "Li\n1 1", "1 symbols but 2 numbers"),
    ],
)
@pytest.mark.parametrize("name", ["POSCAR", "x.vasp"])
def test_poscars_that_do_not(tmp_path, comment, header, words, name):
    (tmp_path / name).write_text(POSCAR.format(comment=comment, header=header))
    with pytest.raises(InputError, match=words):
        read_structures(tmp_path / name)


SALT = "salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n{counts}\nDirect\n0 0 0\n0.5 0.5 0.5\n{more}"


@pytest.mark.parametrize(
    ("counts", "more", "words"),
    [("1 1", "0.2 0.2 0.2\n", "2 atoms but 3 positions"), ("1 2", "", "3 atoms but 2 positions")],
)
def test_a_poscar_has_as_many_positions_as_atoms(tmp_path, counts, more, words):
    path = tmp_path / "POSCAR"
    path.write_text(SALT.format(counts=counts, more=more), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_structures(path)


@pytest.mark.parametrize("velocities", ["\n0 0 0\n0 0 0\n", "Cartesian\n0 0 0\n0 0 0\n"])
def test_velocities_in_a_poscar_are_no_positions(tmp_path, velocities):
    path = tmp_path / "CONTCAR"
    path.write_text(SALT.format(counts="1 1", more=velocities), encoding="utf-8")
    assert len(read_structures(path)[0]) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_an_xyz_file(tmp_path, encoding):
    path = tmp_path / "salt.extxyz"
    lattice = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
    path.write_text(f"2\n{lattice}\nNa 0 0 0\nCl 2 2 2\n", encoding=encoding)
    (salt,) = read_structures(path)
    assert salt.get_chemical_formula() == "ClNa"
    assert salt.cell.volume == pytest.approx(64)
