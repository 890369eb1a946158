"""``atomsim relax``: files in, relaxed structures out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.labels import distinct_labels
from atomsim.cli.options import in_options, options_of, speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.execution.job import Engine, Job
    from atomsim.models.interface import Potential
    from atomsim.store.records import Record
    from atomsim.tasks.relax import Settings


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(relax))


def relax(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Any files that ASE or pymatgen read, or prototypes.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write, format by its suffix (.extxyz holds everything; .traj, .cif, .vasp, .json, .db …); "
            "NAME-relaxed.extxyz if not given.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is also an input.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out structures that cannot be computed; exit code 1 then.")
    ] = False,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Relax the cell too.")] = True,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 500,
    pressure: Annotated[float, typer.Option(help="Target pressure, GPa.")] = 0.0,
    potential: Annotated[
        str,
        typer.Option(
            "--potential",
            "-p",
            help="Name ('atomsim potentials list') or path of a .model file; NAME#HEAD for one head.",
        ),
    ] = "chgnet-0.3.0",
    check_with: Annotated[
        str,
        typer.Option("--check-with", metavar="NAME,NAME", help="Further potentials that judge each relaxed structure."),
    ] = "",
    check_relax: Annotated[
        bool, typer.Option("--check-relax", help="Relax again by each of them, instead of evaluating only.")
    ] = False,
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
    from atomsim.execution.job import LOADER, Engine
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
        check_with=[from_folder(name.strip(), Path.cwd()) for name in check_with.split(",") if name.strip()],
        check_relax=check_relax,
    )
    first = next(iter(find_files(files[0], Path())), Path(files[0]))
    target = out or Path(default_name(first.stem, "relaxed"))
    check_target(target)
    cores = available_cores() if processes is None else processes
    engine = Engine(potential, device or "auto", None, cores, trust_file, loader or LOADER)
    model = engine.load()
    job, skipped = _job(settings, model, target, skip_bad=skip_bad, force=force)
    try:
        records = _relax(job, engine, model)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{target.name} was not written; 'atomsim run' keeps what is finished") from error
    write_structures(target, [annotated(r) for r in records if r.structure is not None], checked=True)
    _print(target, records, skipped, as_json)
    if skipped or not all(r.good for r in records):
        raise typer.Exit(1)


def _settings(**keys: Any) -> Settings:
    """Check options as keys of a ``relax`` step."""
    from pydantic import ValidationError

    from atomsim.tasks.keys import explain
    from atomsim.tasks.relax import Settings

    try:
        return Settings(**keys)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, Settings, "relax"))) from error


def _job(
    settings: Settings, potential: Potential, target: Path, *, skip_bad: bool, force: bool
) -> tuple[Job, list[str]]:
    """Return what is to be done, and one line for each structure that is left out."""
    from atomsim.execution.job import Job
    from atomsim.io.write import check_target
    from atomsim.tasks import relax as kind
    from atomsim.tasks.base import Context, find_files, gather, make_task
    from atomsim.tasks.relax_checks import require_second

    context = Context(
        "relax", potential_name=potential.name, potential_sha256=potential.sha256, elements=potential.elements
    )
    require_second(settings, context)
    gathered, problems = gather(settings.structures, {}, context)
    found = []
    for origin in gathered:
        try:
            kind.check_constraints(origin.atoms, settings)
            found.append(origin)
        except InputError as error:
            problems.append(f"{origin.label}: {error}")
    if problems and not (skip_bad and found):
        hint = ["leave out what cannot be computed with --skip-bad"] * (len(found) > 0)
        raise InputError("\n".join([*problems, *hint]))
    inputs = [file for word in settings.structures for file in find_files(word, context.base_dir)]
    check_target(target, [origin.atoms for origin in found], inputs, force=force)
    labels = distinct_labels([origin.label for origin in found], [origin.file for origin in found])
    tasks = [make_task(replace(o, label=n), kind.KIND, settings, context) for o, n in zip(found, labels, strict=True)]
    return Job("relax", settings, tasks, context, {}), problems


def _relax(job: Job, engine: Engine, model: Potential) -> list[Record]:
    """Return the records in the order of the structures."""
    from atomsim.campaign.file import Step
    from atomsim.execution.dispatch import run_job

    done: dict[str, Record] = {}
    with show.progress() as progress:
        progress.step_started(Step(1, "relax", "relax", job.settings, ()), len(job.tasks), 0)
        for record in run_job(replace(job, on_calls=progress.force_calls), engine, model):
            spoken = replace(record, message=in_options(record.message, options_of(relax)))
            done[record.task] = spoken
            progress.task_done(spoken)
    return [done[task.id] for task in job.tasks]


def _print(target: Path, records: list[Record], skipped: list[str], as_json: bool) -> None:
    for line in skipped:
        sys.stderr.write(f"left out: {line}\n")
    for record in records:
        if record.structure and record.structure.get("left_out"):
            names = ", ".join(record.structure["left_out"])
            sys.stderr.write(f"{record.label}: left out what no file can hold: {names}\n")
    if as_json:
        facts = [{"label": r.label, "status": r.status, "message": r.message, **r.values} for r in records]
        show.print_json({"file": str(target.resolve()), "structures": facts, "left_out": skipped})
        return
    columns = ("structure", "status", "steps", "eV/atom", "fmax, eV/Å", "volume, Å³")
    keys = [("steps", 0), ("energy_per_atom_eV", 4), ("fmax_eV_per_A", 4), ("volume_A3", 2)]
    if any("checked_with" in r.values for r in records):
        columns, keys = (*columns, "others' forces, eV/Å"), [*keys, ("disagreement_eV_per_A", 3)]
    rows = [
        (r.label, r.status, *(round(r.values[key], digits) if key in r.values else "–" for key, digits in keys))
        for r in records
    ]
    show.print_table(columns, rows)
    for record in records:
        for name, why in record.values.get("checks_failed", {}).items():
            sys.stdout.write(f"{record.label}: not by {name}: {why}\n")
        if record.message:
            sys.stdout.write(f"{record.label}: {record.message}\n")
    sys.stdout.write(f"{target.resolve()}\n")
