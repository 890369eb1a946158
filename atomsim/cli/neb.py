"""``atomsim neb``: one minimum-energy path between two files."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.options import kept_nowhere, speaks_options
from atomsim.cli.show import Device, Json, Loader, TrustFile
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.api.path_results import MinimumEnergyPath

FACTS = (
    "status",
    "message",
    "flags",
    "barrier_eV",
    "reverse_barrier_eV",
    "reaction_energy_eV",
    "upper_bound",
    "moved",
    "remarks",
    "end_fmax_eV_per_A",
    "end_moved_A",
    "fmax_eV_per_A",
    "negative_modes",
    "lowest_curvatures_eV_per_A2",
    "overlap_with_path",
    "attempt_frequency_Hz",
    "evaluations",
    "settings",
)
"""Keys of ``--json`` for a path, besides its arrays."""
Search = Annotated[
    str, typer.Option(metavar="HOW", help="follow: follow a mode to the saddle; band: a climbing band all the way.")
]
PotentialOption = Annotated[
    str, typer.Option("--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(neb))


def neb(
    start: Annotated[Path, typer.Argument(metavar="START", help="Structure file of one end.")],
    end: Annotated[Path, typer.Argument(metavar="END", help="The other end, atoms in the same order.")],
    images: Annotated[int, typer.Option(help="Images between the ends.", min=1)] = 5,
    fmax: Annotated[float, typer.Option(help="Converged when no projected force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.", min=1)] = 200,
    starts: Annotated[int, typer.Option(help="Bands with other noise; the lowest is kept.", min=1)] = 1,
    search: Search = "follow",
    relax_ends: Annotated[
        bool, typer.Option("--relax/--no-relax", help="Relax the ends first, at fixed cell; else they must be minima.")
    ] = True,
    match: Annotated[
        bool | None,
        typer.Option(
            "--match/--as-given",
            help="Put END's atoms into the order that moves them least, or keep the order as it is. "
            "With neither, like atoms that stand in another order are refused.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise on the guess.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write, .extxyz, .traj …; START-path.extxyz if not given."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is also an input.")] = False,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Find the minimum-energy path between two structures and prove its saddle.

    Both ends are relaxed at fixed cell. A path that runs through minima is split there, and every hop gets a
    barrier of its own. Exit code 1 without a proven saddle between two minima: the message says why.

    \b
    Example:
      atomsim neb start.cif end.cif --images 7
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.paths import neb as find
    from atomsim.execution.job import LOADER, Engine
    from atomsim.io.write import check_target, default_name, write_structures
    from atomsim.mep.pairing import paired

    if search not in ("follow", "band"):
        raise InputError(f"--search: found {search!r}, wanted follow or band")
    if not 0 < fmax < math.inf:  # false for NaN too
        raise InputError(f"--fmax: found {fmax:g}, wanted a force in eV/Å above 0")
    first, last = (_one_structure(file) for file in (start, end))
    target = out or Path(default_name(start.stem, "path"))
    check_target(target, [first] * (images + 2), [start, end], force=force)
    order = "checked" if match is None else "matched" if match else "given"
    paired(first, last, order)  # refused before a potential is loaded
    model = Engine(potential, device or "auto", None, 1, trust_file, loader or LOADER).load()
    how: dict[str, Any] = {"order": order, "images": images, "fmax_eV_per_A": fmax, "max_steps": max_steps}
    how |= {"starts": starts, "search": search}
    with show.progress() as progress, kept_nowhere(f"{target} was not written"):
        path = find(first, last, model, **how, relax_ends=relax_ends, seed=seed, progress=progress)
    write_structures(target, list(path.images), checked=True)
    _print_path(path, target, as_json)
    if not path.ok:
        raise typer.Exit(1)


def _one_structure(file: Path) -> Atoms:
    from atomsim.io import read_structures

    found = read_structures(file)
    if len(found) != 1:
        raise InputError(f"{file} holds {len(found)} structures; want one")
    return found[0]


def _print_path(path: MinimumEnergyPath, target: Path, as_json: bool) -> None:
    if as_json:
        facts = {key: getattr(path, key) for key in FACTS}
        facts |= {
            "energies_eV": (path.energies_eV - path.energies_eV[0]).tolist(),
            "lengths_A": path.lengths_A.tolist(),
        }
        facts |= {"segments": [asdict(s) for s in path.segments], "potential": path.potential.name}
        show.print_json(facts | {"force_calls": path.evaluations, "file": str(target.resolve())})
        return
    bound = "at most " * path.upper_bound
    known = {
        "status": path.status,
        "moves": path.moved,
        "barrier_eV": "none" if path.barrier_eV is None else f"{bound}{path.barrier_eV:.4f}",
        "reverse_barrier_eV": "none" if path.reverse_barrier_eV is None else f"{bound}{path.reverse_barrier_eV:.4f}",
        "reaction_energy_eV": _number(path.reaction_energy_eV),
        "saddle": _proof(path),
        "fmax_eV_per_A": _number(path.fmax_eV_per_A),
        "fmax at start and end": " and ".join(f"{f:.4f}" for f in path.end_fmax_eV_per_A),
        "ends relaxed by up to": " and ".join(f"{m:.3f} Å" for m in path.end_moved_A),
        "force_calls": path.evaluations,
        "message": path.message,
    }
    rows: list[tuple[str, Any]] = [(key, value) for key, value in known.items() if value not in (None, "")]
    rows += [("remark", remark) for remark in path.remarks]
    rows += [("flag", flag) for flag in path.flags]
    show.print_table(("", ""), rows)
    if len(path.segments) > 1:
        columns = ("hop", "status", "barrier, eV", "reverse, eV", "reaction, eV", "negative modes")
        numbers = [
            (
                n,
                s.status,
                _shown(s.barrier_eV),
                _shown(s.reverse_barrier_eV),
                f"{s.reaction_energy_eV:.3f}",
                _count(s.negative_modes),
            )
            for n, s in enumerate(path.segments, 1)
        ]
        show.print_table(columns, numbers)
    sys.stdout.write(f"{target.resolve()}\n")


def _proof(path: MinimumEnergyPath) -> str:
    """The two lowest curvatures at the highest saddle, and what they prove."""
    if path.negative_modes is None:
        return "none proven"
    curvatures = " and ".join(f"{c:.2f}" for c in path.lowest_curvatures_eV_per_A2)
    return (
        f"{path.negative_modes} negative mode{'s' * (path.negative_modes != 1)} (lowest {curvatures} eV/Å²), "
        f"overlap with the path {path.overlap_with_path:.2f}"
    )


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)
