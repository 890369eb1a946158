"""Settings of the search for dimers: the scan of a pair, and the stages after it."""

from __future__ import annotations

from dataclasses import dataclass

from atomsim.errors import InputError

SHORTEST_A = 0.9
"""Targets below this are within the repulsive wall of every O–O bond, Å."""


@dataclass(frozen=True)
class DimerSettings:
    """Settings of the search for dimers."""

    target_A: float = 1.2
    """Length that a scan ends at, Å."""
    points: int = 12
    """Lengths of a scan in one direction; it goes in and out again."""
    scan_fmax_eV_per_A: float = 0.1
    """Largest force at the points of a scan, that along the pair left out, eV/Å."""
    fmax_eV_per_A: float = 0.01
    """Largest force at minima, eV/Å: on soft modes a loose one misses half the energy."""
    max_steps: int = 500
    """Most steps of one relaxation."""
    noise_A: float = 0.02
    """Standard deviation of seeded noise at the start of a scan, Å: symmetry would hold it on ridges."""
    void: bool = True
    """Also put O2 into the largest void that both atoms leave."""
    saddle: bool = True
    """Look for the saddle between the intact cell and the lowest dimer, from the top of the scan."""
    cell: bool = False
    """Let the cell follow before a scan and after a release; during a scan it stays. Then no saddle is looked for."""
    max_pressure_GPa: float = 10.0
    """Structures under more are refused."""
    moments: bool = False
    """Refuse a potential without magnetic moments, which tell O2 from peroxide where a length does not."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.target_A >= SHORTEST_A:
            raise InputError(f"found target_A = {self.target_A:g}, wanted {SHORTEST_A} Å or more; O2 has 1.21 Å")
        if self.points < 2:
            raise InputError(f"found points = {self.points}, wanted 2 or more lengths of a scan")
        for name in ("scan_fmax_eV_per_A", "fmax_eV_per_A", "max_pressure_GPa"):
            if not getattr(self, name) > 0:
                raise InputError(f"found {name} = {getattr(self, name):g}, wanted a number above 0")


def require_target(target_A: float, length_A: float, name: str) -> None:
    """Refuse a target that a pair would have to be pulled apart for.

    Raises:
        InputError: naming the pair.
    """
    if target_A >= length_A:
        raise InputError(
            f"pair {name} is {length_A:.2f} Å long: found target_A = {target_A:g}, wanted less; lower target_A"
        )
