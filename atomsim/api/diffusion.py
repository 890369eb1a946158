"""``atomsim.diffusion``: diffusivities of ions from trajectories, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.analysis.diffusion import Diffusion
from atomsim.analysis.diffusivities import TracerDiffusivities, fitted_line, format_diffusivity, tracer_diffusivities
from atomsim.api.arguments import check_temperature, listed, verb
from atomsim.api.trajectories import trajectories_of
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError, check_number
from atomsim.io.trajectories import Frames

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SAME_TEMPERATURE = 1e-3
"""Relative difference up to which a temperature that is given is the one that a trajectory ran at."""


@dataclass(frozen=True, eq=False, repr=False)
class Diffusivities(TracerDiffusivities):
    """Diffusivities at one or several temperatures, the lowest first, and Arrhenius' law through them."""

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
        >>> found = atomsim.diffusion([frames], "Li", temperature_K=600, time_between_frames_fs=300.0)
        >>> found.status, found.rows[0].error_cm2_per_s < 0.3 * found.rows[0].D_cm2_per_s
        ('done', True)
    """
    if not isinstance(ion, str) or not ion:
        raise InputError(f"found ion={ion!r}, wanted the symbol of an element, such as 'Li'")
    chosen = None if framework is None else listed("framework", framework)
    if charge is not None:
        check_number("charge", charge, "the charge of the ion, e")
    found = trajectories_of(trajectories, time_between_frames_fs, species, unwrapped=unwrapped, skip_fs=skip_fs)
    found = _with_temperatures(found, temperature_K)
    measured = tracer_diffusivities(found, ion, framework=chosen, charge=charge)
    return Diffusivities(**vars(measured))


def _with_temperatures(found: Sequence[Frames], temperature_K: Any) -> list[Frames]:
    """Give each trajectory its temperature."""
    if temperature_K is None:
        for frames in found:
            if frames.temperature_K is None:
                raise InputError(
                    f"{frames.source}: the temperature is not known, as of a file, or of a run at constant energy that "
                    "left that of its first velocities; give temperature_K"
                )
        return list(found)
    many = isinstance(temperature_K, Sequence | np.ndarray) and not isinstance(temperature_K, str)
    given = [check_temperature(t) for t in (list(temperature_K) if many else [temperature_K])]
    if len(given) == 1:
        given = given * len(found)
    if len(given) != len(found):
        raise InputError(
            f"found {len(given)} temperatures for {len(found)} trajectories; wanted one of each, or one for all"
        )
    for frames, t in zip(found, given, strict=True):
        known = frames.temperature_K
        if known is not None and abs(known - t) > SAME_TEMPERATURE * known:
            raise InputError(
                f"{frames.source}: found temperature_K={t:g}, but it ran at {known:g} K; leave it out, or correct it"
            )
    return [replace(frames, temperature_K=t) for frames, t in zip(found, given, strict=True)]
