"""``atomsim effects``: hops, oxygen vacancies and metal migration with and without a dopant."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import engine_of, run_steps, sources_of

if TYPE_CHECKING:
    from atomsim.store.records import Record


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(effects))


def effects(
    structures: Annotated[list[str], typer.Argument(metavar="STRUCTURE…", help="Structure files or prototypes.")],
    dopant: Annotated[str, typer.Option(help="Element to put in.")],
    site: Annotated[str, typer.Option(metavar="NAME", help="Sublattice whose atoms it replaces.")] = "Mn",
    per_site: Annotated[int, typer.Option(help="Doped cells of each crystal; the lowest is compared.")] = 2,
    hops: Annotated[int, typer.Option(help="Hops of each pair, half with the dopant at the bottleneck.")] = 6,
    vacancies: Annotated[int, typer.Option(help="Oxygen vacancies, half bonded to the dopant.")] = 4,
    migrations: Annotated[int, typer.Option(help="Metals that go to the tetrahedron in the ion layer.")] = 0,
    migrating: Annotated[str, typer.Option(metavar="EL,EL", help="Their elements; the dopant may be one.")] = "Mn",
    ion: Annotated[str, typer.Option(help="Element that hops, and between the layers.")] = "Li",
    max_length: Annotated[float, typer.Option(help="Longest hop, Å.")] = 3.4,
    seed: Annotated[int, typer.Option(help="Seed of the choice of cells and events.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/… if not given.")] = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Compare barriers, oxygen vacancies and migrating metals with and without a dopant, pair by pair.

    The dopant is put in as by "atomsim dope"; each event is then computed with the same atoms in the crystal without it
    and in the lowest one with it. Runs as a campaign in a folder of its own.

    \b
    Examples:
      atomsim effects LRMO --dopant W --site Mn --hops 8
    """  # noqa: D301 - click's mark for lines that must not be joined
    doped: dict[str, Any] = {"structures": sources_of(structures), "dopant": dopant, "sites": [site], "count": 1}
    keys: dict[str, Any] = {"structures": ["doped"], "hops": hops, "max_length_A": max_length, "vacancies": vacancies}
    keys |= {"migrations": migrations, "migrating": [m.strip() for m in migrating.split(",") if m.strip()], "ion": ion}
    lines = [
        *_step("doped", "dope", doped | {"per_site": per_site, "ion": ion}),
        "",
        *_step("effects", "effects", keys),
    ]
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    found = run_steps(f"effects-{Path(structures[0]).stem}-{dopant}", lines, out, engine, seed=seed)
    records = found.records.get("effects", [])
    if as_json:
        shown = [{"label": r.label, "status": r.status, "message": r.message, **r.tags, **r.values} for r in records]
        show.print_json({"results": shown, "report": str(found.report.resolve()), "problems": found.problems})
    else:
        _print_effects(records)
        for problem in found.problems:
            sys.stdout.write(f"{problem}\n")
        sys.stdout.write(f"report: {found.report.resolve()}\n")
    if not found.ok:
        raise typer.Exit(1)


def _step(name: str, kind: str, keys: dict[str, Any]) -> list[str]:
    from atomsim.api.execution import toml

    return ["[[step]]", f'name = "{name}"', f'kind = "{kind}"', *(f"{k} = {toml(v)}" for k, v in keys.items())]


def _print_effects(records: list[Record]) -> None:
    from atomsim.cations.effects import counted, event_differences, event_pairs
    from atomsim.report.effects import WORDS

    columns = ("quantity", "where", "x", "pairs", "without, eV", "with − without, eV", "95 %")
    rows = []
    for p in event_differences(records):
        interval = f"{p.low:+.3f} … {p.high:+.3f}" if isfinite(p.low) else "too few pairs"
        if isfinite(p.low) and not p.resolved:
            interval += ", no difference resolved"
        rows.append((WORDS[p.what], p.site, f"{p.x:g}", str(p.n), f"{p.undoped:.3f}", f"{p.mean:+.3f}", interval))
    show.print_table(columns, rows)
    for event, complete, of in counted(records):
        sys.stdout.write(f"{event}: {complete} of {of} pairs complete\n")
    for pair in event_pairs(records):
        if not pair.complete:
            sys.stdout.write(f"{pair.name}: {pair.problem}\n")
