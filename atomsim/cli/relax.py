"""``atomsim relax``: files in, relaxed structures out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.labels import distinct_labels
from atomsim.cli.options import in_options, options_of, speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.inputs import Item
    from atomsim.api.potentials import Loaded
    from atomsim.api.relaxed import Relaxation
    from atomsim.tasks.relax import Settings


Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Any files that ASE or pymatgen read, or prototypes.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="File to write, format by its suffix (.extxyz holds everything; .traj, .cif, .vasp, .json, .db …); "
        "NAME-relaxed.extxyz if not given.",
    ),
]
PotentialName = Annotated[
    str,
    typer.Option(
        "--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file; NAME#HEAD for one head."
    ),
]
CheckWith = Annotated[
    str,
    typer.Option("--check-with", metavar="NAME,NAME", help="Further potentials that judge each relaxed structure."),
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(relax))


def relax(
    files: Files,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is also an input.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out structures that cannot be computed; exit code 1 then.")
    ] = False,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Relax the cell too.")] = True,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 500,
    pressure: Annotated[float, typer.Option(help="Target pressure, GPa.")] = 0.0,
    potential: PotentialName = "chgnet-0.3.0",
    check_with: CheckWith = "",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Relax structures and write them with energy, forces, stress and magnetic moments.

    All structures are written, each with its status and all that it carried (info, arrays, constraints); exit code 1
    if any did not converge.

    \b
    Examples:
      atomsim relax POSCAR
      atomsim relax cifs/*.cif --fmax 0.02 -o relaxed.extxyz
      atomsim relax slab.cif --no-cell --potential chgnet-r2scan
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.relax import relax as relax_them
    from atomsim.api.relaxed import Relaxations
    from atomsim.execution.pool import available_cores
    from atomsim.io.write import check_target, default_name, write_structures
    from atomsim.registry.cards import from_folder
    from atomsim.store.export import annotated
    from atomsim.tasks.base import find_files

    settings = _settings(
        structures=files,
        cell=cell,
        fmax_eV_per_A=fmax,
        max_steps=max_steps,
        pressure_GPa=pressure,
    )
    first = next(iter(find_files(files[0], Path())), Path(files[0]))
    target = out or Path(default_name(first.stem, "relaxed"))
    check_target(target)
    others = [from_folder(name.strip(), Path.cwd()) for name in check_with.split(",") if name.strip()]
    cores = available_cores() if processes is None else processes
    loaded = load(potential, device, loader, trust=trust_file)
    items, skipped = _items(settings, loaded, target, skip_bad=skip_bad, force=force)
    try:
        with show.progress(_spoken) as progress:
            found = relax_them(
                items,
                loaded,
                settings=settings.model_dump(exclude={"structures", "check_with", "check_relax"}),
                check_with=others,
                processes=cores or None,
                progress=progress,
            )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{target.name} was not written; 'atomsim run' keeps what is finished") from error
    assert isinstance(found, Relaxations)  # as many were given, be it one
    write_structures(target, [annotated(r.record) for r in found if r.record.structure is not None], checked=True)
    _print(target, list(found), skipped, as_json)
    if skipped or not all(r.ok for r in found):
        raise typer.Exit(1)


def load(potential: str, device: str | None, loader: str | None, *, trust: bool) -> Loaded:
    """Load a potential as options say; ``auto`` and ``cuda`` stand for all cards."""
    from atomsim.api.potentials import Loaded
    from atomsim.execution.job import LOADER, Engine

    engine = Engine(potential, device or "auto", trust_file=trust, loader=loader or LOADER)
    return Loaded(engine.load(), potential, None, trust, engine.loader, engine.device)


def _spoken(text: str) -> str:
    return in_options(text, options_of(relax))


def _settings(**keys: Any) -> Settings:
    """Check options as keys of a ``relax`` step."""
    from pydantic import ValidationError

    from atomsim.tasks.keys import explain
    from atomsim.tasks.relax import Settings

    try:
        return Settings(**keys)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, Settings, "relax"))) from error


def _items(
    settings: Settings, loaded: Loaded, target: Path, *, skip_bad: bool, force: bool
) -> tuple[list[Item], list[str]]:
    """Return what is to be relaxed, and one line for each structure that is left out."""
    from atomsim.api.inputs import Item, checked
    from atomsim.io.write import check_target
    from atomsim.tasks.base import Context, find_files, gather

    potential = loaded.potential
    context = Context("relax", potential_name=potential.name, elements=frozenset(potential.elements))
    origins, problems = gather(settings.structures, {}, context)
    labels = distinct_labels([o.label for o in origins], [o.file for o in origins])
    given = [Item(label, o.atoms, o.tags) for label, o in zip(labels, origins, strict=True)]
    items = checked(given, potential, settings)
    problems += [f"{item.label}: {item.problem}" for item in items if item.problem]
    sound = [item for item in items if not item.problem]
    if problems and not (skip_bad and sound):
        hint = ["leave out what cannot be computed with --skip-bad"] * (len(sound) > 0)
        raise InputError("\n".join([*problems, *hint]))
    inputs = [file for word in settings.structures for file in find_files(word, context.base_dir)]
    check_target(target, [item.atoms for item in sound], inputs, force=force)
    return sound, problems


def _print(target: Path, found: list[Relaxation], skipped: list[str], as_json: bool) -> None:
    records = [r.record for r in found]
    for line in skipped:
        sys.stderr.write(f"left out: {line}\n")
    for record in records:
        if record.structure and record.structure.get("left_out"):
            names = ", ".join(record.structure["left_out"])
            sys.stderr.write(f"{record.label}: left out what no file can hold: {names}\n")
    if as_json:
        facts = [{"label": r.label, "status": r.status, "message": _spoken(r.message), **r.values} for r in records]
        for fact, relaxation in zip(facts, found, strict=True):
            fact["flags"] = [_spoken(flag) for flag in relaxation.flags]
            if relaxation.checks:
                fact["checks"] = {name: check.record.values for name, check in relaxation.checks.items()}
        show.print_json({"file": str(target.resolve()), "structures": facts, "left_out": skipped})
        return
    columns = ("structure", "status", "steps", "eV/atom", "fmax, eV/Å", "volume, Å³")
    keys = [("steps", 0), ("energy_per_atom_eV", 4), ("fmax_eV_per_A", 4), ("volume_A3", 2)]
    rows = [
        (r.label, r.status, *(round(r.values[key], digits) if key in r.values else "–" for key, digits in keys))
        for r in records
    ]
    show.print_table(columns, rows)
    _print_checks(found)
    for record in records:
        if record.message:
            sys.stdout.write(f"{record.label}: {_spoken(record.message)}\n")
    sys.stdout.write(f"{target.resolve()}\n")


def _print_checks(found: list[Relaxation]) -> None:
    """Print how each further potential judges the relaxed structures."""
    rows = [
        (
            r.label,
            name,
            round(check.record.values["energy_per_atom_eV"], 4),
            round(check.record.values["fmax_eV_per_A"], 3),
        )
        for r in found
        for name, check in r.checks.items()
    ]
    if rows:
        show.print_table(("structure", "judged by", "eV/atom", "fmax there, eV/Å"), rows)
    for relaxation in found:
        for flag in relaxation.flags:
            sys.stdout.write(f"{relaxation.label}: {_spoken(flag)}\n")
