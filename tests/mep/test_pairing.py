"""Two structures as ends of a path: order, place, cell, constraints; what is mended, offered and refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixScaled

from atomsim.errors import InputError
from atomsim.mep.interpolate import between
from atomsim.mep.pairing import moves, paired

STEP_A = 2.3


def crystal() -> Atoms:
    """Li2O in 24 atoms."""
    atoms = Atoms("O4Li8", cell=[2 * STEP_A] * 3, pbc=True, scaled_positions=fluorite())
    return atoms.repeat((2, 1, 1))


def fluorite() -> list[tuple[float, float, float]]:
    face = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    quarter = [(x, y, z) for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)]
    return [*face, *quarter]


def ends(noise_A: float = 0.05) -> tuple[Atoms, Atoms]:
    """A vacancy hop of the atom numbered 4 (Li), both ends with noise."""
    host = crystal()
    start = host[[n for n in range(len(host)) if n != 5]]
    end = start.copy()
    end.positions[4] = host.positions[5]
    rng = np.random.default_rng(3)
    for atoms in (start, end):
        atoms.positions += rng.normal(0, noise_A, atoms.positions.shape)
    return start, end


def travelled(start: Atoms, end: Atoms) -> dict[int, float]:
    length = np.linalg.norm(between(start, end), axis=1)
    return {int(n): float(length[n]) for n in np.flatnonzero(length > 0.5)}


def test_ends_in_order_are_left_as_they_are():
    start, end = ends()
    pair = paired(start, end)
    assert pair.remarks == ()
    np.testing.assert_array_equal(pair.end.positions, end.positions)
    assert moves(between(start, end), start).startswith("Li5 2.")


@pytest.mark.parametrize("swapped", [(0, 1), (6, 9), (4, 8)], ids=["oxygen", "lithium", "one that hops"])
def test_exchanged_like_atoms_are_named_and_put_in_order_where_that_is_asked_for(swapped):
    start, end = ends()
    a, b = swapped
    other = end.copy()
    other.positions[[a, b]] = end.positions[[b, a]]
    with pytest.raises(InputError, match=rf"{start.symbols[a]}{a + 1} .*--match.*--as-given"):
        paired(start, other)
    pair = paired(start, other, "matched")
    np.testing.assert_allclose(pair.end.positions, end.positions)
    assert f"{start.symbols[a]}{a + 1} of the start is atom {b + 1} of the end" in " ".join(pair.remarks)
    np.testing.assert_array_equal(paired(start, other, "given").end.positions, other.positions)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_the_atoms_is_matched(seed):
    start, end = ends()
    shuffled = end[np.random.default_rng(seed).permutation(len(end))]
    with pytest.raises(InputError, match="order"):
        paired(start, shuffled)
    np.testing.assert_allclose(paired(start, shuffled, "matched").end.positions, end.positions)
    within = np.argsort(shuffled.numbers[::-1], kind="stable")[np.argsort(np.argsort(start.numbers, kind="stable"))]
    kinds = shuffled[::-1][within]  # oxygen and lithium in their places, each kind shuffled
    np.testing.assert_array_equal(kinds.numbers, start.numbers)
    with pytest.raises(InputError, match="--match"):
        paired(start, kinds)
    np.testing.assert_allclose(paired(start, kinds, "matched").end.positions, end.positions)


def test_constraints_and_arrays_travel_with_the_atoms_that_are_reordered():
    start, end = ends(0.0)
    for atoms in (start, end):
        atoms.set_constraint(FixAtoms([0, 1]))
        atoms.set_array("mark", np.arange(len(atoms)))
    shuffled = end[np.random.default_rng(1).permutation(len(end))]
    pair = paired(start, shuffled, "matched")
    np.testing.assert_array_equal(pair.end.arrays["mark"], start.arrays["mark"])
    assert sorted(pair.end.constraints[0].index) == [0, 1]


def test_a_chain_of_hops_stays_a_chain():
    """One ion takes the place of the next, which continues in the same direction: two short moves, not one long."""
    start = Atoms(
        "Li2O4", positions=[[0, 0, 0], [2, 0, 0], *[[x, 3, 3] for x in range(0, 8, 2)]], cell=[9, 9, 9], pbc=True
    )
    end = start.copy()
    end.positions[:2, 0] += 2
    assert travelled(start, paired(start, end).end) == pytest.approx({0: 2.0, 1: 2.0})


def test_an_ion_that_passes_another_is_taken_at_its_word():
    start, end = ends()
    end.positions[4] = start.positions[4] + [2 * STEP_A, 0, 0]
    assert list(travelled(start, paired(start, end).end)) == [4]


@pytest.mark.parametrize("fraction", [(0.5, 0, 0), (0, 0.5, 0), (0.5, 0.5, 0.5), (0.13, -0.2, 0.31)])
def test_a_shift_of_the_whole_end_is_taken_out_and_told(fraction):
    start, end = ends()
    shifted = end.copy()
    shifted.positions += np.array(fraction) @ end.cell.array
    shifted.wrap()
    pair = paired(start, shifted)
    assert "shift was taken out" in " ".join(pair.remarks)
    assert list(travelled(start, pair.end)) == [4]
    assert travelled(start, pair.end)[4] == pytest.approx(travelled(start, end)[4], abs=0.1)


def test_lattice_vectors_between_the_ends_are_harmless():
    start, end = ends()
    shifted = end.copy()
    shifted.positions += np.random.default_rng(0).integers(-2, 3, (len(end), 3)) @ end.cell.array
    pair = paired(start, shifted)
    assert pair.remarks == ()
    np.testing.assert_allclose(between(start, pair.end), between(start, end), atol=1e-9)


def test_two_ions_may_move_and_are_named():
    start, end = ends(0.0)
    end.positions[8] += [0, 0, 0.5 * STEP_A]
    end.positions[4] = start.positions[4] + [0, 0, 0.5 * STEP_A]
    assert moves(between(start, paired(start, end).end), start) == "Li5 1.15 Å, Li9 1.15 Å"


def refused(start: Atoms, end: Atoms, order: str = "checked") -> str:
    with pytest.raises(InputError) as error:
        paired(start, end, order)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_ends_that_differ_only_by_names_or_by_a_shift_are_one_structure():
    start, _ = ends()
    exchanged = start.copy()
    exchanged.positions[[0, 1]] = start.positions[[1, 0]]
    assert "no atom moves" in refused(start, exchanged, "matched")
    shifted = start.copy()
    shifted.positions += [0.7, 0.4, 0]
    text = refused(start, shifted)
    assert "no atom moves" in text
    assert "shifted by" in text
    assert "no atom moves" in refused(start, start)


def test_constraints_must_be_those_of_both_ends():
    start, end = ends()
    end.set_constraint(FixAtoms([0, 2]))
    assert "O1 is constrained differently" in refused(start, end)
    start.set_constraint(FixAtoms([0, 1]))
    assert "O2 is constrained differently" in refused(start, end)


def test_a_fixed_atom_may_not_move():
    start, end = ends(0.0)
    for atoms in (start, end):
        atoms.set_constraint(FixAtoms([0, 2]))
    assert list(travelled(start, paired(start, end).end)) == [4]
    moved = end.copy()
    moved.set_constraint()
    moved.positions[2] += [0.3, 0, 0]
    moved.set_constraint(FixAtoms([0, 2]))
    assert "O3 is held and is 0.3 Å from its place" in refused(start, moved)
    shifted = end.copy()
    shifted.set_constraint()
    shifted.positions += [0.5, 0.5, 0]
    shifted.set_constraint(FixAtoms([0, 2]))
    assert "shifted by" in refused(start, shifted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.pbc.__setitem__(2, False), "periodic along different cell vectors (abc and ab)"),
        (lambda e: e.set_cell(e.cell * 1.01), "cells of the ends differ"),
        (lambda e: e.pop(3), "ends have 23 and 22 atoms (Li15O8 and Li15O7)"),
        (lambda e: e.symbols.__setitem__(3, "S"), "want one composition"),
    ],
)
def test_crystals_that_differ_are_refused(change, words):
    start, end = ends()
    change(end)
    assert words in refused(start, end)


@pytest.mark.parametrize("order", ["checked", "given"])
def test_atoms_of_other_kinds_in_one_place_are_refused_with_the_way_out(order):
    start, end = ends()
    other = end[[4, *range(4), *range(5, len(end))]]
    assert "--match" in refused(start, other, order)
    assert "unknown order" in refused(start, end, "any")


BASES = {"same": np.eye(3, dtype=int), "sheared": np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]),
         "turned about": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 2]])}  # fmt: skip


def _salt_with_a_hop() -> tuple[Atoms, Atoms]:
    """A vacancy that goes to a neighbouring site of rock salt, and where it is."""
    host = bulk("NaCl", "rocksalt", a=5.64).repeat(2)
    host.rattle(0.02, seed=1)
    first, second = 0, 2  # both Na
    start, end = host.copy(), host.copy()
    start.info = {"ion": "Na", "vacancies": [host.get_scaled_positions()[first].tolist()]}
    end.info = {"ion": "Na", "vacancies": [host.get_scaled_positions()[second].tolist()]}
    del start[first]
    del end[second]
    return start, end


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.7, 0.3, 1.1), (1.41, 1.41, 1.41)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_matched_end_is_one_hop_away_whatever_its_order_place_and_basis(basis, shift, seed):
    start, end = _salt_with_a_hop()
    want = float(np.linalg.norm(between(start, paired(start, end, "matched").end), axis=1).max())
    other = end[np.random.default_rng(seed).permutation(len(end))]
    other.positions += shift
    vacancy = (end.info["vacancies"] @ end.cell.array + shift) @ np.linalg.inv(BASES[basis] @ end.cell.array)
    other.set_cell(BASES[basis] @ end.cell.array)
    other.wrap()
    other.info["vacancies"] = vacancy.tolist()
    pair = paired(start, other, "matched")
    moved = np.linalg.norm(between(start, pair.end), axis=1)
    assert (moved > 0.5).sum() == 1
    assert moved.max() == pytest.approx(want, abs=0.05)
    assert (pair.end.numbers == start.numbers).all()
    # the site that was left goes along: with the ion there no two atoms are near each other, and none is missing
    full = pair.end + Atoms("Na", pair.end.info["vacancies"] @ pair.end.cell.array)
    assert full.get_all_distances(mic=True)[np.triu_indices(len(full), 1)].min() > 2.5


def test_constraints_along_the_vectors_of_another_basis_are_refused():
    start, end = _salt_with_a_hop()
    end.set_cell(BASES["sheared"] @ end.cell.array)
    end.set_constraint(FixScaled([0], [False, True, False]))
    with pytest.raises(InputError, match="another basis"):
        paired(start, end, "matched")
