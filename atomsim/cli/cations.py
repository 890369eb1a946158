"""``atomsim order`` and ``atomsim dope``: cation order, and dopants on named sublattices."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.barriers import written_campaign
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.errors import InputError, counted
from atomsim.io.files import require_folder_name

if TYPE_CHECKING:
    from atomsim.store.records import Record

Hosts = Annotated[list[str], typer.Argument(metavar="STRUCTURE…", help="Structure files or prototypes.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/… if not given.")]
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
        "sublattices": _names(sublattices),
        "ion": ion,
        "shells": shells,
        "relaxations": relaxations,
        "batch": batch,
        "lowest": lowest,
        "temperature_K": _numbers("--temperature", temperature),
        "fmax_eV_per_A": fmax,
        "cell": cell,
    }
    engine = (potential, device, processes, trust_file, loader)
    _run("order", structures, keys, out, engine, seed=seed, as_json=as_json)


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
        "sites": _names(sites),
        "per_site": per_site,
        "compensation": compensation,
        "ion": ion,
        "fmax_eV_per_A": fmax,
        "cell": cell,
    }
    if count is not None:
        keys["count"] = count
    if fraction is not None:
        keys["fraction"] = fraction
    if count is None and fraction is None:
        keys["count"] = 1
    engine = (potential, device, processes, trust_file, loader)
    _run("dope", structures, keys, out, engine, seed=seed, as_json=as_json)


def _names(words: str) -> list[str]:
    return [w.strip() for w in words.split(",") if w.strip()]


def _numbers(option: str, words: str) -> list[float]:
    try:
        return [float(w) for w in _names(words)]
    except ValueError as error:
        raise InputError(f"{option}: found {words!r}, wanted numbers with commas between, such as 300,600") from error


def _run(
    kind: str, structures: list[str], keys: dict[str, Any], out: Path | None, engine: tuple[Any, ...], *, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.plan import plan
    from atomsim.campaign.run import run_campaign
    from atomsim.execution.job import LOADER, Engine
    from atomsim.execution.pool import available_cores
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run
    from atomsim.structures.prototypes import is_prototype

    potential, device, processes, trust_file, loader = engine
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", Path(structures[0]).stem) or "crystal"
    folder = out or Path("runs") / f"{kind}-{name}"
    if folder.name in ("", ".."):
        raise InputError(f"--out: found '{folder}', wanted a folder of the run's own, such as runs/{kind}")
    require_folder_name(folder)
    sources = [s if is_prototype(s, Path()) else str(Path(s).resolve()) for s in structures]
    lines = ["[campaign]", f"name = {json.dumps(f'{kind}-{name}')}", f"potential = {json.dumps(potential)}"]
    lines += [f"seed = {seed}", "", "[[step]]", f'name = "{kind}"', f'kind = "{kind}"']
    lines += [f"structures = {json.dumps(sources)}", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    file = folder.with_name(f"{folder.name}.toml")
    cores = available_cores() if processes is None else processes
    how = Engine(potential, device or "auto", None, cores, trust_file, loader or LOADER)
    with written_campaign(file, "\n".join(lines) + "\n"), show.progress(str) as progress:
        campaign = load_campaign(file)
        plan(campaign, how.load(), trust_file=trust_file)
        summary = run_campaign(campaign, folder, how, progress=progress)
    info, records = read_run(folder)
    report = write_report(folder, info, records)
    found = records.get(kind, [])
    if as_json:
        shown = [{"label": r.label, "status": r.status, "message": r.message, **r.tags, **r.values} for r in found]
        show.print_json({"results": shown, "report": str(report.resolve())})
    else:
        (_print_order if kind == "order" else _print_doping)(found)
        sys.stdout.write(f"report: {report.resolve()}\n")
    if not summary.ok:
        raise typer.Exit(1)


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


def _print_doping(records: list[Record]) -> None:
    from atomsim.cations.doped import paired_layers, preferences

    columns = ("composition", "sublattice", "above the lowest, eV", "cells")
    rows = [(p.formula, p.site, f"{p.above_eV:+.3f}", f"{p.cells} of {p.of}") for p in preferences(records)]
    show.print_table(columns, rows)
    for p in paired_layers(records):
        if p.what in ("slab_A", "gap_A", "spacing_A"):
            words = f"{p.mean:+.4f} Å over {counted(p.n, 'pair')}" + (
                "" if p.resolved else ", no difference resolved" if p.n > 3 else ", too few for an interval"
            )
            sys.stdout.write(f"{p.site}: {p.what.removesuffix('_A')} {p.undoped:.4f} Å, with the dopant {words}\n")
    for r in records:
        if not r.good:
            sys.stdout.write(f"{r.label}: {r.status}: {r.message}\n")
