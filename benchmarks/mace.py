"""MACE: what an evaluation costs, against ASE with MACECalculator (C3, C4) and on a GPU (G1). G2: benchmarks.torchsim.

    python -m benchmarks.mace [--pairs 7] [--out mace.json] [--keep-memory]

"stored" is the checkpoint that ATOMSIM_TEST_MACE names (MACE-MP-0 small), in float32 on both sides. The others have the
shapes of MACE-MP-0 with seeded random weights, for 89 elements, scaled so that the largest force is 1 eV/Å.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atomsim.batch import Batch
from atomsim.execution.machine import tune_process
from atomsim.models.mace import fast as mace_fast
from atomsim.models.mace import kernels as mace_kernels
from atomsim.models.mace import potential as mace
from atomsim.models.mace.potential import MacePotential, quiet_mace
from benchmarks.cells import rattled
from benchmarks.paired import Row, cpu_clock, cuda_clock, paired, per_call_arguments, report, share_outside

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from random_mace import random_mace

HIDDEN = {"small": "128x0e", "medium": "128x0e + 128x1o"}
"""Hidden irreps of MACE-MP-0 small and medium (Batatia et al., arXiv:2401.00096)."""


def model(shape: str, scale: float = 1.0) -> torch.nn.Module:
    """Build a model of the given shape for 89 elements."""
    with quiet_mace():
        from mace.modules import interaction_classes
        from e3nn import o3  # isort: skip
    residual = interaction_classes["RealAgnosticResidualInteractionBlock"]
    return random_mace(
        list(range(1, 90)),
        dtype=torch.float32,
        r_max=6.0,
        num_bessel=10,
        max_ell=3,
        interaction_cls=residual,
        interaction_cls_first=residual,
        hidden_irreps=o3.Irreps(HIDDEN[shape]),
        MLP_irreps=o3.Irreps("16x0e"),
        avg_num_neighbors=62.0,
        radial_MLP=[64, 64, 64],
        pair_repulsion=False,
        distance_transform="None",
        atomic_inter_scale=scale,
        atomic_inter_shift=0.0,
    )


def stored_model() -> torch.nn.Module | None:
    """The checkpoint that ATOMSIM_TEST_MACE names, in float32; None where there is none. A pickle: name your own."""
    if not os.environ.get("ATOMSIM_TEST_MACE"):
        return None
    with quiet_mace():
        import mace.modules  # noqa: F401 - before e3nn, which loads its constants the old way

        found = torch.load(os.environ["ATOMSIM_TEST_MACE"], map_location="cpu", weights_only=False)
    network: torch.nn.Module = found.to(torch.float32)
    return network


def scaled_model(shape: str) -> torch.nn.Module:
    """Build a model whose largest force on a rattled cell is 1 eV/Å, or take the stored one."""
    if shape == "stored":
        network = stored_model()
        if network is None:
            raise SystemExit("no stored model: set ATOMSIM_TEST_MACE to a MACE checkpoint")
        return network
    quiet = MacePotential(model(shape))(Batch.pack(rattled(1)))
    return model(shape, scale=1.0 / float(quiet.forces.abs().max()))


def calculator(network: torch.nn.Module, device: str = "cpu") -> Any:
    """MACE's own ASE calculator in float32; the default precision that it sets is undone."""
    before = torch.get_default_dtype()
    with quiet_mace():
        from mace.calculators import MACECalculator

        found = MACECalculator(models=[copy.deepcopy(network)], device=device, default_dtype="float32")
    torch.set_default_dtype(before)
    return found


def per_call(shape: str, pairs: int) -> list[Row]:
    """C4: a batch of 8 against 8 calls of the calculator; and one cell alone."""
    network = scaled_model(shape)
    peer, ours = calculator(network), MacePotential(network)
    rounds = [rattled(8, seed=n) for n in range(pairs + 1)]

    def theirs(n: int, cells: int = 8) -> np.ndarray:
        forces = []
        for atoms in rounds[n][:cells]:
            peer.calculate(atoms)
            forces.append(peer.results["forces"])
        return np.concatenate(forces)

    timed = paired(theirs, lambda n: ours(Batch.pack(rounds[n])), pairs)
    single = paired(lambda n: theirs(n, 1), lambda n: ours(Batch.pack(rounds[n][:1])), pairs)
    off = float(np.abs(theirs(1) - ours(Batch.pack(rounds[1])).forces.numpy()).max())
    what = f"MACE {shape}, 89 elements, kernel {ours.kernel}: "
    good = timed.ratio >= 1.8 and off <= 1e-5
    return [
        Row(
            "C4",
            what + "batch of 8 × 24 atoms",
            timed.ratio,
            "≥ 1.8, forces to 1e-5",
            good,
            f"{timed.detail()}; forces differ {off:.1e}",
        ),
        Row("", what + "one cell", single.ratio, "", None, single.detail()),
        *outside(what, ours, rounds),
    ]


def outside(what: str, ours: MacePotential, rounds: list[list[Any]]) -> list[Row]:
    """C3: time outside the model's forward and backward."""
    parts = [
        (mace, "neighbor_list"),
        (mace_kernels, "one_direction"),
        (mace_fast, "neighbor_table"),
        (mace_kernels, "forces_and_stress"),
        (mace_kernels, "_cut"),
        (mace, "refuse_unknown_elements"),
    ]
    rows = []
    for cells, goal in ((8, 0.05), (1, 0.10)):
        batches = [Batch.pack(systems[:cells]) for systems in rounds]
        share = share_outside(lambda n, batches=batches: ours(batches[n]), parts, repeats=len(rounds) - 1)
        rows.append(
            Row("C3", f"{what}share outside forward and backward, batch {cells}", share, f"≤ {goal}", share <= goal, "")
        )
    return rows


def on_gpu(cells: int, pairs: int, device: str = "cuda") -> Row:
    """G1: a saturated batch against serial ASE on the same card."""
    clock = cuda_clock if device == "cuda" else cpu_clock
    network = scaled_model("small")
    peer, ours = calculator(network, device), MacePotential(network, device=device)
    systems = rattled(cells)
    batch = Batch.pack(systems, device)
    timed = paired(lambda n: peer.calculate(systems[n % cells]), lambda _: ours(batch), pairs, clock)
    per_atom = 1e6 * min(timed.ours) / batch.n_atoms
    ratio = timed.ratio * cells
    detail = f"{timed.detail()}; {per_atom:.2f} µs/atom at {batch.n_atoms} atoms"
    return Row("G1", f"MACE small, {cells} × 24 atoms, against ASE serial", ratio, "≥ 120", ratio >= 120, detail)


def main() -> None:
    """Run and report."""
    parser = per_call_arguments(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=["stored", *HIDDEN], default=list(HIDDEN))
    chosen = parser.parse_args()
    if chosen.keep_memory:
        tune_process()
    torch.set_num_threads(1)
    rows = [row for shape in chosen.shapes for row in per_call(shape, chosen.pairs)]
    if torch.cuda.is_available():
        rows.append(on_gpu(chosen.gpu_cells, chosen.pairs))
    else:
        rows.append(Row("G1", "MACE on a GPU", None, "≥ 120", None, "no CUDA device"))
    report(rows, "MACE per call", chosen.out)


if __name__ == "__main__":
    main()
