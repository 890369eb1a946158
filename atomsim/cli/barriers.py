"""``atomsim barriers``: all hops of an ion in a host."""

from __future__ import annotations

import math
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.neb import PotentialOption, Search
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Device, Json, Loader, Processes, TrustFile
from atomsim.cli.steps import engine_of, run_steps, sources_of, step_lines
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign
    from atomsim.store.records import Record

OPTIONS = {
    "max_length_A": "--max-length",
    "supercell_min_A": "--supercell-min",
    "max_atoms": "--max-atoms",
    "fmax_eV_per_A": "--fmax",
    "max_steps": "--max-steps",
    "check_with": "--check-with",
}
"""Options of ``barriers`` by the keys of a campaign file that they stand for."""


HOST_STEPS = 500
"""Steps within which a host is to relax where ``--max-steps`` asks for no more."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(speaks_options(barriers))


def barriers(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Structure file or prototype, with its ions.")],
    ion: Annotated[str, typer.Option(help="Element that hops.")] = "Li",
    max_length: Annotated[float, typer.Option(help="Longest hop, Å.")] = 4.0,
    supercell_min: Annotated[float, typer.Option(help="Distance wanted between an ion and its image, Å.")] = 8.0,
    max_atoms: Annotated[int, typer.Option(help="Largest supercell that may be used for it.")] = 120,
    interstitials: Annotated[bool, typer.Option("--interstitials", help="Hop between empty sites too.")] = False,
    divacancies: Annotated[bool, typer.Option("--divacancies", help="Hops beside a second vacancy too.")] = False,
    images: Annotated[int, typer.Option(help="Images between the ends of a path.")] = 5,
    fmax: Annotated[float, typer.Option(help="Converged when no projected force is larger, eV/Å.")] = 0.05,
    max_steps: Annotated[
        int, typer.Option(help=f"Give a band up after this many steps; the host too, if more than {HOST_STEPS}.")
    ] = 200,
    starts: Annotated[int, typer.Option(help="Bands per hop with other noise; the lowest is kept.")] = 1,
    search: Search = "follow",
    prefactors: Annotated[bool, typer.Option("--prefactors", help="Attempt frequencies too (Vineyard).")] = False,
    check_with: Annotated[
        str,
        typer.Option(metavar="NAME,NAME", help="Further potentials to evaluate each path with, named as --potential."),
    ] = "",
    sample: Annotated[
        int | None, typer.Option(help="Hops to compute, drawn at random: for a glass, which has hundreds.")
    ] = None,
    relax_host: Annotated[bool, typer.Option("--relax/--no-relax", help="Relax host and cell first.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the noise on the guesses.")] = 0,
    write_dft: Annotated[
        str | None, typer.Option(metavar="CODE", help="Also write inputs of every path's images: vasp or espresso.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/barriers-HOST if not given.")
    ] = None,
    potential: PotentialOption = "chgnet-0.3.0",
    device: Device = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Find every symmetry-distinct hop of an ion, its path, barrier and saddle, and how the hops percolate.

    The host is brought into the standard setting of its primitive cell first, so every description of one
    crystal gives the same answer. Runs as a campaign of two steps in a folder of its own, so that an
    interrupted run resumes with the same command. Paths are written as extended XYZ, hops as CSV, and
    everything as report.html. Exit code 1 if a hop did not converge or its saddle is not of first order.

    \b
    Examples:
      atomsim barriers Li2RuO3
      atomsim barriers host.cif --ion Na --max-length 3.5 --check-with chgnet-r2scan
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.io.dft_inputs import CODES
    from atomsim.registry.cards import from_folder
    from atomsim.report.paths import write_paths

    if write_dft is not None and write_dft not in CODES:
        raise InputError(f"--write-dft: found {write_dft!r}, wanted one of {', '.join(CODES)}")
    _check_ion(host, ion, absent_is_fine=interstitials)
    _check_numbers({"--max-length": max_length, "--supercell-min": supercell_min, "--fmax": fmax})
    keys: dict[str, Any] = {
        "ion": ion,
        "max_length_A": max_length,
        "supercell_min_A": supercell_min,
        "max_atoms": max_atoms,
        "interstitials": interstitials,
        "divacancies": divacancies,
        "images": images,
        "fmax_eV_per_A": fmax,
        "max_steps": max_steps,
        "starts": starts,
        "search": search,
        "prefactors": prefactors,
        "check_with": [from_folder(name.strip(), Path.cwd()) for name in check_with.split(",") if name.strip()],
    } | ({} if sample is None else {"sample": sample})
    engine = engine_of(potential, device, processes, loader, trust=trust_file)
    lines = lines_of(host, keys, relax_host=relax_host)
    check = partial(_check_potentials, trust_file=trust_file)
    found = run_steps(f"barriers-{_stem(host)}", lines, out, engine, seed=seed, spoken=_as_options, check=check)
    hops = found.records.get("hops", [])
    written = write_paths(found.folder / "paths", hops, write_dft)
    unfinished = [r for r in found.records.get("host", []) if not r.good]
    problems = [f"{r.label}: {r.status}: {host_message(r)}" for r in unfinished] + found.problems
    _print(hops, found.report, written, problems, as_json)
    if not found.ok:
        raise typer.Exit(1)


def _check_ion(host: str, ion: str, *, absent_is_fine: bool) -> None:
    """Refuse what could only fail after the host was relaxed."""
    from ase.data import atomic_numbers

    from atomsim.constraints.rules import require_unconstrained
    from atomsim.io import read_structures
    from atomsim.structures.mobility import require_mobile
    from atomsim.structures.prototypes import is_prototype, load_prototype
    from atomsim.tasks.base import find_files, unknown_word

    if ion not in atomic_numbers:
        raise InputError(f"--ion: found {ion!r}, wanted the symbol of an element, such as Li")
    known = is_prototype(host, Path())
    files = [] if known else find_files(host, Path())
    if not files and not known:
        raise InputError(unknown_word(host, (), Path()))
    hosts = [a for file in files for a in read_structures(file)] or [load_prototype(host).primitive]
    for atoms in hosts:
        require_unconstrained(atoms, "a search for hops")
        require_mobile(atoms, ion)
    without = next((atoms for atoms in hosts if ion not in atoms.symbols), None)
    if without is not None and not absent_is_fine:
        raise InputError(
            f"no {ion} in {host} ({without.get_chemical_formula()}): choose --ion from "
            f"{', '.join(sorted(set(without.symbols)))}, or look for empty sites with --interstitials"
        )


def lines_of(host: str, keys: dict[str, Any], *, relax_host: bool) -> list[str]:
    """Return the lines of the steps that stand for the command line."""
    from atomsim.api.migration import HOST_KEYS

    sources = sources_of([host])
    if not relax_host:
        return step_lines("hops", "barriers", structures=sources, **keys)
    more = {"max_steps": keys["max_steps"]} if keys["max_steps"] > HOST_STEPS else {}
    first = step_lines("host", "relax", structures=sources, **HOST_KEYS, **more)
    return first + step_lines("hops", "barriers", structures=["host"], **keys)


def _stem(host: str) -> str:
    from atomsim.structures.prototypes import prototype_names

    return (host if host in prototype_names() else Path(host).stem) or "host"


def _check_numbers(numbers: dict[str, float]) -> None:
    for option, value in numbers.items():
        if not math.isfinite(value):
            raise InputError(f"{option}: found {value}, wanted a finite number")


def _check_potentials(campaign: Campaign, *, trust_file: bool) -> None:
    """Find what could only fail after the host was relaxed: a potential that is not there."""
    from atomsim.models.load import load_potential

    hops: Any = campaign.steps[-1].settings
    for name in hops.check_with:
        load_potential(name, device="cpu", trust_file=trust_file)


def _as_options(text: str) -> str:
    """Name options where a message names keys of a campaign file."""
    text = text.replace("(interstitials)", "(--interstitials)")
    for key, option in OPTIONS.items():
        text = re.sub(rf"\b{key}\b", option, re.sub(rf"\b{key} = ", f"{option} ", text))
    return text


def _elsewhere(advice: str) -> str:
    """Advice in options; a folder that holds hops resumes with its own supercell alone."""
    return _as_options(advice).replace("raise --max-atoms", "raise --max-atoms, with another --out")


def host_message(host: Record) -> str:
    """Return what ended a host's relaxation, with the option that gives it more."""
    more = f"raise --max-steps above {HOST_STEPS} and run again"
    return _as_options(host.message.replace("raise max_steps and run again", more))


def _print(records: list[Record], report: Path, written: list[Path], problems: list[str], as_json: bool) -> None:
    from atomsim.hopping.summary import changed_symmetry, format_threshold, host_summaries
    from atomsim.tasks.barriers_record import supercell_flags

    hosts = host_summaries(records)
    if as_json:
        shown = [{"status": r.status, "message": r.message, **r.tags, **r.values} for r in records]
        content = {"hops": shown, "hosts": hosts, "report": str(report.resolve()), "paths": [str(p) for p in written]}
        show.print_json(content | ({"problems": problems} if problems else {}))
        return
    columns = ("hop", "per cell", "status", "barrier, eV", "reverse, eV", "negative modes", "force calls", "flags")
    rows = [
        (
            r.tags["hop"],
            r.tags["multiplicity"],
            r.status,
            *(f"{r.values[key]:.3f}" if key in r.values else "–" for key in ("barrier_eV", "reverse_barrier_eV")),
            r.values.get("negative_modes", "–"),
            r.values.get("force_calls", "–"),
            "; ".join(_elsewhere(flag) for flag in r.values.get("flags", [])),
        )
        for r in records
    ]
    show.print_table(columns, rows)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    for tags in {r.tags["host"]: r.tags for r in records}.values():
        if changed := changed_symmetry(tags):
            sys.stdout.write(f"{tags['host']}: {changed}\n")
        for flag in supercell_flags(tags):
            sys.stdout.write(f"{tags['host']}: {_elsewhere(flag)}\n")
        for name, why, *_ in tags["left_out"]:
            sys.stdout.write(f"{tags['host']}: not computed: {name}: {_elsewhere(why)}\n")
    for host, network in ((h, n) for h in hosts for n in h["networks"]):
        way = f" by {network['mechanism']} hops" if len(host["networks"]) > 1 else ""
        for d in (1, 2, 3):
            text = format_threshold(network, d)
            sys.stdout.write(f"{host['host']}: percolates{way} in {d} dimension{'s' * (d > 1)}: {text}\n")
    sys.stdout.write(f"report: {report.resolve()}\n")
