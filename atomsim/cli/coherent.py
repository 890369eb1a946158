"""``atomsim coherent``: the coherent interface of two crystals and its work of adhesion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import engine_of, run_steps, sources_of
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.store.records import Record


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(coherent))


def coherent(
    film: Annotated[str, typer.Argument(metavar="FILM", help="Crystal that takes the other's lattice.")],
    substrate: Annotated[str, typer.Argument(metavar="SUBSTRATE", help="The other: a file or a prototype.")],
    film_hkl: Annotated[str, typer.Option(metavar="H,K,L", help="Plane of the film, of the cell given.")] = "0,0,1",
    substrate_hkl: Annotated[str, typer.Option(metavar="H,K,L", help="Plane of the substrate.")] = "0,0,1",
    max_strain: Annotated[float, typer.Option(help="Largest principal strain of the film; 0.05 is 5 %.")] = 0.05,
    max_area: Annotated[float, typer.Option(help="Largest area of a lattice match, Å².")] = 200.0,
    thickness: Annotated[float, typer.Option(help="Least thickness of each slab, Å.")] = 8.0,
    terminations: Annotated[int, typer.Option(help="Pairs of terminations that are computed, at most.")] = 4,
    shifts: Annotated[int, typer.Option(help="Lateral shifts along each vector.")] = 2,
    max_atoms: Annotated[int, typer.Option(help="Largest interface that may be computed.")] = 400,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.05,
    relax_first: Annotated[bool, typer.Option(help="Relax both crystals first, their cells too.")] = True,
    seed: Annotated[int, typer.Option(help="Of the relaxations.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/… if not given.")] = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Build and relax the coherent interface of two crystals; lattice matches, terminations and work of adhesion.

    Lattices that do not match within the strain are refused, and the least strain is named. Runs as a campaign in a
    folder of its own.

    \b
    Examples:
      atomsim coherent Li2WO4 LiCoO2 --max-area 180 --max-atoms 500
    """  # noqa: D301 - click's mark for lines that must not be joined
    planes = {"film_hkl": _hkl("--film-hkl", film_hkl), "substrate_hkl": _hkl("--substrate-hkl", substrate_hkl)}
    keys: dict[str, Any] = planes | {
        "max_strain": max_strain,
        "max_area_A2": max_area,
        "thickness_A": thickness,
        "terminations": terminations,
        "shifts": shifts,
        "max_atoms": max_atoms,
        "fmax_eV_per_A": fmax,
    }
    names = sources_of([film, substrate])
    lines: list[str] = []
    if relax_first:
        for step, word in zip(("film", "substrate"), names, strict=True):
            lines += [*_step(step, "relax", {"structures": [word]}), ""]
        names = ["film", "substrate"]
    lines += _step("coherent", "coherent", {"film": names[0], "substrate": names[1]} | keys)
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    found = run_steps(f"coherent-{Path(film).stem}-{Path(substrate).stem}", lines, out, engine, seed=seed)
    records = found.records.get("coherent", [])
    if as_json:
        shown = [{"label": r.label, "status": r.status, "message": r.message, **r.tags, **r.values} for r in records]
        show.print_json({"results": shown, "report": str(found.report.resolve()), "problems": found.problems})
    else:
        _print_table(records)
        for problem in found.problems:
            sys.stdout.write(f"{problem}\n")
        sys.stdout.write(f"report: {found.report.resolve()}\n")
    if not found.ok:
        raise typer.Exit(1)


def _step(name: str, kind: str, keys: dict[str, Any]) -> list[str]:
    from atomsim.api.execution import toml

    return ["[[step]]", f'name = "{name}"', f'kind = "{kind}"', *(f"{k} = {toml(v)}" for k, v in keys.items())]


def _hkl(option: str, words: str) -> list[int]:
    try:
        found = [int(w) for w in words.replace(",", " ").split()]
    except ValueError:
        found = []
    if len(found) != 3:
        raise InputError(f"{option}: found {words!r}, wanted three whole numbers, such as 0,0,1")
    return found


def _print_table(records: list[Record]) -> None:
    columns = ("film", "substrate", "area, Å²", "strain, %", "atoms", "work of adhesion, J/m²", "distance, Å", "status")
    rows = []
    for r in records:
        v, t = r.values, r.tags
        work = f"{v['work_J_per_m2']:.3f}" if "work_J_per_m2" in v else "–"
        strain = ", ".join(f"{100 * e:+.2f}" for e in t["strain"])
        away = f"{v['distance_A']:.2f}" if "distance_A" in v else "–"
        planes = (t["film_termination"], t["substrate_termination"], f"{t['area_A2']:.1f}", strain)
        rows.append((*planes, str(v.get("n_atoms", "–")), work, away, r.status))
    show.print_table(columns, rows)
    there = records[0].tags["terminations"] if records else 0
    if there > len(records):
        sys.stdout.write(f"{len(records)} of {there} pairs of terminations; --terminations {there} computes all\n")
    for r in records:
        for line in (r.message, *r.values.get("flags", ())):
            if line:
                sys.stdout.write(f"{r.label}: {line}\n")
