"""Barriers of a real electrode with the shipped potential."""

from __future__ import annotations

import pytest
import torch

from atomsim.hopping.survey import SurveySettings, ends_of, host_hessian, needed_ends, relax_ends, survey
from atomsim.mep.find import find_paths
from atomsim.mep.path import PathSettings
from atomsim.models.load import load_potential
from atomsim.relaxation import relax
from atomsim.structures.prototypes import load_prototype


@pytest.mark.slow
def test_the_oxygen_dumbbell_hop_of_licoo2_is_the_same_saddle_from_two_noisy_starts():
    torch.set_num_threads(1)
    potential = load_potential("chgnet-0.3.0", device="cpu")
    (host,) = relax([load_prototype("LiCoO2").primitive], potential, fmax_eV_per_A=0.01)
    settings = SurveySettings(max_length_A=3.2, supercell_min_A=5.0, max_atoms=36)
    view = survey(host.atoms, "Li", settings)
    assert len(view.placed) == 1  # one hop between neighbours in the layer
    hessian = host_hessian(view, potential)
    ends = {e.end: e for e in relax_ends(needed_ends(view.placed, view.cell), view, settings, potential)}
    hop = ends_of(view.placed[0], view, ends, hessian)
    assert not isinstance(hop, str)
    found = []
    for seed in (0, 1):
        (path,) = find_paths([hop], potential, PathSettings(seed=seed))
        assert path.status == "converged"
        assert path.proof is not None
        assert path.proof.negative_modes == 1
        assert path.magmoms is not None
        found.append(path.barrier)
    assert found[0] == pytest.approx(found[1], abs=0.005)
    assert found[0] == pytest.approx(path.reverse_barrier, abs=0.001)
