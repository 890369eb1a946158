"""``atomsim.run_campaign``, ``atomsim.open_run`` and ``atomsim.run_step``: campaigns and any kind of step."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.api.arguments import fields_of, listed, made, verb
from atomsim.api.execution import GIVEN, Found, How, Plan, Planned, check_processes, execute, run_path
from atomsim.api.inputs import items_of
from atomsim.api.potentials import Loaded, remember, resolve
from atomsim.api.typed import Made, typed
from atomsim.api.views import table_html
from atomsim.errors import InputError, nearest
from atomsim.store.records import Record

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign


@dataclass(frozen=True, eq=False, repr=False)
class Run(Mapping[str, Made]):
    """The results of a campaign: ``run["relaxed"]`` is the typed result of a step."""

    name: str
    steps: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Name, kind and needs of each step."""
    records: Mapping[str, Sequence[Record]] = field(repr=False)
    path: Path | None = None
    """Folder of the run; None in memory."""

    @property
    def status(self) -> dict[str, dict[str, int]]:
        """Number of records of each status, by step."""
        from atomsim.store.records import count_statuses

        return {name: count_statuses(self.records.get(name, ())) for name, _, _ in self.steps}

    @property
    def ok(self) -> bool:
        """True if every step has records and all are good."""
        return all(self.records.get(name) and all(r.good for r in self.records[name]) for name, _, _ in self.steps)

    def report(self) -> Path:
        """Write ``report.html``, figures and tables, and return the page's path.

        Raises:
            InputError: for a run in memory.
        """
        from atomsim.report import write_report
        from atomsim.store.run_folder import read_run

        if self.path is None:
            raise InputError("a run in memory has no report; give run= a folder")
        return write_report(self.path, *read_run(self.path))

    def __getitem__(self, name: str) -> Made:
        for step, kind, needs in self.steps:
            if step == name:
                inputs = {n: self.records.get(n, ()) for n in needs}
                return typed(kind, self.records.get(name, ()), inputs, self.path)
        names = [step for step, _, _ in self.steps]
        raise KeyError(f"no step {name!r};{nearest(str(name), names)} steps are {', '.join(names)}")

    def __iter__(self) -> Iterator[str]:
        return (name for name, _, _ in self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def _in_words(self) -> list[tuple[str, str, str]]:
        counts = {name: ", ".join(f"{n} {s}" for s, n in found.items()) for name, found in self.status.items()}
        return [(name, kind, counts[name] or "not run") for name, kind, _ in self.steps]

    def __repr__(self) -> str:
        return f"<Run {self.name}: {'; '.join(f'{name} {counts}' for name, _, counts in self._in_words())}>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.name)}</p>{table_html(('step', 'kind', 'results'), self._in_words())}"


@verb
def run_campaign(
    campaign: str | Path | Mapping[str, Any],
    *,
    run: str | Path | None = None,
    potential: Any = None,
    device: str | None = None,
    processes: int | None = None,
    only: Sequence[str] | None = None,
    trust_file: bool = False,
    progress: Any = None,
) -> Run:
    """Run a campaign, or continue with it.

    Args:
        campaign: the TOML file, or a dict with ``campaign`` and ``step`` as in one; files that a dict names are looked
            for in the working directory.
        run: folder of the run, as ``atomsim run --out``; in memory if not given.
        potential: takes the place of the campaign's.
        device: takes the place of the campaign's.
        processes: on a CPU, how many to use; this one alone if not given.
        only: names of the steps to run.
        trust_file: open a ``.model`` file that no card pins.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        The run; ``run["name"]`` is the typed result of a step.

    Raises:
        InputError: with one line for every mistake in the campaign, or if the folder holds another run.
        Interrupted: after Ctrl-C, with ``.results``, the run as far as it came.

    Examples:
        >>> import atomsim
        >>> found = atomsim.run_campaign({
        ...     "campaign": {"name": "metal", "potential": "lj-test", "device": "cpu"},
        ...     "step": [{"name": "relaxed", "kind": "relax", "structures": "Li"}],
        ... })
        >>> found
        <Run metal: relaxed 1 converged>
        >>> found["relaxed"][0].status
        'converged'
    """
    folder = run_path(run)
    word = potential if isinstance(potential, str | Path) else None
    loaded_campaign = _loaded(campaign, None if word is None else str(word), device)
    if only is not None:
        from atomsim.campaign.run import choose

        only = listed("only", only, "names of steps")
        choose(loaded_campaign, only)
    header = loaded_campaign.header
    loaded = None
    if loaded_campaign.needs_potential:
        given = header.potential if potential is None or word is not None else potential
        loaded = remember(resolve(given, header.device, dtype=header.dtype, trust_file=trust_file))
    steps = tuple((s.name, s.kind, s.needs) for s in loaded_campaign.steps)

    def collect(found: Found) -> Run:
        return Run(header.name, steps, found, folder)

    if folder is not None:
        return _in_folder(loaded_campaign, folder, loaded, processes, only, progress)
    planned = tuple(
        Planned(s.name, s.kind, s.settings.model_dump())
        for s in loaded_campaign.steps
        if only is None or s.name in only
    )
    plan = Plan(header.name, planned, seed=header.seed, base_dir=loaded_campaign.base_dir)
    return execute(plan, How(loaded, check_processes(processes), None, progress), collect)


def _in_folder(
    campaign: Campaign, folder: Path, loaded: Loaded | None, processes: int | None, only: Any, progress: Any
) -> Run:
    from atomsim.api.execution import engine_of, one_thread
    from atomsim.api.progress import watched
    from atomsim.campaign.run import run_campaign as run_it
    from atomsim.errors import Interrupted

    how = How(loaded, check_processes(processes))
    try:
        with watched(progress) as observer, one_thread(how):
            run_it(campaign, folder, engine_of(how), only=only, progress=observer)
    except KeyboardInterrupt as error:
        raise Interrupted(open_run(folder)) from error
    except InputError as error:
        raise InputError(str(error).replace("with --out", "with run=")) from error
    return open_run(folder)


def _loaded(campaign: Any, potential: str | None, device: str | None) -> Campaign:
    from atomsim.campaign.file import load_campaign

    if isinstance(campaign, Mapping):
        path = Path(f"{campaign.get('campaign', {}).get('name', 'campaign')}.toml")
        return load_campaign(path, potential=potential, device=device, text=_text(campaign))
    if not isinstance(campaign, str | os.PathLike):
        raise InputError(f"campaign: found {type(campaign).__name__}, wanted a TOML file or a dict")
    return load_campaign(Path(campaign).expanduser(), potential=potential, device=device)


def _text(content: Mapping[str, Any]) -> str:
    """Return a campaign file of a dict."""
    from atomsim.api.arguments import plain
    from atomsim.api.execution import toml

    try:
        lines = [
            f"{json.dumps(key)} = {toml(plain(v))}" for key, v in content.items() if key not in ("campaign", "step")
        ]
        for name, tables in (("[campaign]", [content.get("campaign", {})]), ("[[step]]", content.get("step", []))):
            for table in tables:
                known = {key: value for key, value in table.items() if value is not None}
                lines += ["", name, *(f"{json.dumps(key)} = {toml(plain(value))}" for key, value in known.items())]
    except (TypeError, AttributeError) as error:
        raise InputError(f"campaign: found a dict that no TOML file can be ({error})") from error
    return "\n".join(lines).lstrip("\n") + "\n"


@verb
def open_run(folder: str | Path) -> Run:
    """Open the folder of a run, finished or not.

    Args:
        folder: that ``atomsim run`` or a verb with ``run=`` wrote.

    Returns:
        The run; ``run["name"]`` is the typed result of a step, ``run.status`` counts, ``run.report()`` writes the page.

    Raises:
        InputError: if it is not the folder of a run.

    Examples:
        >>> import atomsim
        >>> atomsim.open_run("nowhere")
        Traceback (most recent call last):
        ...
        atomsim.errors.InputError: nowhere holds no run (no run.json); name a folder that 'atomsim run' wrote
    """
    from atomsim.store.run_folder import read_run

    if not isinstance(folder, str | os.PathLike):
        raise InputError(f"folder: found {type(folder).__name__}, wanted the folder of a run")
    path = Path(folder).expanduser()
    info, records = read_run(path)
    steps = tuple((s["name"], s["kind"], tuple(s.get("needs", ()))) for s in info["steps"])
    return Run(str(info.get("name", path.name)), steps, records, path)


@verb
def run_step(
    kind: str,
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    settings: Any = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
    **keywords: Any,
) -> Made:
    """Run one step of any kind, those of other packages among them.

    Args:
        kind: of the step: ``relax``, ``evaluate``, ``delithiate``, ``barriers`` … (``atomsim check --keys``).
        structures: that it takes, one or many.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model; unused where the kind needs none.
        settings: keys of the step at once; keywords take their place.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use.
        run: folder in which results are kept.
        progress: None (a bar where a person looks), True, False or a ``Progress``.
        **keywords: keys of the step, as in a campaign file.

    Returns:
        The typed result of the step's kind.

    Raises:
        InputError: for an unknown kind or key (nearest named), or input that is not fit.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.run_step("relax", "Li", "lj-test", fmax_eV_per_A=0.01, device="cpu")
        >>> found
        <Relaxations: 1 converged>
    """
    from atomsim.tasks import kind_of

    module = kind_of(kind)
    model = module.Settings
    base = {} if settings is None else fields_of(settings, model.model_fields)
    keys = {**base, **keywords}
    source = next((name for name in ("structures", "parent", "start") if name in model.model_fields), None)
    if source is None or kind in ("electrode", "neb"):
        raise InputError(f"run_step cannot give structures to a step of kind {kind!r}; use atomsim.{kind}")
    items, _ = items_of(structures)
    for item in items:
        if item.problem:
            raise InputError(f"{item.label}: {item.problem}")
    made(model, {source: GIVEN if source == "parent" else [GIVEN], **keys})
    loaded = remember(resolve(potential, device)) if module.NEEDS_POTENTIAL else None
    planned = Planned(kind, kind, {source: GIVEN, **keys})
    plan = Plan(kind, (planned,), {GIVEN: items}, seed)
    how = How(loaded, check_processes(processes), run_path(run), progress)
    return execute(plan, how, lambda found: typed(kind, found.get(kind, ())))
