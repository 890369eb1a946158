"""``atomsim dimerize`` and ``atomsim oxygen``: what oxygen in a crystal does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    print_opinions,
    print_run,
    print_unchecked,
    relax_then,
    run_steps,
    sources_of,
)

if TYPE_CHECKING:
    from atomsim.store.records import Record

NOISE_A = 0.02
"""Noise on what is relaxed first, Å: leaves saddle points."""
RelaxFirst = Annotated[bool, typer.Option("--relax/--no-relax", help="Relax atoms and cell first.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(speaks_options(dimerize))
    app.command()(speaks_options(oxygen))


def dimerize(
    structures: Hosts,
    per_kind: Annotated[int, typer.Option(help="Pairs of each kind, the shortest first; 0 for all.")] = 1,
    longest: Annotated[float, typer.Option(help="Longest pair, Å.")] = 3.2,
    target: Annotated[float, typer.Option(help="Length that a scan ends at, Å.")] = 1.2,
    points: Annotated[int, typer.Option(help="Lengths of a scan in one direction.")] = 12,
    fmax: Annotated[float, typer.Option(help="Largest force at minima, eV/Å.")] = 0.01,
    void: Annotated[bool, typer.Option("--void/--no-void", help="Also put O2 into the largest void.")] = True,
    saddle: Annotated[bool, typer.Option("--saddle/--no-saddle", help="Look for the saddle, and prove it.")] = True,
    cell: Annotated[bool, typer.Option("--cell/--fixed-cell", help="Let the cell follow after a release.")] = False,
    moments: Annotated[bool, typer.Option("--moments", help="Refuse a potential without magnetic moments.")] = False,
    check_with: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Further potentials to evaluate each minimum with.")
    ] = "",
    relax_first: RelaxFirst = True,
    seed: Seed = 0,
    out: Out = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Drive pairs of oxygens together and find what they become, what it costs and over which barrier.

    Pairs of each kind (shared edge of two octahedra, edge of one, across the ion layer) are driven to 1.2 Å at an
    exactly kept length and back, released next to every minimum, and put into the largest void as O2. A barrier is
    told where its saddle is proven, else an upper bound. Runs as a campaign in a folder of its own.

    \b
    Examples:
      atomsim dimerize charged.cif --check-with chgnet-r2scan
    """  # noqa: D301 - click's mark for lines that must not be joined
    keys = {
        "per_kind": per_kind,
        "longest_A": longest,
        "target_A": target,
        "points": points,
        "fmax_eV_per_A": fmax,
        "void": void,
        "saddle": saddle,
        "cell": cell,
        "moments": moments,
        "check_with": further_of(check_with),
    }
    lines = relax_then("dimerize", structures, keys, relax_first=relax_first, noise_A=NOISE_A)
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    found = run_steps(f"dimers-{Path(structures[0]).stem}", lines, out, engine, seed=seed)
    print_run(found, "dimerize", _print_dimers, as_json=as_json)


def oxygen(
    structures: Hosts,
    ion: Annotated[str, typer.Option(help="Element whose content x is counted.")] = "Li",
    vacancies: Annotated[str, typer.Option(help="none, single or pairs.")] = "single",
    cell: Annotated[bool, typer.Option("--cell/--fixed-cell", help="Let the cell follow a vacancy.")] = False,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.02,
    supercell_min: Annotated[
        float, typer.Option(help="Distance between a vacancy and its image, Å; 0: as given.")
    ] = 0.0,
    max_atoms: Annotated[int, typer.Option(help="Largest supercell that may be used for it.")] = 120,
    phases: Annotated[str, typer.Option(metavar="NAME,NAME", help="Oxides that release may lead to: RuO2.")] = "",
    calibrate: Annotated[str, typer.Option(metavar="NAME,NAME", help="Oxides with a measured enthalpy: RuO2.")] = "",
    temperature: Annotated[float, typer.Option(help="Of the O2 gas, K.")] = 300.0,
    pressure: Annotated[float, typer.Option(help="Of the O2 gas, bar.")] = 1.0,
    relax_first: RelaxFirst = True,
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
    """Compute oxygen vacancies, and the release of O2 against the ion content.

    Vacancies are neutral, symmetry-distinct, against O2 of the same potential. With several ion contents and phases
    the release of O2 is found at each, and its onset; with calibration oxides corrected energies stand beside.

    \b
    Examples:
      atomsim oxygen Li2MnO3 --vacancies pairs
      atomsim oxygen Li2RuO3 charged.cif --phases RuO2 --calibrate RuO2
    """  # noqa: D301 - click's mark for lines that must not be joined
    keys = {
        "ion": ion,
        "vacancies": vacancies,
        "cell": cell,
        "fmax_eV_per_A": fmax,
        "supercell_min_A": supercell_min,
        "max_atoms": max_atoms,
        "phases": sources_of(names_of(phases)),
        "calibrate": names_of(calibrate),
        "temperature_K": temperature,
        "pressure_bar": pressure,
        "check_with": further_of(check_with),
        "check_relax": check_relax,
    }
    lines = relax_then("oxygen", structures, keys, relax_first=relax_first, noise_A=NOISE_A)
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    found = run_steps(f"oxygen-{Path(structures[0]).stem}", lines, out, engine, seed=seed)
    print_run(found, "oxygen", _print_energies, as_json=as_json)


def _print_dimers(records: list[Record]) -> None:
    columns = ("pair", "kind", "status", "becomes", "O–O, Å", "energy, eV", "barrier", "force calls", "flags")
    rows = []
    for r in records:
        v = r.values
        numbers = [f"{v[k]:.3f}" if k in v else "–" for k in ("dimer_length_A", "dimer_energy_eV")]
        words = (v.get("barrier_words", r.message), v.get("force_calls", "–"), "; ".join(v.get("flags", [])))
        rows.append((r.label, r.tags["pair_kind"], r.status, v.get("outcome", "–"), *numbers, *words))
    show.print_table(columns, rows)


def _print_energies(records: list[Record]) -> None:
    from atomsim.oxygen.opinions import oxygen_opinions
    from atomsim.oxygen.summary import summary_of_step

    found = summary_of_step(records)
    columns = ("vacancy", "kind", "per cell", "unrelaxed, eV", "relaxed, eV", "status", "force calls")
    rows = [
        (
            v.label,
            v.kind,
            v.multiplicity,
            *("–" if e is None else f"{e:.3f}" for e in (v.unrelaxed_eV, v.relaxed_eV)),
            v.status,
            v.force_calls,
        )
        for v in found.vacancies
    ]
    show.print_table(columns, rows)
    print_opinions(oxygen_opinions(records)["vacancies"])
    print_unchecked(records)
    for (level, gas), releases in found.releases.items():
        where = f"{found.temperature_K:g} K, {found.pressure_bar:g} bar" if gas else "0 K"
        text = ", ".join(f"x = {r.x:g}: {r.energy_eV:+.2f} eV" for r in releases)
        sys.stdout.write(f"release of O2, {level}, {where}: {text}\n")
    for note in found.notes:
        sys.stdout.write(f"{note}\n")
