"""``atomsim potentials compare``: two potentials on the same structures."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.labels import distinct_labels
from atomsim.cli.options import kept_nowhere, speaks_options
from atomsim.cli.show import Device, Json, TrustFile
from atomsim.errors import InputError, nearest
from atomsim.io.files import require_folder_name

if TYPE_CHECKING:
    from ase import Atoms


def add_to(potentials: typer.Typer) -> None:
    """Add the command of this module."""
    potentials.command("compare")(speaks_options(compare))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", show_default=False)],
    on: Annotated[
        list[str],
        typer.Option(
            "--on", help="Prototype, structure file, folder of a run, or campaign that was run; may be repeated."
        ),
    ],
    relax: Annotated[bool, typer.Option("--relax/--no-relax", help="Relax all structures with both.")] = True,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/Å.")] = 0.03,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; compare-A-B if not given.")] = None,
    device: Device = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
) -> None:
    """Compare energies, forces, stresses and relaxed structures of two potentials.

    A page with plots and CSV tables are written. Differences are B − A. Exit code 1 if a relaxation did not converge.

    \b
    Examples:
      atomsim potentials compare chgnet-0.3.0 mace-li-ru-s-o --on Li2RuO3 --on Li2SO4
      atomsim potentials compare chgnet-0.3.0 mace-li-ru-s-o --on workflows/li2ruo3-delithiation.toml
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.compare import compare as compare_them
    from atomsim.api.inputs import Item
    from atomsim.api.potentials import resolve
    from atomsim.execution.machine import tune_process
    from atomsim.report.compare import components, write_comparison

    if out is not None:
        require_folder_name(out)
    tune_process()
    words = [(word, name, found) for word in on for name, found in structures_of(word)]
    for _, name, found in words:
        checked(found, name)
    names = distinct_labels([name for _, name, _ in words], [Path(word) for word, _, _ in words])
    items = [Item(name, found) for name, (_, _, found) in zip(names, words, strict=True)]
    first, second = (resolve(p, device or "auto", trust_file=trust_file) for p in (a, b))
    folder = out or Path(f"compare-{_plain(first.potential.name)}-{_plain(second.potential.name)}")
    with show.progress() as progress, kept_nowhere(f"{folder} was not written"):
        compared = compare_them(first, second, items, relax=relax, fmax_eV_per_A=fmax, progress=progress)
    rows, relaxed = compared.rows, compared.relaxed_rows
    forces = tuple(components([one.atoms for one in of_one]) for of_one in compared.evaluated)
    paths = write_comparison(folder, compared.names, rows, relaxed, forces)
    if as_json:
        content = {"summary": asdict(compared.summary), "static": [asdict(r) for r in rows]}
        show.print_json(content | {"relaxed": [asdict(r) for r in relaxed], "files": [str(p) for p in paths]})
        _end(compared.ok)
        return
    show.print_table(("", ""), [(k, f"{v:.4g}") for k, v in asdict(compared.summary).items() if v is not None])
    if relaxed:
        header = ("relaxed", a, b, "Δ meV/atom", "Δ volume %", "Δ length %", "displacement Å")
        cells = [
            (
                r.label,
                r.status_a,
                r.status_b,
                f"{1e3 * (r.energy_b_eV_per_atom - r.energy_a_eV_per_atom):+.1f}",
                f"{r.volume_percent:+.2f}",
                f"{r.length_percent:+.2f}",
                f"{r.displacement_A:.3f}",
            )
            for r in relaxed
        ]
        show.print_table(header, cells)
    sys.stdout.write(f"{paths[0]}\n")
    _end(compared.ok)


def _end(ok: bool) -> None:
    if not ok:
        raise typer.Exit(1)


def checked(atoms: Atoms, name: str) -> None:
    """Refuse a structure that cannot be computed, by its name.

    Raises:
        InputError: as ``check_structure`` does.
    """
    from atomsim.structures.sanity import check_structure

    try:
        check_structure(atoms)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def structures_of(word: str) -> list[tuple[str, Atoms]]:
    """Return the named structures that a word stands for.

    Raises:
        InputError: if it names nothing, or a campaign that was not run.
    """
    from atomsim.structures.prototypes import is_prototype, load_prototype, prototype_names
    from atomsim.tasks.base import find_files

    if is_prototype(word, Path()):
        return [(word, load_prototype(word).atoms)]
    path = Path(word)
    if path.suffix == ".toml":
        folder = Path("runs") / path.stem
        if not folder.is_dir():
            raise InputError(f"{word} was not run here: no folder {folder}; run it, or name its folder")
        return _of_run(folder)
    if path.is_dir():
        return _of_run(path)
    files = find_files(word, Path())
    if not files:
        hint = nearest(word, prototype_names())
        raise InputError(
            f"{word!r} is neither a prototype, a structure file, nor the folder of a run;{hint or ' check the name'}"
        )
    return [found for file in files for found in _of_file(file)]


def _of_file(path: Path) -> list[tuple[str, Atoms]]:
    from atomsim.io import read_structures

    structures = read_structures(path)
    if len(structures) == 1:
        return [(path.stem, structures[0])]
    return [(f"{path.stem}-{n}", atoms) for n, atoms in enumerate(structures, 1)]


def _of_run(folder: Path) -> list[tuple[str, Atoms]]:
    """The structures of every relaxed record of a run, as they were relaxed there."""
    from atomsim.store.records import usable
    from atomsim.store.run_folder import read_run

    records = read_run(folder)[1].values()
    found = [(r.label, r.atoms) for step in records for r in usable(step) if r.kind == "relax"]
    if not found:
        raise InputError(f"{folder} has no relaxed structure yet; wait for one, or name files")
    return found


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in name)
