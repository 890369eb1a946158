"""``atomsim opinions``: one crystal, several potentials, and how far they differ."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.options import kept_nowhere, speaks_options
from atomsim.cli.show import Device, Json, Processes
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.opinions import Opinions


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(opinions))


def opinions(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Prototype or structure file.", show_default=False)],
    potential: Annotated[
        list[str] | None,
        typer.Option("--potential", "-p", help="Two or more: repeat it, or NAME,NAME.", show_default=False),
    ] = None,
    ion: Annotated[str, typer.Option(help="Element that leaves and hops.")] = "Li",
    quantities: Annotated[str, typer.Option(help="Some of lattice,voltage,barrier.")] = "lattice,voltage,barrier",
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.02,
    max_length: Annotated[float, typer.Option(help="Longest hop, Å.")] = 3.2,
    supercell_min: Annotated[float, typer.Option(help="Distance between an ion and its image, Å.")] = 7.5,
    max_atoms: Annotated[int, typer.Option(help="Largest cell of a barrier.")] = 64,
    join: Annotated[
        Path | None,
        typer.Option("--with", metavar="FILE.json", help="Add what --json printed in another environment."),
    ] = None,
    dft_list: Annotated[
        Path | None, typer.Option("--dft-list", metavar="DIR", help="Write VASP inputs of the least certain crystals.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PYTHON", help="Ask this potential by the Python of another environment; repeat it."),
    ] = None,
    device: Device = None,
    processes: Processes = None,
    as_json: Json = False,
) -> None:
    """Compute lattice, average voltage and lowest barrier with several potentials, each by itself, and their spread.

    A potential that lacks an element is named, and the rest continues; exit code 1 then.

    \b
    Examples:
      atomsim opinions LiCoO2 -p chgnet-0.3.0,chgnet-r2scan,mace-mp-0-small --dft-list dft
      atomsim opinions LiCoO2 -p mace-mp-0-small,sevennet-0 --python sevennet-0=sevennet/bin/python
      atomsim opinions LiCoO2 -p sevennet-0,sevennet-l3i5 --with others.json
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.opinions import Opinions
    from atomsim.api.opinions import opinions as ask
    from atomsim.execution.machine import tune_process
    from atomsim.execution.pool import available_cores

    tune_process()
    earlier = None if join is None else Opinions.from_dict(_content(join))
    names = [n.strip() for word in potential or ["chgnet-0.3.0,chgnet-r2scan"] for n in word.split(",") if n.strip()]
    with show.progress() as progress, kept_nowhere("no opinion was written"):
        found = ask(
            host,
            names,
            ion,
            quantities=[q.strip() for q in quantities.split(",") if q.strip()],
            fmax_eV_per_A=fmax,
            max_length_A=max_length,
            supercell_min_A=supercell_min,
            max_atoms=max_atoms,
            device=device or "auto",
            processes=(available_cores() if processes is None else processes) or None,
            pythons=_pythons(python or []),
            progress=progress,
        )
    found = found if earlier is None else found.joined(earlier)
    written = found.write_dft_list(dft_list) if dft_list is not None else []
    if as_json:
        show.print_json(found.to_dict() | {"dft_list": [str(path) for path in written]})
    else:
        _print(found, written)
    if found.messages:
        raise typer.Exit(1)


def _pythons(given: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in given]
    for word, (name, _, python) in zip(given, pairs, strict=True):
        if not (name and python):
            raise InputError(f"--python: found {word}, wanted NAME=PYTHON, such as sevennet-0=sevennet/bin/python")
    return {name.strip(): python.strip() for name, _, python in pairs}


def _content(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; give what 'atomsim opinions --json' printed") from error
    if not isinstance(content, dict):
        raise InputError(f"found a {type(content).__name__} in {path}, wanted what 'atomsim opinions --json' prints")
    return content


def _print(found: Opinions, written: list[Path]) -> None:
    names = [o.potential for o in found.opinions]
    rows = [
        (
            key,
            *("–" if key not in o.values else f"{o.values[key]:.4f}" for o in found.opinions),
            _cell(found.spread, key),
        )
        for key in dict.fromkeys(key for o in found.opinions for key in o.values)
    ]
    show.print_table((found.label, *names, "spread"), rows, whole_keys=True)
    for message in found.messages:
        sys.stderr.write(f"note: {message}\n")
    for path in written:
        sys.stdout.write(f"{path}\n")


def _cell(spread: dict[str, float], key: str) -> str:
    return f"{spread[key]:.4f}" if key in spread else "–"
