"""Checks of an expanded CIF: the formula that it declares, and a second, independent reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import gemmi
import numpy as np
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.io.cif_block import CifBlock
from atomsim.io.cif_sites import composition, element
from atomsim.io.symmetry import Symmetry

ROUNDED = 0.02
"""Relative error of a formula with decimals."""
READERS_A = 0.3
"""Distance within which two readers' atoms are the same, Å: only one of them puts sites where the symmetry demands."""


def format_formula(counts: Mapping[str, float]) -> str:
    """Return a formula as text, elements in alphabetical order."""
    return " ".join(f"{s}{'' if n == 1 else format(n, 'g')}" for s, n in sorted(counts.items()))


def formula_fault(built: Mapping[str, int], declared: Mapping[str, float], units: float | None) -> str | None:
    """Return what is wrong with the formula of a cell, or None.

    The declared formula is that of one unit, of which the cell has ``units`` if that is known, or
    that of the whole cell, as some programs write it.
    """
    formula: Counter[str] = Counter()
    for symbol, count in declared.items():
        formula[element(symbol)] += count  # type: ignore[assignment]
    units_text = f" with Z = {units:g}" if units else ""
    found = (
        f"it declares {format_formula(formula)}{units_text}, its atoms and symmetry give {format_formula(built)}; want"
    )
    if set(built) != set(formula):
        return f"{found} the same elements: add missing atoms, or correct the formula"
    exact = all(n == int(n) for n in formula.values())
    error = 1e-6 if exact else ROUNDED
    ratios = np.array([built[s] / formula[s] for s in formula])
    if np.ptp(ratios) > 2 * error * ratios.max():
        return f"{found} the same proportions: add missing atoms, or correct the formula or the space group"
    ratio = float(np.median(ratios))
    allowed = [units or float(max(1, round(ratio)))]
    if not (units and any(n % units for n in built.values())):  # else Z units are not in the cell, so it is not all
        allowed.append(1.0)
    if not any(abs(ratio / a - 1) < 2 * error for a in allowed if a > 0):
        return f"{found} {'as many' if units else 'at least one formula unit'}: correct the space group or Z"
    return None


def check_with_gemmi(
    block: CifBlock,
    symmetry: Symmetry | None,
    labels: set[str],
    symbols: list[str],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> None:
    """Raise if gemmi reads other atoms from the block.

    Args:
        block: where the atoms come from.
        symmetry: operations that the block does not list itself.
        labels: sites that are atoms.
        symbols: elements here.
        positions: fractional coordinates here, (n, 3).
        cell: cell vectors as rows, Å.

    Raises:
        InputError: naming both formulas, or the atom that only one of them has.
    """
    if symmetry:
        loop = block.source.init_loop("_space_group_symop_", ["operation_xyz"])
        for triplet in symmetry.triplets:
            loop.add_row([gemmi.cif.quote(triplet)])
    other = gemmi.make_small_structure_from_block(block.source)
    # It does not know the tags of CIF 2 dictionaries (_atom_site.fract_x), nor fractions.
    if not len(other.sites) or np.isnan([s.fract.tolist() for s in other.sites]).any():
        return
    sites = [s for s in other.get_all_unit_cell_sites() if s.label in labels]
    theirs, ours = composition(s.element.name for s in sites), composition(symbols)
    typed = block.column("_atom_site_type_symbol") is not None  # without types, it does not ask the formula
    if theirs.total() != ours.total() or (typed and theirs != ours):
        raise InputError(
            f"{block.where}: two readers disagree: {format_formula(ours)} here, {format_formula(theirs)} by gemmi; "
            "correct the file, or write it anew with another program"
        )
    points = np.array([s.fract.tolist() for s in sites])
    if far := _unmatched(positions, points, cell):
        raise InputError(
            f"{block.where}: two readers disagree: {far} atoms of {format_formula(ours)} lie elsewhere by gemmi; "
            "correct the file, or write it anew with another program"
        )


def _unmatched(ours: NDArray[np.float64], theirs: NDArray[np.float64], cell: NDArray[np.float64]) -> int:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    i, _, _, _ = find_points_in_spheres(
        np.ascontiguousarray(theirs @ cell), np.ascontiguousarray(ours @ cell), r=READERS_A,
        pbc=np.ones(3, dtype=np.int64), lattice=np.ascontiguousarray(cell), tol=1e-8,
    )  # fmt: skip
    return len(ours) - len(np.unique(i))
