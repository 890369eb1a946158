"""Running a plan of steps: in memory, or in a run folder as ``atomsim run`` does.

A plan is what a campaign file says. Both ways expand, run and record the same tasks by the same code, so a number does
not depend on which was taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from atomsim.api.arguments import made
from atomsim.api.inputs import Item, given_file, given_record
from atomsim.api.potentials import Loaded
from atomsim.api.progress import watched
from atomsim.errors import AtomsimError, InputError, Interrupted

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign, Step
    from atomsim.execution.job import Engine
    from atomsim.store.records import Record

T = TypeVar("T")
Found = dict[str, list["Record"]]
"""Records by the step's name, in the order of the tasks."""
GIVEN = "given"
"""Name of the step that hands on the structures that were given."""


@dataclass(frozen=True)
class Planned:
    """One step: its name, its kind, and the keys of its ``[[step]]``."""

    name: str
    kind: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Plan of a verb's computation."""

    name: str
    steps: tuple[Planned, ...]
    given: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    """Structures that were given, by the name under which steps take them."""
    seed: int = 0
    base_dir: Path = field(default_factory=Path)
    """Folder that file names start from."""

    def text(self, potential: str) -> str:
        """Return the campaign file that stands for it."""
        lines = ["[campaign]", f"name = {json.dumps(self.name)}", f"potential = {json.dumps(potential)}"]
        lines += [f"seed = {self.seed}", ""]
        given = [Planned(name, "structures", {"structures": [given_file(name)]}) for name in self.given]
        for step in (*given, *self.steps):
            lines += ["[[step]]", f"name = {json.dumps(step.name)}", f"kind = {json.dumps(step.kind)}"]
            known = {key: _from_here(key, value) for key, value in step.keys.items() if value is not None}
            lines += [f"{key} = {toml(value)}" for key, value in known.items()] + [""]
        return "\n".join(lines[:-1]) + "\n"


def _from_here(key: str, value: Any) -> Any:
    """Return the names of further potentials with whole paths: the file of a run stands elsewhere."""
    from atomsim.registry.cards import from_folder

    if key == "check_with":
        return [from_folder(name, Path.cwd()) for name in value]
    return from_folder(value, Path.cwd()) if key == "teacher" else value


@dataclass(frozen=True)
class How:
    """With what, where and how a plan is run."""

    loaded: Loaded | None = None
    processes: int | None = None
    run: Path | None = None
    progress: Any = None
    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    """Records of earlier verbs, by the name under which steps take them."""


def execute(plan: Plan, how: How, collect: Callable[[Found], T]) -> T:
    """Run a plan and return what is made of its records.

    Raises:
        Interrupted: after Ctrl-C, with what is made of the records until then.
        InputError: if the input is not fit, or the folder holds another run.
    """
    found: Found = {}
    try:
        if how.run is None:
            for step, record in records_of(plan, how):
                found.setdefault(step, []).append(record)
        else:
            _in_folder(plan, how, how.run)
            found = _read(how.run)
    except KeyboardInterrupt as error:
        done = found if how.run is None else _read(how.run)
        raise Interrupted(collect(done)) from error
    return collect(found)


def records_of(plan: Plan, how: How, shared: Any = None) -> Iterator[tuple[str, Record]]:
    """Run a plan in memory; yield each record with its step's name as soon as it is there."""
    from atomsim.campaign.file import Step
    from atomsim.execution.dispatch import run_job
    from atomsim.execution.job import Job
    from atomsim.models.shared import Shared
    from atomsim.tasks import kind_of

    inputs: Found = {name: list(records) for name, records in how.records.items()}
    inputs |= {name: [given_record(item, name) for item in items] for name, items in plan.given.items()}
    potential = None if how.loaded is None else how.loaded.potential
    owner = Shared() if shared is None else shared
    with watched(how.progress) as progress:
        for number, planned in enumerate(plan.steps, 1):
            module = kind_of(planned.kind)
            settings = made(module.Settings, planned.keys)
            step = Step(number, planned.name, planned.kind, settings, _needs(settings, inputs))
            taken = {name: inputs[name] for name in step.needs}
            context = _context(plan, how, step)
            tasks = plain_errors(planned.name, partial(module.expand, settings, taken, context))
            progress.step_started(step, len(tasks), 0)
            needs = module.NEEDS_POTENTIAL
            job = Job(planned.kind, settings, tasks, context, {} if needs else taken, shared=owner)
            job = replace(job, on_calls=progress.force_calls)
            done: dict[str, Record] = {}
            with one_thread(how):
                for record in run_job(job, engine_of(how), potential if needs else None):
                    done[record.task] = record
                    yield planned.name, record
                    progress.task_done(record)
            inputs[planned.name] = [done[task.id] for task in tasks if task.id in done]


def _context(plan: Plan, how: How, step: Step) -> Any:
    from atomsim.tasks.base import Context

    context = Context(step.name, int(plan.seed), plan.base_dir)
    if how.loaded is None:
        return context
    potential = how.loaded.potential
    elements = frozenset(potential.elements) if step.module.NEEDS_POTENTIAL else None
    return replace(context, potential_name=potential.name, potential_sha256=potential.sha256, elements=elements)


def _needs(settings: Any, inputs: Mapping[str, Any]) -> tuple[str, ...]:
    from atomsim.tasks.base import sources

    words = [word for _, _, words in sources(settings) for word in words]
    return tuple(dict.fromkeys(word for word in words if word in inputs))


def plain_errors(step: str, expand: Callable[[], T]) -> T:
    """Leave out of a message what only a campaign has: the step's name."""
    try:
        return expand()
    except InputError as error:
        raise InputError(_without_steps(str(error), [step])) from error


def _without_steps(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = re.sub(rf"^step {re.escape(repr(name))}[:,] ", "", text, flags=re.MULTILINE)
    return text


def engine_of(how: How) -> Engine:
    """Return what runs tasks."""
    from atomsim.execution.job import Engine

    if how.loaded is None:
        return Engine(processes=0)
    return how.loaded.engine(how.processes)


@contextmanager
def one_thread(how: How) -> Iterator[None]:
    """Compute with one thread on a CPU, as a pool's processes do; the number of before comes back."""
    if how.loaded is None or how.loaded.potential.device.type != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_folder(plan: Plan, how: How, folder: Path) -> None:
    """Run a plan as a campaign in a folder, or continue with it."""
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.run import run_campaign

    name = how.loaded.name if how.loaded else "chgnet-0.3.0"
    new = [name for name in plan.given if not (folder / given_file(name)).exists()]
    for step, items in plan.given.items():
        _write_given(step, items, folder)
    try:
        campaign: Campaign = load_campaign(folder / "campaign.toml", text=plan.text(name))
        with watched(how.progress) as progress, one_thread(how):
            engine = engine_of(how)
            summary = run_campaign(campaign, folder, engine, progress=progress)
    except InputError as error:
        if not (folder / "run.json").exists():
            for step in new:
                (folder / given_file(step)).unlink(missing_ok=True)
        text = _without_steps(str(error), [step.name for step in plan.steps])
        raise InputError(text.replace("with --out", "with run=")) from error
    for ended in summary.steps:
        if ended.problem:
            raise AtomsimError(f"{folder}: step {ended.name} was not run: {ended.problem}")


def _write_given(step: str, items: Sequence[Item], folder: Path) -> None:
    """Write the structures that were given, or refuse others than those that a run began with."""
    from atomsim.io.files import make_folder, write_atomically
    from atomsim.tasks.base import Origin, origins_text, read_origins

    found = [Origin(item.label, item.atoms, item.tags) for item in items]
    text, path = origins_text(found), folder / given_file(step)
    if path.exists() and (folder / "run.json").exists():
        if path.read_text(encoding="utf-8") != text:
            labels = [o.label for o in read_origins(path)]
            raise InputError(f"{folder} holds a run of other structures: {_difference(labels, found)}")
        return
    make_folder(path.parent)
    write_atomically(path, text)


def _difference(before: Sequence[str], now: Sequence[Any]) -> str:
    advice = "give the same ones to continue, or choose another folder with run="
    labels = [o.label for o in now]
    if len(before) != len(now):
        return f"found {len(now)}, it began with {len(before)}; {advice}"
    other = [f"{new} in the place of {old}" for old, new in zip(before, labels, strict=True) if old != new]
    return f"{', '.join(other[:3]) or 'of the same names, but not the same numbers'}; {advice}"


def _read(folder: Path) -> Found:
    from atomsim.store.run_folder import read_run

    return read_run(folder)[1] if (folder / "run.json").exists() else {}


def toml(value: Any) -> str:
    """Return a value as TOML has it: JSON, but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))  # nan, inf: for the settings to refuse
    return json.dumps(value, ensure_ascii=False)


def run_path(run: Any) -> Path | None:
    """Return the folder of a run.

    Raises:
        InputError: if it is no path.
    """
    if run is None:
        return None
    if not isinstance(run, str | Path) or not str(run):
        raise InputError(f"run: found {run!r}, wanted the name of a folder, such as 'runs/x'")
    from atomsim.io.files import require_folder_name

    path = Path(run).expanduser()
    require_folder_name(path)
    return path


def check_processes(processes: Any) -> int | None:
    """Return a number of processes, or None.

    Raises:
        InputError: if it is not a whole number of 1 or more.
    """
    whole = isinstance(processes, int) and not isinstance(processes, bool)
    if processes is not None and not (whole and processes >= 1):
        raise InputError(f"found processes={processes!r}, wanted a whole number of 1 or more, or None for this process")
    return None if processes is None else int(processes)
