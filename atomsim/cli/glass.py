"""``atomsim amorphize`` and ``atomsim glass``: glasses from a formula, and verdicts on structures."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.diffusion import time_fs
from atomsim.cli.options import in_options, kept_in, options_of, speaks_options
from atomsim.cli.show import Device, Json
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.glass import Glasses

SHARE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*\*?\s*([A-Z]\S*)\s*")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(speaks_options(amorphize))
    app.command()(speaks_options(glass))


def amorphize(
    formula: Annotated[str, typer.Argument(help="Li2Ru0.8S0.2O3.2, or a mixture: '0.8 Li2RuO3 + 0.2 Li2SO4'.")],
    n_atoms: Annotated[int, typer.Option("--n-atoms", "-n", help="Atoms in the cell.")],
    seeds: Annotated[int, typer.Option(help="Number of glasses, of seeds 1, 2, …")] = 4,
    start: Annotated[str, typer.Option(help="units, atoms, rocksalt or composite.")] = "units",
    units: Annotated[str | None, typer.Option(metavar="NAME,NAME", help="Rigid units; those of the formula.")] = None,
    density: Annotated[float | None, typer.Option(help="Of the packing, g/cm³; by ionic volumes if not given.")] = None,
    crystal: Annotated[str | None, typer.Option(help="Formula of the grain of a composite.")] = None,
    melt: Annotated[float | None, typer.Option("--melt", help="Temperature of the melt, K; by the start.")] = None,
    end: Annotated[float, typer.Option("--end", help="Temperature at the end of the quench, K.")] = 300.0,
    anneal: Annotated[float, typer.Option("--anneal", help="Temperature of the anneal, K.")] = 600.0,
    melt_time: Annotated[str, typer.Option(metavar="TIME", help="Length of the melt.")] = "4ps",
    quench_time: Annotated[str, typer.Option(metavar="TIME", help="Length of the quench.")] = "10ps",
    anneal_time: Annotated[str, typer.Option(metavar="TIME", help="Length of the anneal; 0ps leaves it out.")] = "4ps",
    timestep: Annotated[str, typer.Option(metavar="TIME", help="Time step.")] = "2fs",
    every: Annotated[str, typer.Option(metavar="TIME", help="Time from frame to frame.")] = "100fs",
    seed: Annotated[int, typer.Option(help="Of the whole.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/glass-FORMULA.")] = None,
    potential: Annotated[str, typer.Option("--potential", "-p", help="Name or path of a model.")] = "chgnet-0.3.0",
    teacher: Annotated[
        str | None, typer.Option(help="Another potential that labels a sample of the frames: errors are in the report.")
    ] = None,
    device: Device = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes on a CPU, one thread each; all cores if not given.", min=0)
    ] = None,  # -n is the number of atoms
    as_json: Json = False,
) -> None:
    """Make glasses by melt, quench and anneal in a run folder; the same command again resumes.

    Exit code 1 if one did not end well.

    \b
    Examples:
      atomsim amorphize Li2Ru0.8S0.2O3.2 -n 124 -p mace-li-ru-s-o
      atomsim glass runs/glass-Li2Ru0.8S0.2O3.2
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.glass import amorphize as make
    from atomsim.execution.pool import available_cores

    folder = out or Path("runs") / f"glass-{re.sub(r'[^A-Za-z0-9.]+', '-', formula)}"
    cores = available_cores() if processes is None else processes
    how: Any = {"start": start, "device": device or "auto", "processes": cores or None, "run": folder}
    with show.progress(_spoken) as progress, kept_in(folder):
        found = make(
            mixture(formula),
            n_atoms,
            potential,
            seeds=seeds,
            units=None if units is None else [u.strip() for u in units.split(",") if u.strip()],
            density_g_per_cm3=density,
            crystal=crystal,
            melt_K=melt,
            end_K=end,
            anneal_K=anneal,
            melt_ps=time_fs("--melt-time", melt_time) / 1000.0,
            quench_ps=time_fs("--quench-time", quench_time) / 1000.0,
            anneal_ps=time_fs("--anneal-time", anneal_time) / 1000.0,
            timestep_fs=time_fs("--timestep", timestep),
            every_fs=time_fs("--every", every),
            seed=seed,
            teacher=teacher,
            progress=progress,
            **how,
        )
    if as_json:
        keys = ("density_g_per_cm3", "energy_per_atom_eV", "pressure_GPa", "fmax_eV_per_A", "flags")
        rows = [
            {"label": r.label, "status": r.status, "message": r.message, "seed": r.tags["seed"]}
            | {k: r.record.values.get(k) for k in keys}
            for r in found
        ]
        show.print_json({"run": str(folder.resolve()), "glasses": rows})
    else:
        table = [
            (r.label, r.status, *(_number(r.record.values.get(k), d) for k, d in SHOWN)) for r in found
        ]  # fmt: skip
        show.print_table(("glass", "status", "g/cm³", "eV/atom", "GPa"), table)
        for r in found:
            for line in (r.message, *r.flags):
                if line:
                    sys.stdout.write(f"{r.label}: {_spoken(line)}\n")
        sys.stdout.write(f"{folder.resolve()}\n")
    if not all(r.ok for r in found):
        raise typer.Exit(1)


def _spoken(text: str) -> str:
    return in_options(text, options_of(amorphize))


SHOWN = (("density_g_per_cm3", 2), ("energy_per_atom_eV", 4), ("pressure_GPa", 2))


def _number(value: Any, digits: int) -> Any:
    return "–" if value is None else round(float(value), digits)


def mixture(text: str) -> str | dict[str, float]:
    """Return a formula, or a mixture written as ``0.8 Li2RuO3 + 0.2 Li2SO4``.

    Raises:
        InputError: if a part has no share.
    """
    if "+" not in text:
        return text
    found: dict[str, float] = {}
    for part in text.split("+"):
        match = SHARE.fullmatch(part)
        if match is None:
            raise InputError(f"found {part.strip()!r} in {text!r}, wanted a share and a formula: 0.8 Li2RuO3")
        found[match[2]] = found.get(match[2], 0.0) + float(match[1])
    return found


def glass(
    structures: Annotated[
        list[str], typer.Argument(metavar="STRUCTURE...", help="Files, prototypes, or folders of runs.")
    ],
    as_json: Json = False,
) -> None:
    """Judge whether structures are glasses; energies and densities against crystals need a campaign.

    Exit code 1 if one of them is no glass.

    \b
    Examples:
      atomsim glass relaxed.extxyz
      atomsim glass runs/glass-Li2Ru0.8S0.2O3.2
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.glass import glass as judge

    found = judge([item for word in structures for item in _items(word)], progress=False)
    if as_json:
        long = {"g", "r_A", "q_per_A", "S_xray", "S_faber_ziman", "running_coordination"}
        heads = [{"label": r.label, "status": r.status, "message": r.message, "verdict": r.verdict} for r in found]
        values = [{k: v for k, v in r.record.values.items() if k not in long} for r in found]
        rows = [head | known for head, known in zip(heads, values, strict=True)]
        show.print_json({"structures": rows})
    else:
        _print(found)
    if any(r.verdict not in ("glass", "composite") for r in found):
        raise typer.Exit(1)


def _items(word: str) -> list[Any]:
    """Return the structures of a word: those of a run's glasses, of a file or a prototype."""
    path = Path(word)
    if path.is_dir():
        from atomsim.api.glass import Amorphous
        from atomsim.store.run_folder import read_run

        steps = read_run(path)[1].values()
        found = [Amorphous(r, path=path) for step in steps for r in step if r.kind in ("amorphize", "md") and r.good]
        if not found:
            raise InputError(f"{path} has no finished glass or trajectory; wanted a run of 'amorphize' or 'md'")
        return found
    from atomsim.api.inputs import Item
    from atomsim.cli.compare import structures_of

    return [Item(name, atoms) for name, atoms in structures_of(word)]


def _print(found: Glasses) -> None:
    rows = [
        (
            r.label,
            r.verdict,
            _number(r.record.values.get("density_g_per_cm3"), 2),
            _number(r.record.values.get("halo_fwhm_deg"), 1),
            _number(r.record.values.get("crystallinity"), 2),
        )
        for r in found
    ]
    show.print_table(("structure", "verdict", "g/cm³", "halo, °", "crystallinity"), rows)
    for r in found:
        for reason in (*([r.message] if r.message else []), *r.reasons):
            sys.stdout.write(f"{r.label}: {reason}\n")
