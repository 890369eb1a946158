"""Molecular dynamics: energy conservation (E1, E2), and a step against ASE with the model's own calculator (P1).

python -m benchmarks.dynamics [--pairs 5] [--steps 5] [--only P1 E1 …]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi as AseBussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from atomsim.batch import Batch, Evaluation
from atomsim.dynamics import (
    Bussi,
    CellRescaling,
    Langevin,
    MDState,
    Member,
    Recorder,
    Schedule,
    VelocityVerlet,
    run,
    start,
)
from atomsim.execution.machine import tune_process
from atomsim.models.interface import EnergyModel
from atomsim.models.load import load_potential
from atomsim.registry.cards import load_card
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.random import packing
from benchmarks.chgnet import calculator as chgnet_calculator
from benchmarks.paired import Row, arguments, paired, report

STUDENT = "mace-li-ru-s-o"
STEPS_FS = (1.0, 2.0, 3.0)
"""Time steps that are compared."""
TEMPERATURE_K = 1000.0


@cache
def glass() -> Atoms:
    """Li40Ru16S4O64, a random packing whose overlaps are taken out: 124 atoms."""
    begin = packing(Atoms("Li40Ru16S4O64").numbers, 3.0, np.random.default_rng(0))
    settings = RelaxSettings(max_steps=60, fmax_eV_per_A=0.5, cell=False, check_minimum=False, method="fire")
    ((_, found),) = iter_relax([begin], load_potential(STUDENT, "cpu"), settings)
    return Atoms(found.atoms.numbers, found.atoms.positions, cell=found.atoms.cell, pbc=True)


def student_calculator() -> Any:
    """MACE's own ASE calculator with the student's weights."""
    from mace.calculators import MACECalculator

    from atomsim.models.mace.safetensors import from_safetensors

    path = load_card(STUDENT).weights_path
    assert path is not None
    return MACECalculator(models=[from_safetensors(path.read_bytes(), STUDENT)], device="cpu", default_dtype="float32")


def ase_steps(peer: Any, steps: int) -> Callable[[int], None]:
    """Run CSVR in ASE, stress included, as constant pressure would need it."""
    atoms = glass().copy()
    atoms.calc = peer
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(1))
    md = AseBussi(atoms, 2.0 * units.fs, TEMPERATURE_K, 100.0 * units.fs, rng=np.random.default_rng(2))
    return lambda _: md.run(steps)


def our_steps(potential: EnergyModel, steps: int) -> Callable[[int], None]:
    """CSVR through the driver, a frame and its thermodynamics at each tenth step."""
    held = {"state": start(Batch.pack([glass()]), potential, TEMPERATURE_K, [1])}
    recorder = Recorder(20.0)

    def go(_: int) -> None:
        member = Member(0, held["state"], Schedule.constant(TEMPERATURE_K, int(held["state"].step) + steps))
        for snapshot in run([member], potential, Bussi(2.0, 100.0), every=10):
            recorder(snapshot.state)
            held["state"] = snapshot.state

    return go


def against_ase(name: str, peer: Any, goal: float, pairs: int, steps: int) -> Row:
    """P1: the same number of steps of both, in turn."""
    timed = paired(ase_steps(peer, steps), our_steps(load_potential(name, "cpu"), steps), pairs)
    what = f"{name}, 124 atoms, {steps} steps of CSVR, against ASE and the model's own calculator"
    return Row("P1", what, timed.ratio, f"≥ {goal:g}", timed.ratio >= goal, timed.detail())


def overhead(integrator: Any, name: str, pairs: int) -> Row:
    """P1: what a step costs beside its evaluation, driver, a frame and thermodynamics included."""
    potential = load_potential(STUDENT, "cpu")
    state = start(Batch.pack([glass()]), potential, TEMPERATURE_K, [1])

    def remembered(_: Batch) -> Evaluation:
        return state.evaluation

    def go(_: int) -> None:
        recorder = Recorder(20.0)
        for snapshot in run([Member(0, state, Schedule.constant(TEMPERATURE_K, 20))], remembered, integrator, every=10):
            recorder(snapshot.state)

    evaluations = paired(lambda _: [potential(state.batch) for _ in range(20)], go, pairs)
    share = 100.0 / (1.0 + evaluations.ratio)
    what = f"{name}: bath, barostat, observers and driver, per cent of a step with {STUDENT}"
    return Row("P1", what, share, "≤ 5", share <= 5, f"20 steps: {evaluations.detail()}")


@cache
def warm() -> MDState:
    """The melt after 3 ps: a packing that still relaxes heats itself, and what is conserved drifts with it."""
    potential = load_potential(STUDENT, "cpu")
    state = start(Batch.pack([glass()]), potential, TEMPERATURE_K, [3])
    schedule = Schedule.constant(TEMPERATURE_K, 1500)
    (last,) = run([Member(0, state, schedule)], potential, Langevin(2.0, 0.02), every=10_000)
    return last.state


def conserved(integrator: Any, length_fs: float) -> np.ndarray:
    """Conserved quantity over time, meV/atom, and times, ps, (2, steps)."""
    potential, state, found = load_potential(STUDENT, "cpu"), warm(), []
    for _ in range(round(length_fs / integrator.timestep_fs)):
        state = integrator.step(state, potential)
        found.append(float(state.conserved[0]) / 124 * 1e3)
    return np.array([0.001 * integrator.timestep_fs * np.arange(len(found)), found])


def deviations(make: Callable[[float], Any], length_fs: float) -> tuple[dict[float, float], float, float]:
    """Root mean square of the conserved quantity by time step, meV/atom, its slope in log–log, its drift at 2 fs."""
    series = {dt: conserved(make(dt), length_fs) for dt in STEPS_FS}
    rms = {dt: float(np.std(s[1] - np.polyval(np.polyfit(*s, 1), s[0]))) for dt, s in series.items()}
    slope = float(np.polyfit(np.log(STEPS_FS), np.log(list(rms.values())), 1)[0])
    return rms, slope, float(np.polyfit(*series[2.0], 1)[0])


def energy_of_newton(length_fs: float) -> list[Row]:
    """E1: root mean square of the energy by time step, its slope, and the drift."""
    rms, slope, drift = deviations(VelocityVerlet, length_fs)
    what = "NVE, student, 124 atoms: slope of log rms(E) on log dt"
    return [
        Row("E1", what, slope, "2.0 ± 0.1", abs(slope - 2) <= 0.1, detail_of(rms, length_fs)),
        Row("E1", "rms(E) at 2 fs, meV/atom", rms[2.0], "≤ 0.12", rms[2.0] <= 0.12, ""),
        Row("E1", "drift at 2 fs, meV/atom/ps", drift, "≤ 0.05", abs(drift) <= 0.05, ""),
    ]


def drift_of(name: str, make: Callable[[float], Any], length_fs: float) -> list[Row]:
    """E2: drift of the conserved quantity at 2 fs, and how its scatter grows with the time step."""
    rms, slope, drift = deviations(make, length_fs)
    return [
        Row("E2", f"{name}, drift at 2 fs, meV/atom/ps", drift, "≤ 0.1", abs(drift) <= 0.1, detail_of(rms, length_fs)),
        Row("E2", f"{name}, slope of log rms on log dt", slope, "2 (∝ dt²)", abs(slope - 2) <= 0.2, ""),
    ]


def detail_of(rms: dict[float, float], length_fs: float) -> str:
    """Deviations by time step, in words."""
    return ", ".join(f"{v:.3f} at {dt:g} fs" for dt, v in rms.items()) + f" meV/atom, {length_fs / 1000:g} ps"


BATHS: dict[str, Callable[[float], Any]] = {
    "CSVR": lambda dt: Bussi(dt, 100.0),
    "cell rescaling": lambda dt: CellRescaling(dt, 0.02),
    "cell rescaling, flexible": lambda dt: CellRescaling(dt, 0.02, flexible=True),
}


def main() -> None:
    """Run and report."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--length-fs", type=float, default=2000.0)
    parser.add_argument("--only", nargs="*", default=["P1", "E1", "E2"])
    chosen = parser.parse_args()
    tune_process()
    warnings.filterwarnings("ignore")
    rows: list[Row] = []
    if "P1" in chosen.only:
        rows += [overhead(make(2.0), name, chosen.pairs) for name, make in BATHS.items()]
        rows.append(against_ase(STUDENT, student_calculator(), 1.9, chosen.pairs, chosen.steps))
        rows.append(against_ase("chgnet-0.3.0", chgnet_calculator(), 4.5, chosen.pairs, chosen.steps))
    if "E1" in chosen.only:
        rows += energy_of_newton(chosen.length_fs)
    if "E2" in chosen.only:
        rows += [row for name, make in BATHS.items() for row in drift_of(name, make, chosen.length_fs)]
    report(rows, "Molecular dynamics", chosen.out)


if __name__ == "__main__":
    main()
