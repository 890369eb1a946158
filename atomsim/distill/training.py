"""Training by mace-torch's own program, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from atomsim.distill.recipe import Recipe, Train
from atomsim.errors import AtomsimError, InputError
from atomsim.execution.machine import ending
from atomsim.io import write_extxyz

EPOCH = re.compile(r"Epoch (\d+): .*RMSE_E_per_atom= *([\d.]+) meV, RMSE_F= *([\d.]+) meV")
CHECKPOINT = re.compile(r"_epoch-(\d+)(?:_swa)?\.pt$")
FULL_DISK = ("No space left on device", "PytorchStreamWriter failed", "unexpected pos", "Disk quota exceeded")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Statistics:
    """Statistics fixed by the first frames, so that later rounds continue with the same model."""

    atomic_energies_eV: dict[int, float]
    """Energies of single atoms by the teacher, by atomic number."""
    neighbors: float
    """Average number of neighbours within the cutoff."""

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"atomic_energies_eV": self.atomic_energies_eV, "neighbors": self.neighbors}, indent=1)

    @classmethod
    def read(cls, path: Path) -> Statistics:
        """Read what ``text`` gave."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls({int(z): e for z, e in content["atomic_energies_eV"].items()}, content["neighbors"])


def statistics(frames: Sequence[Atoms], alone: Sequence[Atoms], r_max: float) -> Statistics:
    """Take atomic energies from labelled single atoms, and count neighbours.

    A student's energy of separate atoms is the sum of its atomic energies, whatever it has learned. With
    other energies than the teacher's, lower ones above all, matter that expands gains energy without end:
    a metal comes apart in a relaxation.

    Args:
        frames: what is learned from.
        alone: one atom each, in a box larger than any cutoff.
        r_max: cutoff of the student, Å.
    """
    some = frames[:: max(1, len(frames) // 100)]
    bonds = [len(neighbor_list("i", f, r_max)) for f in some]
    energies = {int(a.numbers[0]): float(a.get_potential_energy()) for a in alone}
    return Statistics(energies, sum(bonds) / sum(map(len, some)))


def arguments(recipe: Recipe, known: Statistics, folder: Path, seed: int, epochs: int, device: str) -> list[str]:
    """Return the arguments of ``mace.cli.run_train``: the same folder continues from its last checkpoint."""
    t: Train = recipe.train
    options: dict[str, Any] = {
        "name": "student",
        "seed": seed,
        "work_dir": folder,
        "device": device,
        "default_dtype": "float32",
        "train_file": folder / "train.extxyz",
        "valid_file": folder / "valid.extxyz",
        "energy_key": "energy_label",
        "forces_key": "forces_label",
        "stress_key": "stress_label",
        "E0s": {z: round(e, 6) for z, e in known.atomic_energies_eV.items()},
        "atomic_numbers": sorted(atomic_numbers[s] for s in recipe.symbols),
        "model": "MACE",
        "interaction_first": "RealAgnosticResidualInteractionBlock",
        "interaction": "RealAgnosticResidualInteractionBlock",
        "hidden_irreps": t.hidden_irreps,
        "MLP_irreps": t.readout_irreps,
        "max_ell": t.max_ell,
        "correlation": t.correlation,
        "num_interactions": t.interactions,
        "r_max": t.r_max_A,
        "num_radial_basis": t.radial_functions,
        "radial_MLP": t.radial_mlp,
        "scaling": "rms_forces_scaling",
        "compute_avg_num_neighbors": False,
        "avg_num_neighbors": round(known.neighbors, 3),
        "loss": t.loss,
        "energy_weight": recipe.energy_weight(epochs),
        "forces_weight": t.forces_weight,
        "stress_weight": t.stress_weight,
        "compute_stress": True,
        "batch_size": t.batch_size,
        "valid_batch_size": 4 * t.batch_size,
        "lr": t.learning_rate,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": t.learning_rate_decay,
        "ema_decay": t.ema,
        "max_num_epochs": epochs,
        "patience": epochs,
        "error_table": "PerAtomRMSE",
        "num_workers": 0,
        "plot": False,
    }
    flags = ["--pair_repulsion", "--amsgrad", "--ema", "--restart_latest", "--save_cpu"]
    return [*flags, *(f"--{key}={_text(value)}" for key, value in options.items())]


def _text(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, dict | list) else str(value)


def write_training(folder: Path, frames: Sequence[Atoms], valid_fraction: float, seed: int) -> None:
    """Write frames under keys that ASE gives no meaning to, a random part of them to watch the training."""
    chosen = np.random.default_rng(seed).permutation(len(frames))[: max(2, round(valid_fraction * len(frames)))]
    valid = set(chosen.tolist())
    folder.mkdir(parents=True, exist_ok=True)
    plain = [_keyed(f) for f in frames]
    write_extxyz(folder / "train.extxyz", [f for n, f in enumerate(plain) if n not in valid])
    write_extxyz(folder / "valid.extxyz", [f for n, f in enumerate(plain) if n in valid])


def _keyed(frame: Atoms) -> Atoms:
    results = frame.calc.results
    plain = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    plain.info.update(energy_label=results["energy"], config_type=frame.info.get("config_type", "Default"))
    plain.info["stress_label"] = np.asarray(results["stress"])
    plain.arrays["forces_label"] = np.asarray(results["forces"])
    return plain


def train(
    recipe: Recipe,
    known: Statistics,
    folder: Path,
    *,
    seed: int,
    epochs: int,
    device: str,
    say: Say | None = None,
    lock: int | None = None,
) -> Path:
    """Train up to an epoch and return the model's file, which this process's own training wrote.

    Args:
        recipe: the recipe.
        known: what the first frames fixed.
        folder: of this training, with its frames.
        seed: of weights and order.
        epochs: where to stop; what was trained before is continued with.
        device: cpu or cuda.
        say: receives every epoch.
        lock: descriptor of a locked file that the training holds too, should this process be killed.

    Raises:
        InputError: if more epochs were trained here already: an earlier state cannot be had back.
        AtomsimError: if the training ends without a model; its last lines are in the message.
    """
    done = trained_model(folder, epochs)
    if done.is_file():
        return done
    _require_not_beyond(folder, epochs)
    known_numbers = set(known.atomic_energies_eV)
    missing = [s for s in recipe.symbols if atomic_numbers[s] not in known_numbers]
    if missing:
        raise AtomsimError(f"no frame contains {', '.join(missing)}; raise the number of frames")
    log = folder / "training.log"
    threads = str(recipe.train.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "mace.cli.run_train", *arguments(recipe, known, folder, seed, epochs, device)]
    with (
        log.open("a", encoding="utf-8") as record,
        subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
            pass_fds=[] if lock is None else [lock],
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                record.write(line)
                record.flush()
                found = EPOCH.search(line)
                if found and say is not None:
                    say(f"epoch {found[1]} of {epochs}: RMSE {found[2]} meV/atom, {found[3]} meV/Å")
        finally:
            if process.poll() is None:
                process.terminate()
    model = folder / "student.model"
    if process.returncode != 0 or not model.is_file():
        raise AtomsimError(f"training failed ({ending(process.returncode)}): {_complaint(log)}; see {log}")
    model.replace(done)
    return done


def trained_model(folder: Path, epochs: int) -> Path:
    """Return where the model of an epoch is, once training has come there."""
    return folder / f"epoch-{epochs}.model"


def _require_not_beyond(folder: Path, epochs: int) -> None:
    """Refuse to call a longer training one of fewer epochs; a torn checkpoint is removed."""
    reached = [int(path.stem.removeprefix("epoch-")) for path in folder.glob("epoch-*.model")]
    for path in folder.glob("checkpoints/*.pt"):
        if not zipfile.is_zipfile(path):
            path.unlink()
        elif found := CHECKPOINT.search(path.name):
            reached.append(int(found[1]) + 1)  # counted from zero
    if max(reached, default=0) > epochs:
        raise InputError(
            f"{folder} was trained for {max(reached)} epochs already: found epochs = {epochs}, wanted at least "
            f"{max(reached)}; raise it, or choose another folder with --out"
        )


def _complaint(log: Path) -> str:
    """Last line of a log; where it is a full disk's, in words that say so."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()][-50:]
    if any(word in line for line in lines for word in FULL_DISK):
        return f"no room is left to write in {log.parent}; make room, then run the same command again to continue"
    return lines[-1] if lines else "no output"
