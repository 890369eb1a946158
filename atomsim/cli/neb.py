"""``atomsim neb``: one minimum-energy path between two files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.show import Device, Json, Loader, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.mep.barrier import Path as FoundPath
    from atomsim.models.interface import Potential

Search = Annotated[
    str, typer.Option(metavar="HOW", help="follow: follow a mode to the saddle; band: a climbing band all the way.")
]
PotentialOption = Annotated[
    str, typer.Option("--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(neb)


def neb(
    start: Annotated[Path, typer.Argument(metavar="START", help="Structure file of one end.")],
    end: Annotated[Path, typer.Argument(metavar="END", help="The other end, atoms in the same order.")],
    images: Annotated[int, typer.Option(help="Images between the ends.")] = 5,
    fmax: Annotated[float, typer.Option(help="Converged when no projected force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 200,
    starts: Annotated[int, typer.Option(help="Bands with other noise; the lowest is kept.")] = 1,
    search: Search = "follow",
    relax_ends: Annotated[bool, typer.Option("--relax/--no-relax", help="Relax the ends first, at fixed cell.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the noise on the guess.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Extended XYZ to write; START-path.extxyz if not given.")
    ] = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Find the minimum-energy path between two structures and prove its saddle.

    \b
    Example:
      atomsim neb start.cif end.cif --images 7
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.io import write_extxyz
    from atomsim.mep.barrier import PathSettings
    from atomsim.mep.single import find_path
    from atomsim.worker.engine import LOADER, Engine

    settings = PathSettings(
        images=images, fmax_eV_per_A=fmax, max_steps=max_steps, starts=starts, search=search, seed=seed
    )
    first, last = (_one_structure(file) for file in (start, end))
    surface: Potential = Engine(potential, device or "auto", None, 1, trust_file, loader or LOADER).load()
    path = find_path(first, last, surface, settings, relax_ends=relax_ends)
    target = out or Path(f"{start.stem}-path.extxyz")
    write_extxyz(target, list(path.images), [{"energy": float(e)} for e in path.energies])
    _print_path(path, target, as_json)
    if path.status != "converged":
        raise typer.Exit(1)


def _one_structure(file: Path) -> Atoms:
    from atomsim.io import read_structures

    found = read_structures(file)
    if len(found) != 1:
        raise InputError(f"{file} holds {len(found)} structures; want one")
    return found[0]


def _print_path(path: FoundPath, target: Path, as_json: bool) -> None:
    unbroken = "no saddle between the ends"
    facts: dict[str, Any] = {
        "status": path.status,
        "barrier_eV": path.barrier,
        "reverse_barrier_eV": path.reverse_barrier,
        "reaction_energy_eV": path.reaction_energy,
        "negative_modes": path.proof.negative_modes if path.proof else None,
        "fmax_eV_per_A": path.residual,
        "force_calls": path.force_calls,
        "message": path.message or (unbroken if path.proof is None and path.status == "converged" else ""),
    }
    if as_json:
        energies = [float(e) for e in path.energies - path.energies[0]]
        show.print_json(facts | {"energies_eV": energies, "file": str(target.resolve())})
        return
    known = {key: value for key, value in facts.items() if value not in (None, "")}
    rows = [(key, round(value, 4) if isinstance(value, float) else value) for key, value in known.items()]
    show.print_table(("", ""), rows)
    sys.stdout.write(f"{target.resolve()}\n")
