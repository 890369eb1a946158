"""``atomsim md``: molecular dynamics of files or prototypes in a run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.diffusion import time_fs, words_and_temperatures
from atomsim.cli.options import in_options, kept_in, options_of, speaks_options
from atomsim.cli.show import Device, Json, Processes
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.dynamics import Dynamics
    from atomsim.api.results import Results


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(md))


def md(
    structures: Annotated[
        list[str], typer.Argument(metavar="STRUCTURE...", help="Files of one or many structures, or prototypes.")
    ],
    temperature: Annotated[
        list[str], typer.Option("--temperature", "-T", help="K; each structure runs at all of them: -T 600,800.")
    ],
    duration: Annotated[str, typer.Option(metavar="TIME", help="Length of each trajectory with its unit: 20ps.")],
    ensemble: Annotated[str, typer.Option(help="nve, nvt, npt, npt_flexible or langevin.")] = "nvt",
    pressure: Annotated[float | None, typer.Option(help="Target pressure of npt, GPa; 0 if not given.")] = None,
    timestep: Annotated[str, typer.Option(metavar="TIME", help="Time step.")] = "2fs",
    every: Annotated[str, typer.Option(metavar="TIME", help="Time from frame to frame.")] = "50fs",
    replicas: Annotated[int, typer.Option(help="Trajectories of each structure and temperature.")] = 1,
    seed: Annotated[int, typer.Option(help="Of velocities and noise.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/md-NAME if not given.")
    ] = None,
    potential: Annotated[
        str, typer.Option("--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file.")
    ] = "chgnet-0.3.0",
    teacher: Annotated[
        str | None, typer.Option(help="Another potential that labels a sample of the frames: errors are in the report.")
    ] = None,
    device: Device = None,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Run molecular dynamics; frames and results go into a run folder, and the same command again resumes from there.

    Exit code 1 if a trajectory became unstable.

    \b
    Examples:
      atomsim md Li2RuO3 -T 600,800 --duration 20ps -p mace-li-ru-s-o
      atomsim diffusion runs/md-Li2RuO3 --ion Li
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.md import md as move
    from atomsim.api.results import Results
    from atomsim.execution.pool import available_cores

    words, temperatures = words_and_temperatures(structures, temperature)
    items = _items(words)
    folder = out or Path("runs") / f"md-{Path(words[0]).stem}"
    cores = available_cores() if processes is None else processes
    how: Any = {"ensemble": ensemble, "device": device or "auto", "processes": cores or None, "run": folder}
    with show.progress(_spoken) as progress, kept_in(folder):
        found = move(
            items,
            potential,
            temperature_K=temperatures,
            pressure_GPa=pressure,
            timestep_fs=time_fs("--timestep", timestep),
            duration_ps=time_fs("--duration", duration) / 1000.0,
            every_fs=time_fs("--every", every),
            replicas=replicas,
            seed=seed,
            teacher=teacher,
            progress=progress,
            **how,
        )
    results = found if isinstance(found, Results) else Results([found])
    _print(results, folder, as_json)
    if not all(r.ok for r in results):
        raise typer.Exit(1)


def _spoken(text: str) -> str:
    return in_options(text, options_of(md))


def _items(words: list[str]) -> list[Any]:
    """Return all structures that words stand for, named as their files are.

    Raises:
        InputError: if a word is neither a prototype nor a file, or a structure cannot be used.
    """
    from atomsim.api.inputs import Item
    from atomsim.cli.compare import checked, structures_of

    found = [pair for word in words for pair in structures_of(word)]
    if not found:
        raise InputError("found no structure, wanted a file or a prototype")
    for name, atoms in found:
        checked(atoms, name)
    return [Item(name, atoms) for name, atoms in found]


def _print(results: Results[Dynamics], folder: Path, as_json: bool) -> None:
    if as_json:
        rows = [
            {"label": r.label, "status": r.status, "message": r.message}
            | {"temperature_K": r.temperature_K}
            | {k: v for k, v in r.record.values.items() if k not in ("series", "artifacts")}
            for r in results
        ]
        show.print_json({"run": str(folder.resolve()), "trajectories": rows})
        return
    keys = (
        ("temperature_mean_K", 1), ("pressure_mean_GPa", 3), ("drift_meV_per_atom_per_ps", 4), ("frames", 0),
    )  # fmt: skip
    columns = ("trajectory", "status", "ps", "mean T, K", "mean P, GPa", "drift, meV/atom/ps", "frames")
    rows_ = []
    for r in results:
        values = r.record.values
        numbers = (round(values[k], digits) if k in values else "–" for k, digits in keys)
        rows_.append((r.label, r.status, values.get("duration_ps", "–"), *numbers))
    show.print_table(columns, rows_)
    for r in results:
        for line in (r.message, *r.flags):
            if line:
                sys.stdout.write(f"{r.label}: {_spoken(line)}\n")
    sys.stdout.write(f"{folder.resolve()}\n")
