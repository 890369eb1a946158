"""Minimum-energy paths as ``atomsim.neb`` and ``atomsim.migration`` return them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.arguments import check_temperature
from atomsim.api.results import NAN, Result, Results
from atomsim.api.views import axes
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.store.records import Record

BOUNDS = ("converged", "unproven", "max_steps")
"""Statuses of paths whose highest energy says something of the barrier."""


@dataclass(frozen=True)
class Segment:
    """One hop of a path, from one minimum to the next."""

    barrier_eV: float | None
    """Forward barrier; None without a saddle of its own."""
    reverse_barrier_eV: float | None
    reaction_energy_eV: float | None = None
    status: str = "converged"
    message: str = ""
    negative_modes: int | None = None
    n_images: int | None = None
    """Both ends among them."""


@dataclass(frozen=True)
class PathCheck:
    """Energies of the same images by another potential."""

    barrier_eV: float
    highest_image: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dict(vars(self))


class MinimumEnergyPath(Result):
    """A path between two minima; ``status`` says whether its barrier may be used, ``flags`` what limits it.

    ``converged``: a proven first-order saddle joins two minima; ``unproven``: not proven; ``drifted``: both ends relax
    to one minimum; else what became of the path or of an end.
    """

    columns = ("barrier_eV", "reverse_barrier_eV", "reaction_energy_eV")

    @property
    def barrier_eV(self) -> float | None:  # noqa: N802 - units are in names
        """Energy of the highest saddle over the start's; None where the path shows no barrier."""
        return self._number("barrier_eV") if self.status in BOUNDS else None

    @property
    def reverse_barrier_eV(self) -> float | None:  # noqa: N802
        """The same over the end's."""
        return self._number("reverse_barrier_eV") if self.status in BOUNDS else None

    @property
    def reaction_energy_eV(self) -> float | None:  # noqa: N802
        """Energy of the end over that of the start."""
        return self._number("reaction_energy_eV")

    @property
    def upper_bound(self) -> bool:
        """The highest image is no proven saddle: the barrier of this path may be lower."""
        return self.barrier_eV is not None and not self.ok

    @property
    def negative_modes(self) -> int | None:
        """Negative modes of the Hessian at the highest saddle: 1 proves it; None where none was looked for."""
        return self.record.values.get("negative_modes")

    @property
    def overlap_with_path(self) -> float | None:
        """Overlap of the unstable mode with the path's direction, 0 to 1."""
        return self._number("overlap_with_path")

    @property
    def lowest_curvatures_eV_per_A2(self) -> tuple[float, ...]:  # noqa: N802
        """Curvatures of the two lowest modes at the saddle."""
        return tuple(self.record.values.get("lowest_curvatures_eV_per_A2", ()))

    @property
    def attempt_frequency_Hz(self) -> float | None:  # noqa: N802
        """Vineyard's attempt frequency, where one was asked for."""
        values = self.record.values
        computed = values.get("prefactor_Hz") if values.get("prefactor_from") == "vineyard" else None
        return values.get("attempt_frequency_Hz", computed)

    @property
    def fmax_eV_per_A(self) -> float | None:  # noqa: N802
        """Largest force at the saddle; of a climbing band the largest projected one."""
        return self._number("fmax_eV_per_A")

    @property
    def energies_eV(self) -> np.ndarray:  # noqa: N802
        """Energies of the images, (n_images,)."""
        return self._along("energy_eV")

    @property
    def lengths_A(self) -> np.ndarray:  # noqa: N802
        """Distance along the path in all coordinates, (n_images,)."""
        return self._along("length_A")

    @property
    def path_length_A(self) -> float:  # noqa: N802
        """Length of the path in all coordinates."""
        lengths = self.lengths_A
        return float(lengths[-1]) if len(lengths) else NAN

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The hops that the path consists of: one, or one more than there are minima between its ends."""
        values = self.record.values
        return tuple(Segment(**s) for s in values.get("segments", values.get("legs", ())))

    @property
    def moved(self) -> str:
        """Atoms that travel, and how far."""
        tags = self.record.tags
        text = f"{tags['ion']} {tags['from']} to {tags['to']} {tags['length_A']:.2f} Å" if "hop" in tags else ""
        return str(self.record.values.get("moved", text))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Changes made to the end before anything was computed."""
        return tuple(self.record.values.get("remarks", ()))

    @property
    def end_fmax_eV_per_A(self) -> tuple[float, ...]:  # noqa: N802
        """Largest force at the start and at the end."""
        return tuple(NAN if f is None else f for f in self.record.values.get("end_fmax_eV_per_A", ()))

    @property
    def end_moved_A(self) -> tuple[float, ...]:  # noqa: N802
        """Displacement of the atom that moved furthest when an end was relaxed."""
        return tuple(NAN if f is None else f for f in self.record.values.get("end_moved_A", ()))

    @cached_property
    def images(self) -> tuple[Atoms, ...]:
        """Both ends and the images between them, with energies, forces and moments where they are known."""
        from ase.calculators.singlepoint import SinglePointCalculator

        from atomsim.io.atoms_json import atoms_from_json
        from atomsim.io.metadata import with_geometry

        known = self.record.values.get("path")
        if known is None or self.record.structure is None:
            return ()
        plain = atoms_from_json({**self.record.structure, "arrays": {}})
        like = plain if self.given is None or len(self.given) != len(plain) else self.given
        found = []
        for n, positions in enumerate(known["positions_A"]):
            image = with_geometry(like, np.array(positions), plain.cell.array)
            results = {"energy": known["energy_eV"][n]}
            results |= {"forces": _array(known["forces_eV_per_A"], n), "magmoms": _array(known["magmoms_muB"], n)}
            results = {key: value for key, value in results.items() if value is not None}
            image.calc = SinglePointCalculator(image, **results) if results else None
            found.append(image)
        return tuple(found)

    @property
    def saddle(self) -> Atoms | None:
        """The highest image, where there is a barrier."""
        return None if self.barrier_eV is None else self.images[int(np.argmax(self.energies_eV))]

    def rate_per_s(self, temperature_K: float) -> float:
        """Return the forward rate by harmonic transition-state theory, with 1e13 1/s where no prefactor was computed.

        Vineyard, J. Phys. Chem. Solids 3, 121 (1957).

        Args:
            temperature_K: temperature.

        Raises:
            InputError: without a barrier that may be used.
        """
        from atomsim.mep.rates import DEFAULT_PREFACTOR, rate

        if not self.ok or self.barrier_eV is None:
            raise InputError(f"no rate, as the path is {self.status}: {self.message}")
        return rate(self.barrier_eV, check_temperature(temperature_K), self.attempt_frequency_Hz or DEFAULT_PREFACTOR)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the energy along the path over its start, with the slopes that forces give where they are known.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.
        """
        drawn, lengths, energies = axes(ax), self.lengths_A, self.energies_eV
        if len(lengths):
            drawn.plot(lengths, energies - energies[0], "o-")
        slopes = self.record.values.get("path", {}).get("slope_eV_per_A", [])
        reach = 0.15 * self.path_length_A / max(len(lengths) - 1, 1)
        for length, energy, slope in zip(lengths, energies, slopes, strict=False):
            drawn.plot(
                length + reach * np.array([-1, 1]), energy - energies[0] + reach * slope * np.array([-1, 1]), "k"
            )
        drawn.set_xlabel("length of the path, Å")
        drawn.set_ylabel("energy over the start, eV")
        return drawn

    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> PathCheck:
        return PathCheck(**content)

    def row(self) -> dict[str, Any]:
        """Return the row of a table."""
        found = super().row()
        return found | {"barrier_eV": NAN if self.barrier_eV is None else self.barrier_eV}

    def _number(self, key: str) -> float | None:
        value = self.record.values.get(key)
        return None if value is None else float(value)

    def _along(self, key: str) -> np.ndarray:
        known = self.record.values.get("path", {}).get(key, ())
        return np.array([NAN if v is None else v for v in known], dtype=float)

    def _in_words(self) -> str:
        bound = "at most " * self.upper_bound
        barrier = "none" if self.barrier_eV is None else f"{bound}{self.barrier_eV:.3f} eV"
        return f", barrier {barrier}; {self.moved}"


def _array(known: Sequence[Any] | None, n: int) -> np.ndarray | None:
    if known is None or known[n] is None:
        return None
    found = np.asarray(known[n], dtype=float)
    return found if np.isfinite(found).all() else None


class Paths(Results[MinimumEnergyPath]):
    """The hops of a migration, by number or name."""


def path_checks(record: Record) -> dict[str, PathCheck]:
    """Second opinions on a path that its record holds, by potential."""
    return {name: PathCheck(**check) for name, check in record.values.get("checked_with", {}).items()}


def hop_row(path: MinimumEnergyPath) -> dict[str, Any]:
    """Return the row of a hop in a table of all."""
    tags = path.record.tags
    names = {"hop": "hop", "from": "from", "to": "to", "length_A": "length_A", "per_cell": "multiplicity"}
    names |= {"mechanism": "mechanism", "bottleneck_A": "bottleneck_A"}
    return {column: tags[key] for column, key in names.items()} | {
        key: value for key, value in path.row().items() if key not in tags or key == "barrier_eV"
    }
