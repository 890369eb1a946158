"""Molecular dynamics on batches: NVE, NVT and NPT, every system with its own temperature, pressure, seed and schedule.

>>> state = start(Batch.pack([crystal]), potential, 600.0, seeds=[1])
>>> member = Member("crystal", state, Schedule.constant(600.0, steps=1000))
>>> for snapshot in run([member], potential, Bussi(timestep_fs=2.0), every=100):
...     print(snapshot.state.step, snapshot.state.kinetic_temperature)
"""

from __future__ import annotations

from atomsim.dynamics.integrators import Bussi, CellRescaling, Langevin, VelocityVerlet, compressibility
from atomsim.dynamics.observers import Recorder, Trajectory, thermodynamics
from atomsim.dynamics.run import Limits, Member, Snapshot, run
from atomsim.dynamics.schedule import Schedule, Stage
from atomsim.dynamics.state import MDState
from atomsim.dynamics.velocities import start, with_velocities

__all__ = [
    "Bussi",
    "CellRescaling",
    "Langevin",
    "Limits",
    "MDState",
    "Member",
    "Recorder",
    "Schedule",
    "Snapshot",
    "Stage",
    "Trajectory",
    "VelocityVerlet",
    "compressibility",
    "run",
    "start",
    "thermodynamics",
    "with_velocities",
]
