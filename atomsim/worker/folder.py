"""The folder of a run, made to be read with ``ls`` and ``less``.

::

    campaign.toml                     the campaign file, verbatim
    run.json                          resolved settings, potential and its sha256, versions
    steps/01-name/tasks.jsonl         what is to be done: a header, then one task a line
    steps/01-name/records.jsonl       what is done: one checksummed record a line
    steps/01-name/rounds/  chunks/    the same from a cluster (see ``atomsim.worker.chunks``)
    steps/01-name/structures.extxyz   the good structures, once the step is complete
    report.html  exports/  figures/   what the report writes
    log.txt                           when what was started, and complaints in full
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim import __version__
from atomsim.campaign import Campaign, Step
from atomsim.errors import AtomsimError, InputError, InUseError
from atomsim.io.files import make_folder, write_atomically
from atomsim.io.metadata import merged
from atomsim.records import Ledger, Record, Task, task_id
from atomsim.tasks import kind_of
from atomsim.tasks.base import usable
from atomsim.units import GPA
from atomsim.worker.changes import changes
from atomsim.worker.chunks import read_step
from atomsim.worker.engine import versions

if TYPE_CHECKING:
    from ase import Atoms

FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps everything."""

    path: Path

    @property
    def log(self) -> Path:
        """The log file."""
        return self.path / "log.txt"

    @property
    def on_cluster(self) -> bool:
        """Whether jobs of a cluster may be at work here, or will be (see ``atomsim.slurm.journal``)."""
        slurm = self.path / "slurm"
        return (slurm / "settings.json").exists() and not (slurm / "closed.json").exists()

    def step(self, folder: str) -> Path:
        """Folder of a step."""
        return self.path / "steps" / folder

    def ledger(self, folder: str) -> Ledger:
        """The records of a step."""
        return Ledger(self.step(folder) / "records.jsonl")

    def read_info(self) -> dict[str, Any]:
        """Return what ``run.json`` says.

        Raises:
            InputError: if this is not the folder of a run.
        """
        path = self.path / "run.json"
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path} holds no run (no run.json); name a folder that 'atomsim run' wrote"
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); restore it or start in a new folder") from error
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise InputError(f"{path} has another format than this atomsim {__version__} reads ({FORMAT})")
        return info

    def write_tasks(
        self, folder: str, inputs_sha256: str, tasks: Sequence[Task], instead_of: Mapping[str, str] | None = None
    ) -> None:
        """Write the tasks of a step, all or none.

        Args:
            folder: of the step.
            inputs_sha256: of what they were made from.
            tasks: of the step.
            instead_of: tasks whose records no longer count, by the task that takes their place.
        """
        header: dict[str, Any] = {"inputs_sha256": inputs_sha256, "tasks": len(tasks)}
        header |= {"instead_of": dict(instead_of)} if instead_of else {}
        lines = [json.dumps(header), *(json.dumps(vars(t), sort_keys=True, allow_nan=False) for t in tasks)]
        write_atomically(self.step(folder) / "tasks.jsonl", "\n".join(lines) + "\n")

    def read_tasks(self, folder: str, inputs_sha256: str | None = None) -> list[Task] | None:
        """Return the tasks of a step; None if they are not written, or were made from other inputs."""
        path = self.step(folder) / "tasks.jsonl"
        if not path.exists():
            return None
        try:
            header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            tasks = [Task(**{**line, "parents": tuple(line["parents"])}) for line in lines]
        except (ValueError, TypeError, KeyError):
            return None
        stale = inputs_sha256 is not None and header["inputs_sha256"] != inputs_sha256
        return None if stale or header["tasks"] != len(tasks) else tasks

    def instead_of(self, folder: str) -> dict[str, str]:
        """Return the tasks whose records no longer count, by the task that takes their place."""
        try:
            with (self.step(folder) / "tasks.jsonl").open(encoding="utf-8") as file:
                return dict(json.loads(file.readline()).get("instead_of", {}))
        except (OSError, ValueError):
            return {}

    def done(self, folder: str) -> dict[str, Record]:
        """Return a step's records by task, whichever machines wrote them."""
        return read_step(self.step(folder)).done

    def records(self, folder: str) -> tuple[list[Record], int]:
        """Return a step's records in the order of its tasks, and the number of its tasks."""
        tasks = self.read_tasks(folder) or []
        done = self.done(folder)
        return [done[t.id] for t in tasks if t.id in done], len(tasks)

    def say(self, message: str) -> None:
        """Add a line to the log."""
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {message}\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running in this folder.

        The lock is the operating system's, so one left by a killed process does not hold.

        Raises:
            InUseError: if another process runs here; the message names it.
            AtomsimError: if the folder cannot be written.
        """
        make_folder(self.path)
        try:
            lock = (self.path / ".lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise AtomsimError(
                f"cannot write in {self.path}: {error.strerror}; copy it to where you may write, or choose another "
                "folder with --out"
            ) from error
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise InUseError(
                    f"{self.path} is in use by {file.read().strip() or 'another process'}; "
                    "wait for it, end it, or choose another folder with --out"
                ) from error
            except OSError:  # a file system without locks
                self.say("this file system has no locks: take care not to run twice in this folder")
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield


def open_run(folder: RunFolder, campaign: Campaign, potential: Mapping[str, Any] | None) -> dict[str, Any]:
    """Start a run in a folder, or go on with the same one.

    Raises:
        InputError: if the folder holds another campaign, another potential, or something else.
    """
    path = folder.path
    if (path / "run.json").exists():
        info = folder.read_info()
        changed = _same(folder, info, campaign, potential)
        if (path / "campaign.toml").read_text(encoding="utf-8") == campaign.text and not changed:
            return info
        if changed:
            when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            info["changes"] = [*info.get("changes", []), *({"when": when, "what": text} for text in changed)]
            folder.say(f"the campaign has changed: {'; '.join(changed)}")
    else:
        others = sorted(p.name for p in path.iterdir() if p.name not in {".lock", "campaign.toml", "log.txt"})
        if others := [name for name in others if not name.endswith(".tmp")]:
            raise InputError(
                f"{path} holds other files ({', '.join(others[:3])}) and no run; choose a new folder with --out"
            )
        info = {"created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "versions": versions()}
    # A changed comment or title is no other campaign: the copy follows it.
    info |= _describe(campaign, potential)
    write_atomically(path / "campaign.toml", campaign.text)
    write_atomically(path / "run.json", json.dumps(info, indent=2) + "\n")
    return info


def _describe(campaign: Campaign, potential: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": campaign.header.name,
        "title": campaign.header.title or campaign.header.name,
        "identity": campaign.identity(),
        "content": campaign.content(),
        "steps": [_describe_step(step) for step in campaign.steps],
        "potential": dict(potential) if potential else None,
    }


def read_run(path: Path) -> tuple[dict[str, Any], dict[str, list[Record]]]:
    """Return what a run is (``run.json`` and the campaign's text) and its records by step.

    Raises:
        InputError: if ``path`` is not the folder of a run.
    """
    folder = RunFolder(path)
    info = folder.read_info()
    text = path / "campaign.toml"
    info["campaign_toml"] = text.read_text(encoding="utf-8") if text.exists() else ""
    return info, {step["name"]: folder.records(step["folder"])[0] for step in info["steps"]}


def inputs_hash(inputs: Mapping[str, Sequence[Record]], decides: Mapping[str, Any]) -> str:
    """Content hash of the records that a step takes, and of its own settings."""
    return task_id({name: [r.outcome() for r in records] for name, records in inputs.items()}, dict(decides))


def export(folder: RunFolder, step: str, records: Sequence[Record]) -> None:
    """Write a finished step's good structures as extended XYZ."""
    good = usable(records)
    if good:
        write_structures(folder.step(step) / "structures.extxyz", good)


def write_structures(path: Path, records: Sequence[Record]) -> None:
    """Write the structures of records with their results in the format that the name says, all or none.

    Raises:
        AtomsimError: if the file cannot be written.
    """
    from atomsim.io.write import write_structures as write

    write(path, [annotated(r) for r in records if r.structure is not None])


def _describe_step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "name": step.name,
        "kind": step.kind,
        "folder": step.folder,
        "needs": list(step.needs),
        "settings": step.settings.model_dump(mode="json"),
    }


def _same(
    folder: RunFolder, before: Mapping[str, Any], campaign: Campaign, potential: Mapping[str, Any] | None
) -> list[str]:
    """Refuse another campaign or potential; return what has changed and may."""
    path = folder.path
    found = changes(folder, before, campaign) if before["identity"] != campaign.identity() else []
    for change in found:
        if not change.allowed:
            raise InputError(
                f"{path} holds another campaign: {change.text}; "
                "choose another folder with --out, or undo the change to go on here"
            )
    was, now = before["potential"], potential
    if was and now and was["sha256"] != now["sha256"]:
        raise InputError(
            f"{path} was made with {was['name']} (weights sha256 {was['sha256'][:12]}), this is {now['name']} "
            f"({now['sha256'][:12]}); choose another folder with --out, or use the same weights to go on here"
        )
    return [change.text for change in found]


def annotated(record: Record) -> Atoms:
    """Return the record's structure with all it carries, its results and what a reader of the file wants to know."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from atomsim.structures.hosts import left_sites

    atoms = record.atoms
    arrays = record.structure["arrays"] if record.structure else {}
    for name in arrays:  # results go to the calculator
        del atoms.arrays[name]
    simple = {k: v for k, v in record.tags.items() if isinstance(v, str | int | float)}
    # what has moved fits its host's sites no more
    left = {} if kind_of(record.kind).NEEDS_POTENTIAL else left_sites(record.tags)
    ours = simple | left | {"label": record.label, "task": record.task, "status": record.status}
    atoms.info = merged(atoms.info, ours)
    results: dict[str, Any] = {k: np.asarray(arrays[k]) for k in ("forces", "magmoms") if k in arrays}
    if "energy_eV" in record.values:
        results["energy"] = record.values["energy_eV"]
    if "stress_GPa" in record.values:
        results["stress"] = np.asarray(record.values["stress_GPa"]) * GPA
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
