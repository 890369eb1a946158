"""One row of plain JSON for one relaxed structure: all that the electrode table says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.analysis.coordination import anions_of, bond_valence_sums, metal_shell
from atomsim.analysis.lattice import d_spacing, lattice_of, layers, map_reflection, parent_cell, space_group
from atomsim.analysis.oxygen import oxygen_pairs
from atomsim.analysis.redox import DISAGREE, charge_balance, mean_moments, moment_state
from atomsim.analysis.xrd import bragg_angle
from atomsim.errors import InputError
from atomsim.structures.charges import redox_metals

SYMPRECS = (0.01, 0.1)
"""Å. The first finds what is symmetric to numerical noise, the second what is symmetric but for relaxation noise."""

HISTOGRAM_EDGES = np.linspace(1.0, 3.2, 111)
"""Borders of the O–O histogram, Å: bins of 0.02 Å."""


@dataclass(frozen=True)
class ParentSetting:
    """Relation of a child cell to the parent's setting."""

    cell_map: np.ndarray
    """M of C = M P before relaxation, (3, 3)."""
    reflection: tuple[int, int, int] | None
    """Layer reflection in the parent's setting."""


def describe(atoms: Atoms, host_units: float, setting: ParentSetting | None, radiation: str = "CuKa") -> dict[str, Any]:
    """Measure a structure.

    Args:
        atoms: relaxed structure; an array ``magmoms`` (μB) is used where present.
        host_units: formula units of the host in the cell.
        setting: way back to the parent's setting; None where it is not known (lattice and layers are left out).
        radiation: line for the angle of the layer reflection.

    Returns:
        Plain JSON, units in the keys; None where a quantity does not exist.
    """
    metals = redox_metals(atoms)
    row: dict[str, Any] = {
        "n_atoms": len(atoms),
        "host_units": host_units,
        "volume_per_fu_A3": float(atoms.cell.volume) / host_units,
        "lattice": None,
        "layer": None,
        "space_group": {f"{p:g}": _space_group_text(atoms, p) for p in SYMPRECS},
        **_oxygen(atoms, host_units),
        "shells": {m: _shell(atoms, m) for m in metals},
        "oxidation": oxidation(atoms, metals),
    }
    if setting is not None:
        found = lattice_of(parent_cell(atoms.cell.array, setting.cell_map))
        row["lattice"] = {
            "a_A": found.a,
            "b_A": found.b,
            "c_A": found.c,
            "alpha_deg": found.alpha,
            "beta_deg": found.beta,
            "gamma_deg": found.gamma,
        }
        row["layer"] = _layer(atoms, metals, setting, radiation)
    return row


def oxidation(atoms: Atoms, metals: Sequence[str]) -> dict[str, Any]:
    """Estimate the metals' oxidation state by every way at hand, each under its own name.

    ``verdict`` is ``agree`` or ``differ`` (charge balance against moments, by more than 0.5 e), ``ambiguous``
    where the moments fit a state further off as well, or ``no estimate`` where they allow none.
    """
    balance = charge_balance(atoms)
    result: dict[str, Any] = {
        "charge_balance": balance,
        "moments_muB": None,
        "from_moments": {},
        "bond_valence": {m: _mean_or_none(bond_valence_sums(atoms, m)) for m in metals},
        "verdict": "no estimate",
    }
    if "magmoms" not in atoms.arrays:
        return result
    symbols = np.array(list(atoms.symbols))
    result["moments_muB"] = mean_moments(atoms, atoms.arrays["magmoms"])
    states, weights, unsettled = [], [], False
    for metal in metals:
        found = moment_state(metal, atoms.arrays["magmoms"][symbols == metal], balance)
        if found is None:
            continue
        n = int(np.count_nonzero(symbols == metal))
        result["from_moments"][metal] = {
            "state": found.state,
            "atoms": n,
            "without_estimate": found.without_estimate,
            "ambiguous": found.ambiguous,
        }
        unsettled |= found.ambiguous
        if found.state is not None and found.without_estimate == 0:
            states.append(found.state)
            weights.append(n)
    if balance is not None and metals and sum(weights) == int(np.isin(symbols, metals).sum()):
        mean = float(np.average(states, weights=weights))
        agreed = "ambiguous" if unsettled else "agree"
        result["verdict"] = agreed if abs(mean - balance) <= DISAGREE else "differ"
    return result


def _space_group_text(atoms: Atoms, symprec: float) -> str | None:
    found = space_group(atoms, symprec)
    return None if found is None else f"{found.symbol} ({found.number})"


def _oxygen(atoms: Atoms, host_units: float) -> dict[str, Any]:
    pairs = oxygen_pairs(atoms)
    return {
        "shortest_OO_A": pairs.shortest,
        "OO_counts": pairs.counts(),
        "OO_histogram_per_fu": [round(n / host_units, 6) for n in pairs.histogram(HISTOGRAM_EDGES).tolist()],
    }


def _shell(atoms: Atoms, metal: str) -> dict[str, float | None]:
    shell = metal_shell(atoms, metal, anions_of(atoms))
    known = bool(shell.lengths)
    return {
        "coordination": shell.coordination if known else None,
        "mean_length_A": shell.mean_length if known else None,
        "distortion": shell.distortion if known else None,
    }


def _layer(atoms: Atoms, metals: Sequence[str], setting: ParentSetting, radiation: str) -> dict[str, Any] | None:
    if setting.reflection is None:
        return None
    hkl = map_reflection(setting.reflection, setting.cell_map)
    d = d_spacing(atoms.cell.array, hkl)
    try:
        angle = bragg_angle(d, radiation)
    except InputError:  # the columns of the layers stay empty, and a note says why
        return None
    stack = layers(atoms, hkl, metals, anions_of(atoms))
    return {
        "hkl": list(setting.reflection),
        "d_A": d,
        "two_theta_deg": angle,
        "slab_A": stack.slab if stack else None,
        "gap_A": stack.gap if stack else None,
    }


def _mean_or_none(values: np.ndarray | None) -> float | None:
    return None if values is None or len(values) == 0 else float(values.mean())
