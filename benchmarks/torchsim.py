"""MACE against TorchSim, same weights: one evaluation of a batch, and whole relaxations with the cell (G2).

    python -m benchmarks.torchsim [--device cpu] [--cells 8] [--out torchsim.json]

TorchSim is not among atomsim's dependencies: install torch-sim-atomistic into an environment of its
own, with atomsim, and run this there. ATOMSIM_TEST_MACE names a stored checkpoint: crystals of several
sizes are relaxed with it. Without one, weights are seeded random numbers in the shape of MACE-MP-0
small, so relaxations go over the sum of the model and a pair potential that gives it minima; both
sides add the same one, of this package. TorchSim relaxes with its FIRE and Frechet cell filter, its
force test with the cell's forces in it, and converged systems leave the batch.
"""

from __future__ import annotations

import copy
import os
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torch_sim
from ase import Atoms
from ase.build import bulk
from torch_sim.models.interface import ModelInterface
from torch_sim.models.mace import MaceModel

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.models.combine import Sum
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.prototypes import load_prototype
from benchmarks.cells import rattled
from benchmarks.mace import scaled_model
from benchmarks.paired import Paired, Row, arguments, cpu_clock, cuda_clock, paired, report

MAX_STEPS = 1000
CRYSTALS = {"LiCoO2": 3, "Li2RuO3": 1, "Li3PO4": 1, "Na3RuO4": 2}
STORED = bool(os.environ.get("ATOMSIM_TEST_MACE"))


class Counted(ModelInterface):
    """A TorchSim model, plus a pair potential of this package if there is one; counts the systems that it evaluates."""

    def __init__(self, model: Any, pairs: Potential | None) -> None:
        """Take both."""
        super().__init__()
        self.model, self.pairs, self.calls = model, pairs, 0
        self._device, self._dtype = model.device, model.dtype
        self._compute_forces = self._compute_stress = True

    def forward(self, state: Any, **_: Any) -> dict[str, torch.Tensor]:
        """Add energies, forces and stresses."""
        found = self.model(state)
        self.calls += state.n_systems
        if self.pairs is None:
            return dict(found)
        batch = Batch(
            positions=state.positions.to(torch.float64),
            cell=state.row_vector_cell.to(torch.float64).contiguous(),
            numbers=state.atomic_numbers.to(torch.int64),
            system=state.system_idx,
            pbc=torch.ones(state.n_systems, 3, dtype=torch.bool, device=state.positions.device),
            fixed=torch.zeros(len(state.positions), dtype=torch.bool, device=state.positions.device),
        )
        more = self.pairs(batch)
        return {key: found[key] + getattr(more, key).to(self.dtype) for key in ("energy", "forces", "stress")}


def alloys(count: int) -> list[Atoms]:
    """Close-packed cells of 24 atoms of three elements, strained and rattled: the pair potential's own lattice."""
    found = []
    for n in range(count):
        rng = np.random.default_rng(n)
        atoms = bulk("Li", "fcc", a=3.15, cubic=True).repeat((3, 2, 1))
        atoms.numbers = rng.permutation([3] * 8 + [8] * 12 + [44] * 4)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        found.append(atoms)
    return found


def crystals(count: int) -> list[Atoms]:
    """Crystals of 12 to 64 atoms and two to four elements in turn, strained and rattled."""
    found = []
    for n in range(count):
        rng = np.random.default_rng(n)
        name, times = list(CRYSTALS.items())[n % len(CRYSTALS)]
        atoms = load_prototype(name).primitive.repeat((times, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        found.append(atoms)
    return found


def torchsim_model(network: torch.nn.Module, device: torch.device) -> Any:
    """The same weights through TorchSim's own adapter, in single precision as ours."""
    return MaceModel(model=copy.deepcopy(network), device=device, dtype=torch.float32)


def per_step(network: torch.nn.Module, cells: int, pairs: int, device: torch.device) -> Row:
    """G2, one evaluation: each side starts from a state of its own that is on the device already."""
    systems = crystals(cells) if STORED else rattled(cells)
    theirs, ours = torchsim_model(network, device), MacePotential(network, device=device)
    state = torch_sim.io.atoms_to_state(systems, device, torch.float32)
    batch = Batch.pack(systems, device)
    clock = cuda_clock if device.type == "cuda" else cpu_clock
    timed = paired(lambda _: theirs(state), lambda _: ours(batch), pairs, clock)
    off = float((theirs(state)["forces"].detach() - ours(batch).forces).abs().max())
    named = f"stored MACE, {cells} crystals of 12 to 64 atoms" if STORED else f"MACE small's shape, {cells} × 24 atoms"
    what = f"{named}, one evaluation, on {device}"
    per_atom = 1e6 * min(timed.ours) / batch.n_atoms
    detail = f"{timed.detail()}; {per_atom:.2f} µs/atom; forces differ {off:.1e}"
    return Row("G2", what, timed.ratio, "≥ 1.3", timed.ratio >= 1.3, detail)


def relax_by_torchsim(model: Counted, systems: list[Atoms], fmax: float) -> list[float]:
    """Relax all; return energies (NaN where not converged), eV."""
    state = torch_sim.io.atoms_to_state(systems, model.device, model.dtype)
    # everything fits: the batch is as large as ours
    batcher = torch_sim.InFlightAutoBatcher(model, max_memory_scaler=1e9, memory_scales_with="n_atoms")
    test = torch_sim.generate_force_convergence_fn(fmax, include_cell_forces=True)
    # the same optimizer before TorchSim 0.4 and since
    if hasattr(torch_sim, "frechet_cell_fire"):
        how: dict[str, Any] = {"optimizer": torch_sim.frechet_cell_fire}
    else:
        how = {"optimizer": torch_sim.Optimizer.fire, "init_kwargs": {"cell_filter": torch_sim.CellFilter.frechet}}
    final = torch_sim.optimize(
        state,
        model,
        **how,
        convergence_fn=test,
        autobatcher=batcher,
        max_steps=MAX_STEPS,
        steps_between_swaps=1,
    )
    done = test(final, None)
    return torch.where(done, final.energy.to(torch.float64), torch.nan).tolist()


def per_relaxation(network: torch.nn.Module, cells: int, fmax: float, device: torch.device) -> list[Row]:
    """G2, whole relaxations: time and calls."""
    mace: Potential = MacePotential(network, device=device)
    pairs = None if STORED else load_potential("lj-test", device)
    model = Counted(torchsim_model(network, device), pairs)
    potential = mace if pairs is None else Sum([mace, pairs])
    settings = RelaxSettings(fmax_eV_per_A=fmax, max_steps=MAX_STEPS, check_minimum=False)
    systems = crystals(cells) if STORED else alloys(cells)
    clock = cuda_clock if device.type == "cuda" else cpu_clock
    start = clock()
    theirs = relax_by_torchsim(model, systems, fmax)
    between = clock()
    found = iter_relax(systems, potential, settings, capacity=Capacity(systems=cells))
    ours = [r for _, r in sorted(found, key=lambda pair: pair[0])]
    timed = Paired([between - start], [clock() - between])
    calls = sum(r.force_calls for r in ours)
    lower = (np.array([r.energy for r in ours]) - np.array(theirs)) / [len(a) for a in systems]
    unconverged = f"{sum(np.isnan(theirs))} and {sum(not r.converged for r in ours)} not converged"
    named = "crystals of 12 to 64 atoms" if STORED else "alloys of 24 atoms"
    what = f"{cells} {named} relaxed with the cell to {fmax} eV/Å, on {device}"
    detail = (
        f"{timed.peer[0]:.0f} against {timed.ours[0]:.0f} s; {unconverged}; ours minus theirs, median and largest: "
    )
    detail += f"{1e3 * np.nanmedian(lower):.2f}, {1e3 * np.nanmax(np.abs(lower)):.2f} meV/atom"
    return [
        Row("G2", what, timed.ratio, "≥ 4", timed.ratio >= 4.0, detail),
        Row("", "the same, force calls", model.calls / calls, "", None, f"{model.calls} against {calls}"),
    ]


def main() -> None:
    """Run and report."""
    parser = arguments(__doc__)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--fmax", type=float, nargs="+", default=[0.05, 0.02])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    device, network = (
        torch.device(chosen.device),
        scaled_model("stored" if STORED else "small"),
    )
    rows = [per_step(network, chosen.cells, chosen.pairs, device)]
    for fmax in chosen.fmax:
        rows += per_relaxation(network, chosen.cells, fmax, device)
    report(rows, f"MACE against TorchSim {version('torch-sim-atomistic')}", chosen.out)


if __name__ == "__main__":
    main()
