"""CIFs as people, databases and programs write them: read as they mean it, or refused in one line."""

from __future__ import annotations

import bz2
import gzip
import lzma

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError
from atomsim.io import read_structures

CUBE = """data_x
_cell_length_a 4.3
_cell_length_b 4.3
_cell_length_c 4.3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
HEXAGON = CUBE.replace("gamma 90", "gamma 120").replace("c 4.3", "c 14.2").replace("4.3", "2.9")
P1 = "_symmetry_space_group_name_H-M 'P 1'\nloop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n"
FCC = P1 + "'x+1/2,y+1/2,z'\n'x+1/2,y,z+1/2'\n'x,y+1/2,z+1/2'\n"
COLUMNS = "label type_symbol fract_x fract_y fract_z occupancy"
LIO = ("Li1 Li 0 0 0 1", "O1 O 0.5 0.5 0.5 1")


def loop(*rows: str, columns: str = COLUMNS) -> str:
    return "\n".join(["loop_", *(f"_atom_site_{c}" for c in columns.split()), *rows, ""])


def labelled(*labels: str) -> str:
    rows = [f"{label} {0.1 + 0.5 * n} 0.2 {0.05 + 0.4 * n}" for n, label in enumerate(labels)]
    return loop(*rows, columns="label fract_x fract_y fract_z")


@pytest.fixture
def read(tmp_path):
    def reader(text: str) -> Atoms:
        path = tmp_path / "x.cif"
        path.write_text(text, encoding="utf-8")
        (atoms,) = read_structures(path)
        return atoms

    return reader


def formula(atoms: Atoms) -> str:
    return str(atoms.symbols.formula.format("metal"))


def refused(read, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("occupancy", ["0.5", "+0.5", "5e-1", ".5(1)", "'0.5'", "50%", "0,5", "0", "2"])
def test_a_site_that_is_not_full(read, occupancy):
    refused(read, CUBE + FCC + loop(f"Li1 Li 0 0 0 {occupancy}", LIO[1]), "site Li1 has occupancy .*; want")


def test_partial_occupancy_whatever_the_case_of_tags(read):
    text = (CUBE + FCC + loop("Li1 Li 0 0 0 0.5", LIO[1])).replace("_occupancy", "_Occupancy").replace("label", "Label")
    refused(read, text, "occupancy 0.5")


def test_partial_occupancy_beside_a_broken_loop(read):
    broken = "loop_\n_atom_site_aniso_label\n_atom_site_aniso_U_11\nLi1 .01 extra\n"
    refused(read, CUBE + FCC + loop("Li1 Li 0 0 0 0.5", LIO[1]) + broken, r"line \d+: Wrong number of values")


def test_occupancies_that_stand_twice(read):
    text = CUBE + FCC + loop(*LIO) + loop("Li1 0.5", "O1 1", columns="label occupancy")
    refused(read, text, "_atom_site_occupancy stands twice")


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz")])
def test_packed_files_are_judged_alike(tmp_path, pack, suffix):
    path = tmp_path / f"x.cif{suffix}"
    path.write_bytes(pack((CUBE + FCC + loop(*LIO)).encode()))
    assert formula(read_structures(path)[0]) == "Li4O4"
    path.write_bytes(pack((CUBE + FCC + loop("Li1 Li 0 0 0 0.5", LIO[1])).encode()))
    with pytest.raises(InputError, match="occupancy"):
        read_structures(path)


@pytest.mark.parametrize(
    "encode",
    [
        lambda t: b"\xef\xbb\xbf" + t.encode(),
        lambda t: t.encode("utf-16"),
        lambda t: t.replace("\n", "\r").encode(),
        lambda t: t.replace("\n", "\r\n").encode(),
        lambda t: ("# Löwe\n" + t.replace("data_x\n", "data_x\n_publ_author_name 'André'\n")).encode("latin-1"),
    ],
    ids=["utf-8 mark", "utf-16", "CR", "CRLF", "latin-1"],
)
@pytest.mark.parametrize("name", ["x.cif", "crystal.txt"])
def test_encodings_and_line_ends(tmp_path, encode, name):
    (tmp_path / name).write_bytes(encode(CUBE + FCC + loop(*LIO)))
    (atoms,) = read_structures(tmp_path / name)
    assert formula(atoms) == "Li4O4"


def test_two_atoms_on_one_site(read):
    refused(read, CUBE + FCC + loop(*LIO, "Ru1 Ru 0 0 0 1"), "Li1 and Ru1 lie on one site")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("'Li4 O4'\n_cell_formula_units_Z 4", "Li4 O4 with Z = 4, its atoms and symmetry give Li O"),
        ("'H2 Li O'\n_cell_formula_units_Z 1", "H2 Li O with Z = 1, its atoms and symmetry give Li O"),
        ("'Li2 O'", "Li2 O, its atoms"),
        ("'Li4 O4'", "at least one formula unit"),
        ("'Li O'\n_cell_formula_units_Z 4", "Li O with Z = 4, .* want as many"),
        ("'Li O . H2 O'", "H2 Li O2, its atoms"),
        ("'Li O, 2(H2 O)'", "H4 Li O3, its atoms"),
        ("'Li O·3H2O'", "H6 Li O4, its atoms"),
    ],
)
def test_another_formula_than_declared(read, declared, words):
    refused(read, CUBE + f"_chemical_formula_sum {declared}\n" + P1 + loop(*LIO), words)


def test_a_bare_asymmetric_unit_is_no_crystal_though_its_formula_fits(read):
    declared = "_chemical_formula_sum 'Li O'\n_cell_formula_units_Z 4\n"
    refused(read, CUBE + declared + loop(*LIO), "no space group and no operations")
    named = "_symmetry_space_group_name_H-M 'F m -3 m'\n"
    assert formula(read(CUBE + declared + named + loop(*LIO))) == "Li4O4"


@pytest.mark.parametrize(
    "declared", ["'LI1 O1'", "'Li O'\n_cell_formula_units_Z 4", "'Li4 O4'\n_cell_formula_units_Z 4", "'O Li'"]
)
def test_the_declared_formula_of_a_unit_or_of_the_cell(read, declared):
    assert formula(read(CUBE + f"_chemical_formula_sum {declared}\n" + FCC + loop(*LIO))) == "Li4O4"


@pytest.mark.parametrize(
    ("label", "element"), [("NI1", "Ni"), ("CO1", "Co"), ("CS1", "Cs"), ("Si(1)", "Si"), ("OW1", "O"), ("LiA", "Li")]
)
def test_elements_from_labels(read, label, element):
    assert set(read(CUBE + P1 + labelled(label, "F1")).symbols) == {element, "F"}


def test_the_formula_decides_what_a_label_means(read):
    assert formula(read(CUBE + "_chemical_formula_sum 'C O'\n" + P1 + labelled("CO1", "O1"))) in {"CO", "OC"}


@pytest.mark.parametrize(
    "label",
    ["Va1", "Cg1", "Du1", "X1", "T1", "M2", "D1", "HO1", "1", "Wat1", "H2O", "REE1", "Fe/Mn", "Fe1,Mn1", "Lithium"],
)
def test_labels_of_no_certain_element(read, label):
    refused(read, CUBE + P1 + labelled(label, "O1"), f"site {label} .*_atom_site_type_symbol")


@pytest.mark.parametrize("kind", ["Va", "Cg", "Du", "Q", "M", "Li0.5Na0.5", "Wat"])
def test_types_that_are_no_element(read, kind):
    refused(read, CUBE + FCC + loop(*LIO, f"A1 {kind} 0.25 0.25 0.25 1"), f"site A1 is of type '{kind}'")


def test_a_dummy_that_the_dictionary_calls_so_is_no_atom(read):
    rows = [f"{row} d" for row in LIO]
    assert (
        formula(read(CUBE + FCC + loop(*rows, "Cg1 Cg 0.2 0.3 0.2 1 dum", columns=COLUMNS + " calc_flag"))) == "Li4O4"
    )


def test_deuterium_is_heavy_hydrogen(read):
    atoms = read(CUBE + P1 + loop("D1 D 0 0 0 1", "O1 O 0.5 0.5 0.5 1"))
    assert set(atoms.symbols) == {"H", "O"}
    assert atoms.get_masses()[0] == pytest.approx(2.0141, abs=1e-4)


@pytest.mark.parametrize("groups", [("1", "2"), ("-1", ".")])
def test_alternatives_are_not_both_there(read, groups):
    rows = [f"Li1 Li 0 0 0 1 {groups[0]}", f"Li2 Li 0.25 0.25 0.25 1 {groups[1]}", "O1 O 0.5 0.5 0.5 1 ."]
    refused(read, CUBE + FCC + loop(*rows, columns=COLUMNS + " disorder_group"), "disorder groups")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("_atom_site_moment.label Li1\n", "magnetic CIF"),
        ("_space_group_symop_magn_operation.xyz x,y,z,+1\n", "magnetic CIF"),
        ("_cell_modulation_dimension 1\n", "modulated"),
    ],
)
def test_crystals_of_other_kinds(read, lines, words):
    refused(read, CUBE + P1 + lines + loop(*LIO), words)


def test_mmcif_is_no_crystal_cif(read):
    columns = "id type_symbol Cartn_x Cartn_y Cartn_z"
    refused(read, CUBE + P1 + loop("1 C 1 2 3", columns=columns), "Cartesian coordinates only")


def test_tags_with_dots_are_the_same_tags(read):
    text = (CUBE + FCC + loop(*LIO)).replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site.")
    assert formula(read(text)) == "Li4O4"


@pytest.mark.parametrize("missing", ["_cell_length_c", "_cell_angle_beta"])
def test_a_cell_that_is_not_complete(read, missing):
    text = "\n".join(line for line in CUBE.splitlines() if missing not in line) + "\n"
    refused(read, text + P1 + loop(*LIO), f"no {missing}")


@pytest.mark.parametrize("angles", [(30, 120, 90), (60, 60, 120), (20, 20, 60)])
def test_a_cell_that_is_flat(read, angles):
    text = CUBE
    for name, angle in zip(("alpha", "beta", "gamma"), angles, strict=True):
        text = text.replace(f"_cell_angle_{name} 90", f"_cell_angle_{name} {angle}")
    refused(read, text + P1 + loop(*LIO), "no cell has the angles")


@pytest.mark.parametrize(
    ("symbol", "n"),
    [
        ("F 4/m -3 2/m", 4),
        ("F m 3 m", 4),
        ("FM-3M", 4),
        ("P m -3 m", 1),
        ("F_m_-3_m", 4),
        ("F m -3 m :1", 4),
    ],
)
def test_spellings_of_a_symbol(read, symbol, n):
    assert formula(read(CUBE + f"_space_group_name_H-M_alt '{symbol}'\n" + loop(*LIO))) == (
        "Li4O4" if n == 4 else "LiO"
    )


ANATASE = CUBE.replace("length_c 4.3", "length_c 9.514").replace("4.3", "3.785")


@pytest.mark.parametrize("symbol", ["I 41/a m d :2", "I41/amdZ", "I 41/a 2/m 2/d (origin choice 2)", "I 41/A M D Z"])
def test_origin_choices(read, symbol):
    rows = ("Ti1 Ti 0 0.75 0.125 1", "O1 O 0 0.75 0.3336 1")
    atoms = read(ANATASE + f"_symmetry_space_group_name_H-M '{symbol}'\n" + loop(*rows))
    assert formula(atoms) == "Ti4O8"
    centers = neighbor_list("i", atoms, {("Ti", "O"): 2.05})
    assert np.bincount(centers)[:4].tolist() == [6, 6, 6, 6]


def test_a_setting_that_is_not_told_is_refused_unless_the_formula_decides(read):
    rows = ("Ti1 Ti 0 0.75 0.125 1", "O1 O 0 0.75 0.3336 1")
    text = ANATASE + "_symmetry_space_group_name_H-M 'I 41/a m d'\n_symmetry_Int_Tables_number 141\n"
    refused(read, text + loop(*rows), "may be .*:1, .*:2.*_space_group_name_Hall")
    declared = "_chemical_formula_sum 'Ti O2'\n_cell_formula_units_Z 4\n"
    assert formula(read(text + declared + loop(*rows))) == "Ti4O8"


def test_the_cell_tells_rhombohedral_from_hexagonal_axes(read):
    words = "_symmetry_space_group_name_H-M 'R -3 m'\n_symmetry_Int_Tables_number 166\n"
    hexagonal = ("Li1 Li 0 0 0.5 1", "Co1 Co 0 0 0 1", "O1 O 0 0 0.2395 1")
    assert formula(read(HEXAGON + words + loop(*hexagonal))) == "Co3Li3O6"
    rhombohedron = CUBE.replace(" 90", " 33").replace("4.3", "4.96")
    primitive = ("Li1 Li 0.5 0.5 0.5 1", "Co1 Co 0 0 0 1", "O1 O 0.2395 0.2395 0.2395 1")
    assert formula(read(rhombohedron + words + loop(*primitive))) == "CoLiO2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no space group and no operations"),
        ("_symmetry_space_group_name_H-M 'F m 3 q'\n_symmetry_Int_Tables_number 225\n", "no setting .* F m 3 q"),
        ("_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 221\n", "contradicts itself"),
        ("_symmetry_space_group_name_H-M 'P 63/m m c'\n", "cell does not have the symmetry"),
        (FCC.replace("'x,y+1/2,z+1/2'\n", ""), "no group"),
        (P1.replace("P 1", "F m -3 m"), "its operations are of space group 1, but it says F m -3 m"),
        (P1 + "loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x,-y,-z'\n", "two lists of operations"),
        (P1 + "_space_group_name_H-M_alt 'P -1'\n", "P -1, P 1 contradicts itself"),
        (P1 + "'x+1/2,y'\n", "cannot read the operation 'x.1/2,y'"),
    ],
)
def test_symmetry_that_cannot_be_believed(read, words, message):
    refused(read, CUBE + words + loop("Li1 Li 0.1 0.1 0.2 1", LIO[1]), message)


def test_a_full_list_of_atoms_may_carry_the_symbol_of_its_symmetry(read):
    cubic = bulk("LiO", "rocksalt", a=4.3, cubic=True)
    rows = [
        f"{s}{n} {s} {x} {y} {z} 1"
        for n, (s, (x, y, z)) in enumerate(zip(cubic.symbols, cubic.get_scaled_positions(), strict=True))
    ]
    assert len(read(CUBE + P1.replace("P 1", "F m -3 m") + loop(*rows))) == 8


R3 = P1.replace("P 1", "R 3") + "".join(
    f"'{x}+{a},{y}+{b},z+{c}'\n"
    for a, b, c in (("0", "0", "0"), ("2/3", "1/3", "1/3"), ("1/3", "2/3", "2/3"))
    for x, y in (("x", "y"), ("-y", "x-y"), ("-x+y", "-x"))
)


@pytest.mark.parametrize("third", ["0.333 0.667", "0.33 0.67", "0.3333 0.6666", "0.3333(4) 0.6667(4)", "1/3 2/3"])
def test_thirds_are_put_where_the_symmetry_demands(read, third):
    rows = (f"Li1 Li {third} 0.167 1", "Ru1 Ru 0 0 0 1", "O1 O 0 0 0.24 1", "O2 O 0 0 0.76 1")
    atoms = read(HEXAGON + R3 + loop(*rows))
    assert formula(atoms) == "Li3Ru3O6"
    lithium = atoms.get_scaled_positions()[atoms.symbols == "Li"][:, :2] * 3
    assert np.allclose(lithium, np.rint(lithium), atol=1e-9)


def test_what_is_no_third_is_not_made_one(read):
    refused(read, HEXAGON + R3 + loop("Li1 Li 0.343 0.667 0.167 1", "Ru1 Ru 0 0 0 1"), "Li1 lies .* its own image")


def test_every_block_with_atoms_is_a_structure(tmp_path):
    path = tmp_path / "x.cif"
    header = "data_global\n_publ_section_title\n;\n two phases\n;\n"
    path.write_text(header + CUBE + FCC + loop(*LIO) + CUBE.replace("data_x", "data_y") + P1 + loop(*LIO))
    assert [len(a) for a in read_structures(path)] == [8, 2]
    path.write_text(path.read_text() + CUBE.replace("data_x", "data_z") + P1 + loop("Li1 Li 0 0 0 .5"))
    with pytest.raises(InputError, match=r"data_z: site Li1 has occupancy 0\.5"):
        read_structures(path)


def test_atoms_come_as_ase_has_them_where_it_is_right(tmp_path):
    """Ids of tasks hash the coordinates, to the last bit."""
    path = tmp_path / "x.cif"
    path.write_text(
        CUBE.replace("90", "81.3") + "_space_group_name_H-M_alt 'P -1'\n" + loop("Li1 Li .1 .27 .3 1", LIO[1])
    )
    assert np.array_equal(read_structures(path)[0].positions, ase.io.read(path).positions)


@pytest.mark.parametrize(
    ("columns", "row", "words"),
    [
        ("occupancy", "½", "occupancy"),
        ("attached_hydrogens", "²", "hydrogens"),
        ("disorder_group", "¹", "disorder groups"),
    ],
)
def test_a_character_beyond_ascii_is_not_an_unknown_value(read, columns, row, words):
    rows = (f"Li1 Li 0 0 0 {row}", "O1 O 0.5 0.5 0.5 .", "Na1 Na 0.25 0.25 0.25 ²")
    sites = loop(*rows, columns=f"label type_symbol fract_x fract_y fract_z {columns}")
    refused(read, CUBE + FCC + sites, words)


@pytest.mark.parametrize("symbol", ["F m -3 m (225)", "Fm-3m (#225)", "cubic", r"F m \=3 m"])
def test_a_symbol_that_is_not_understood_beside_the_identity_alone(read, symbol):
    text = CUBE + P1.replace("P 1", symbol) + loop(*LIO)
    refused(read, text, "atoms may be missing")
    refused(read, text + "_chemical_formula_sum 'Li O'\n_cell_formula_units_Z 4\n", "atoms may be missing|want as many")
    assert formula(read(text + "_chemical_formula_sum 'Li O'\n_cell_formula_units_Z 1\n")) == "LiO"


@pytest.mark.parametrize(
    "declared", ["Li2O1", "(Li2 O)", "Li2, O", "Li~2~ O", "Li 2 O 1", "Li 2 O", "Li2 O 2-", "Li₂ O", "Li2\u00a0O"]
)
def test_spellings_of_another_formula(read, declared):
    refused(read, CUBE + FCC + loop(*LIO) + f"_chemical_formula_sum '{declared}'\n", "it declares Li2 O")


def test_two_atoms_of_one_label_on_one_site(read):
    rows = ("Li Li 0 0 0 1", "O O 0.5 0.5 0.5 1", "O O 0.5 0.5 0.5 1")
    refused(read, CUBE + FCC + loop(*rows), "O and O lie on one site")
