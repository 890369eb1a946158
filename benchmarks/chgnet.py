"""CHGNet: what an evaluation costs, against the chgnet package (C1, C2, C3) and on a GPU (G4).

python -m benchmarks.chgnet [--pairs 7] [--out chgnet.json] [--keep-memory]
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from ase import Atoms
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.batch import Batch
from atomsim.execution.machine import tune_process
from atomsim.models.chgnet import potential as chgnet
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from benchmarks.cells import rattled
from benchmarks.paired import Row, cpu_clock, cuda_clock, paired, per_call_arguments, report, share_outside

OUTSIDE = [
    (chgnet, "neighbor_list"),
    (chgnet, "bond_graph"),
    (chgnet, "_evaluation"),
    (chgnet, "refuse_unknown_elements"),
    (Batch, "take"),
]
"""What an evaluation does that is neither forward nor backward; the graph is its largest part."""


def calculator(device: str = "cpu") -> Any:
    """The package's ASE calculator, its greeting and warnings left out."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device=device)


def forces_of(peer: Any, systems: list[Atoms]) -> np.ndarray:
    """Evaluate one by one; every property is computed, as in a relaxation with the cell."""
    forces = []
    for atoms in systems:
        peer.calculate(atoms)
        forces.append(peer.results["forces"])
    return np.concatenate(forces)


def single_call(peer: Any, ours: Potential, rounds: list[list[Atoms]]) -> Row:
    """C1: one cell of 24 atoms.

    The forces of both are compared with ours in double precision: the package rounds positions
    and cells to single precision before it takes differences, and its error is the larger one.
    """
    exact = load_potential("chgnet-0.3.0", "cpu", "float64")
    batch = Batch.pack(rounds[0])
    wanted, found, theirs = exact(batch).forces.numpy(), ours(batch).forces.numpy(), forces_of(peer, rounds[0])
    off, peer_off, apart = (float(np.abs(d).max()) for d in (found - wanted, theirs - wanted, found - theirs))
    timed = paired(
        lambda n: forces_of(peer, rounds[n][:1]), lambda n: ours(Batch.pack(rounds[n][:1])), pairs=len(rounds) - 1
    )
    good = timed.ratio >= 4.0 and off <= 1e-4
    errors = f"from float64 ours {off:.1e}, theirs {peer_off:.1e}, apart {apart:.1e} eV/Å"
    what = "CHGNet, one cell of 24 atoms, against CHGNetCalculator"
    return Row("C1", what, timed.ratio, "≥ 4, forces to 1e-4", good, f"{timed.detail()}; {errors}")


def batch_of_eight(peer: Any, ours: Potential, rounds: list[list[Atoms]]) -> Row:
    """C2: eight cells, against the package's own batches."""
    structures = [[AseAtomsAdaptor.get_structure(atoms) for atoms in systems] for systems in rounds]
    timed = paired(
        lambda n: peer.model.predict_structure(structures[n], task="efsm", batch_size=8),
        lambda n: ours(Batch.pack(rounds[n])),
        pairs=len(rounds) - 1,
    )
    what = "CHGNet, batch of 8 × 24 atoms, against predict_structure"
    return Row("C2", what, timed.ratio, "≥ 4", timed.ratio >= 4.0, timed.detail())


def outside(ours: Potential, rounds: list[list[Atoms]]) -> list[Row]:
    """C3: time outside the model's forward and backward."""
    rows = []
    for cells, goal in ((8, 0.05), (1, 0.10)):
        call = _evaluating(ours, [Batch.pack(systems[:cells]) for systems in rounds])
        share = share_outside(call, OUTSIDE, repeats=len(rounds) - 1)
        what = f"CHGNet, share outside forward and backward, batch {cells}"
        rows.append(Row("C3", what, share, f"≤ {goal}", share <= goal, ""))
    return rows


def _evaluating(ours: Potential, batches: list[Batch]) -> Callable[[int], Any]:
    return lambda n: ours(batches[n])


def on_gpu(cells: int, pairs: int, device: str = "cuda") -> Row:
    """G4: a saturated batch against the package's calculator on the same card."""
    clock = cuda_clock if device == "cuda" else cpu_clock
    peer, ours = calculator(device), load_potential("chgnet-0.3.0", device)
    systems = rattled(cells)
    batch = Batch.pack(systems, device)
    timed = paired(lambda n: peer.calculate(systems[n % cells]), lambda _: ours(batch), pairs, clock)
    ratio = timed.ratio * cells
    what = f"CHGNet, {cells} × 24 atoms, against CHGNetCalculator on it"
    return Row("G4", what, ratio, "≥ 100", ratio >= 100, timed.detail())


def main() -> None:
    """Run and report."""
    chosen = per_call_arguments(__doc__).parse_args()
    if chosen.keep_memory:
        tune_process()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rounds = [rattled(8, seed=n) for n in range(chosen.pairs + 1)]
    peer, ours = calculator(), load_potential("chgnet-0.3.0", "cpu")
    rows = [single_call(peer, ours, rounds), batch_of_eight(peer, ours, rounds), *outside(ours, rounds)]
    if torch.cuda.is_available():
        rows.append(on_gpu(chosen.gpu_cells, chosen.pairs))
    else:
        rows.append(Row("G4", "CHGNet on a GPU", None, "≥ 100", None, "no CUDA device"))
    report(rows, "CHGNet per call", chosen.out)


if __name__ == "__main__":
    main()
