"""``atomsim relax``: files in, relaxed structures out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.records import Record
    from atomsim.tasks.relax import Settings
    from atomsim.worker.engine import Engine


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(relax)


def relax(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Any files that ASE or pymatgen read, or prototypes.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Extended XYZ to write; NAME-relaxed.extxyz if not given.")
    ] = None,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Relax the cell too.")] = True,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 500,
    pressure: Annotated[float, typer.Option(help="Target pressure, GPa.")] = 0.0,
    potential: Annotated[
        str, typer.Option("--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file.")
    ] = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Relax structures and write them with energy, forces, stress and magnetic moments.

    All structures are written, each with its status; exit code 1 if any did not converge.

    \b
    Examples:
      atomsim relax POSCAR
      atomsim relax cifs/*.cif --fmax 0.02 -o relaxed.extxyz
      atomsim relax slab.cif --no-cell --potential chgnet-r2scan
    """  # noqa: D301 - click's mark for lines that must not be joined
    from pydantic import ValidationError

    from atomsim.tasks.keys import explain
    from atomsim.tasks.relax import Settings
    from atomsim.worker.engine import LOADER, Engine
    from atomsim.worker.pool import available_cores

    try:
        settings = Settings(structures=files, cell=cell, fmax_eV_per_A=fmax, max_steps=max_steps, pressure_GPa=pressure)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, Settings, "relax"))) from error
    target = out or Path(f"{Path(files[0]).stem}-relaxed.extxyz")
    if not target.resolve().parent.is_dir():
        raise InputError(f"no folder {target.resolve().parent} to write {target.name} in; make it first")
    if target.is_dir():
        raise InputError(f"{target} is a folder, wanted a file to write; try -o {target / 'relaxed.extxyz'}")
    cores = available_cores() if processes is None else processes
    engine = Engine(potential, device or "auto", None, cores, trust_file, loader or LOADER)
    try:
        records = _relax(settings, engine)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{target.name} was not written; 'atomsim run' keeps what is finished") from error
    _write(target, records)
    _print(target, records, as_json)
    if not all(r.good for r in records):
        raise typer.Exit(1)


def _relax(settings: Settings, engine: Engine) -> list[Record]:
    """Return the records in the order of the structures."""
    from atomsim.campaign import Step
    from atomsim.tasks import relax as kind
    from atomsim.tasks.base import Context
    from atomsim.worker.engine import Job, run_job

    potential = engine.load()
    context = Context(
        "relax", potential_name=potential.name, potential_sha256=potential.sha256, elements=potential.elements
    )
    tasks = kind.expand(settings, {}, context)
    done: dict[str, Record] = {}
    with show.progress() as progress:
        progress.step_started(Step(1, "relax", "relax", settings, ()), len(tasks), 0)
        job = Job("relax", settings, tasks, context, {}, on_calls=progress.force_calls)
        for record in run_job(job, engine, potential):
            done[record.task] = record
            progress.task_done(record)
    return [done[task.id] for task in tasks]


def _write(target: Path, records: list[Record]) -> None:
    from atomsim.worker.folder import write_structures

    write_structures(target, records)


def _print(target: Path, records: list[Record], as_json: bool) -> None:
    if as_json:
        facts = [{"label": r.label, "status": r.status, "message": r.message, **r.values} for r in records]
        show.print_json({"file": str(target.resolve()), "structures": facts})
        return
    columns = ("structure", "status", "steps", "eV/atom", "fmax, eV/Å", "volume, Å³")
    keys = (("steps", 0), ("energy_per_atom_eV", 4), ("fmax_eV_per_A", 4), ("volume_A3", 2))
    rows = [
        (r.label, r.status, *(round(r.values[key], digits) if key in r.values else "–" for key, digits in keys))
        for r in records
    ]
    show.print_table(columns, rows)
    sys.stdout.write(f"{target.resolve()}\n")
