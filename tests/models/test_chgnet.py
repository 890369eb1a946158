"""CHGNet here against the chgnet package's own calculator."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.models.load import load_potential

MODELS = {"chgnet-0.3.0": "0.3.0", "chgnet-r2scan": "r2scan"}


def layered_oxide() -> Atoms:
    """R-3m Li(Ru)O2 layers, rattled and sheared: magnetic, triclinic, far from its minimum."""
    atoms = Atoms(
        "LiRuO2",
        cell=[[2.85, 0, 0], [-1.42, 2.47, 0], [1.42, 0.82, 4.72]],
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.24, 0.24, 0.24], [0.76, 0.76, 0.76]],
        pbc=True,
    ).repeat((2, 2, 1))
    del atoms[0]
    atoms.rattle(0.05, seed=4)
    return atoms


SYSTEMS = {
    "layered oxide": layered_oxide,
    "rock salt": lambda: bulk("NaCl", "rocksalt", a=5.6),
    "no short bonds, so no angles": lambda: bulk("Cs", "bcc", a=6.2),
}


def own_calculator(
    version: str, atoms: Atoms, *, double: bool, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """What chgnet's calculator says; in double precision its graph has to be told so too."""
    import chgnet.graph.converter
    import chgnet.graph.crystalgraph
    import chgnet.model.model
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
        if double:
            for module in (chgnet.graph.converter, chgnet.graph.crystalgraph, chgnet.model.model):
                monkeypatch.setattr(module, "TORCH_DTYPE", torch.float64)
            model = model.double()
            model.composition_model.float()
        calculator = CHGNetCalculator(model=model, use_device="cpu", return_site_energies=False)
        calculator.calculate(atoms, task="efsm")
    return {k: np.asarray(calculator.results[k], dtype=float) for k in ("energy", "forces", "stress", "magmoms")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_chgnets_own_calculator_in_double_precision(name, system, monkeypatch):
    atoms = SYSTEMS[system]()
    wanted = own_calculator(MODELS[name], atoms, double=True, monkeypatch=monkeypatch)
    found = load_potential(name, "cpu", "float64")(Batch.pack([atoms]))
    # the calculator keeps reference energies in single precision
    assert float(found.energy) == pytest.approx(float(wanted["energy"]), abs=1e-6 * len(atoms))
    np.testing.assert_allclose(found.forces, wanted["forces"], atol=1e-6)
    np.testing.assert_allclose(found.stress[0], wanted["stress"], atol=1e-7)
    np.testing.assert_allclose(found.magmoms, wanted["magmoms"], atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_single_precision_costs_no_more_than_rounding(monkeypatch):
    atoms = layered_oxide()
    exact = load_potential("chgnet-0.3.0", "cpu", "float64")(Batch.pack([atoms])).forces.numpy()
    here = load_potential("chgnet-0.3.0", "cpu", "float32")(Batch.pack([atoms])).forces.numpy()
    theirs = own_calculator("0.3.0", atoms, double=False, monkeypatch=monkeypatch)["forces"]
    # which of the two is nearer depends on the processor's order of sums: 3e-5 and 1e-4 eV/Å, or 1e-4 and 7e-5
    rounding = 2e-5 * np.abs(exact).max()
    assert np.abs(here - exact).max() < rounding
    assert np.abs(theirs - exact).max() < 2 * rounding


@pytest.mark.gpu
def test_a_batch_on_a_gpu_equals_single_systems_on_a_cpu():
    systems = [make() for make in SYSTEMS.values()]
    here = load_potential("chgnet-0.3.0", "cpu", "float64")(Batch.pack(systems))
    there = load_potential("chgnet-0.3.0", "cuda", "float64")(Batch.pack(systems, "cuda"))
    torch.testing.assert_close(there.energy.cpu(), here.energy, atol=1e-9, rtol=0)
    torch.testing.assert_close(there.forces.cpu(), here.forces, atol=1e-9, rtol=0)
    torch.testing.assert_close(there.stress.cpu(), here.stress, atol=1e-9, rtol=0)


def test_says_which_kernel_computes_it(monkeypatch):
    from atomsim.models.chgnet import potential as chgnet

    potential = load_potential("chgnet-0.3.0", "cpu")
    monkeypatch.setattr(chgnet, "reason", lambda: "")
    assert (potential.kernel, potential.kernel_note) == ("loops", "")
    assert potential.double.kernel == "torch"
    monkeypatch.setattr(chgnet, "reason", lambda: "no C compiler found")
    assert (potential.kernel, potential.kernel_note) == ("torch", "no C compiler found")
