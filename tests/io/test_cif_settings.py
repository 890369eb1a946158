"""Every setting of every space group, written as people and programs write it: read right or refused, never wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import gemmi
import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.geometry import cellpar_to_cell

from atomsim.errors import InputError
from atomsim.io.cif import read_cif

SETTINGS = range(1, 531)
GENERAL_A3, SPACE_A3 = 14, 30
"""Volume for each general position, and for the rest of a cell."""


@dataclass(frozen=True)
class Crystal:
    """Li on a general position and O on a special one, expanded by spglib's operations."""

    kind: spglib.SpaceGroupType
    rotations: np.ndarray
    translations: np.ndarray
    cellpar: list[float]
    sites: list[tuple[str, np.ndarray]]
    atoms: Atoms


def crystal(hall_number: int, seed: int) -> Crystal:
    generator = np.random.default_rng([seed, hall_number])
    operations = spglib.get_symmetry_from_database(hall_number)
    rotations, translations = operations["rotations"], operations["translations"]
    lattice = np.diag(generator.uniform(0.8, 1.25, 3)) + generator.uniform(-0.18, 0.18, (3, 3))
    metric = np.mean([r.T @ lattice @ lattice.T @ r for r in rotations], axis=0)
    metric *= ((len(rotations) * GENERAL_A3 + SPACE_A3) / np.sqrt(np.linalg.det(metric))) ** (2 / 3)
    lengths = np.sqrt(np.diag(metric))
    cosines = [metric[i, j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    cellpar = [round(float(v), 5) for v in (*lengths, *np.degrees(np.arccos(cosines)))]
    cell = cellpar_to_cell(cellpar)
    while True:
        general = generator.uniform(0, 1, 3).round(5)
        special = fixed_point(rotations, translations, generator)
        orbits = [orbit(p, rotations, translations, cell) for p in (general, special)]
        symbols = ["Li"] * len(orbits[0]) + ["O"] * len(orbits[1])
        atoms = Atoms(symbols, scaled_positions=np.concatenate(orbits), cell=cell, pbc=True)
        if len(orbits[0]) == len(rotations) and shortest(atoms) > 0.9:
            kind = spglib.get_spacegroup_type(hall_number)
            return Crystal(kind, rotations, translations, cellpar, [("Li", general), ("O", special)], atoms)


def fixed_point(rotations: np.ndarray, translations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random point, moved onto the elements of some operations in turn (those without one leave it)."""
    point = generator.uniform(0, 1, 3)
    for k in generator.permutation(len(rotations))[:6]:
        excess = rotations[k] - np.eye(3)
        apart = excess @ point + translations[k]
        moved = point + np.linalg.lstsq(excess, np.rint(apart) - apart, rcond=None)[0]
        back = rotations[k] @ moved + translations[k] - moved
        point = moved if np.allclose(back, np.rint(back), atol=1e-9) else point
    return point % 1


def orbit(point: np.ndarray, rotations: np.ndarray, translations: np.ndarray, cell: np.ndarray) -> np.ndarray:
    images = (rotations @ point + translations) % 1
    apart = images[:, None] - images[None]
    first = np.argmax(np.linalg.norm((apart - np.rint(apart)) @ cell, axis=-1) < 1e-3, axis=1)
    return images[np.unique(first)]


def shortest(atoms: Atoms) -> float:
    scaled = atoms.get_scaled_positions()
    apart = scaled[:, None] - scaled[None]
    lengths = np.linalg.norm((apart - np.rint(apart)) @ atoms.cell.array, axis=-1)
    return float((lengths + 9 * np.eye(len(lengths))).min())


def cif(case: Crystal, words: str) -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_x", *(f"_cell_{n} {v:.5f}" for n, v in zip(names, case.cellpar, strict=True)), words, "loop_"]
    lines += [f"_atom_site_{tag}" for tag in ("label", "type_symbol", "fract_x", "fract_y", "fract_z")]
    lines += [f"{s}1 {s} " + " ".join(f"{x:.5f}" for x in point) for s, point in case.sites]
    return "\n".join(lines) + "\n"


HM, NUMBER, HALL = "_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number", "_space_group_name_Hall"


def styles(case: Crystal) -> dict[str, str]:
    """What a file says of its space group, by style."""
    kind = case.kind
    full = kind.international_full.replace("_", "")
    symbol = kind.international.split("=")[-1].strip().replace("_", "")
    short = " ".join(p for n, p in enumerate(symbol.split()) if n == 0 or p != "1") if kind.number < 16 else symbol
    choice = f" :{kind.choice}" if kind.choice else ""
    number = f"{NUMBER} {kind.number}"
    n_li, n_o = (int((case.atoms.symbols == s).sum()) for s in ("Li", "O"))
    units = gcd(n_li, n_o)
    formula = f"_chemical_formula_sum 'Li{n_li // units} O{n_o // units}'\n_cell_formula_units_Z {units}"
    ops = "\n".join(f"'{triplet(r, t)}'" for r, t in zip(case.rotations, case.translations, strict=True))
    loop = f"loop_\n_symmetry_equiv_pos_as_xyz\n{ops}"
    return {
        "symbol, choice, number": f"{HM} '{symbol}{choice}'\n{number}",
        "symbol, number": f"{HM} '{symbol}'\n{number}",
        "symbol, number, formula": f"{HM} '{symbol}'\n{number}\n{formula}",
        "short symbol": f"{HM} '{short}'",
        "short symbol, no spaces": f"{HM} '{short.replace(' ', '')}'\n{number}",
        "full symbol": f"{HM} '{full}'",
        "full symbol, choice": f"{HM} '{full}{choice}'",
        "number": number,
        "number, formula": f"{number}\n{formula}",
        "number, setting code": f"{number}\n_space_group_IT_coordinate_system_code {kind.choice.lower() or '?'}",
        "Hall symbol": f"{HALL} '{kind.hall_symbol}'",
        "operations": loop,
        "operations, symbol, number, formula": f"{loop}\n{HM} '{symbol}'\n{number}\n{formula}",
    }


CERTAIN = {"Hall symbol", "operations", "operations, symbol, number, formula"}
"""Styles that leave no doubt; C m m e is two settings even by symbol and choice."""


def triplet(rotation: np.ndarray, translation: np.ndarray) -> str:
    operation = gemmi.Op("x,y,z")
    operation.rot = (rotation * 24).tolist()
    operation.tran = [int(t) for t in np.rint(translation * 24)]
    return str(operation.triplet())


def outcome(read: Atoms | None, case: Crystal) -> str:
    """Compare the whole list of atoms."""
    if read is None:
        return "refused"
    want = case.atoms
    if len(read) != len(want) or not np.allclose(read.cell.array, want.cell.array, atol=1e-4):
        return "wrong"
    apart = read.get_scaled_positions()[:, None] - want.get_scaled_positions()[None]
    distances = np.linalg.norm((apart - np.rint(apart)) @ want.cell.array, axis=-1)
    match = distances.argmin(axis=1)
    same = len(set(match)) == len(want) and distances.min(axis=1).max() < 1e-3
    return "read" if same and (read.numbers == want.numbers[match]).all() else "wrong"


def sweep(path, picked: Iterator[tuple[int, int]], every: int) -> dict[str, Counter]:
    """Read settings in every ``every``-th of their styles, each with its own offset."""
    found: dict[str, Counter] = defaultdict(Counter)
    for hall_number, seed in picked:
        case = crystal(hall_number, seed)
        for n, (style, words) in enumerate(styles(case).items()):
            if (n + hall_number) % every:
                continue
            path.write_text(cif(case, words))
            try:
                (read,) = read_cif(path)
            except InputError:
                read = None
            found[style][outcome(read, case)] += 1
    return found


def test_no_setting_is_read_wrong(tmp_path):
    found = sweep(tmp_path / "x.cif", ((h, 1) for h in SETTINGS), every=6)
    assert {style for style, n in found.items() if n["wrong"]} == set()
    assert {style for style, n in found.items() if n["refused"]}.isdisjoint(CERTAIN)
    assert sum(n["read"] for n in found.values()) > 800


@pytest.mark.soak
def test_no_setting_is_read_wrong_in_any_style(tmp_path):
    found = sweep(tmp_path / "x.cif", ((h, seed) for seed in range(3) for h in SETTINGS), every=1)
    for style, n in found.items():
        print(f"{style:38s} {n['read']:5d} read {n['refused']:5d} refused {n['wrong']:3d} wrong")
    assert {style for style, n in found.items() if n["wrong"]} == set()
    assert {style for style, n in found.items() if n["refused"]}.isdisjoint(CERTAIN)


def test_two_tables_of_operations_agree():
    """spglib's and gemmi's, made independently."""
    for h in SETTINGS:
        operations = spglib.get_symmetry_from_database(h)
        ours = {triplet(r, t) for r, t in zip(operations["rotations"], operations["translations"], strict=True)}
        assert ours == {op.wrap().triplet() for op in gemmi.symops_from_hall(spglib.get_spacegroup_type(h).hall_symbol)}
