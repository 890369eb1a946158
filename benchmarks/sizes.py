"""From 2 to 1,000 atoms: one evaluation against ASE with CHGNetCalculator and MACECalculator, cell by cell.

    python -m benchmarks.sizes [--pairs 7] [--large-pairs 3] [--models chgnet mace] [--out sizes.json]

MACE is the checkpoint that ATOMSIM_TEST_MACE names, else has seeded random weights in the shape of MACE-MP-0 small, for
89 elements; float32 on both sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms

from atomsim.batch import Batch
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from benchmarks import chgnet, mace
from benchmarks.cells import large, mixed_bag
from benchmarks.paired import Row, arguments, paired, report


def sides(model: str) -> tuple[Any, Potential]:
    """ASE's calculator of a model, and ours."""
    if model == "chgnet":
        return chgnet.calculator(), load_potential("chgnet-0.3.0", "cpu")
    network = mace.stored_model() or mace.scaled_model("small")
    return mace.calculator(network), MacePotential(network)


def one_cell(peer: Any, ours: Potential, name: str, atoms: Atoms, pairs: int) -> Row:
    """Energy, forces and stress of one cell."""
    timed = paired(lambda _: peer.calculate(atoms), lambda _: ours(Batch.pack([atoms])), pairs)
    evaluation = ours(Batch.pack([atoms]))
    off = np.abs(peer.results["forces"] - evaluation.forces.numpy()).max() / max(
        1.0, float(evaluation.forces.abs().max())
    )
    what = f"{name}, {len(atoms)} atoms"
    return Row("", what, timed.ratio, "", None, f"{timed.detail()}; forces differ {off:.0e}")


def whole_bag(peer: Any, ours: Potential, cells: list[Atoms], pairs: int) -> Row:
    """All cells of the bag: one after another with the calculator, as one batch with ours."""
    batch = Batch.pack(cells)
    timed = paired(lambda _: [peer.calculate(atoms) for atoms in cells], lambda _: ours(batch), pairs)
    return Row("", f"all {len(cells)} together, {batch.n_atoms} atoms", timed.ratio, "", None, timed.detail())


def by_size(peer: Any, ours: Potential, pairs: int, large_pairs: int) -> Iterator[Row]:
    """The bag cell by cell, the bag as a batch, and the large cell."""
    bag = mixed_bag()
    for name, atoms in bag.items():
        yield one_cell(peer, ours, name, atoms, pairs)
    yield whole_bag(peer, ours, list(bag.values()), pairs)
    if large_pairs:
        yield one_cell(peer, ours, "LiCoO2", large(), large_pairs)


def main() -> None:
    """Run and report."""
    parser = arguments(__doc__)
    parser.add_argument("--large-pairs", type=int, default=3, help="for the cell of 1,000 atoms; 0 leaves it out")
    parser.add_argument("--models", nargs="+", choices=("chgnet", "mace"), default=["chgnet", "mace"])
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows: list[Row] = []
    for model in chosen.models:
        for row in by_size(*sides(model), chosen.pairs, chosen.large_pairs):
            rows.append(replace(row, key=model))
            print(model, row.what, f"{row.figure:.2f}", row.detail, flush=True)
    report(rows, "One evaluation, by size", chosen.out)


if __name__ == "__main__":
    main()
