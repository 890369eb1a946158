"""G3: the share of the time in which a GPU computes, with a full batch and while relaxations refill it.

    python -m benchmarks.gpu_busy [--cells 1024] [--potential chgnet-0.3.0]

A kernel is on the card from its first thread to its last, as torch.profiler (CUPTI) records it; busy is the union of
these spans over the time between the start of the first and the end of the last. Without a card there is no figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.models.load import load_potential
from atomsim.relaxation import RelaxSettings, iter_relax
from benchmarks.cells import rattled
from benchmarks.paired import Row, report

Span = tuple[float, float]


def covered(spans: Sequence[Span]) -> float:
    """Return the share of the time from the first start to the last end that at least one span covers."""
    end = total = 0.0
    ordered = sorted(spans)
    begin = end = ordered[0][0] if ordered else 0.0
    for start, stop in ordered:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total / (end - begin) if end > begin else 0.0


def busy(work: Callable[[], Any]) -> float:
    """Return the share of the time that a GPU computes while something is done."""
    from torch.profiler import ProfilerActivity, profile

    work()  # compiles, allocates
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as measured:
        work()
        torch.cuda.synchronize()
    kernels = [event for event in measured.events() or () if event.device_type == torch.autograd.DeviceType.CUDA]
    return covered([(event.time_range.start, event.time_range.end) for event in kernels])


def on_gpu(name: str, cells: int) -> list[Row]:
    """Measure a potential with a full batch, and in relaxations that come and go."""
    potential = load_potential(name, "cuda")
    batch = Batch.pack(rattled(cells), "cuda")
    full = busy(lambda: [potential(batch) for _ in range(5)])
    systems = [atoms for lithium in range(1, 9) for atoms in rattled(cells, lithium=lithium, seed=lithium)]
    settings, room = RelaxSettings(fmax_eV_per_A=0.05, check_minimum=False), Capacity(systems=cells)
    refilled = busy(lambda: dict(iter_relax(systems, potential, settings, capacity=room)))
    what = f"{name}, GPU busy, {len(systems)} relaxations, {cells} at a time"
    return [
        Row("G3", f"{name}, GPU busy, {cells} × 24 atoms", 100 * full, "≥ 90 %", full >= 0.9, ""),
        Row("G3", what, 100 * refilled, "≥ 80 %", refilled >= 0.8, ""),
    ]


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1024)
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if torch.cuda.is_available():
        rows = on_gpu(chosen.potential, chosen.cells)
    else:
        rows = [Row("G3", "GPU busy", None, "≥ 90 %; ≥ 80 %", None, "no CUDA device")]
    report(rows, "How busy a GPU is", chosen.out)


if __name__ == "__main__":
    main()
