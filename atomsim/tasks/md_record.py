"""Frames, saved states and the record of a trajectory of molecular dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import InputError, counted
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, Task, record_of
from atomsim.tasks.teacher import Sample, flags_of
from atomsim.units import KB

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from atomsim.dynamics.run import Snapshot
    from atomsim.dynamics.state import MDState
    from atomsim.io.trajectories import Frames
    from atomsim.tasks.base import Context
    from atomsim.tasks.md import Settings

ARTIFACT = "trajectory"
ROWS = "rows"
POINTS = 100
"""Points of a series in the record, for figures."""
SETTLED = 0.2
"""Part of a trajectory that its means leave out."""
DRIFTS = 0.1
"""Energy gained or lost, in the kinetic energy, above which the time step is too long."""
LEFT = 0.1
"""Relative difference from the first velocities' temperature above which a run at constant energy has left it."""


class Log:
    """Frames on disk and thermodynamics of each, of one trajectory so far."""

    def __init__(self, task: Task, atoms: Atoms, settings: Any, context: Context) -> None:
        self.task, self.atoms, self.settings = task, atoms, settings
        self.storage = context.storage(task)
        self.keeps_frames = context.kept.places.run is not None
        """In memory frames would be lost with the process: only the last is kept."""
        self.rows: list[np.ndarray] = []
        self.sample = Sample.of(settings, self.total_steps())
        self.context = context

    def total_steps(self) -> int:
        """Return the time steps of a whole run."""
        return int(self.settings.steps)

    def about(self) -> dict[str, Any]:
        """Return facts that hold for all frames."""
        return {"temperature_K": self.task.tags["temperature_K"], "ensemble": self.settings.ensemble}

    def load(self) -> dict[str, np.ndarray] | None:
        """Return the arrays of the saved state, if there is one."""
        state = self.storage.load_state()
        if state is None:
            return None
        arrays = dict(state.arrays)
        self.rows = list(arrays.pop(ROWS))
        self.sample.restore(arrays)
        return arrays

    def record(self, state: MDState) -> None:
        """Keep a frame."""
        from atomsim.dynamics.observers import COLUMNS, thermodynamics

        (row,) = thermodynamics(state)
        self.rows.append(row)
        self.sample.record(state)
        if not self.keeps_frames:
            return
        frames = self.storage.artifact(
            ARTIFACT,
            numbers=self.atoms.numbers.tolist(),
            pbc=[bool(p) for p in self.atoms.pbc],
            interval_fs=self.settings.every * self.settings.timestep_fs,
            **self.about(),
            columns=list(COLUMNS),
        )
        batch = state.batch
        frames.append(
            step=int(state.step),
            positions=batch.positions.cpu().numpy().astype(np.float32),
            cell=batch.cell[0].cpu().numpy(),
            thermodynamics=row,
        )

    def save(self, state: MDState) -> None:
        """Save where the trajectory stands."""
        arrays = {**state.to_arrays(), **self.sample.to_arrays(), ROWS: np.array(self.rows)}
        self.storage.save_state(int(state.step), arrays)

    def judged(self, state: MDState) -> dict[str, Any]:
        """Return errors against the teacher and what they flag, as values of the record; empty without one."""
        if not self.sample.frames:
            return {}
        device = state.batch.positions.device
        compared = self.sample.compared(self.atoms, self.settings.teacher, self.context, device)
        flags = flags_of(compared)
        return {"teacher": compared} | ({"flags": flags} if flags else {})


def narrow(atoms: Atoms, cutoff_A: float) -> list[str]:
    """Return a warning of a cell less than two cutoffs wide, in which an atom meets two images of one; else nothing.

    Args:
        atoms: a structure.
        cutoff_A: of the potential, Å.
    """
    periodic = atoms.pbc & (atoms.cell.lengths() > 0)
    if not periodic.any():
        return []
    width = float(1.0 / atoms.cell.complete().reciprocal().lengths()[periodic].max())
    if width >= 2.0 * cutoff_A:
        return []
    reach = f"two cutoffs of the potential ({2 * cutoff_A:g} Å)"
    return [f"the cell is {width:.1f} Å wide, less than {reach}: periodic images move alike; take a larger cell"]


def finished(log: Log, snapshot: Snapshot, settings: Settings, cutoff_A: float) -> Record:
    """Return the record of a trajectory that has ended."""
    steps = int(snapshot.state.step)
    values: dict[str, Any] = {
        "steps": steps,
        "duration_ps": steps * settings.timestep_fs / 1000.0,
        "frames": len(log.rows),
        "force_calls": steps + 1,
        "n_atoms": len(log.atoms),
    }
    if log.rows:
        values |= summary(np.array(log.rows), len(log.atoms), settings.timestep_fs)
    values |= log.judged(snapshot.state)
    if warned := [*narrow(log.atoms, cutoff_A), *_drifting(values, log, settings)]:
        values["flags"] = [*warned, *values.get("flags", ())]
    if log.keeps_frames:
        values["artifacts"] = log.storage.finish_artifacts()
    atoms, arrays = _last(log.atoms, snapshot.state)
    structure = log.task.structure if atoms is None else atoms_to_json(atoms, arrays)
    return record_of(log.task, snapshot.status, snapshot.message, values=values, structure=structure)


def _drifting(values: dict[str, Any], log: Log, settings: Settings) -> list[str]:
    """Return a warning of a time step that does not keep the conserved quantity; else nothing."""
    drift, mean_k = values.get("drift_meV_per_atom_per_ps"), values.get("temperature_mean_K")
    if drift is None or mean_k is None:
        return []
    gained, kinetic = abs(drift) * values["duration_ps"], 1500.0 * KB * mean_k  # 3/2 k_B T, meV/atom
    found = []
    if gained > DRIFTS * kinetic:
        found.append(
            f"the conserved quantity drifts by {drift:.1f} meV/atom/ps, {gained:.0f} meV/atom in all, where the "
            f"kinetic energy is {kinetic:.0f}: a time step of {settings.timestep_fs:g} fs is too long; halve it"
        )
    left = left_temperature(settings.ensemble, float(log.task.tags["temperature_K"]), mean_k)
    return found + ([left] if left else [])


def left_temperature(ensemble: str, own: float, mean_k: float | None) -> str:
    """Say that a trajectory at constant energy left the temperature of its first velocities; empty if it did not."""
    if ensemble != "nve" or mean_k is None or abs(mean_k - own) <= LEFT * own:
        return ""
    return f"at constant energy it ran at {mean_k:.0f} K on average, not at the {own:g} K of its first velocities"


def summary(rows: np.ndarray, n_atoms: int, timestep_fs: float) -> dict[str, Any]:
    """Return means, the drift of the conserved quantity and a series for figures.

    Args:
        rows: thermodynamics of each frame, (n_frames, 7).
        n_atoms: atoms of the system.
        timestep_fs: time step.
    """
    from atomsim.dynamics.observers import COLUMNS

    column = {name: rows[:, n] for n, name in enumerate(COLUMNS)}
    times = column["step"] * timestep_fs / 1000.0
    settled = rows[int(SETTLED * len(rows)) :]
    means = {name: float(settled[:, n].mean()) for n, name in enumerate(COLUMNS)}
    found: dict[str, Any] = {
        "temperature_mean_K": means["temperature_K"],
        "pressure_mean_GPa": means["pressure_GPa"],
        "volume_mean_A3": means["volume_A3"],
        "potential_mean_eV_per_atom": means["potential_eV"] / n_atoms,
        "energy_eV": float(column["potential_eV"][-1]),
        "energy_per_atom_eV": float(column["potential_eV"][-1]) / n_atoms,
    }
    if len(rows) > 2:
        slope = np.polyfit(times, column["conserved_eV"], 1)[0]
        found["drift_meV_per_atom_per_ps"] = 1000.0 * float(slope) / n_atoms
    some = np.unique(np.linspace(0, len(rows) - 1, POINTS).round().astype(int))
    found["series"] = {"time_ps": times[some].tolist()} | {
        name: column[name][some].tolist() for name in ("temperature_K", "pressure_GPa", "potential_eV", "conserved_eV")
    }
    finite = np.isfinite(rows).all()
    return found if finite else {}


def _last(first: Atoms, state: MDState) -> tuple[Atoms | None, dict[str, np.ndarray]]:
    """Return the structure of a state with its forces; None where it is no structure."""
    positions, cell = state.batch.positions.cpu().numpy(), state.batch.cell[0].cpu().numpy()
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        return None, {}
    atoms = first.copy()
    atoms.set_cell(cell, scale_atoms=False)
    atoms.set_positions(positions, apply_constraint=False)
    forces = state.evaluation.forces.cpu().numpy()
    return atoms, {"forces": forces} if np.isfinite(forces).all() else {}


def frames_of_record(record: Record, run: Path | None) -> Frames:
    """Return the frames of a trajectory of one temperature.

    Args:
        record: of an ``md`` step.
        run: folder of its run; None where nothing was kept.

    Raises:
        InputError: if there are none, too few, or of no single temperature.
    """
    from atomsim.io.trajectories import MIN_FRAMES, Frames
    from atomsim.store.artifacts import artifacts_of, open_artifact

    if "temperature_K" not in record.tags:
        raise InputError(
            f"{record.label}: found a trajectory of kind {record.kind!r}, wanted one of 'md': take its glass"
        )
    if run is None or ARTIFACT not in artifacts_of(record):
        raise InputError(f"{record.label}: frames are files and were not kept; run atomsim.md with run='runs/x'")
    kept = open_artifact(run, record, ARTIFACT)
    if kept.about.get("ensemble") == "langevin":
        raise InputError(
            f"{record.label}: friction on every atom (ensemble = 'langevin') slows diffusion down by as much as it is "
            "large; run it with 'nvt' or 'nve'"
        )
    own = float(record.tags["temperature_K"])
    left = left_temperature(str(kept.about.get("ensemble")), own, record.values.get("temperature_mean_K"))
    if len(kept) < MIN_FRAMES:
        raise InputError(
            f"{record.label}: found {counted(len(kept), 'frame')}, wanted {MIN_FRAMES} or more; run longer"
        )
    a, b, c = (bool(p) for p in kept.about["pbc"])
    return Frames(
        record.label,
        np.asarray(kept.about["numbers"]),
        kept.column("positions"),
        kept.column("cell"),
        (a, b, c),
        interval_fs=float(kept.about["interval_fs"]),
        temperature_K=None if left else own,
        unwrapped=True,
    )
