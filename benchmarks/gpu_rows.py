"""Rows of ``benchmarks.gpu``: functions of a setup and the seconds left, that return what they measured as text."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity, device_capacity
from atomsim.batching.memory import calibrate, count_load, device_peak, probe_batches
from atomsim.dynamics import Langevin, Member, Schedule, run, start
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.neighbors import neighbor_list
from atomsim.relaxation import RelaxSettings, iter_relax
from benchmarks.cells import rattled

ROOT = Path(__file__).parents[1]
Measure = Callable[["Setup", float], str]


@dataclass
class Setup:
    """A device, and how much to give it."""

    device: torch.device
    mace: str
    pretended: bool = False

    def cells(self, potential: Potential) -> int:
        """Systems of a full batch: at most 1024, and what fits the memory."""
        if self.pretended:
            return 2
        room = device_capacity(potential, Batch.pack(self.systems(2), self.device))
        load, cells = room.load(Batch.pack(self.systems(1024), self.device)), 1024
        while cells > 1 and not room.admits(load):
            load, cells = room.load(Batch.pack(self.systems(cells // 2), self.device)), cells // 2
        return cells

    @cached_property
    def chgnet(self) -> Potential:
        """CHGNet on the device."""
        return self.on_device(load_potential("chgnet-0.3.0", "cpu" if self.pretended else self.device))

    @cached_property
    def mace_potential(self) -> Potential:
        """MACE on the device; a file is taken as trusted, as its path was typed."""
        where = "cpu" if self.pretended else self.device
        return self.on_device(load_potential(self.mace, where, "float32", trust_file=True))

    def on_device(self, potential: Any) -> Any:
        """Return a potential for the pretended card; another is on its device already."""
        if not self.pretended:
            return potential
        if hasattr(potential, "model"):
            from atomsim.models.mace.potential import MacePotential

            return MacePotential(
                potential.model, name=potential.name, sha256=potential.sha256, device=self.device, kernel="reference"
            )
        return replace(potential, device=self.device)

    def systems(self, number: int) -> list[Atoms]:
        """Rattled crystals: Li2RuO3 of 24 atoms, or rock salt of 2 on the pretended card."""
        if not self.pretended:
            return rattled(number)
        found = [bulk("LiF", "rocksalt", 4.1) for _ in range(number)]
        for n, atoms in enumerate(found):
            atoms.numbers[:] = (3, 8)
            atoms.rattle(0.05, seed=n)
        return found

    def wait(self) -> None:
        """Let the device finish."""
        if not self.pretended:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], times: int = 5) -> float:
        """Median time of some work, the first six left out: what is recorded is recorded by then."""
        found, before = [], 1 if self.pretended else 6
        for _ in range(before + (1 if self.pretended else times)):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - began)
        return median(found[before:])


@contextmanager
def pretended(mace: str) -> Iterator[Setup]:
    """A setup on the pretended card of the tests."""
    import_module("mace.modules")  # scripts functions before the card is there

    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    card = import_module("helpers.pretended_card")
    with card.pretended_card():
        yield Setup(card.device(), mace, pretended=True)


def tests(setup: Setup, left: float) -> str:
    """The tests that need a card."""
    if setup.pretended:
        return "not run: they need CUDA (tests/test_pretended_card.py is for this card)"
    files = [str(p) for p in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in p.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=min(left, 180), cwd=ROOT, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError("the tests took longer than was left") from error
    last = (done.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    if done.returncode:
        raise RuntimeError(last)
    return last


def against_cpu(setup: Setup, left: float) -> str:
    """Card against CPU, both potentials."""
    del left
    found = []
    for name, there in (("CHGNet", setup.chgnet), ("MACE", setup.mace_potential)):
        here = load_potential("chgnet-0.3.0" if name == "CHGNet" else setup.mace, "cpu", "float32", trust_file=True)
        systems = setup.systems(2 if setup.pretended else 8)
        found.append(f"{name} {_difference(there, here, systems, setup.device, torch.device('cpu'))}")
    return "; ".join(found)


def against_singles(setup: Setup, left: float) -> str:
    """A batch against its systems one by one."""
    del left
    systems = setup.systems(2 if setup.pretended else 32)
    found = []
    for name, potential in (("CHGNet", setup.chgnet), ("MACE", setup.mace_potential)):
        together = potential(Batch.pack(systems, setup.device))
        alone = [potential(Batch.pack([a], setup.device)) for a in systems]
        energy = torch.cat([e.energy.cpu() for e in alone]) - together.energy.cpu()
        force = torch.cat([e.forces.cpu() for e in alone]) - together.forces.cpu()
        found.append(f"{name} {(energy / len(systems[0])).abs().max():.1e} eV/atom, {force.abs().max():.1e} eV/Å")
    return "; ".join(found)


def _difference(one: Potential, other: Potential, systems: list[Atoms], here: torch.device, there: torch.device) -> str:
    a, b = one(Batch.pack(systems, here)), other(Batch.pack(systems, there))
    energy = (a.energy.cpu() - b.energy.cpu()) / len(systems[0])
    return f"{energy.abs().max():.1e} eV/atom, {(a.forces.cpu() - b.forces.cpu()).abs().max():.1e} eV/Å"


def mace_against_ase(setup: Setup, left: float) -> str:
    """G1: a full batch against MACECalculator, one cell after another, on the same card."""
    del left
    potential = setup.mace_potential
    systems = setup.systems(setup.cells(potential))
    batch = Batch.pack(systems, setup.device)
    ours = setup.seconds(lambda: potential(batch)) / len(systems)
    if setup.pretended:
        return f"{1000 * ours:.0f} ms a cell (no figure of a card; MACECalculator knows no pretended one)"
    from mace.calculators import MACECalculator

    model: Any = potential
    calculator = MACECalculator(models=[model.model], device="cuda", default_dtype="float32")
    return _against(setup, ours, calculator, systems)


def chgnet_against_ase(setup: Setup, left: float) -> str:
    """G4: a full batch against CHGNetCalculator on the same card, and the graph's share of a step."""
    del left
    potential = setup.chgnet
    systems = setup.systems(setup.cells(potential))
    batch = Batch.pack(systems, setup.device)
    whole = setup.seconds(lambda: potential(batch))
    graph = setup.seconds(lambda: neighbor_list(batch, potential.cutoff))
    share = f"neighbor search {100 * graph / whole:.0f} % of a step"
    if setup.pretended:
        return f"{1000 * whole / len(systems):.0f} ms a cell, {share} (no figure of a card)"
    from chgnet.model.dynamics import CHGNetCalculator

    return f"{_against(setup, whole / len(systems), CHGNetCalculator(use_device='cuda'), systems)}; {share}"


def _against(setup: Setup, ours: float, calculator: Any, systems: list[Atoms]) -> str:
    few = [a.copy() for a in systems[:4]]

    def serial() -> None:
        for atoms in few:
            atoms.calc = calculator
            calculator.reset()
            atoms.get_forces()
            atoms.get_stress()

    theirs = setup.seconds(serial, 3) / len(few)
    return f"{theirs / ours:.0f} × ({1000 * theirs:.1f} against {1000 * ours:.3f} ms a cell, batch of {len(systems)})"


def torchsim(setup: Setup, left: float) -> str:
    """G2: the same MACE through TorchSim, one evaluation of the same batch."""
    del left
    import torch_sim
    from torch_sim.models.mace import MaceModel

    model: Any = setup.mace_potential
    systems = setup.systems(256)
    peer = MaceModel(model=model.model, device=setup.device, dtype=torch.float32, compute_forces=True)
    state = torch_sim.io.atoms_to_state(systems, setup.device, torch.float32)
    theirs = setup.seconds(lambda: peer(state))
    batch = Batch.pack(systems, setup.device)
    ours = setup.seconds(lambda: setup.mace_potential(batch))
    return f"{theirs / ours:.2f} × ({1000 * theirs:.1f} against {1000 * ours:.1f} ms, batch of {len(systems)})"


def nvalchemi(setup: Setup, left: float) -> str:
    """The other batched toolkit; named where it is not there."""
    del setup, left
    if find_spec("nvalchemi") is None:
        raise ModuleNotFoundError("no nvalchemi", name="nvalchemi-toolkit")
    return "installed; not compared: no wrapper of it is in this module yet"


def busy(setup: Setup, left: float) -> str:
    """G3: share of the time in which the card computes."""
    del left
    if setup.pretended:
        return "no kernels to time on a pretended card"
    from benchmarks.gpu_busy import on_gpu

    return "; ".join(f"{row.what.split(', ', 1)[1]}: {row.figure:.0f} %" for row in on_gpu("chgnet-0.3.0", 128))


def memory(setup: Setup, left: float) -> str:
    """M: the memory model against what batches of other sizes take."""
    del left
    potential, sample = setup.chgnet, setup.systems(1)
    small = Batch.pack(sample, setup.device)
    model = calibrate(potential, probe_batches(small, (1, 2) if setup.pretended else (1, 4, 16)), device_peak, 6.0, 3.0)
    errors = []
    for n in (3, 5) if setup.pretended else (24, 64, 200):
        batch = Batch.pack(setup.systems(n), setup.device)
        found = device_peak(potential, batch)
        errors.append(abs(model.predict(count_load(batch, 6.0, 3.0)) / found - 1))
    return f"largest error {100 * max(errors):.0f} % on batches of other sizes"


def relaxations(setup: Setup, left: float) -> str:
    """Relaxed cells a minute."""
    del left
    systems, texts = setup.systems(2 if setup.pretended else 512), []
    settings = RelaxSettings(fmax_eV_per_A=0.05, check_minimum=False, max_steps=3 if setup.pretended else 500)
    for name, potential in (("CHGNet", setup.chgnet), ("MACE", setup.mace_potential)):
        dict(iter_relax(systems[:2], potential, settings))  # loads and learns what is kept
        began = time.perf_counter()
        found = dict(iter_relax(systems, potential, settings))
        setup.wait()
        rate = 60 * len(found) / (time.perf_counter() - began)
        texts.append(
            f"{name} {rate:.0f} a minute, {sum(r.converged for r in found.values())} of {len(found)} converged"
        )
    return "; ".join(texts)


def dynamics(setup: Setup, left: float) -> str:
    """MD steps a second of one cell and of a batch."""
    del left
    found = []
    for name, potential in (("CHGNet", setup.chgnet), ("MACE", setup.mace_potential)):
        for number, steps in ((1, 3), (2, 3)) if setup.pretended else ((1, 200), (256, 50)):
            found.append(f"{name}, {number} cells: {_rate(setup, potential, number, steps):.0f}")
    return f"steps × cells a second, cells of {len(setup.systems(1)[0])} atoms: {'; '.join(found)}"


def _rate(setup: Setup, potential: Potential, number: int, steps: int) -> float:
    state = start(Batch.pack(setup.systems(number), setup.device), potential, 300.0, list(range(number)))
    members = [Member(n, state.take([n]), Schedule.constant(300.0, steps)) for n in range(number)]
    began = time.perf_counter()
    list(run(members, potential, Langevin(1.0), every=steps, capacity=Capacity(systems=number)))
    setup.wait()
    return number * steps / (time.perf_counter() - began)


def hops(setup: Setup, left: float) -> str:
    """A set of hops, from host to proven barriers."""
    del left
    import atomsim

    if setup.pretended:
        return "not run: a migration finds its device by name, and a pretended card has none that it knows"
    began = time.perf_counter()
    found = atomsim.migration("Li2RuO3", "Li", setup.chgnet, max_length_A=3.2, supercell_min_A=9.0, max_atoms=120)
    calls = sum(r.values.get("force_calls", 0) for r in found.records)
    passed = time.perf_counter() - began
    if not any(r.good for r in found.records):
        raise RuntimeError(f"none of {len(found.records)} hops: {found.records[0].message}")
    return f"{sum(r.good for r in found.records)} of {len(found.records)} hops proven, {calls} calls, {passed:.0f} s"


ROWS: dict[str, tuple[str, str, Measure]] = {
    "K1": ("card against CPU, float32", "1e-5 eV/atom, 1e-3 eV/Å", against_cpu),
    "K2": ("a batch against its systems alone", "1e-5 eV/atom, 1e-3 eV/Å", against_singles),
    "G4": ("CHGNet batched against CHGNetCalculator on the card", "≥ 100 ×; graph ≤ 10 %", chgnet_against_ase),
    "G1": ("MACE batched against MACECalculator on the card", "≥ 120 ×", mace_against_ase),
    "MD": ("molecular dynamics", "–", dynamics),
    "R": ("relaxations with the cell to 0.05 eV/Å", "–", relaxations),
    "H": ("a set of hops to proven barriers", "–", hops),
    "M": ("memory model on other batches", "≤ 15 %", memory),
    "G2": ("against TorchSim, the same MACE", "≥ 1.3 ×", torchsim),
    "N": ("against nvalchemi-toolkit", "–", nvalchemi),
    "G3": ("share of the time that the card is busy: full batch; refilled", "≥ 90 %; ≥ 80 %", busy),
    "T": ("tests that need a card", "all pass", tests),
}
"""Rows in order: what must be right first, then by how much they are wanted; the slow tests last."""
