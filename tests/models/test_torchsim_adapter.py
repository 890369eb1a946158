"""TorchSim models as potentials: a stand-in that follows the interface, and the real thing where installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from crystals import assorted

from atomsim.batch import Batch
from atomsim.errors import AtomsimError, InputError
from atomsim.models.checks import check_contract
from atomsim.models.pair import LennardJones
from atomsim.models.torchsim import TorchSimPotential


@dataclass
class SimState:
    """The fields and the convention (lattice vectors as columns) of TorchSim's state."""

    positions: torch.Tensor
    masses: torch.Tensor
    cell: torch.Tensor
    pbc: torch.Tensor | bool
    atomic_numbers: torch.Tensor
    system_idx: torch.Tensor

    @property
    def row_vector_cell(self) -> torch.Tensor:
        return self.cell.mT


class Model(torch.nn.Module):
    """Lennard-Jones behind TorchSim's interface; scribbles on its state as some models do."""

    def __init__(self, compute_forces: bool = True, compute_stress: bool = True):
        super().__init__()
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self.compute_forces, self.compute_stress = compute_forces, compute_stress
        self.register_buffer("sigma", torch.tensor(2.0))

    def forward(self, state: SimState) -> dict[str, torch.Tensor]:
        n_systems = len(state.cell)
        batch = Batch(
            positions=state.positions.clone(),
            cell=state.row_vector_cell.contiguous(),
            numbers=state.atomic_numbers,
            system=state.system_idx,
            pbc=torch.as_tensor(state.pbc).expand(n_systems, 3),
            fixed=torch.zeros(len(state.positions), dtype=torch.bool),
        )
        found = LennardJones(4.0, 5.0, epsilon_eV=0.1, sigma_A=2.0)(batch)
        state.positions.zero_()
        state.cell.zero_()
        answer = {"energy": found.energy, "forces": found.forces}
        return answer | ({"stress": found.stress} if self.compute_stress else {})


@pytest.fixture
def stand_in(monkeypatch):
    module = ModuleType("torch_sim")
    module.SimState = SimState
    monkeypatch.setitem(sys.modules, "torch_sim", module)


def test_keeps_the_contract(stand_in):
    potential = TorchSimPotential(Model(), elements=[8, 3], cutoff=5.0)
    broken = [str(check) for check in check_contract(potential, assorted([8, 3])) if not check.passed]
    assert not broken, "\n".join(broken)


def test_batch_of_mixed_periodicity_comes_back_in_order(stand_in):
    batch = Batch.pack(assorted([8, 3]))
    found = TorchSimPotential(Model(), [8, 3], 5.0)(batch)
    wanted = LennardJones(4.0, 5.0, epsilon_eV=0.1, sigma_A=2.0)(batch)
    assert torch.allclose(found.energy, wanted.energy, rtol=0, atol=1e-12)
    assert torch.allclose(found.forces, wanted.forces, rtol=0, atol=1e-12)
    assert torch.allclose(found.stress, wanted.stress, rtol=0, atol=1e-12)


def test_without_stress_it_is_zero(stand_in):
    found = TorchSimPotential(Model(compute_stress=False), [8, 3], 5.0)(Batch.pack(assorted([8, 3])[:2]))
    assert found.stress.shape == (2, 3, 3)
    assert found.stress.abs().max() == 0.0


def test_sha256_follows_the_weights():
    other = Model()
    other.sigma += 0.5
    hashes = {TorchSimPotential(m, [8], 5.0).sha256 for m in (Model(), Model(), other)}
    assert len(hashes) == 2


def test_bad_input_and_a_missing_package(monkeypatch):
    with pytest.raises(InputError, match="compute_forces=True"):
        TorchSimPotential(Model(compute_forces=False), [8], 5.0)
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    with pytest.raises(AtomsimError, match="pip install torch-sim-atomistic"):
        TorchSimPotential(Model(), [8, 3], 5.0)(Batch.pack(assorted([8, 3])))


def test_a_model_of_torchsim_itself():
    ts = pytest.importorskip("torch_sim")
    from torch_sim.models.lennard_jones import LennardJonesModel

    model = LennardJonesModel(
        sigma=2.0, epsilon=0.1, cutoff=5.0, dtype=torch.float64, device=torch.device("cpu"), compute_stress=True
    )
    potential = TorchSimPotential(model, [8, 3], 5.0)
    everything = assorted([8, 3])
    for systems in (everything[:3], everything[3:4]):
        found, own = potential(Batch.pack(systems)), model(ts.io.atoms_to_state(systems, model.device, model.dtype))
        assert torch.allclose(found.energy, own["energy"], rtol=0, atol=1e-10)
        assert torch.allclose(found.forces, own["forces"], rtol=0, atol=1e-10)
        if systems[0].pbc.all():
            assert torch.allclose(found.stress, 0.5 * (own["stress"] + own["stress"].mT), rtol=0, atol=1e-10)
