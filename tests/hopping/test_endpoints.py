"""Ends of hops: each relaxed once, the others had by symmetry; supercells chosen within a budget."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.hopping.endpoints import build_cell, carried, pair_of, place, representative
from atomsim.hopping.hops import find_hops
from atomsim.hopping.survey import SurveySettings, needed_ends, relax_ends, survey
from atomsim.models.ase import AsePotential
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import choose_supercell, image_distance


def alloy() -> Atoms:
    """CuAu, L1₀ stretched along c."""
    return Atoms("Cu2Au2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
                 cell=[3.95, 3.95, 3.7], pbc=True)  # fmt: skip


SETTINGS = SurveySettings(max_length_A=4.0, supercell_min_A=7.0, max_atoms=32, end_fmax_eV_per_A=0.005)


def test_ends_had_by_symmetry_are_minima_of_the_same_energy():
    view, potential = survey(alloy(), "Cu", SETTINGS), AsePotential(EMT())
    ends = needed_ends(view.placed, view.cell)
    assert len(ends) == 1  # one kind of vacancy, whatever the hop
    (relaxed,) = relax_ends(ends, view, SETTINGS, potential)
    assert relaxed.status == "converged"
    assert len(view.placed) >= 2
    for placed in view.placed:
        shifts = [
            carried(relaxed.shifts, view.cell, representative(e, view.cell)[1]) for e in (placed.start, placed.end)
        ]
        start, moved = pair_of(placed, shifts[0], shifts[1], view.cell, "Cu")
        end = start.copy()
        end.positions += moved
        evaluation = potential(Batch.pack([start, end]))
        np.testing.assert_allclose(evaluation.energy.numpy(), relaxed.energy, atol=1e-6)
        assert float(evaluation.forces.norm(dim=1).max()) < 2 * SETTINGS.end_fmax_eV_per_A
        assert np.linalg.norm(moved[-1]) == pytest.approx(placed.hop.length_A, abs=0.5)


def test_atoms_keep_their_order_from_end_to_end():
    view = survey(load_prototype("LiCoO2").atoms, "Li", SurveySettings(max_length_A=3.0, max_atoms=60))
    nowhere = np.zeros((view.cell.n_atoms + len(view.cell.sites), 3))
    for placed in view.placed:
        start, moved = pair_of(placed, nowhere, nowhere, view.cell, "Li")
        assert start.symbols[-1] == "Li"
        assert len(start) == view.cell.n_atoms - 1
        np.testing.assert_allclose(moved[:-1], 0, atol=1e-12)
        end = start.copy()
        end.positions += moved
        np.testing.assert_array_equal(start.numbers, end.numbers)


@pytest.mark.parametrize(("least", "budget"), [(8.0, 200), (8.0, 48), (5.0, 200)])
def test_a_supercell_is_the_smallest_that_is_large_enough_or_the_best_within_budget(least, budget):
    host = load_prototype("Li2RuO3").primitive
    matrix = choose_supercell(host, least, budget)
    cells = round(float(np.linalg.det(matrix)))
    assert cells >= 1
    assert cells * len(host) <= budget
    reached = image_distance(matrix @ host.cell.array)
    if reached < 0.95 * least:
        assert (
            cells == budget // len(host)
            or image_distance(choose_supercell(host, 99.0, budget) @ host.cell.array) <= 1.05 * reached
        )
    assert reached >= 0.95 * image_distance(host.cell.array)


def test_a_supercell_keeps_the_symmetry_of_its_host_where_it_can():
    hops = find_hops(load_prototype("Li2RuO3").primitive, "Li", max_length_A=3.4)
    cell = build_cell(hops, choose_supercell(hops.host, 8.0, 48))
    assert len(cell.permutations) >= 8  # four of the point group, two translations


def test_a_host_beyond_the_budget_is_refused():
    with pytest.raises(InputError, match="max_atoms"):
        choose_supercell(load_prototype("Li2RuO3").primitive, 8.0, 20)


def test_hops_between_empty_sites_add_an_ion():
    hops = find_hops(load_prototype("TiS2").atoms, "Li", max_length_A=4.0, interstitials=True)
    hop = next(h for h in hops.hops if h.mechanism == "interstitial" and h.blocked_by is None)
    cell = build_cell(hops, choose_supercell(hops.host, 7.0, 60))
    placed = place(hop, hops, cell)
    assert placed is not None
    assert (placed.start.removed, len(placed.start.added)) == ((), 1)
    assert placed.start.added != placed.end.added
    assert len(placed.kept) == cell.n_atoms


def test_ends_that_relax_into_one_minimum_are_reported(monkeypatch):
    from atomsim.hopping import survey as module

    view, potential = survey(alloy(), "Cu", SETTINGS), AsePotential(EMT())
    relaxed = {e.end: e for e in relax_ends(needed_ends(view.placed[:1], view.cell), view, SETTINGS, potential)}
    host = module.host_hessian(view, potential)
    assert not isinstance(module.ends_of(view.placed[0], view, relaxed, host), str)
    monkeypatch.setattr(module, "SAME_MINIMUM_A", 10.0)
    evaluation = module.ends_of(view.placed[0], view, relaxed, host)
    assert isinstance(evaluation, str)
    assert "one minimum" in evaluation
