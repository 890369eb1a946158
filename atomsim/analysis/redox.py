"""Oxidation state of the metal, by independent estimates that are always named.

* **charge balance**: what the composition says if every oxygen is O²⁻ and redox-inactive ions have their one state.
  Where oxygen is oxidised, the metal's true state is lower;
* **magnetic moments**: spin-only d-electron counts. A moment is a proxy: covalency lowers it (4d metals
  most), a potential predicts it from the surroundings rather than from electrons, and Ru⁴⁺ (d⁴ low
  spin) and Ru⁶⁺ (d²) both have 2 μB, so a moment alone cannot name the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms

from atomsim.errors import InputError
from atomsim.structures.charges import held_charges, redox_metals

IONS = {"Li": 1, "Na": 1, "K": 1, "Mg": 2, "Ca": 2, "Zn": 2, "Al": 3}
"""Charges of ions that batteries move, e."""
SPIN_ONLY: dict[str, dict[int, float]] = {
    "Ru": {4: 2.0, 5: 3.0, 6: 2.0},  # d⁴ low spin, d³, d²
    "Mn": {2: 5.0, 3: 4.0, 4: 3.0},  # high spin
    "Co": {2: 3.0, 3: 0.0, 4: 1.0},  # high-spin Co²⁺, low spin above
    "Ni": {2: 2.0, 3: 1.0, 4: 0.0},  # low spin Ni³⁺
    "Ti": {3: 1.0, 4: 0.0},
}
"""Unpaired electrons = spin-only moment in μB, octahedral field, by oxidation state."""

MOMENTS_NAME_STATES = frozenset({"Mn", "Co", "Ni"})
"""Elements whose moments are discrete enough to name a state; those of 4d and 5d metals are not."""
DISAGREE = 0.5
"""Estimates further apart than this (e) contradict each other."""


@dataclass(frozen=True)
class MomentState:
    """Oxidation state of one element from its moments."""

    element: str
    mean_moment: float
    """Mean |m|, μB."""
    state: float | None
    """Mean state of the atoms that have an estimate; None where no atom has."""
    without_estimate: int
    """Atoms whose |m| lies outside all references."""
    ambiguous: bool
    """True if a state further than ``DISAGREE`` from the one taken, the nearest to charge balance, fits as well."""


def ion_charge(ion: str) -> int:
    """Return the charge that an ion carries through the electrolyte, e.

    Raises:
        InputError: if it is not known.
    """
    if ion not in IONS:
        known = ", ".join(IONS)
        raise InputError(f"ion {ion!r}: its charge is not known here, and a voltage needs it; wanted one of {known}")
    return IONS[ion]


def charge_balance(atoms: Atoms) -> float | None:
    """Return the mean oxidation state of the redox metals that balances all other ions, e.

    None where there is no redox metal, or an element's state is not known.
    """
    counts = Counter(atoms.symbols)
    metals = redox_metals(atoms)
    held = held_charges(atoms)
    others = {s: n for s, n in counts.items() if s not in metals}
    if not metals or any(s not in held for s in others):
        return None
    return -sum(held[s] * n for s, n in others.items()) / sum(counts[s] for s in metals)


def states_from_moment(moment: float, references: Mapping[int, float]) -> list[float]:
    """Return every oxidation state whose interpolated reference moment equals ``moment``.

    Linear between neighbouring references; empty where the moment lies outside them all.

    Args:
        moment: |m|, μB.
        references: moment in μB by oxidation state.
    """
    states = sorted(references)
    found: set[float] = {float(s) for s in states if np.isclose(references[s], moment, atol=1e-9)}
    for low, high in pairwise(states):
        at_low, at_high = references[low], references[high]
        if min(at_low, at_high) < moment < max(at_low, at_high):
            found.add(low + (high - low) * (moment - at_low) / (at_high - at_low))
    return sorted(found)


def moment_state(
    element: str,
    moments: np.ndarray,
    near: float | None,
    references: Mapping[int, float] | None = None,
) -> MomentState | None:
    """Estimate the oxidation state of an element from the magnetic moments of its atoms.

    Args:
        element: symbol.
        moments: moments of its atoms, μB, signed or not, (n,).
        near: charge-balance state; of several states that fit, the nearest to it is taken (the lowest if None).
        references: moment in μB by state; the spin-only ones by default.

    Returns:
        The estimate, or None without references for the element or without atoms.
    """
    references = references or SPIN_ONLY.get(element)
    if references is None or len(moments) == 0:
        return None
    sizes = np.abs(np.asarray(moments, float))
    candidates = [states_from_moment(float(m), references) for m in sizes]
    picked = [c[0] if near is None else min(c, key=lambda s: abs(s - near)) for c in candidates if c]
    return MomentState(
        element=element,
        mean_moment=float(sizes.mean()),
        state=float(np.mean(picked)) if picked else None,
        without_estimate=len(candidates) - len(picked),
        ambiguous=any(c and max(c) - min(c) > DISAGREE for c in candidates),
    )


def mean_moments(atoms: Atoms, moments: np.ndarray) -> dict[str, float]:
    """Return the mean |m| of every element, μB."""
    sizes = np.abs(np.asarray(moments, float))
    symbols = np.array(list(atoms.symbols))
    return {s: float(sizes[symbols == s].mean()) for s in sorted(set(symbols.tolist()))}


def moment_states(atoms: Atoms) -> dict[str, float]:
    """Return the mean state of each element that its atoms' moments (array ``magmoms``, μB) name without ambiguity."""
    if "magmoms" not in atoms.arrays:
        return {}
    symbols = np.array(list(atoms.symbols))
    found = {
        s: moment_state(s, atoms.arrays["magmoms"][symbols == s], None) for s in MOMENTS_NAME_STATES & set(symbols)
    }
    return {
        s: m.state for s, m in found.items() if m and m.state is not None and not m.ambiguous and not m.without_estimate
    }
