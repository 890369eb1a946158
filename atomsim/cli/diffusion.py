"""``atomsim diffusion``: trajectories in, diffusivities with errors or refusals out."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Json
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.diffusion import Diffusivities

QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(fs|ps)\s*")
FIGURES = (".png", ".svg", ".pdf")


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(diffusion))


def diffusion(
    trajectories: Annotated[
        list[str],
        typer.Argument(
            metavar="TRAJECTORY...",
            help="Folders of md runs, or files that ASE reads: extended XYZ, .traj, XDATCAR, LAMMPS dump.",
        ),
    ],
    ion: Annotated[str, typer.Option(help="The mobile ion.")] = "Li",
    temperature: Annotated[
        list[str] | None,
        typer.Option(
            "--temperature", "-T", help="K; one for all trajectories, or one for each: -T 600 800 or 600,800."
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", "--timestep", metavar="TIME", help="Time from frame to frame: 50fs, 0.05ps."),
    ] = None,
    framework: Annotated[
        list[str] | None,
        typer.Option(
            help="Species at rest, may be repeated; all others if not given (cations alone beside polyanions); "
            "'all' in a liquid."
        ),
    ] = None,
    charge: Annotated[float | None, typer.Option(help="Charge of the ion, for the conductivity.")] = None,
    skip: Annotated[str | None, typer.Option(metavar="TIME", help="Time left out at the start: 5ps.")] = None,
    species: Annotated[
        str | None, typer.Option(help="Elements of the types 1, 2, … of a LAMMPS dump that does not name them: Li,S,O.")
    ] = None,
    unwrapped: Annotated[bool, typer.Option("--unwrapped", help="Positions are known to be unwrapped.")] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Figure of the fits: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how fast an ion diffuses, with an error that covers, or say why that cannot be measured.

    Trajectories of one temperature are replicas; of several temperatures, Arrhenius' law is fitted. Exit code 1 if a
    temperature is refused.

    \b
    Examples:
      atomsim diffusion runs/hot --ion Li
      atomsim diffusion md.traj --ion Li -T 800 --every 50fs
      atomsim diffusion 600K.extxyz 800K.extxyz 1000K.extxyz -T 600,800,1000 --every 0.1ps --plot msd.png
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.diffusion import diffusion as measure

    files, temperatures = words_and_temperatures(trajectories, temperature or [])
    if plot is not None and plot.suffix.lower() not in FIGURES:
        raise InputError(f"found --plot {plot}, wanted a name that ends in {', '.join(FIGURES)}")
    found = measure(
        files,
        ion,
        temperature_K=temperatures or None,
        time_between_frames_fs=None if every is None else time_fs("--every", every),
        framework=_words(framework),
        charge=charge,
        skip_fs=0.0 if skip is None else time_fs("--skip", skip),
        unwrapped=unwrapped,
        species=_words([species] if species else None),
    )
    if plot is not None:
        _draw(found, plot)
    if as_json:
        show.print_json(found.to_dict() | ({} if plot is None else {"plot": str(plot.resolve())}))
    else:
        _print(found, plot)
    if not found.ok:
        raise typer.Exit(1)


def time_fs(option: str, text: str) -> float:
    """Return a time with its unit in fs.

    Raises:
        InputError: without a unit, or if it is none.
    """
    match = QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(f"found {option} {text!r}, wanted a time with its unit: 50fs or 0.05ps")
    value = float(match[1]) * (1000.0 if match[2] == "ps" else 1.0)
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"found {option} {text!r}, wanted a time of 0 or more")
    return value


def words_and_temperatures(words: list[str], temperatures: list[str]) -> tuple[list[str], list[float]]:
    """Return files and temperatures: numbers after ``-T 600 800`` arrive among the files.

    Raises:
        InputError: if a temperature is no number.
    """
    files: list[str] = []
    numbers: list[str] = []
    for word in words:
        (files if Path(word).exists() or not _is_number(word) else numbers).append(word)
    given = [part for text in [*temperatures, *numbers] for part in text.split(",") if part.strip()]
    for text in given:
        if not _is_number(text):
            raise InputError(f"found --temperature {text!r}, wanted a temperature in K, such as 600")
    return files, [float(text) for text in given]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _words(given: list[str] | None) -> list[str] | None:
    return None if given is None else [w.strip() for text in given for w in text.split(",") if w.strip()]


def _draw(found: Diffusivities, path: Path) -> None:
    from atomsim.io.files import replacing

    figure: Any = found.plot().figure
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix[1:].lower(), dpi=200)


def _print(found: Diffusivities, plot: Path | None) -> None:
    from atomsim.analysis.diffusivities import format_diffusivity

    rows = []
    for row, content in zip(found.rows, found.to_dict()["temperatures"], strict=True):
        haven = "undetermined" if row.haven_ratio is None else f"{row.haven_ratio:.2f} ± {row.haven_error:.2f}"
        sigma = content["conductivity_S_per_cm"]
        refused = row.refused is not None
        rows.append((
            f"{row.temperature_K:g}", format_diffusivity(row), row.hops, "–" if refused else haven,
            "–" if sigma is None else f"{sigma:.2e}",
        ))  # fmt: skip
    show.print_table(("T, K", f"D of {found.ion}", "hops", "Haven ratio", "σ, S/cm"), rows)
    sys.stdout.write(f"framework at rest: {', '.join(found.framework)}\n")
    law, room = found.arrhenius, found.room_temperature()
    if law is not None and room is not None:
        energy = f"{law.activation_energy_eV:.3f} ± {law.activation_energy_error_eV:.3f} eV"
        sys.stdout.write(f"activation energy {energy}\n")
        how = "extrapolated to" if room["extrapolated"] else "at"
        line = f"{how} 298 K: D = {room['D_cm2_per_s']:.1e} cm²/s"
        line += f" (1σ: {room['D_low_cm2_per_s']:.1e} to {room['D_high_cm2_per_s']:.1e})"
        if room["conductivity_S_per_cm"] is not None:
            line += f", σ = {room['conductivity_S_per_cm']:.1e} S/cm"
            line += f" (1σ: {room['conductivity_low_S_per_cm']:.1e} to {room['conductivity_high_S_per_cm']:.1e})"
        sys.stdout.write(f"{line}; independent ions, as the Haven ratio there is undetermined\n")
    elif len(found.rows) > 1:
        sys.stdout.write(f"{found.arrhenius_refused}\n")
    if plot is not None:
        sys.stdout.write(f"{plot.resolve()}\n")
