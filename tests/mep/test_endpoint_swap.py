"""Where symmetry swaps the ends of a hop, one half of its path is had from the other, and is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from atomsim.batch import Batch
from atomsim.hopping.endpoints import swapping
from atomsim.hopping.survey import SurveySettings, ends_of, host_hessian, needed_ends, relax_ends, survey
from atomsim.mep.endpoint_swap import swap_at
from atomsim.mep.find import find_paths
from atomsim.mep.path import Endpoints, EndpointSwap, PathSettings
from atomsim.models.ase import AsePotential

SETTINGS = SurveySettings(max_length_A=2.8, supercell_min_A=7.0, max_atoms=32, end_fmax_eV_per_A=0.002)
SURFACE = AsePotential(EMT())


def vacancy_hop(host: Atoms, ion: str) -> Endpoints:
    view = survey(host, ion, SETTINGS)
    (placed, *_) = view.placed
    ends = relax_ends(needed_ends([placed], view.cell), view, SETTINGS, SURFACE)
    found = ends_of(placed, view, {e.end: e for e in ends}, host_hessian(view, SURFACE))
    assert isinstance(found, Endpoints)
    return found


@pytest.fixture(scope="module")
def hop() -> Endpoints:
    """A vacancy in copper moves to its neighbour; its saddle lies halfway."""
    return vacancy_hop(bulk("Cu", "fcc", 3.61), "Cu")


@pytest.mark.parametrize("images", [5, 7])
def test_half_a_path_by_symmetry_is_the_path(hop: Endpoints, images: int):
    assert hop.swaps
    settings = PathSettings(images=images, fmax_eV_per_A=0.02)
    (half,) = find_paths([hop], SURFACE, settings)
    (whole,) = find_paths([replace(hop, swaps=())], SURFACE, settings)
    assert half.status == whole.status == "converged"
    assert half.force_calls < whole.force_calls
    assert half.barrier == pytest.approx(whole.barrier, abs=1e-6)
    np.testing.assert_allclose(half.energies, half.energies[::-1], atol=1e-5)
    # what was had by symmetry is what the potential says there
    evaluation = SURFACE(Batch.pack(list(half.images[1:-1])))
    np.testing.assert_allclose(evaluation.energy.numpy(), half.energies[1:-1], atol=2e-5)
    np.testing.assert_allclose(evaluation.forces.numpy().reshape(half.forces[1:-1].shape), half.forces[1:-1], atol=2e-3)
    steps = np.linalg.norm(np.diff([a.positions for a in half.images], axis=0), axis=2).max(axis=1)
    assert steps.max() < 2.5 * steps.min()
    middle = half.images[(images + 1) // 2].positions
    # what the crystal drifts on the way is taken back, in steps as small as those of the whole path
    drift = np.diff([a.positions.mean(axis=0) for a in half.images], axis=0)
    assert np.abs(drift).max() < 0.1
    assert swap_at(hop, middle + np.array([0.5, -0.2, 0.1])) is not None


def test_a_saddle_beside_the_middle_is_no_mirror(hop: Endpoints):
    """The path over it is not its own image: there is another one, over the saddle's image."""
    middle = hop.start.positions + 0.5 * hop.displacement
    assert swap_at(hop, middle) is not None
    across = np.cross(hop.displacement[-1], [0.3, 0.5, 0.8])
    aside = middle.copy()
    aside[-1] += 0.4 * across / np.linalg.norm(across) + 0.2 * hop.displacement[-1] / np.linalg.norm(
        hop.displacement[-1]
    )
    assert swap_at(hop, aside) is None


def test_sites_that_nothing_swaps_have_no_mirror():
    """L1₀: gold and copper sites beside each other are no images; the hop from one kind to itself has mirrors."""
    host = Atoms("Cu2Au2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
                 cell=[3.95, 3.95, 3.7], pbc=True)  # fmt: skip
    view = survey(host, "Cu", SETTINGS)
    for placed in view.placed:
        assert swapping(placed, view.cell)
    view.cell.permutations[:] = np.arange(view.cell.permutations.shape[1])
    assert all(swapping(placed, view.cell) == [] for placed in view.placed)


def test_an_operation_acts_on_vectors_and_places():
    quarter = EndpointSwap(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([1, 0]))
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    np.testing.assert_allclose(quarter.vectors(vectors), [[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
