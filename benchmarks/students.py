"""Students: what a force call costs against CHGNet's own calculator, and against the teacher in this engine.

python -m benchmarks.students [--pairs 7] [--out students.json]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from ase import Atoms

from atomsim.batch import Batch
from atomsim.execution.machine import tune_process
from atomsim.models.load import load_potential
from atomsim.registry.cards import list_cards
from atomsim.structures.prototypes import load_prototype
from benchmarks.chgnet import calculator
from benchmarks.paired import Row, cuda_clock, paired, report

CELLS = {
    "mace-li-ru-s-o": ("Li2RuO3", (1, 1, 1)),
    "mace-li-mn-co-ni-w-o": ("LiMO2", (2, 2, 1)),
    "mace-na-ru-o": ("Na3RuO4", (1, 1, 1)),
}
"""Cells of 48 atoms, or the nearest that the student's materials have."""


def cell_of(name: str, seed: int) -> Atoms:
    """Return a rattled cell of a student's material."""
    prototype, repeat = CELLS[name]
    atoms = load_prototype(prototype).atoms.repeat(repeat)
    atoms.rattle(0.05, seed=seed)
    return atoms


def on_cpu(name: str, pairs: int) -> list[Row]:
    """One thread, one cell: energy, forces and stress of every call."""
    card = next(c for c in list_cards() if c.name == name)
    assert card.distilled is not None
    student, teacher = load_potential(name, "cpu"), load_potential(card.distilled.teacher, "cpu")
    cells = [cell_of(name, n) for n in range(pairs + 1)]
    batches = [Batch.pack([c]) for c in cells]
    peer = calculator()
    against_peer = paired(lambda n: peer.calculate(cells[n]), lambda n: student(batches[n]), pairs)
    against_teacher = paired(lambda n: teacher(batches[n]), lambda n: student(batches[n]), pairs)
    what = f"{name}, {len(cells[0])} atoms"
    reached = against_peer.ratio >= 15
    return [
        Row("S1", f"{what}, against CHGNetCalculator", against_peer.ratio, "≥ 15", reached, against_peer.detail()),
        Row("S2", f"{what}, against the teacher here", against_teacher.ratio, "", None, against_teacher.detail()),
    ]


def on_gpu(name: str, pairs: int, cells: int = 256) -> Row:
    """A saturated batch against the teacher in the same engine."""
    card = next(c for c in list_cards() if c.name == name)
    assert card.distilled is not None
    student, teacher = load_potential(name, "cuda"), load_potential(card.distilled.teacher, "cuda")
    batch = Batch.pack([cell_of(name, n) for n in range(cells)], "cuda")
    timed = paired(lambda _: teacher(batch), lambda _: student(batch), pairs, cuda_clock)
    what = f"{name}, {cells} cells on a GPU, against the teacher on it"
    return Row("S3", what, timed.ratio, "≥ 10", timed.ratio >= 10, timed.detail())


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    tune_process()
    warnings.filterwarnings("ignore")
    names = [card.name for card in list_cards() if card.name in CELLS]
    rows = [row for name in names for row in on_cpu(name, chosen.pairs)]
    if torch.cuda.is_available():
        rows += [on_gpu(name, chosen.pairs) for name in names]
    else:
        rows.append(Row("S3", "students on a GPU", None, "≥ 10", None, "no CUDA device"))
    report(rows, "Students per call", chosen.out)


if __name__ == "__main__":
    main()
