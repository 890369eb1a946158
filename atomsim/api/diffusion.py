"""``atomsim.diffusion``: diffusivities of ions from trajectories, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.analysis.arrhenius import ROOM_K, Arrhenius, arrhenius, conductivity
from atomsim.analysis.diffusion import CM2_PER_S, Diffusion
from atomsim.api.arguments import check_temperature, verb
from atomsim.api.trajectories import trajectories_of
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError
from atomsim.io.trajectories import Frames

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ARRAYS = ("lags_fs", "msd_A2")
"""Fields of a result that are too long for JSON."""


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
class Diffusivities:
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

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table of one row for each temperature."""
        import pandas as pd

        rows = self.to_dict()["temperatures"]
        return pd.DataFrame([{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw mean squared displacements with the lines that were fitted to them.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.
        """
        drawn = axes(ax)
        for n, row in enumerate(self.rows):
            if not len(row.lags_fs):
                continue
            (line,) = drawn.loglog(row.lags_fs / 1000, row.msd_A2, ".", ms=3, color=f"C{n}", label=_legend(row))
            if (fit := fitted_line(row)) is not None:
                drawn.loglog(fit[0] / 1000, fit[1], "-", color=line.get_color(), lw=1.5)
        drawn.set_xlabel("time, ps")
        drawn.set_ylabel(f"mean squared displacement of {self.ion}, Å²")
        if drawn.get_legend_handles_labels()[0]:
            drawn.legend()
        return drawn

    def _in_words(self) -> list[tuple[str, str]]:
        return [(f"{row.temperature_K:g} K", format_diffusivity(row)) for row in self.rows]

    def __repr__(self) -> str:
        return f"<Diffusivities {self.ion}: {'; '.join(f'{t}: {text}' for t, text in self._in_words())}>"

    def _repr_html_(self) -> str:
        return table_html(("temperature", f"D of {self.ion}, cm²/s"), self._in_words())


def format_diffusivity(row: Diffusion) -> str:
    """Return a diffusivity with its error, or why there is none and what bounds it."""
    if row.D_cm2_per_s is not None and row.error_cm2_per_s is not None:
        power = int(np.floor(np.log10(row.D_cm2_per_s))) if row.D_cm2_per_s > 0 else 0
        scale = 10.0**-power
        return f"({row.D_cm2_per_s * scale:.2f} ± {row.error_cm2_per_s * scale:.2g})e{power} cm²/s"
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


def _legend(row: Diffusion) -> str:
    return f"{row.temperature_K:g} K" + (" (refused)" if row.refused else "")


@verb
def diffusion(
    trajectories: Any,
    ion: str = "Li",
    *,
    temperature_K: Any = None,
    time_between_frames_fs: float | None = None,
    framework: Sequence[str] | str | None = None,
    charge: float | None = None,
    skip_fs: float = 0.0,
    unwrapped: bool = False,
    species: Sequence[str] | None = None,
) -> Diffusivities:
    """Measure the tracer diffusivity of an ion, with an error that covers, or refuse it with the reason.

    The error is the largest of four estimates (analytic, over ions, over blocks of time, over replicas). A caged or
    sub-diffusive ion, fewer than ten hops or a framework that flows give no number but an upper bound. Trajectories of
    one temperature are replicas.

    Args:
        trajectories: one or many: results of ``md`` or folders of its runs, files that ASE reads (extended XYZ, .traj,
            XDATCAR, LAMMPS dump), lists of ASE Atoms.
        ion: symbol of the mobile ion.
        temperature_K: one for all trajectories, or one for each.
        time_between_frames_fs: time from frame to frame, not the time step; needed where frames do not tell it
            (``time_fs`` or ``time_ps`` in their info).
        framework: species at rest; all others if not given, and of these the cations alone where there are polyanions,
            which may rotate. ``all`` in a liquid.
        charge: of the ion, for the conductivity; the usual one if not given.
        skip_fs: time left out at the start.
        unwrapped: positions are known to be unwrapped; else every step must be below a quarter of the cell.
        species: elements of the types 1, 2, … of a LAMMPS dump that does not name them.

    Returns:
        ``.rows`` with D and its error in cm²/s or ``refused``, ``.arrhenius`` where two temperatures or more have a
        number, ``.room_temperature()``, ``.plot()``.

    Raises:
        InputError: for fewer than three frames, irregular times, atoms that change, wrapped positions whose image is
            not certain, an ion that is not there, no framework, a temperature or time that is not known.

    Examples:
        >>> import atomsim, numpy as np
        >>> from ase.build import bulk
        >>> crystal = bulk("LiF", "rocksalt", 4.0, cubic=True) * (2, 2, 2)
        >>> rng, frames = np.random.default_rng(1), []
        >>> for _ in range(400):
        ...     crystal.positions[crystal.symbols == "Li"] += rng.normal(scale=0.15, size=(32, 3))
        ...     frames.append(crystal.copy())
        >>> found = atomsim.diffusion([frames], "Li", temperature_K=600, time_between_frames_fs=50.0)
        >>> found.status, found.rows[0].error_cm2_per_s < 0.3 * found.rows[0].D_cm2_per_s
        ('done', True)
    """
    if not isinstance(ion, str) or not ion:
        raise InputError(f"found ion={ion!r}, wanted the symbol of an element, such as 'Li'")
    chosen = None if framework is None else ([framework] if isinstance(framework, str) else list(framework))
    found = trajectories_of(trajectories, time_between_frames_fs, species, unwrapped=unwrapped, skip_fs=skip_fs)
    found = _with_temperatures(found, temperature_K)
    _same_composition(found)
    ordered = sorted(found, key=lambda f: f.temperature_K or 0.0)
    groups = [list(same) for _, same in groupby(ordered, key=lambda f: f.temperature_K)]
    measured = [_measure(group, ion, chosen, charge) for group in groups]
    rows = tuple(row for row, _ in measured)
    law, refused = _law(rows)
    return Diffusivities(ion, _named(found[0], ion, chosen), rows, tuple(c for _, c in measured), law, refused)


def _with_temperatures(found: Sequence[Frames], temperature_K: Any) -> list[Frames]:
    """Give each trajectory its temperature."""
    if temperature_K is None:
        for frames in found:
            if frames.temperature_K is None:
                raise InputError(f"{frames.source}: the temperature is not known; give temperature_K")
        return list(found)
    many = isinstance(temperature_K, Sequence | np.ndarray) and not isinstance(temperature_K, str)
    given = [check_temperature(t) for t in (list(temperature_K) if many else [temperature_K])]
    if len(given) == 1:
        given = given * len(found)
    if len(given) != len(found):
        raise InputError(
            f"found {len(given)} temperatures for {len(found)} trajectories; wanted one of each, or one for all"
        )
    return [replace(frames, temperature_K=t) for frames, t in zip(found, given, strict=True)]


def _same_composition(found: Sequence[Frames]) -> None:
    formulas = {f.atoms.get_chemical_formula("metal", empirical=True): f.source for f in found}
    if len(formulas) > 1:
        named = ", ".join(f"{formula} ({source})" for formula, source in formulas.items())
        raise InputError(f"found trajectories of {named}; wanted one composition: analyse each by itself")


def _named(frames: Frames, ion: str, framework: Sequence[str] | None) -> tuple[str, ...]:
    from atomsim.analysis.framework import framework_species

    return tuple(framework_species(frames.atoms, ion) if framework is None else framework)


def _measure(
    replicas: Sequence[Frames], ion: str, framework: Sequence[str] | None, charge: float | None
) -> tuple[Diffusion, Conditions]:
    from atomsim.analysis.diffusion import diffusion as measure
    from atomsim.analysis.framework import masks
    from atomsim.analysis.msd import at_mean_cell
    from atomsim.structures.charges import ANIONS, HELD

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


def _law(rows: Sequence[Diffusion]) -> tuple[Arrhenius | None, str | None]:
    try:
        return arrhenius(
            [row.temperature_K or 0.0 for row in rows],
            [row.D_cm2_per_s for row in rows],
            [row.error_cm2_per_s for row in rows],
        ), None
    except InputError as error:
        return None, str(error)
