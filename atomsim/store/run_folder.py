"""The folder of a run, made to be read with ``ls`` and ``less``.

::

    campaign.toml                     the campaign file, verbatim
    input/NAME.jsonl                  structures that were given from Python, one a line
    run.json                          resolved settings, potential and its sha256, versions
    steps/01-name/tasks.jsonl         what is to be done: a header, then one task a line
    steps/01-name/records.jsonl       what is done: one checksummed record a line
    steps/01-name/rounds/  chunks/    the same from a cluster (see ``atomsim.store.claims``)
    steps/01-name/state/              where tasks under way stand, of kinds that keep their state
    steps/01-name/structures.extxyz   the good structures, once the step is complete
    artifacts/TASK/                   large results, such as trajectories, in chunks (``store.artifacts``)
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
from typing import Any

from atomsim import __version__
from atomsim.errors import AtomsimError, InputError, InUseError
from atomsim.io.files import make_folder, write_atomically
from atomsim.store.claims import read_step
from atomsim.store.records import Ledger, Record, Task, task_id

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
        """True if jobs of a cluster may be at work here, or will be (see ``atomsim.slurm.journal``)."""
        slurm = self.path / "slurm"
        return (slurm / "settings.json").exists() and not (slurm / "closed.json").exists()

    def step(self, folder: str) -> Path:
        """Folder of a step."""
        return self.path / "steps" / folder

    @property
    def kinds(self) -> list[str]:
        """Kinds of its steps."""
        return [step["kind"] for step in self.read_info()["steps"]]

    def states(self, folder: str) -> Path:
        """Folder of the saved states of a step's tasks, while ``atomsim run`` works on them."""
        return self.step(folder) / "state"

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
            found = info.get("format") if isinstance(info, dict) else None
            wrote = (info.get("versions") or {}).get("atomsim", "another version") if isinstance(info, dict) else ""
            raise InputError(
                f"{path} has format {found}, atomsim {__version__} reads {FORMAT}; use the atomsim that wrote it "
                f"({wrote or 'unknown'}) or a later one"
            )
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
