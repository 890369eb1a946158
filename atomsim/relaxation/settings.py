"""Settings of a relaxation, each checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from atomsim.errors import InputError, check_flag, check_number, check_whole, nearest

METHODS = ("newton", "lbfgs", "fire")
CURVATURES = ("host", "springs")


@dataclass(frozen=True)
class RelaxSettings:
    """Settings of a relaxation."""

    fmax_eV_per_A: float = 0.05
    """Largest force on an atom, and on a row of V(σ + P)/n_atoms where the cell moves (as ASE's FrechetCellFilter).
    What constraints hold does not count."""
    max_steps: int = 500
    """Steps after which a relaxation is given up."""
    cell: bool = True
    """Relax the cell too. Systems that are not periodic in all directions keep theirs."""
    pressure_GPa: float = 0.0
    """Target pressure."""
    noise_A: float = 0.0
    """Standard deviation of seeded noise on free atoms at the start, Å: breaks a symmetry that holds it on a saddle."""
    seed: int = 0
    """Seed of the noise."""
    starts: int = 1
    """Starts of each system, all but the first with noise of 0.1 Å or more; the lowest is relaxed to the end."""
    check_minimum: bool = True
    """Look for a mode of negative curvature at the end, and leave a saddle along it."""
    finish_in_double: bool = True
    """Below 0.01 eV/Å, take the last part of a relaxation in float64, where the potential offers it."""
    keep_symmetry: bool = False
    """Keep the space group of the start; noise is left out, and so is the check, as both would break it.
    A ``FixSymmetry`` constraint asks for the same, for its structure alone."""
    method: str = "newton"
    """``newton`` (quasi-Newton from a spring model or a parent's Hessian), ``lbfgs`` or ``fire``."""
    curvature: str = "host"
    """Initial Hessian of ``newton``: ``host``, where a structure's ``info`` says where ions were, and else or always
    ``springs``."""

    def __post_init__(self) -> None:
        check_number("fmax_eV_per_A", self.fmax_eV_per_A, "a force in eV/Å above 0", above=0.0)
        check_whole("max_steps", self.max_steps, "a whole number, 0 or more", low=0)
        check_number("pressure_GPa", self.pressure_GPa, "a pressure in GPa")
        check_number("noise_A", self.noise_A, "a length from 0 to 0.5 Å", low=0.0, high=0.5)
        check_whole("seed", self.seed, "a whole number, 0 or more", low=0)
        check_whole("starts", self.starts, "a whole number from 1 to 20", low=1, high=20)
        for key in ("cell", "check_minimum", "finish_in_double", "keep_symmetry"):
            check_flag(key, getattr(self, key))
        if self.starts > 1 and self.keep_symmetry:
            raise InputError(
                f"found starts={self.starts} with keep_symmetry={self.keep_symmetry}; wanted 1 where symmetry is "
                "kept: several starts differ by noise, which breaks it"
            )
        if self.method not in METHODS:
            raise InputError(
                f"unknown method {self.method!r}, wanted one of {', '.join(METHODS)};"
                f"{nearest(str(self.method), METHODS)}"
            )
        if self.curvature not in CURVATURES:
            hint = nearest(str(self.curvature), CURVATURES)
            raise InputError(f"unknown curvature {self.curvature!r}, wanted one of {', '.join(CURVATURES)};{hint}")


def with_overrides(settings: RelaxSettings | None, overrides: dict[str, Any]) -> RelaxSettings:
    """Return settings, or the default ones, with single fields replaced.

    Raises:
        InputError: for what is no settings, or no field of them.
    """
    if not isinstance(settings, RelaxSettings | None):
        raise InputError(f"settings: found {type(settings).__name__}, wanted RelaxSettings, or its fields as keywords")
    known = RelaxSettings.__dataclass_fields__
    for key in overrides:
        if key not in known:
            raise InputError(f"unknown setting {key!r}, wanted one of {', '.join(known)};{nearest(key, known)}")
    return replace(settings or RelaxSettings(), **overrides)
