"""Commands that stand for a short campaign: relax what was given, then one step; in a run folder, resumable."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.options import without_file
from atomsim.errors import InputError
from atomsim.io.files import require_folder_name

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign
    from atomsim.execution.job import Engine
    from atomsim.store.records import Record


Hosts = Annotated[list[str], typer.Argument(metavar="STRUCTURE…", help="Structure files or prototypes.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/… if not given.")]
CheckWith = Annotated[
    str, typer.Option(metavar="NAME,NAME", help="Further potentials that judge each relaxed cell; the spread is shown.")
]
CheckRelax = Annotated[bool, typer.Option("--check-relax", help="They relax it again, instead of evaluating only.")]


@dataclass(frozen=True)
class StepRun:
    """A campaign that was run for a command."""

    records: dict[str, list[Record]]
    folder: Path
    report: Path
    problems: list[str]
    ok: bool


def names_of(words: str) -> list[str]:
    """Return words between commas."""
    return [w.strip() for w in words.split(",") if w.strip()]


def further_of(words: str) -> list[str]:
    """Return the potentials of ``--check-with``; paths count from here."""
    from atomsim.registry.cards import from_folder

    return [from_folder(name, Path.cwd()) for name in names_of(words)]


def print_opinions(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print energies by potential with their spread, the largest first; nothing where one alone was asked."""
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row["by"]))
        cells = [
            (
                row["label"],
                *(f"{row['by'][n]:+.3f}" if n in row["by"] else "–" for n in names),
                f"{row['spread_eV']:.3f}",
            )
            for row in rows
        ]
        show.print_table(("by potential, eV", *names, "spread"), cells)


def print_unchecked(records: Sequence[Record]) -> None:
    """Name the further potentials that could not judge, each once with its reason."""
    failed = {n: why for r in records for n, why in r.values.get("checks_failed", {}).items()}
    for name, why in failed.items():
        sys.stdout.write(f"not checked with {name}: {why}\n")


def numbers_of(option: str, words: str) -> list[float]:
    """Return numbers between commas.

    Raises:
        InputError: if one is none.
    """
    try:
        return [float(w) for w in names_of(words)]
    except ValueError as error:
        raise InputError(f"{option}: found {words!r}, wanted numbers with commas between, such as 300,600") from error


def sources_of(structures: Sequence[str]) -> list[str]:
    """Return words as a campaign file in any folder has them: prototypes by name, files by their whole path.

    Raises:
        InputError: if a word is neither, as it was typed.
    """
    from atomsim.structures.prototypes import is_prototype
    from atomsim.tasks.base import find_files, unknown_word

    found = []
    for word in structures:
        if is_prototype(word, Path()):
            found.append(word)
            continue
        files = find_files(word, Path())
        if not files:
            raise InputError(unknown_word(word, (), Path()))
        found.append(str((files[0] if len(files) == 1 else Path(word)).resolve()))
    return found


def step_lines(name: str, kind: str, **keys: Any) -> list[str]:
    """Return the lines of one step; keys without a value are left out."""
    from atomsim.api.execution import toml

    known = {"name": name, "kind": kind} | {key: value for key, value in keys.items() if value is not None}
    return ["[[step]]", *(f"{key} = {toml(value)}" for key, value in known.items()), ""]


def relax_then(
    kind: str, structures: Sequence[str], keys: Mapping[str, Any], *, relax_first: bool, **relaxation: float
) -> list[str]:
    """Return the lines of the steps: a relaxation, if asked for, and one step that takes its results."""
    sources = sources_of(structures)
    if not relax_first:
        return step_lines(kind, kind, structures=sources, **keys)
    first = {"fmax_eV_per_A": 0.01} | relaxation
    return step_lines("relaxed", "relax", structures=sources, **first) + step_lines(
        kind, kind, structures=["relaxed"], **keys
    )


def run_steps(
    name: str,
    lines: Sequence[str],
    out: Path | None,
    engine: Engine,
    *,
    seed: int = 0,
    spoken: Callable[[str], str] = str,
    check: Callable[[Campaign], None] | None = None,
) -> StepRun:
    """Run a campaign of some steps in a folder, or resume it, and write its report.

    Args:
        name: of the campaign, and of the folder in ``runs`` if no other is given.
        lines: the steps, as a campaign file has them.
        out: the folder.
        engine: what runs tasks.
        seed: of the campaign.
        spoken: names options where a message names keys.
        check: refuses what could only fail after hours; by default what the plan refuses.

    Raises:
        InputError: if the folder is none, or a step cannot be planned.
    """
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.plan import plan
    from atomsim.campaign.run import run_campaign
    from atomsim.registry.cards import from_folder
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run

    title = plain_name(name)
    folder = out or Path("runs") / title
    if folder.name in ("", ".."):
        raise InputError(f"--out: found '{folder}', wanted a folder of the run's own, such as runs/{title}")
    require_folder_name(folder)
    file = folder.with_name(f"{folder.name}.toml")
    text = campaign_text(title, lines, from_folder(engine.potential, Path.cwd()), seed=seed)
    _require_own(file, folder, text)
    with written_campaign(file, folder, text, spoken), show.progress(spoken) as progress:
        campaign = load_campaign(file)
        plan(campaign, engine.load(), trust_file=engine.trust_file)
        if check:
            check(campaign)
        summary = run_campaign(campaign, folder, engine, progress=progress)
    info, records = read_run(folder)
    report = write_report(folder, info, records)
    problems = [f"{s.name} not run: {spoken(s.problem)}" for s in summary.steps if s.problem]
    return StepRun(records, folder, report, problems, summary.ok)


def print_run(
    found: StepRun,
    kind: str,
    table: Callable[[list[Record]], None],
    *,
    as_json: bool,
    in_files: Collection[str] = (),
) -> None:
    """Print a step's records, as JSON or as a table, and where the report is; exit with 1 if not all is good.

    Args:
        found: the campaign.
        kind: which of its steps.
        table: prints its records.
        as_json: print JSON.
        in_files: values that belong into files, not on a terminal.
    """
    records = found.records.get(kind, [])
    if as_json:
        heads = [{"label": r.label, "status": r.status, "message": r.message, **r.tags} for r in records]
        values = [{k: v for k, v in r.values.items() if k not in in_files} for r in records]
        results = [head | known for head, known in zip(heads, values, strict=True)]
        show.print_json({"results": results, "report": str(found.report.resolve()), "problems": found.problems})
    else:
        table(records)
        for problem in found.problems:
            sys.stdout.write(f"{problem}\n")
        sys.stdout.write(f"report: {found.report.resolve()}\n")
    if not found.ok:
        raise typer.Exit(1)


def plain_name(name: str) -> str:
    """Return a name that may stand for a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name) or "run"


def campaign_text(title: str, lines: Sequence[str], potential: str, *, seed: int) -> str:
    """Return the campaign file that stands for a command line."""
    head = ["[campaign]", f"name = {json.dumps(title)}", f"potential = {json.dumps(potential)}", f"seed = {seed}", ""]
    return "\n".join([*head, *lines]).rstrip("\n") + "\n"


def _require_own(file: Path, folder: Path, text: str) -> None:
    """Refuse to write the campaign over a file of the user's: own are that of the same command, and the run's.

    Raises:
        InputError: naming the file.
    """
    if not file.exists():
        return
    copy = folder / "campaign.toml"
    of_run = copy.read_text(encoding="utf-8") if copy.is_file() else ""
    own = [text, of_run] if of_run.splitlines()[:2] == text.splitlines()[:2] else [text]  # of one name
    if not file.is_file() or file.read_bytes() not in [known.encode() for known in own]:
        raise InputError(
            f"{file} is there and is not this command's: found another file, wanted room for the campaign that the "
            "command writes; choose another folder with --out, or move the file"
        )


@contextmanager
def written_campaign(file: Path, folder: Path, text: str, spoken: Callable[[str], str]) -> Iterator[None]:
    """Keep the campaign in a file; of one that is refused or not begun nothing stays: a corrected command may follow.

    Whether it may continue with the run in the folder is the run's to decide: a raised limit may, other images may not.
    """
    from atomsim.io.files import write_atomically

    before = file.read_text(encoding="utf-8") if file.exists() else None
    write_atomically(file, text)

    def put_back() -> None:
        if before is None:
            file.unlink()
        else:
            write_atomically(file, before)

    try:
        yield
    except InputError as error:
        put_back()
        raise InputError(spoken(without_file(str(error), file.name))) from error
    except KeyboardInterrupt:
        if not (folder / "run.json").exists():
            put_back()
        raise


def engine_of(potential: str, device: str | None, processes: int | None, loader: str | None, *, trust: bool) -> Engine:
    """Return what runs tasks, as options say."""
    from atomsim.execution.job import LOADER, Engine
    from atomsim.execution.pool import available_cores

    cores = available_cores() if processes is None else processes
    return Engine(potential, device or "auto", None, cores, trust, loader or LOADER)
