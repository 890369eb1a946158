"""``atomsim new``: a campaign file from a question."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.show import Json, Loader, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.campaign.plan import StepPlan


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(new)


def new(
    question: Annotated[str | None, typer.Argument(help="Question; all are listed without one.")] = None,
    subjects: Annotated[
        list[str] | None, typer.Argument(metavar="[STRUCTURE|FORMULA]…", help="Files, prototypes or formulas.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; QUESTION-NAME.toml here if not given.")
    ] = None,
    ion: Annotated[str | None, typer.Option(help="Mobile ion; found in the structure if not given.")] = None,
    dopant: Annotated[str | None, typer.Option(help="Element to put in (dope).")] = None,
    site: Annotated[str | None, typer.Option(help="Element or sublattice that it replaces (dope).")] = None,
    potential: Annotated[
        str, typer.Option("--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file.")
    ] = "chgnet-0.3.0",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Write a campaign file that answers a question, every default with its reason, to run or to edit.

    Defaults follow from the structure: its mobile ion, layers, size, magnetic metals. What is written has passed
    'atomsim check' and fits two cores of a CPU.

    \b
    Examples:
      atomsim new
      atomsim new barriers my.cif -o campaign.toml
      atomsim new dope my.cif --dopant Al
      atomsim new glass Li2RuO3:0.8 Li2SO4:0.2
      atomsim new interface LiCoO2 my-electrolyte.cif
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.questions import Asked, answer
    from atomsim.questions import question as known

    if question is None:
        _list_questions(as_json)
        return
    known(question)
    words = list(subjects or ())
    file = out or Path(f"{question}-{_stem(words)}.toml")
    _require_free(file, force)
    content = answer(question, words, file.parent, Asked(ion, dopant, site))
    text = _text(content, file, potential, _command(question, words, ion, dopant, site, potential))
    plans = _write(file, text, trust_file, loader)
    if as_json:
        show.print_json({"file": str(file), "question": question, "steps": [asdict(p) for p in plans]})
        return
    rows = [(p.name, p.kind, "–" if p.tasks is None else p.tasks, p.atoms or "–", p.largest or "–") for p in plans]
    show.print_table(("step", "kind", "tasks", "atoms", "largest"), rows, title=content.title)
    sys.stdout.write(f"written: {file}\nnext: atomsim run {file}\n")


def _list_questions(as_json: bool) -> None:
    from atomsim.questions import QUESTIONS

    if as_json:
        show.print_json([asdict(q) for q in QUESTIONS])
        return
    show.print_table(("atomsim new …", "question"), [(f"{q.name} {q.takes}", q.asks) for q in QUESTIONS])


def _stem(words: list[str]) -> str:
    from atomsim.questions.written import campaign_name

    names = [word.partition(":")[0] for word in words[:2]]  # of a formula, without its share
    return campaign_name("-".join(n if Path(n).suffix[1:].isdigit() else Path(n).stem for n in names))


def _require_free(file: Path, force: bool) -> None:
    if file.suffix != ".toml":
        raise InputError(f"--out: found {str(file)!r}, wanted the name of a .toml file")
    if file.is_dir():
        raise InputError(f"--out: {file} is a folder, wanted the name of a .toml file")
    if file.exists() and not force:
        raise InputError(f"{file} is there already; --force replaces it, --out names another")


def _command(
    question: str, words: list[str], ion: str | None, dopant: str | None, site: str | None, potential: str
) -> str:
    options = {"--ion": ion, "--dopant": dopant, "--site": site}
    parts = ["atomsim new", question, *words, *(f"{k} {v}" for k, v in options.items() if v is not None)]
    return " ".join([*parts, *([f"-p {potential}"] if potential != "chgnet-0.3.0" else [])])


def _text(content: object, file: Path, potential: str, command: str) -> str:
    from atomsim.questions.written import CampaignText, written

    assert isinstance(content, CampaignText)
    return written(content, file=str(file), potential=_potential(potential), command=command)


def _potential(name: str) -> str:
    """Return a name as it is, and the path of a model whole, as it does not depend on the campaign's folder."""
    from atomsim.registry.cards import MODEL_FILES

    model, mark, head = name.partition("#")
    if not model.endswith(MODEL_FILES) and "/" not in model:
        return name
    path = Path(model).expanduser().resolve()
    return str(path) + mark + head


def _write(file: Path, text: str, trust_file: bool, loader: str | None) -> list[StepPlan]:
    """Write the file once it has passed the check; a folder made for it goes again if it does not."""
    from atomsim.io.files import make_folder, write_atomically

    there = file.parent.exists()
    make_folder(file.parent)  # files are named from it
    try:
        plans = _checked(file, text, trust_file, loader)
    except BaseException:
        if not there:
            file.parent.rmdir()
        raise
    write_atomically(file, text)
    return plans


def _checked(file: Path, text: str, trust_file: bool, loader: str | None) -> list[StepPlan]:
    """Plan the campaign as ``atomsim check`` does."""
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.plan import plan
    from atomsim.cli.steps import engine_of
    from atomsim.pulse import watched

    loaded = load_campaign(file, text=text)
    engine = engine_of(loaded.header.potential, None, 1, loader, trust=trust_file)
    potential = engine.load() if loaded.needs_potential else None
    with show.progress() as progress, watched(progress.at_work):
        return plan(loaded, potential, trust_file=trust_file)
