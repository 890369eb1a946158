"""``atomsim order`` and ``atomsim dope``: cation order, and dopants on named sublattices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import (
    CheckRelax,
    CheckWith,
    Hosts,
    Out,
    engine_of,
    further_of,
    names_of,
    numbers_of,
    print_opinions,
    print_run,
    print_unchecked,
    run_steps,
    sources_of,
    step_lines,
)
from atomsim.errors import counted

if TYPE_CHECKING:
    from atomsim.store.records import Record

Ion = Annotated[str, typer.Option(help="Element between the layers.")]
Seed = Annotated[int, typer.Option(help="Seed of sampling and noise.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(speaks_options(order))
    app.command()(speaks_options(dope))


def order(
    structures: Hosts,
    sublattices: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Each ordered within itself: metal-layer, Li:ion-layer, Mn+Ni.")
    ] = "metal-layer",
    ion: Ion = "Li",
    shells: Annotated[int, typer.Option(help="Pair shells of the model.")] = 3,
    relaxations: Annotated[int, typer.Option(help="Most arrangements to relax.")] = 40,
    batch: Annotated[int, typer.Option(help="Arrangements relaxed between two fits.")] = 10,
    lowest: Annotated[int, typer.Option(help="Lowest arrangements relaxed to the end.")] = 3,
    temperature: Annotated[
        str, typer.Option("--temperature", "-T", metavar="K,K", help="Temperatures of short-range order.")
    ] = "300,600,1000,1500",
    fmax: Annotated[float, typer.Option(help="Largest force while searching, eV/Å.")] = 0.05,
    cell: Annotated[bool, typer.Option("--cell/--fixed-cell", help="Relax the cell too.")] = True,
    seed: Seed = 0,
    out: Out = None,
    potential: PotentialOption = "chgnet-0.3.0",
    check_with: CheckWith = "",
    check_relax: CheckRelax = False,
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Find how cations order: lowest arrangements, and short-range order against temperature.

    Point charges and pairs are fitted to relaxed energies; replica exchange samples the fit, and what it ranks low or
    knows least is relaxed next. Give unrelaxed cells of the average lattice. Runs as a campaign in a folder of its own.

    \b
    Examples:
      atomsim order LRMO --relaxations 40
      atomsim order cell.cif --sublattices Mn+Ni
    """  # noqa: D301 - click's mark for lines that must not be joined
    keys = {
        "sublattices": names_of(sublattices),
        "ion": ion,
        "shells": shells,
        "relaxations": relaxations,
        "batch": batch,
        "lowest": lowest,
        "temperature_K": numbers_of("--temperature", temperature),
        "fmax_eV_per_A": fmax,
        "cell": cell,
        "check_with": further_of(check_with),
        "check_relax": check_relax,
    }
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    lines = step_lines("order", "order", structures=sources_of(structures), **keys)
    found = run_steps(f"order-{Path(structures[0]).stem}", lines, out, engine, seed=seed)
    print_run(found, "order", _print_order, as_json=as_json)


def dope(
    structures: Hosts,
    dopant: Annotated[str, typer.Option(help="Element to put in.")],
    sites: Annotated[
        str,
        typer.Option(metavar="NAME,NAME", help="Sublattices; the first gives up atoms: Mn,Co,Li:ion-layer."),
    ] = "Mn",
    count: Annotated[int | None, typer.Option(help="Dopants per cell; 1 if not given.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of the first sublattice, in place of --count.")] = None,
    per_site: Annotated[int, typer.Option(help="Configurations on each sublattice of each crystal.")] = 4,
    compensation: Annotated[str, typer.Option(help="none, remove_ion or swap.")] = "none",
    ion: Ion = "Li",
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.02,
    cell: Annotated[bool, typer.Option("--cell/--fixed-cell", help="Relax the cell too.")] = True,
    seed: Seed = 0,
    out: Out = None,
    potential: PotentialOption = "chgnet-0.3.0",
    check_with: CheckWith = "",
    check_relax: CheckRelax = False,
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Put an element on sublattices: where it sits at fixed composition, and what it does to the layers.

    On the first sublattice the dopant replaces atoms; on the others it is exchanged with what stands there, so that all
    cells have one composition. Runs as a campaign in a folder of its own.

    \b
    Examples:
      atomsim dope LRMO --dopant W --sites Mn,Co,Ni,Li:metal-layer,Li:ion-layer
    """  # noqa: D301 - click's mark for lines that must not be joined
    keys: dict[str, Any] = {
        "dopant": dopant,
        "sites": names_of(sites),
        "per_site": per_site,
        "compensation": compensation,
        "ion": ion,
        "fmax_eV_per_A": fmax,
        "cell": cell,
        "check_with": further_of(check_with),
        "check_relax": check_relax,
    }
    if count is not None:
        keys["count"] = count
    if fraction is not None:
        keys["fraction"] = fraction
    if count is None and fraction is None:
        keys["count"] = 1
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    lines = step_lines("dope", "dope", structures=sources_of(structures), **keys)
    found = run_steps(f"dope-{Path(structures[0]).stem}", lines, out, engine, seed=seed)
    print_run(found, "dope", _print_doping, as_json=as_json)


def _print_order(records: list[Record]) -> None:
    columns = ("structure", "status", "arrangements", "relaxed", "leave-one-out, meV/site", "lowest, eV", "flags")
    rows = []
    for r in records:
        v = r.values
        error = v.get("leave_one_out_meV_per_site")
        rows.append((
            r.label, r.status, v.get("distinct", v.get("arrangements", "–")), v.get("relaxations", "–"),
            "–" if error is None else f"{error:.1f}", f"{v['energy_eV']:.4f}" if "energy_eV" in v else "–",
            "; ".join(v.get("flags", [])) or r.message,
        ))  # fmt: skip
    show.print_table(columns, rows)
    for r in records:
        print_opinions(r.values.get("opinions", []))


def _print_doping(records: list[Record]) -> None:
    from atomsim.cations.doped import paired_layers, preferences
    from atomsim.cations.opinions import dopant_opinions

    columns = ("composition", "sublattice", "above the lowest, eV", "cells")
    rows = [(p.formula, p.site, f"{p.above_eV:+.3f}", f"{p.cells} of {p.of}") for p in preferences(records)]
    show.print_table(columns, rows)
    print_opinions([{**s, "label": f"{s['site']}, {s['formula']}"} for s in dopant_opinions(records)["sites"]])
    print_unchecked(records)
    for p in paired_layers(records):
        if p.what in ("slab_A", "gap_A", "spacing_A"):
            words = f"{p.mean:+.4f} Å over {counted(p.n, 'pair')}" + (
                "" if p.resolved else ", no difference resolved" if p.n > 3 else ", too few for an interval"
            )
            sys.stdout.write(f"{p.site}: {p.what.removesuffix('_A')} {p.undoped:.4f} Å, with the dopant {words}\n")
    for r in records:
        if not r.good:
            sys.stdout.write(f"{r.label}: {r.status}: {r.message}\n")
