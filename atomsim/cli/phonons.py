"""``atomsim phonons``: bands, stability and thermal properties of crystals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import Hosts, Out, engine_of, print_run, relax_then, run_steps

if TYPE_CHECKING:
    from atomsim.store.records import Record

LONG = ("bands", "dos", "thermal", "forces", "lower", "quasi_harmonic")
"""Values that belong into files, not on a terminal."""


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(phonons))


def phonons(
    structures: Hosts,
    supercell_min: Annotated[float, typer.Option(help="Distance between an atom and its image, Å.")] = 10.0,
    max_atoms: Annotated[int, typer.Option(help="Largest supercell that may be used for it.")] = 200,
    displacement: Annotated[float, typer.Option(help="Length of a displacement, Å.")] = 0.02,
    t_max: Annotated[float, typer.Option(help="Highest temperature of F, S and Cv, K.")] = 1000.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Relax along imaginary modes to the lower structure.")
    ] = False,
    volumes: Annotated[
        int, typer.Option(help="Volumes of the quasi-harmonic approximation, 6 or more: thermal expansion, B, C_P.")
    ] = 0,
    relax_first: Annotated[
        bool, typer.Option("--relax/--no-relax", help="Relax atoms and cell to 0.005 eV/Å first.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the search for soft modes.")] = 0,
    out: Out = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Compute phonons: bands, density of states, imaginary modes by name, free energy, entropy, heat capacity.

    Runs as a campaign in a folder of its own; its report has the figures. Exit code 1 if a crystal could not be
    computed, also if it was not relaxed.

    \b
    Examples:
      atomsim phonons LiCoO2 mycrystal.cif
      atomsim phonons cubic.cif --follow
      atomsim phonons Li2O --volumes 7
    """  # noqa: D301 - click's mark for lines that must not be joined
    keys = {
        "supercell_min_A": supercell_min,
        "max_atoms": max_atoms,
        "displacement_A": displacement,
        "t_max_K": t_max,
        "follow": follow,
        "volumes": volumes,
    }
    lines = relax_then("phonons", structures, keys, relax_first=relax_first, fmax_eV_per_A=0.005)
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    found = run_steps(f"phonons-{Path(structures[0]).stem}", lines, out, engine, seed=seed)
    print_run(found, "phonons", _print_table, as_json=as_json, in_files=LONG)


def _print_table(records: list[Record]) -> None:
    columns = (
        "crystal",
        "status",
        "stable",
        "lowest, THz",
        "highest, THz",
        "F(300 K), meV/atom",
        "S(300 K), meV/K/atom",
    )
    rows = []
    for r in records:
        v = r.values
        if r.good:
            heat = (1000 * v["free_energy_300K_eV_per_atom"], 1000 * v["entropy_300K_eV_per_K_per_atom"])
            numbers = (v["lowest_THz"], v["highest_THz"], *heat)
            rows.append((r.label, r.status, "yes" if v["stable"] else "no", *(f"{n:.3f}" for n in numbers)))
        else:
            rows.append((r.label, r.status, *["–"] * 5))
    show.print_table(columns, rows)
    _print_heated(records)
    for r in records:
        for line in (r.message, *r.values.get("flags", ())):
            if line:
                sys.stdout.write(f"{r.label}: {line}\n")


def _print_heated(records: list[Record]) -> None:
    """Print quasi-harmonic values at room temperature, of those that have any."""
    from atomsim.units import KB, ROOM_K
    from atomsim.vibrations.record import quasi_harmonic_from

    known = {r.label: quasi_harmonic_from(r.values) for r in records if r.good}
    rows = [
        (
            label, f"{v['volume_A3_per_atom']:.3f} ± {v['volume_error_A3_per_atom']:.3f}",
            f"{1e6 * v['thermal_expansion_per_K']:.1f} ± {1e6 * v['thermal_expansion_error_per_K']:.1f}",
            f"{v['bulk_modulus_GPa']:.1f} ± {v['bulk_modulus_error_GPa']:.1f}",
            f"{v['heat_capacity_eV_per_K_per_atom'] / KB:.3f}",
        )
        for label, found in known.items()
        if found is not None
        for v in [found.at(ROOM_K)]
    ]  # fmt: skip
    if rows:
        show.print_table(("at 300 K", "V, Å³/atom", "(dV/dT)/V, 1e-6/K", "B, GPa", "C_P, kB/atom"), rows)
