"""Parts of results: atoms, entries, columns, tables and axes."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import AtomsimError
from atomsim.store.records import Record

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    from atomsim.api.results import Result
    from atomsim.report.scenes import Scene


def atoms_of(record: Record, given: Any = None) -> Atoms:
    """Return the structure of a record with its results on the calculator; of one without, what was given."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from atomsim.io.atoms_json import atoms_from_json
    from atomsim.io.metadata import with_geometry
    from atomsim.structures.hosts import left_sites
    from atomsim.units import GPA

    if record.structure is None:
        return given.copy() if given is not None else Atoms()
    arrays = {k: np.asarray(v) for k, v in record.structure["arrays"].items()}
    atoms = atoms_from_json({**record.structure, "arrays": {}})
    if given is not None and len(given) == len(atoms) and (given.numbers == atoms.numbers).all():
        atoms = with_geometry(given, atoms.positions, atoms.cell.array)
    if record.kind == "relax":
        atoms.info.pop("vacancies", None)  # what has moved fits its host's sites no more
    elif record.kind == "delithiate":
        simple = {k: v for k, v in record.tags.items() if isinstance(v, str | int | float)}
        atoms.info |= simple | left_sites(record.tags) | {"label": record.label}
    results: dict[str, Any] = {k: arrays[k] for k in ("forces", "magmoms") if k in arrays}
    if "energy_eV" in record.values:
        results["energy"] = record.values["energy_eV"]
    if "stress_GPa" in record.values:
        results["stress"] = np.asarray(record.values["stress_GPa"]) * GPA
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def check_columns(values: Mapping[str, Any], checks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that further potentials add: ``<column>[name]`` and ``<column>_spread``."""
    found: dict[str, Any] = {}
    for key in ("energy_eV", "energy_per_atom_eV", "fmax_eV_per_A", "pressure_GPa", "barrier_eV"):
        evaluation = {name: c.record.values if hasattr(c, "record") else vars(c) for name, c in checks.items()}
        known = {name: found_values[key] for name, found_values in evaluation.items() if key in found_values}
        if key in values and known:
            found |= {f"{key}[{name}]": value for name, value in known.items()}
            found[f"{key}_spread"] = float(np.ptp([values[key], *known.values()]))
    return found


def entry_of(result: Result) -> ComputedStructureEntry:
    """Return pymatgen's entry of a result."""
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    about = result.potential
    data = {"potential": about.name, "sha256": about.sha256, "label": result.label, "status": result.status}
    plain = {k: v for k, v in result.tags.items() if isinstance(v, str | int | float)}
    structure: Any = result.structure
    return ComputedStructureEntry(
        structure, result.record.values["energy_eV"], entry_id=result.label, data=plain | data
    )


def table_html(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a plain HTML table, every cell escaped."""
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header) if any(header) else ""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def scenes_of_result(result: Result) -> list[Scene]:
    """Return the scenes of a result, from what was given where that has the same atoms."""
    from ase import Atoms

    from atomsim.io.atoms_json import atoms_to_json
    from atomsim.report.scene_records import scenes_of

    record, given = result.record, result.given
    start = None
    if isinstance(given, Atoms) and record.structure is not None and len(given) == len(record.structure["numbers"]):
        start = atoms_to_json(Atoms(given.numbers, positions=given.positions, cell=given.cell, pbc=given.pbc))
    return scenes_of(record, start, getattr(result, "path", None))


def axes(ax: Axes | None) -> Axes:
    """Return the axes to draw on; new ones where there are none."""
    return figure().add_subplot() if ax is None else ax


def figure() -> Figure:
    """Return a new figure: in a notebook one of pyplot's, which the notebook shows; elsewhere one that nobody shows."""
    if in_notebook():
        from matplotlib import pyplot as plt

        return plt.figure(layout="constrained")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(layout="constrained")
    FigureCanvasAgg(made)
    return made


def in_notebook() -> bool:
    """Recognise a notebook's process, whose kernel shows pyplot's figures at the end of a cell."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    return getattr(shell, "kernel", None) is not None


def number(value: Any, digits: int = 4) -> str:
    """Return a number as tables show it: counts without decimals, nothing where it is unknown."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int | np.integer) else f"{value:.{digits}f}"


def refused(item: Any, kind: str, provenance: Mapping[str, Any], status: str = "invalid") -> Record:
    """Return the record of a structure that could not be computed."""
    from atomsim.io.atoms_json import atoms_to_json

    try:
        structure = atoms_to_json(item.atoms) if len(item.atoms) and np.isfinite(item.atoms.positions).all() else None
        structure = structure if structure is None or np.isfinite(item.atoms.cell.array).all() else None
    except AtomsimError:
        structure = None
    return Record(
        "", kind, kind, item.label, status, item.problem, item.tags, structure=structure, provenance=dict(provenance)
    )
