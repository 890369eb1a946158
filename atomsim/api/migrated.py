"""Result of ``atomsim.migration``."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from atomsim.api.arguments import check_temperature
from atomsim.api.networks import Network, Percolation, percolation
from atomsim.api.path_results import MinimumEnergyPath, Paths, hop_row, path_checks
from atomsim.api.results import VIEW_HINT, PotentialFacts, Result
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError
from atomsim.store.records import Record

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.hopping.distribution import BarrierDistribution
    from atomsim.hopping.kinetics import Diffusivity
    from atomsim.report.standalone import View


@dataclass(frozen=True, eq=False, repr=False)
class Migration:
    """Barriers of all hops of an ion, percolation and diffusivity.

    ``status`` is ``done`` where every hop has a proven barrier, ``partial`` while one is missing (thresholds are then
    upper bounds), or what became of the host where it could not be relaxed.
    """

    label: str
    records: tuple[Record, ...] = field(repr=False)
    """Records of the hops, as a run folder has them."""
    host_record: Record | None = field(default=None, repr=False)
    """Record of the relaxed host, where it was relaxed."""
    given: Any = field(default=None, repr=False)
    """Atoms of the host as given."""

    @cached_property
    def hops(self) -> Paths:
        """Paths of all hops that were computed, with ``tags``; by number or name."""
        return Paths(MinimumEnergyPath(r, path_checks(r)) for r in self.records)

    @property
    def host(self) -> Result | None:
        """The relaxed host; None where it was taken as given."""
        from atomsim.api.relaxed import Relaxation

        return None if self.host_record is None else Relaxation(self.host_record, given=self.given)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Percolation and diffusivity, with the keys of the report."""
        from atomsim.hopping.summary import host_summaries

        found = host_summaries(self.records)
        return found[0] if found else {"networks": []}

    @property
    def status(self) -> str:
        """``done``, ``partial``, or what became of the host."""
        if not self.records:
            bad = self.host_record is not None and not self.host_record.good
            return self.host_record.status if bad and self.host_record else "partial"
        return "partial" if self.missing or not self.ok_all else "done"

    @property
    def ok_all(self) -> bool:
        """True if every hop that was asked for has a proven barrier."""
        return all(r.good for r in self.records)

    @property
    def ok(self) -> bool:
        """True if all barriers may be used."""
        return self.status == "done"

    @property
    def message(self) -> str:
        """Missing results and their causes; empty where nothing is missing."""
        host = self.host_record
        if not self.records and host is not None:
            return f"the host could not be relaxed ({host.status}: {host.message})" if not host.good else ""
        failed = [f"{r.label}: {r.status}: {r.message}" for r in self.records if not r.good]
        return "; ".join(failed)

    @property
    def flags(self) -> tuple[str, ...]:
        """Caveats to read before using the numbers."""
        from atomsim.hopping.summary import changed_symmetry
        from atomsim.tasks.barriers_record import supercell_flags

        tags = self.records[0].tags if self.records else {}
        found = [changed_symmetry(tags), *(supercell_flags(tags) if tags else [])]
        if self.percolation.upper_bound:
            found.append(f"thresholds are upper bounds: {self.percolation.missing}")
        return tuple(flag for flag in found if flag)

    @property
    def ion(self) -> str:
        """Element that hops."""
        return str(self.summary.get("ion", ""))

    @property
    def tags(self) -> dict[str, Any]:
        """Facts that came with the host."""
        return dict(self.host_record.tags) if self.host_record else {}

    @property
    def potential(self) -> PotentialFacts:
        """Name and hash of the potential, device and precision."""
        return self.hops[0].potential if self.records else PotentialFacts()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the hops."""
        return self.hops[0].settings if self.records else {}

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.hops[0].seed if self.records else 0

    @property
    def evaluations(self) -> int:
        """Force calls that it took, shared ones counted once."""
        from atomsim.store.records import total_calls

        return total_calls([*([self.host_record] if self.host_record else []), *self.records])

    @property
    def atoms(self) -> Atoms:
        """Host that the hops are those of, in its standard setting."""
        from ase import Atoms

        if self.host_record is not None and self.host_record.structure is not None:
            from atomsim.api.views import atoms_of

            return atoms_of(self.host_record)
        return self.given if self.given is not None else Atoms()

    @property
    def structure(self) -> Any:
        """The same for pymatgen."""
        from atomsim.io.convert import to_pymatgen

        return to_pymatgen(self.atoms, None)

    @property
    def barriers_eV(self) -> dict[str, float | None]:  # noqa: N802 - units are in names
        """Barriers by the names of the hops; None where there is none that may be used."""
        return {path.record.tags["hop"]: path.barrier_eV if path.ok else None for path in self.hops}

    @property
    def distribution(self) -> BarrierDistribution | None:
        """Distribution of the barriers of both directions, for a glass; None with fewer than two paths."""
        from atomsim.hopping.distribution import barrier_distribution

        return barrier_distribution(self.records)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of hops without a barrier that may be used: those left out among them."""
        left_out = self.records[0].tags.get("left_out", []) if self.records else []
        return (*(r.tags["hop"] for r in self.records if not r.good), *(entry[0] for entry in left_out))

    @property
    def percolation(self) -> Percolation:
        """Percolation by the easiest mechanism in which one carrier goes all the way."""
        return percolation(self.summary)

    @property
    def networks(self) -> tuple[Network, ...]:
        """One for each mechanism: their energies are those of different numbers of atoms."""
        return tuple(Network(n["mechanism"], percolation(n), n) for n in self.summary["networks"])

    @property
    def why_no_diffusivity(self) -> str:
        """Reason why there is no diffusivity of a lone carrier; empty where there is one."""
        return "" if self._carrier() else str(self.summary.get("why_no_diffusivity", "no hop has a barrier"))

    def diffusivity(self, temperature_K: float) -> Diffusivity | None:
        """Return the tracer diffusivity of a lone carrier, from the master equation.

        Args:
            temperature_K: temperature.

        Returns:
            ``mean`` and ``principal`` values, cm²/s; None where no lone carrier goes all the way
            (``why_no_diffusivity``).

        Raises:
            InputError: if it is no temperature.
        """
        from atomsim.hopping.kinetics import exact_diffusivity

        temperature = check_temperature(temperature_K)
        known = self._carrier()
        return exact_diffusivity(*known, temperature) if known else None

    def activation_energy_eV(self, temperature_K: float) -> float | None:  # noqa: N802
        """Return the slope of ln D over −1/kT, eV; None where there is no diffusivity above 0.

        Args:
            temperature_K: temperature.
        """
        from atomsim.hopping.kinetics import activation_energy

        temperature = check_temperature(temperature_K)
        known = self._carrier()
        if not known or self.diffusivity(temperature).mean <= 0:  # type: ignore[union-attr]
            return None
        return activation_energy(*known, temperature)

    def rates(self, temperature_K: float) -> dict[str, float]:
        """Return forward rates of the proven hops by their names, 1/s.

        Args:
            temperature_K: temperature.
        """
        return {p.record.tags["hop"]: p.rate_per_s(temperature_K) for p in self.hops if p.ok}

    def _carrier(self) -> tuple[list[Any], list[float]] | None:
        """Jumps and site energies of the fastest network of a lone carrier, as the report takes them."""
        from atomsim.hopping.summary import jumps, site_energies

        mechanism = self.summary.get("diffusion_of")
        good = [r for r in self.records if r.good and r.tags["copies"] and r.tags["mechanism"] == mechanism]
        if mechanism is None or not good or not self.summary.get("dimensions"):
            return None
        energies = site_energies(good, len(good[0].tags["sites"]))
        return jumps(good, energies), energies

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table of one row a hop."""
        import pandas as pd

        return pd.DataFrame([hop_row(p) for p in self.hops])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON: the records of a run."""
        host = None if self.host_record is None else asdict(self.host_record)
        return {"label": self.label, "host": host, "hops": [p.to_dict() for p in self.hops]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild what ``to_dict`` returned.

        Raises:
            InputError: if it is something else.
        """
        if not {"label", "hops"} <= set(content):
            raise InputError(f"found a dict with {', '.join(map(str, content))}; wanted one of to_dict()")
        records = tuple(MinimumEnergyPath.from_dict(c).record for c in content["hops"])
        host = content.get("host")
        return cls(content["label"], records, host and Result.from_dict(host).record)

    def plot(self, ax: Axes | None = None, *, kind: str = "barriers") -> Axes:
        """Draw barriers as levels with thresholds, all ``paths``, or an ``arrhenius`` plot of the diffusivity.

        Args:
            ax: axes to draw on; new ones if not given.
            kind: ``barriers``, ``paths`` or ``arrhenius``.

        Returns:
            The axes.

        Raises:
            InputError: for another kind, or where there is no diffusivity.
        """
        from atomsim.api import plots

        return plots.migration(self, axes(ax), kind)

    def told(self) -> str:
        """Return the result in one sentence."""
        proven = sum(r.good for r in self.records)
        reached = self.percolation
        counts = f"{proven} of {len(self.records)} hops proven"
        if not reached.dimensions:
            return f"no percolation{' known' if reached.upper_bound else ''}, {counts}"
        threshold = reached.threshold_eV[reached.dimensions]
        bound = "at most " * reached.upper_bound
        return f"{reached.dimensions}D at {bound}{threshold:.3f} eV, {counts}"

    def view(self) -> View:
        """Return the network of sites and hops and all paths in three dimensions.

        Raises:
            InputError: if no path was computed.
        """
        from atomsim.report.scene_records import scenes_of_step
        from atomsim.report.standalone import view_of

        return view_of(scenes_of_step(self.records, {}), self.label)

    def __repr__(self) -> str:
        return f"<Migration {self.label}: {self.told() if self.records else self.status}>"

    def _repr_html_(self) -> str:
        columns = ("hop", "per cell", "status", "barrier, eV", "reverse, eV", "negative modes", "flags")
        rows = [
            (
                p.record.tags["hop"],
                p.record.tags["multiplicity"],
                p.status,
                *("" if e is None else f"{e:.3f}" for e in (p.barrier_eV, p.reverse_barrier_eV)),
                "" if p.negative_modes is None else p.negative_modes,
                "; ".join(p.flags),
            )
            for p in self.hops
        ]
        return f"<p>{html.escape(self.told())}</p>{table_html(columns, rows)}{VIEW_HINT}"
