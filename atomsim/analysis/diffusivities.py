"""Diffusivities of one ion at several temperatures, and Arrhenius' law through those that have a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from atomsim.analysis.arrhenius import ROOM_K, Arrhenius, arrhenius, conductivity
from atomsim.analysis.diffusion import CM2_PER_S, Diffusion
from atomsim.analysis.diffusion import diffusion as measure
from atomsim.analysis.framework import framework_species, masks
from atomsim.analysis.msd import at_mean_cell
from atomsim.errors import InputError
from atomsim.io.trajectories import Frames
from atomsim.structures.charges import ANIONS, HELD

ARRAYS = ("lags_fs", "msd_A2")
"""Fields of a result that are too long for JSON."""
POINTS = 120
"""Points of a mean squared displacement that a record keeps, for figures."""


@dataclass(frozen=True)
class Conditions:
    """Conditions of a conductivity, beside D."""

    ions: int
    """Mobile ions in the cell."""
    volume_A3: float
    """Mean volume of the cell."""
    charge: float | None
    """Charge of the ion, in elementary charges; None where it is not known."""

    def conductivity(self, D_cm2_per_s: float, temperature_K: float, haven_ratio: float | None) -> float | None:
        """Return σ by Nernst and Einstein, S/cm; of independent ions where the Haven ratio is not determined."""
        if self.charge is None:
            return None
        ratio = 1.0 if haven_ratio is None else haven_ratio
        return conductivity(D_cm2_per_s, self.ions, self.volume_A3, temperature_K, self.charge, ratio)


@dataclass(frozen=True, eq=False, repr=False)
class TracerDiffusivities:
    """Diffusivities at one or several temperatures, the lowest first, and Arrhenius' law through them."""

    ion: str
    framework: tuple[str, ...]
    """Species whose mean position is at rest."""
    rows: tuple[Diffusion, ...]
    """One for each temperature."""
    conditions: tuple[Conditions, ...]
    """Conditions at each temperature."""
    arrhenius: Arrhenius | None
    """None where it is refused."""
    arrhenius_refused: str | None
    """Reason why there is no Arrhenius fit."""

    @property
    def status(self) -> str:
        """``done``, ``partial`` where some temperatures are refused, ``refused`` where all are."""
        refused = sum(row.refused is not None for row in self.rows)
        return "done" if not refused else "refused" if refused == len(self.rows) else "partial"

    @property
    def ok(self) -> bool:
        """True if every temperature has a diffusivity."""
        return self.status == "done"

    @property
    def message(self) -> str:
        """Reasons why temperatures are refused; empty where none is."""
        return "; ".join(f"{row.temperature_K:g} K: {row.refused}" for row in self.rows if row.refused)

    def room_temperature(self) -> dict[str, Any] | None:
        """Return D and σ at 298 K with the ends of their band (1σ); None without an Arrhenius fit."""
        if self.arrhenius is None:
            return None
        values = self.arrhenius.diffusivity(ROOM_K)
        found: dict[str, Any] = {"temperature_K": ROOM_K, "extrapolated": self.arrhenius.extrapolates(ROOM_K)}
        for name, d in zip(("", "_low", "_high"), values, strict=True):
            found[f"D{name}_cm2_per_s"] = d
            found[f"conductivity{name}_S_per_cm"] = self.conditions[0].conductivity(d, ROOM_K, None)
        return found | {"haven_ratio": None}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the mean squared displacements as JSON."""
        rows = [self._row(row, at) for row, at in zip(self.rows, self.conditions, strict=True)]
        fit = {} if self.arrhenius is None else self.arrhenius.to_dict()
        return {
            "ion": self.ion,
            "framework": list(self.framework),
            "status": self.status,
            "temperatures": rows,
            "arrhenius": {"refused": self.arrhenius_refused, **fit},
            "room_temperature": self.room_temperature(),
        }

    def _row(self, row: Diffusion, at: Conditions) -> dict[str, Any]:
        found = {k: v for k, v in row.to_dict().items() if k not in ARRAYS}
        d, t = row.D_cm2_per_s, row.temperature_K
        sigma = None if d is None or t is None else at.conductivity(d, t, row.haven_ratio)
        return found | {"conductivity_S_per_cm": sigma, "volume_A3": at.volume_A3, "charge": at.charge}

    def to_record(self) -> dict[str, Any]:
        """Return everything as JSON, with some points of the mean squared displacements."""
        content = self.to_dict()
        for row, found in zip(content["temperatures"], self.rows, strict=True):
            some = _spread_out(len(found.lags_fs))
            row |= {name: getattr(found, name)[some].tolist() for name in ARRAYS}
        return content

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what ``to_record`` gave; of the displacements the points that it kept."""
        keys = {f.name for f in fields(Diffusion)}
        rows, conditions = [], []
        for content in values["temperatures"]:
            known: dict[str, Any] = {k: np.asarray(v) if k in ARRAYS else v for k, v in content.items() if k in keys}
            rows.append(Diffusion(**known))
            conditions.append(Conditions(rows[-1].ions, content["volume_A3"], content["charge"]))
        law, refused = arrhenius_of(rows)
        return cls(values["ion"], tuple(values["framework"]), tuple(rows), tuple(conditions), law, refused)


def _spread_out(n: int) -> NDArray[np.int64]:
    """Return indices of lags, dense at the short ones."""
    if n <= POINTS:
        return np.arange(n)
    return np.unique(np.geomspace(1, n, POINTS).round().astype(int)) - 1


def format_diffusivity(row: Diffusion) -> str:
    """Return a diffusivity with its error, or why there is none and what bounds it."""
    if row.D_cm2_per_s is not None and row.error_cm2_per_s is not None:
        power = int(np.floor(np.log10(row.D_cm2_per_s))) if row.D_cm2_per_s > 0 else 0
        value, error = row.D_cm2_per_s * 10.0**-power, row.error_cm2_per_s * 10.0**-power
        digits = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 2  # two of the error's
        return f"({value:.{digits}f} ± {error:.{digits}f})e{power} cm²/s"
    bound = row.upper_bound_cm2_per_s
    return f"refused: {row.refused}" + ("" if bound is None else f"; below {bound:.1e} cm²/s at 95 %")


def fitted_line(row: Diffusion) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times (fs) and values (Å²) of the line of slope 6D through the displacements; None if refused."""
    if row.D_cm2_per_s is None or row.start_fs is None:
        return None
    used = row.lags_fs >= row.start_fs * (1 - 1e-9)
    slope = 6.0 * row.D_cm2_per_s / CM2_PER_S  # ⟨Δr²⟩ = 6 D t
    times = row.lags_fs[used]
    return times, slope * times + float((row.msd_A2[used] - slope * times).mean())


def tracer_diffusivities(
    trajectories: Sequence[Frames], ion: str, *, framework: Sequence[str] | None = None, charge: float | None = None
) -> TracerDiffusivities:
    """Measure the diffusivity of an ion at each temperature, or refuse it; trajectories of one are replicas.

    Args:
        trajectories: unwrapped, with their temperatures and equal times between frames, of one composition.
        ion: symbol of the mobile ion.
        framework: species at rest; by ``framework_species`` if not given.
        charge: of the ion, e; the usual one if not given.

    Raises:
        InputError: if trajectories are no replicas, or the ion or the framework is not there.
    """
    _same_composition(trajectories)
    ordered = sorted(trajectories, key=lambda f: f.temperature_K or 0.0)
    groups = [list(same) for _, same in groupby(ordered, key=lambda f: f.temperature_K)]
    measured = [_measure(group, ion, framework, charge) for group in groups]
    rows = tuple(row for row, _ in measured)
    law, refused = arrhenius_of(rows)
    rest = tuple(framework_species(trajectories[0].atoms, ion) if framework is None else framework)
    return TracerDiffusivities(ion, rest, rows, tuple(c for _, c in measured), law, refused)


def _same_composition(found: Sequence[Frames]) -> None:
    formulas = {f.atoms.get_chemical_formula("metal", empirical=True): f.source for f in found}
    if len(formulas) > 1:
        named = ", ".join(f"{formula} ({source})" for formula, source in formulas.items())
        raise InputError(f"found trajectories of {named}; wanted one composition: analyse each by itself")


def _measure(
    replicas: Sequence[Frames], ion: str, framework: Sequence[str] | None, charge: float | None
) -> tuple[Diffusion, Conditions]:
    first = replicas[0]
    for other in replicas[1:]:
        if not np.array_equal(other.numbers, first.numbers):
            raise InputError(f"{other.source} has other atoms than {first.source}, at one temperature; wanted replicas")
        if abs(other.interval_fs - first.interval_fs) > 1e-6 * first.interval_fs:  # type: ignore[operator]
            raise InputError(
                f"{other.source} has frames every {other.interval_fs:g} fs and {first.source} every "
                f"{first.interval_fs:g} fs, at one temperature; wanted replicas with the same time between frames"
            )
    mobile, rest = masks(first.atoms, ion, framework)
    paths = [at_mean_cell(r.positions, r.cells) for r in replicas]
    assert first.interval_fs is not None
    row = measure(paths, first.interval_fs, mobile, framework=rest, temperature_K=first.temperature_K)
    volume = float(np.mean([np.abs(np.linalg.det(r.cells)).mean() for r in replicas]))
    known: Any = {**ANIONS, **HELD}.get(ion) if charge is None else charge
    return row, Conditions(int(mobile.sum()), volume, None if known is None else float(known))


def arrhenius_of(rows: Sequence[Diffusion]) -> tuple[Arrhenius | None, str | None]:
    """Return Arrhenius' law through the diffusivities that there are, or None and the reason."""
    try:
        return arrhenius(
            [row.temperature_K or 0.0 for row in rows],
            [row.D_cm2_per_s for row in rows],
            [row.error_cm2_per_s for row in rows],
        ), None
    except InputError as error:
        return None, str(error)
