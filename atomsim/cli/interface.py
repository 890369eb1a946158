"""``atomsim interface``: reactions of two phases in contact."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import Out, engine_of, names_of, numbers_of, print_run, run_steps, sources_of, step_lines

if TYPE_CHECKING:
    from atomsim.store.records import Record


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(interface))


def interface(
    first: Annotated[str, typer.Argument(metavar="FORMULA,FORMULA", help="Phases on one side.")],
    second: Annotated[str, typer.Argument(metavar="FORMULA,FORMULA", help="Phases on the other side.")],
    phases: Annotated[
        list[str],
        typer.Argument(metavar="STRUCTURE…", help="Files or prototypes of all phases that may form, these two too."),
    ],
    open_to: Annotated[str | None, typer.Option(help="Element that is exchanged with a reservoir: Li.")] = None,
    voltages: Annotated[str, typer.Option(metavar="V,V", help="Of that element against its own phase.")] = "",
    fmax: Annotated[float, typer.Option(help="Phases are relaxed to this force, eV/Å.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Of the relaxations.")] = 0,
    out: Out = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Relax phases and find what two of them in contact react to, closed and open to an element.

    Mutual energies, balanced equations at every kink of the mixing ratio, and the share of electronic conductors
    among the products. Runs as a campaign in a folder of its own.

    \b
    Examples:
      atomsim interface Li Li2O2 Li Li2O Li2O2
      atomsim interface LiCoO2 Li2S LiCoO2 li2s.cif Li Li2O Li2SO4 --open-to Li --voltages 0,3.9
    """  # noqa: D301 - click's mark for lines that must not be joined
    sides = {"first": names_of(first), "second": names_of(second)}
    volts = numbers_of("--voltages", voltages) if voltages else None
    lines = step_lines("phases", "relax", structures=sources_of(phases), fmax_eV_per_A=fmax)
    lines += step_lines("interface", "interface", phases=["phases"], **sides, open_to=open_to, voltages_V=volts)
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    name = (
        f"interface-{names_of(first)[0]}-{names_of(second)[0]}" if names_of(first) and names_of(second) else "interface"
    )
    print_run(run_steps(name, lines, out, engine, seed=seed), "interface", _print_table, as_json=as_json)


def _print_table(records: list[Record]) -> None:
    from atomsim.interfaces.record import from_values

    rows = []
    for record in records:
        for kept in record.values.get("conditions", ()):
            c = from_values(kept)
            least = c.found.minimum
            energy = f"{1000 * least.mutual_eV_per_atom:.1f}"
            rows.append((record.label, c.name, energy, f"{least.x:.3f}", least.equation, c.conductors.text))
    show.print_table(("interface", "condition", "meV/atom", "at x", "reaction", "conductors"), rows)
    for record in records:
        for line in (record.message, *record.values.get("flags", ())):
            if line:
                sys.stdout.write(f"{record.label}: {line}\n")
