"""The fast forward is MACE's own function; a kernel that is not is refused."""

from __future__ import annotations

import io
from functools import cache

import pytest
import torch
from ase import Atoms
from crystals import assorted
from random_mace import new_random_mace, random_mace

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError, InputError
from atomsim.models.mace import fast as mace_fast
from atomsim.models.mace.potential import ATOMS_ON_A_CPU, MacePotential, quiet_mace

OXIDE = [8, 3, 44, 25]

# without a pair repulsion, and scaled up, so that forces of some eV/Å come from the network alone
LOUD = {"pair_repulsion": False, "atomic_inter_scale": 100.0, "atomic_inter_shift": 0.3}
PLAIN, RESIDUAL = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
DENSITY, DENSITY_RESIDUAL = "RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"
VARIANTS = {
    "element skip, repulsion": {"interaction_cls_first": PLAIN, "pair_repulsion": True},
    "residual": {"interaction_cls_first": RESIDUAL},
    "density": {"interaction_cls_first": DENSITY, "interaction_cls": DENSITY_RESIDUAL},
    "scalars, last readout only": {
        "hidden_irreps": "16x0e",
        "max_ell": 3,
        "interaction_cls_first": RESIDUAL,
        "use_last_readout_only": True,
    },
    "up to l = 2": {"hidden_irreps": "8x0e + 8x1o + 8x2e"},
    "three layers, Gaussian basis": {
        "num_interactions": 3,
        "correlation": 2,
        "radial_type": "gaussian",
        "distance_transform": "None",
    },
    "one layer, first order, soft transform": {"num_interactions": 1, "correlation": 1, "distance_transform": "Soft"},
    "envelope on weights and density": {
        "apply_cutoff": False,
        "interaction_cls_first": DENSITY,
        "interaction_cls": DENSITY_RESIDUAL,
    },
    "pseudo-tensors": {"hidden_irreps": "8x0e + 8x0o + 8x1o + 8x1e", "correlation": 2},
    "parity ignored": {"use_so3": True, "hidden_irreps": "8x0e + 8x1e", "correlation": 2},
    "product without elements": {"use_agnostic_product": True, "correlation": 2},
}


@cache
def build(variant: str) -> torch.nn.Module:
    with quiet_mace():
        from mace.modules import interaction_classes
        from e3nn import o3  # isort: skip
    options = {**LOUD, **VARIANTS[variant]}
    for key, value in options.items():
        if key.startswith("interaction_cls"):
            options[key] = interaction_classes[value]
        if key == "hidden_irreps":
            options[key] = o3.Irreps(value)
    file = io.BytesIO()
    torch.save(
        new_random_mace(OXIDE, **options), file
    )  # a new model with pseudo-tensors cannot be copied, a loaded one can
    file.seek(0)
    return torch.load(file, weights_only=False)


def largest_difference(one: Evaluation, other: Evaluation) -> float:
    pairs = ((one.energy, other.energy), (one.forces, other.forces), (one.stress, other.stress))
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1.0)) for a, b in pairs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_models_own_forward(variant):
    own = MacePotential(build(variant), kernel="reference")
    fast = MacePotential(build(variant), kernel="fast")
    batch = Batch.pack(assorted(OXIDE))
    wanted, found = own(batch), fast(batch)
    assert wanted.forces.abs().max() > 0.1  # the comparison says something
    assert largest_difference(found, wanted) < 1e-10
    assert (found.energies - wanted.energies).abs().max() < 1e-10


@pytest.mark.parametrize("variant", ["density", "residual", "up to l = 2"])
def test_single_precision_is_as_good_as_the_models_own(variant):
    batch = Batch.pack(assorted(OXIDE))
    exact = MacePotential(build(variant), kernel="reference")(batch)
    errors = {}
    for kernel in ("reference", "fast"):
        found = MacePotential(build(variant), dtype=torch.float32, kernel=kernel)(batch)
        errors[kernel] = float((found.forces - exact.forces).abs().max())
    assert errors["fast"] < 2.5 * errors["reference"]  # 0.7 to 1.3 when written


def test_every_head_is_computed():
    model = random_mace(
        OXIDE, heads=["pbe", "r2scan"], **{**LOUD, "atomic_inter_scale": [80.0, 90.0], "atomic_inter_shift": [0.1, 0.2]}
    )
    batch = Batch.pack(assorted(OXIDE)[:2])
    for head in ("pbe", "r2scan"):
        own, fast = (MacePotential(model, head=head, kernel=k) for k in ("reference", "fast"))
        assert largest_difference(fast(batch), own(batch)) < 1e-10


def test_weights_of_all_elements_are_read():
    model = random_mace(list(range(1, 90)), **LOUD)
    own, fast = (MacePotential(model, kernel=k) for k in ("reference", "fast"))
    for first in range(1, 89, 8):  # more sets of elements than are kept
        batch = Batch.pack(assorted(list(range(first, min(first + 8, 90)))))
        assert largest_difference(fast(batch), own(batch)) < 1e-10


def test_pieces_on_a_cpu_change_nothing():
    crystal = assorted(OXIDE)[0]
    many = [crystal] * (2 * ATOMS_ON_A_CPU // len(crystal)) + assorted(OXIDE) + [crystal.repeat((2, 2, 2))]
    potential = MacePotential(build("residual"))
    alone = Evaluation.join([potential(Batch.pack([atoms])) for atoms in many])
    assert largest_difference(potential(Batch.pack(many)), alone) < 1e-12


def test_other_architectures_use_their_own_forward_and_say_so():
    with quiet_mace():
        from mace.modules import interaction_classes
    kind = interaction_classes["RealAgnosticResidualNonLinearInteractionBlock"]
    model = random_mace(OXIDE, interaction_cls=kind, interaction_cls_first=kind)
    potential = MacePotential(model)
    assert potential.kernel == "reference"
    assert "RealAgnosticResidualNonLinearInteractionBlock" in potential.kernel_note
    with pytest.raises(AtomsimError, match=r"kernel 'fast' is refused.*use kernel='auto'"):
        MacePotential(model, kernel="fast")


def test_a_kernel_that_disagrees_is_refused(monkeypatch):
    right = mace_fast.forms
    monkeypatch.setattr(mace_fast, "forms", lambda module, rows: right(module, rows[::-1]))
    potential = MacePotential(build("residual"))
    assert potential.kernel == "reference"
    assert "differ from the reference" in potential.kernel_note
    with pytest.raises(AtomsimError, match="refused: energies or forces differ from the reference by"):
        MacePotential(build("residual"), kernel="fast")


def test_kernels_that_cannot_be_had_are_refused():
    with pytest.raises(AtomsimError, match=r"kernel 'cueq' is refused: cuEquivariance .*; use kernel='auto'"):
        MacePotential(build("residual"), kernel="cueq")
    with pytest.raises(InputError, match="did you mean 'compiled'"):
        MacePotential(build("residual"), kernel="compield")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", ["one layer, first order, soft transform", pytest.param("residual", marks=pytest.mark.soak)]
)  # two layers with vectors take a compiler two minutes
def test_compiled_kernel_equals_the_reference(variant):
    own, compiled = (MacePotential(build(variant), kernel=k) for k in ("reference", "compiled"))
    for batch in (Batch.pack(assorted(OXIDE)), Batch.pack([Atoms("LiO", cell=[3, 3, 3], pbc=True)])):
        assert largest_difference(compiled(batch), own(batch)) < 1e-10


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["fast", "reference"])
def test_a_gpu_gives_what_a_cpu_gives(kernel):
    here = MacePotential(build("density"))
    there = MacePotential(build("density"), device="cuda", kernel=kernel)
    batch = Batch.pack(assorted(OXIDE))
    found = there(batch.to("cuda"))
    on_cpu = Evaluation(found.energy.cpu(), found.forces.cpu(), found.stress.cpu(), energies=found.energies.cpu())
    assert largest_difference(on_cpu, here(batch)) < 1e-9
