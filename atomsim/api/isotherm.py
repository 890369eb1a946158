"""``atomsim.isotherm``: ion content against voltage at temperature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atomsim.api.arguments import check_temperature, verb
from atomsim.api.electrode import Electrode
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError, check_number
from atomsim.types import FloatArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atomsim.lattice_gas.isotherm import InsertionIsotherm


@dataclass(frozen=True, eq=False, repr=False)
class Isotherm:
    """Ion content against voltage at one temperature, of ions and vacancies on the sites of a host."""

    label: str
    temperature_K: float
    x: FloatArray
    """Ions per formula unit of the host, ascending, (n,)."""
    voltage_V: FloatArray
    """Equilibrium voltage at these contents against the ion's metal, (n,)."""
    error_V: FloatArray
    """Standard error by the fitted energy and by sampling, V, (n,); the potential's own error comes on top."""
    flags: tuple[str, ...]
    electrode: Electrode = field(repr=False)
    """The electrode whose relaxations were fitted, with its hull at 0 K."""
    computed: InsertionIsotherm = field(repr=False)
    """Fitted lattice gas and free energies."""

    @property
    def leave_one_out_meV_per_site(self) -> float:  # noqa: N802 - units are in names
        """Leave-one-out error of the fitted energy, meV per ion site."""
        model = self.computed.model
        return 1000 * model.rms_error_eV / len(model.lattice.sites)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each content."""
        import pandas as pd

        return pd.DataFrame({"x": self.x, "voltage_V": self.voltage_V, "error_V": self.error_V})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the voltage with its error against x, and the staircase of the hull at 0 K."""
        drawn = axes(ax)
        drawn.fill_between(self.x, self.voltage_V - self.error_V, self.voltage_V + self.error_V, alpha=0.25, lw=0)
        drawn.plot(self.x, self.voltage_V, label=f"{self.temperature_K:g} K")
        for n, step in enumerate(self.electrode.voltages):
            label = "hull, 0 K" if n == 0 else None
            drawn.plot([step.x_low, step.x_high], [step.voltage_V] * 2, color="0.4", lw=1, label=label)
        drawn.set_xlabel("x, ions per formula unit")
        drawn.set_ylabel("voltage, V")
        drawn.legend()
        return drawn

    def __repr__(self) -> str:
        spread = f"{self.voltage_V.min():.2f} to {self.voltage_V.max():.2f} V"
        return f"<Isotherm {self.label}: {self.temperature_K:g} K, {spread}, ± {np.median(self.error_V):.3f} V>"

    def _repr_html_(self) -> str:
        rows = [tuple(f"{v:.3f}" for v in row) for row in zip(self.x, self.voltage_V, self.error_V, strict=True)]
        flags = "".join(f"<p>{flag}</p>" for flag in self.flags)
        return flags + table_html(("x", "voltage, V", "error, V"), rows)


@verb
def isotherm(
    electrode: Electrode,
    *,
    temperature_K: float = 300.0,
    cutoff_A: float = 5.0,
    max_sites: int = 32,
    sweeps: int = 100,
    seed: int = 0,
) -> Isotherm:
    """Compute the insertion isotherm x(V) of an electrode at temperature, without hysteresis.

    A lattice gas of ions and vacancies (polynomial in x, sites, pairs within the cutoff, repulsion in a background) is
    fitted to the relaxed orderings, and its free energy is sampled for every number of ions: replica exchange, and
    Bennett's ratio between neighbours (J. Comput. Phys. 22, 245, 1976). Configurations only: no vibrations.

    Args:
        electrode: result of ``electrode``, of orderings by ``delithiate`` that include the full host.
        temperature_K: of the isotherm, K.
        cutoff_A: longest pair of ion sites in the fitted energy, Å.
        max_sites: most ion sites in the sampled cell.
        sweeps: of the sampling, per number of ions.
        seed: of the sampling.

    Returns:
        Voltages with standard errors; ``.flags`` says what is not resolved.

    Raises:
        InputError: without a reference, without the full host, for orderings that are too few to
            fit, or a temperature that is not above 0.

    Examples:
        >>> import atomsim
        >>> orderings = atomsim.delithiate("LiCoO2", [1.0, 0.75, 0.5, 0.25, 0.0], max_atoms=16)  # doctest: +SKIP
        >>> relaxed = atomsim.relax(orderings)  # doctest: +SKIP
        >>> atomsim.isotherm(atomsim.electrode(relaxed), temperature_K=300)  # doctest: +SKIP
    """
    from atomsim.analysis.redox import ion_charge
    from atomsim.lattice_gas.free_energy import Sampling
    from atomsim.lattice_gas.isotherm import isotherm as compute
    from atomsim.lattice_gas.orderings import lattice_of

    if not isinstance(electrode, Electrode):
        raise InputError(f"found {type(electrode).__name__}, wanted what atomsim.electrode returns")
    for name, value, least in (("max_sites", max_sites, 2), ("sweeps", sweeps, 20)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name}: found {value!r}, wanted a whole number of at least {least}")
    check_number("cutoff_A", cutoff_A, "a length in Å above 0, such as 5", above=0.0)
    if electrode.reference is None or not electrode.ok:
        raise InputError(f"{electrode.label}: no voltages without a reference; give atomsim.electrode reference=")
    used = {row["label"] for row in electrode.structures}
    records = [m.record for m in electrode.members if m.label in used]
    lattice, data, host = lattice_of(records, float(cutoff_A))
    found = compute(
        lattice,
        data,
        float(electrode.reference.energy_per_atom_eV),
        temperature_K=check_temperature(temperature_K),
        charge=round(ion_charge(lattice.ion)),
        max_sites=max_sites,
        sampling=Sampling(sweeps=sweeps, seed=seed),
    )
    x = found.share * float(host.tags["x_max"])
    return Isotherm(
        electrode.label, found.temperature_K, x, found.voltage_V, found.error_V, found.flags, electrode, found
    )
