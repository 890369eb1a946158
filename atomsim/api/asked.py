"""One potential asked for lattice, voltage and barrier of a crystal: here, or in a process of its own.

A process serves several potentials at once, and one that lives in another environment: SevenNet and MACE want
different versions of e3nn. It reads a question as JSON from standard input and writes an answer to standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import AtomsimError, InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.store.records import Record

HOST_FMAX_EV_PER_A = 0.01
"""Largest force of the relaxed crystal in which barriers are computed, eV/Å."""


@dataclass(frozen=True)
class Opinion:
    """Results of one potential; a quantity that it could not give is absent, and ``messages`` say why."""

    potential: str
    sha256: str
    values: Mapping[str, float]
    """Numbers by name, units in the names."""
    messages: tuple[str, ...] = ()
    structures: Mapping[str, Atoms] = field(default_factory=dict, repr=False)
    """Relaxed crystals by label."""


@dataclass(frozen=True)
class Question:
    """A question to each potential; JSON throughout."""

    label: str
    host: str | dict[str, Any]
    """Name of a prototype or a file, or a structure as ``atoms_to_json`` gives it."""
    ion: str
    quantities: Sequence[str]
    fmax: float
    hop: Mapping[str, float]
    seed: int

    @classmethod
    def of(
        cls, host: Any, ion: str, quantities: Sequence[str], fmax: float, hop: Mapping[str, float], seed: int
    ) -> Question:
        """Take what was given to ``opinions``.

        Raises:
            InputError: if it is no crystal.
        """
        from atomsim.api.inputs import one_item

        item = one_item(host, "host")
        crystal = str(host) if isinstance(host, str | Path) else atoms_to_json(item.atoms)
        return cls(item.label, crystal, ion, list(quantities), fmax, dict(hop), seed)

    @property
    def crystal(self) -> Any:
        """The host as other verbs take it."""
        if isinstance(self.host, str):
            return self.host
        atoms = atoms_from_json(self.host)
        atoms.info["name"] = self.label
        return atoms


def answers(
    question: Question,
    names: Sequence[str],
    device: str,
    processes: int | None,
    pythons: Mapping[str, str],
    progress: Any,
) -> list[Opinion]:
    """Ask each potential, in order; several at once on a CPU, and each where it lives.

    Raises:
        InputError: if one is not at hand, or two are one.
    """
    from atomsim.api.progress import watched
    from atomsim.campaign.file import Step
    from atomsim.models.load import load_potential, resolve_device
    from atomsim.tasks.base import StepSettings

    if unknown := [n for n in pythons if n not in names]:
        raise InputError(f"pythons: found {', '.join(unknown)}, wanted some of {', '.join(names)}")
    if lost := [f"{p} for {n}" for n, p in pythons.items() if which(p) is None]:
        raise InputError(f"pythons: found {', '.join(lost)}, which cannot be run; give that environment's Python")
    many = (processes or 1) > 1 and resolve_device(device).type == "cpu"
    here = [n for n in names if n not in pythons and not (many and _there(n))]
    loaded = {n: load_potential(n, device=device) for n in here}  # all are there, before one computes
    _require_different([p.sha256 for p in loaded.values()], names)
    alone = len(here) == len(names)  # then its own verbs say how far they are
    how = {"device": device, "processes": None if many else processes, "progress": progress if alone else False}
    with watched(False if alone else progress) as observer, ThreadPoolExecutor(max(1, processes or 1)) as pool:
        observer.step_started(Step(1, "opinions", "one a potential", StepSettings(), ()), len(names), 0)

        def reported(ask: Callable[[], Opinion]) -> Opinion:
            start = time.monotonic()
            opinion = ask()
            observer.task_done(_as_record(opinion, time.monotonic() - start))
            return opinion

        asked = {
            n: pool.submit(reported, partial(_elsewhere, question, n, pythons.get(n, sys.executable), device))
            for n in names
            if n not in here
        }
        answered = {n: reported(partial(Asked(question, n, how).opinion, loaded[n].sha256)) for n in here}
        found = [answered[n] if n in answered else asked[n].result() for n in names]
    _require_different([o.sha256 for o in found if o.sha256], names)
    return found


def _as_record(opinion: Opinion, wall_s: float) -> Record:
    """Return an opinion as an observer of a run takes it."""
    from atomsim.store.records import Record

    status = "partial" if opinion.messages else "done"
    message = "; ".join(opinion.messages)
    name = opinion.potential
    return Record(name, "opinions", "opinions", name, status, message, run={"wall_s": wall_s})


def _there(name: str) -> bool:
    """True for a card whose weights are on this machine: it need not be loaded to know."""
    from atomsim.registry.cards import load_card

    try:
        return load_card(name.partition("#")[0]).state in ("analytic", "verified")
    except InputError:
        return False


def _require_different(hashes: Sequence[str], names: Sequence[str]) -> None:
    if len(set(hashes)) < len(hashes):
        raise InputError(f"potentials: {' and '.join(names)} are not all different weights; leave the same one out")


def _elsewhere(question: Question, name: str, python: str, device: str) -> Opinion:
    """Ask in a process of its own; one that ends without an answer says so, and costs no other potential."""
    from atomsim.execution.machine import ending
    from atomsim.execution.pool import ONE_THREAD

    text = json.dumps(asdict(question) | {"potential": name, "device": device, "parent": os.getpid()})
    command = [python, "-P", "-m", "atomsim.api.asked"]
    done = subprocess.run(  # noqa: S603 - a Python that the user names, or this one
        command, input=text, capture_output=True, text=True, env=os.environ | ONE_THREAD, check=False
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [ending(done.returncode)]
        answer = {"error": f"{python} gave no answer: {last[0]}; is atomsim installed there?"}
    if "error" in answer:
        return Opinion(name, "", {}, (answer["error"],))
    structures = {label: atoms_from_json(each) for label, each in answer["structures"].items()}
    return Opinion(name, answer["sha256"], answer["values"], tuple(answer["messages"]), structures)


@dataclass
class Asked:
    """A potential that is asked, and what it has said so far."""

    question: Question
    name: str
    how: Mapping[str, Any]
    """Device, processes and progress of the verbs."""
    values: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    structures: dict[str, Atoms] = field(default_factory=dict)
    relaxed: Atoms | None = None
    """The crystal, once its lattice is known."""

    def opinion(self, sha256: str) -> Opinion:
        """Ask for each quantity; what fails costs no other."""
        for quantity in self.question.quantities:
            try:
                getattr(self, quantity)()
            except AtomsimError as error:
                self.messages.append(f"{quantity}: {error}")
        return Opinion(self.name, sha256, self.values, tuple(self.messages), self.structures)

    @property
    def _how(self) -> dict[str, Any]:
        return {**self.how, "seed": self.question.seed}

    def lattice(self) -> None:
        """Axes of the conventional cell, and the volume."""
        from spglib import get_symmetry_dataset

        from atomsim.api.relax import relax

        fmax = min(self.question.fmax, HOST_FMAX_EV_PER_A)
        found: Any = relax(self.question.crystal, self.name, fmax_eV_per_A=fmax, standard_cell=True, **self._how)
        if not found.ok:
            self.messages.append(f"lattice: {found.status}: {found.message}")
            return
        atoms = found.atoms
        data = get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=0.01)
        lengths = atoms.cell.lengths() if data is None else np.linalg.norm(data.std_lattice, axis=1)
        self.values |= {f"{axis}_A": float(x) for axis, x in zip("abc", lengths, strict=True)}
        self.values["volume_A3_per_atom"] = float(atoms.cell.volume) / len(atoms)
        self.structures[found.label] = self.relaxed = atoms

    def voltage(self) -> None:
        """Average voltage between the host and the host without its ions, each relaxed."""
        from atomsim.api.electrode import electrode
        from atomsim.api.orderings import delithiate
        from atomsim.api.relax import relax

        host = self.question.crystal
        empty: Any = delithiate(host, [0.0], ion=self.question.ion, orderings=1)
        settings: Any = {"fmax_eV_per_A": self.question.fmax, "noise_A": 0.02, **self._how}
        relaxed: Any = relax([host, *empty], self.name, **settings)
        found = electrode(relaxed)
        if found.voltages:
            self.values["average_voltage_V"] = float(found.average_voltage_V)
        else:
            self.messages.append(f"voltage: {found.message or '; '.join(found.notes) or found.status}")
        self.structures |= {r.label: r.atoms for r in relaxed if r.ok and r.label not in self.structures}

    def barrier(self) -> None:
        """Lowest proven barrier, in the crystal that the lattice was taken of."""
        from atomsim.api.migration import migration

        host, again = self.question.crystal if self.relaxed is None else self.relaxed, self.relaxed is None
        hop: Any = {**self.question.hop, **self._how}
        found = migration(host, self.question.ion, self.name, relax_host=again, **hop)
        proven = [p.barrier_eV for p in found.hops if p.ok and p.barrier_eV is not None]
        if proven:
            self.values["lowest_barrier_eV"] = float(min(proven))
        else:
            self.messages.append(f"barrier: {found.message or found.status}")


def main() -> None:
    """Answer one question, and end when the parent does."""
    from atomsim.execution.child import follow
    from atomsim.execution.machine import tune_process
    from atomsim.models.load import load_potential

    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    spec = json.load(sys.stdin)
    name, device, parent = (spec.pop(key) for key in ("potential", "device", "parent"))
    threading.Thread(target=follow, args=(parent,), daemon=True).start()
    tune_process(threads=1)
    answer: dict[str, Any]
    try:
        potential = load_potential(name, device=device)
        found = Asked(Question(**spec), name, {"device": device, "progress": False}).opinion(potential.sha256)
        structures = {label: atoms_to_json(atoms) for label, atoms in found.structures.items()}
        answer = {"sha256": found.sha256, "values": dict(found.values), "messages": list(found.messages)}
        answer["structures"] = structures
    except AtomsimError as error:
        answer = {"error": str(error)}
    replies.write(json.dumps(answer) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
