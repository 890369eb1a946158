"""A hop with a minimum of a few meV on top, on a shipped student's surface: where searches for a saddle get caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atomsim.hopping.compute import HopRequest, HopResult, compute
from atomsim.hopping.survey import SurveySettings
from atomsim.mep import search
from atomsim.mep.path import PathSettings
from atomsim.models.load import load_potential
from atomsim.relaxation import relax
from atomsim.structures.prototypes import load_prototype

pytestmark = pytest.mark.xdist_group("flat top")  # what they share is computed in one process


@pytest.fixture(scope="module")
def hop() -> Callable[[int], HopResult]:
    """Li in LiCoO2 by the dumbbell path, from a guess with noise of a seed."""
    student = load_potential("mace-li-mn-co-ni-w-o", "cpu")
    (host,) = relax([load_prototype("LiCoO2").primitive], student, fmax_eV_per_A=0.01)

    def computed(seed: int) -> HopResult:
        settings = SurveySettings(max_length_A=3.0, max_atoms=48, path=PathSettings(seed=seed))
        (result,) = compute([HopRequest(0, "host", host.atoms, "Li-a>Li-a 2.86")], "Li", settings, student)
        return result

    return computed


@pytest.fixture(scope="module")
def found(hop: Callable[[int], HopResult]) -> list[HopResult]:
    return [hop(seed) for seed in (0, 3)]


def test_a_shallow_minimum_on_the_way_is_left_for_a_proven_saddle(found: list[HopResult]):
    for result in found:
        assert result.status == "converged", result.message
        assert result.path is not None
        assert result.path.proof is not None
        assert result.path.proof.negative_modes == 1


def test_it_costs_no_climbing_band(found: list[HopResult]):
    """Falling back to bands took 1,944 force calls."""
    assert max(r.path.force_calls for r in found if r.path) < 300


def test_which_side_the_search_came_from_matters_less_than_its_accuracy(found: list[HopResult]):
    barriers = [r.path.barrier for r in found if r.path]
    assert max(barriers) - min(barriers) < 0.005


def test_a_saddle_found_on_one_side_alone_is_told(
    hop: Callable[[int], HopResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = search._followed

    def not_the_other_way(climbs: list[Any], *arguments: Any) -> None:
        followed(climbs, *arguments)
        for climb in climbs:
            climb.failed |= climb.n_escapes == 2

    monkeypatch.setattr(search, "_followed", not_the_other_way)
    result = hop(3)  # which meets the shallow minimum
    assert result.status == "converged"
    assert "one side alone" in result.message
