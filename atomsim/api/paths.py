"""Minimum-energy paths: ``atomsim.neb``, and what a hop of ``atomsim.migration`` is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomsim.api.arguments import check_temperature, verb
from atomsim.api.results import NAN, Result, axes
from atomsim.errors import AtomsimError, InputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.api.potentials import Loaded
    from atomsim.mep.path import PathSettings

NEB_KEYS = (
    "images",
    "fmax_eV_per_A",
    "max_steps",
    "search",
    "guess",
    "noise_A",
    "starts",
    "relax_ends",
    "order",
    "prefactor",
)
"""Keywords of ``neb`` that are keys of a ``neb`` step."""
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
    """What another potential makes of the same images."""

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
        """Of the Hessian at the highest saddle: 1 proves it; None where none was looked for."""
        return self.record.values.get("negative_modes")

    @property
    def overlap_with_path(self) -> float | None:
        """Of the unstable mode with the path's direction, 0 to 1."""
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
        told = f"{tags['ion']} {tags['from']} to {tags['to']} {tags['length_A']:.2f} Å" if "hop" in tags else ""
        return str(self.record.values.get("moved", told))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was done to the end before anything was computed."""
        return tuple(self.record.values.get("remarks", ()))

    @property
    def end_fmax_eV_per_A(self) -> tuple[float, ...]:  # noqa: N802
        """Largest force at the start and at the end."""
        return tuple(NAN if f is None else f for f in self.record.values.get("end_fmax_eV_per_A", ()))

    @property
    def end_moved_A(self) -> tuple[float, ...]:  # noqa: N802
        """How far the atom that moved furthest went when an end was relaxed."""
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

    def _told(self) -> str:
        bound = "at most " * self.upper_bound
        barrier = "none" if self.barrier_eV is None else f"{bound}{self.barrier_eV:.3f} eV"
        return f", barrier {barrier}; {self.moved}"


def _array(known: Sequence[Any] | None, n: int) -> np.ndarray | None:
    if known is None or known[n] is None:
        return None
    found = np.asarray(known[n], dtype=float)
    return found if np.isfinite(found).all() else None


@verb
def neb(
    start: Any,
    end: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    images: int = 5,
    fmax_eV_per_A: float = 0.05,
    max_steps: int = 200,
    search: Literal["follow", "band"] = "follow",
    guess: Literal["idpp", "linear"] = "idpp",
    noise_A: float = 0.03,
    starts: int = 1,
    relax_ends: bool = True,
    order: Literal["checked", "matched", "given"] = "checked",
    prefactor: bool = False,
    settings: PathSettings | Mapping[str, Any] | None = None,
    check_with: Sequence[Any] = (),
    seed: int = 0,
    device: str = "auto",
    run: str | Path | None = None,
    progress: Any = None,
) -> MinimumEnergyPath:
    """Find the minimum-energy path between two structures and prove its saddle.

    Eigenvector following from a rough nudged elastic band (Henkelman & Jónsson, J. Chem. Phys. 113, 9978 (2000)).

    Args:
        start: one end: Atoms, a pymatgen Structure, a file of one structure, or a result.
        end: the other: the same cell and atoms, in the same order.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        images: images between the ends.
        fmax_eV_per_A: largest projected force of a band; of a followed saddle 0.4 of it.
        max_steps: steps of a band before it is given up.
        search: ``follow`` the mode along a rough path to the saddle, or a climbing ``band`` all the way.
        guess: first guess of the path, ``idpp`` or ``linear``.
        noise_A: seeded noise on the guess: leaves ridges.
        starts: bands with other noise; the lowest is kept.
        relax_ends: relax both ends first, at fixed cell; otherwise they must be minima already.
        order: of like atoms: ``checked``, ``matched`` or ``given``.
        prefactor: compute the attempt frequency too (Vineyard), of the travelling atoms and their neighbors.
        settings: all of these at once; keywords take their place.
        check_with: further potentials, which evaluate the same images.
        seed: of the noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        run: folder in which the result is kept.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        The path; where it runs through minima, all its segments joined. Energies in eV, lengths in Å.

    Raises:
        InputError: if the ends cannot be joined, naming the atom. One that does not relax raises nothing: ``status``
            says so.

    Example:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> from atomsim.models.pair import LennardJones
        >>> crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(2)
        >>> start, end = crystal[1:], crystal[1:]
        >>> end.positions[0] = crystal.positions[0]
        >>> path = atomsim.neb(start, end, LennardJones(onset_A=4.5, cutoff_A=5.2), images=3, fmax_eV_per_A=0.005)
        >>> path.status, path.negative_modes, len(path.images)
        ('converged', 1, 5)
    """
    from atomsim.api.arguments import made
    from atomsim.api.each import changed, listed
    from atomsim.api.execution import How, Plan, Planned, execute, run_path
    from atomsim.api.inputs import one_item
    from atomsim.api.potentials import remember, resolve
    from atomsim.tasks.neb import Settings

    keys = {key: value for key, value in locals().items() if key in NEB_KEYS}
    step = made(Settings, {"start": "start", "end": "end", **keys})
    loaded = remember(resolve(potential, device))
    others = [resolve(p, device) for p in listed(check_with)]
    given = {name: [one_item(what, name)] for name, what in (("start", start), ("end", end))}
    planned = Planned("path", "neb", {"start": "start", "end": "end", **changed(keys, step)})
    plan = Plan("path", (planned,), given, seed)
    (path,) = execute(
        plan,
        How(loaded, None, run_path(run), progress),
        lambda found: [MinimumEnergyPath(r, given=given["start"][0].atoms) for r in found.get("path", ())],
    )
    if path.status in ("invalid", "crashed") and not path.record.values:
        raise InputError(path.message)
    return checked_path(path, others)


def checked_path(path: MinimumEnergyPath, others: Sequence[Loaded]) -> MinimumEnergyPath:
    """Evaluate the images of a path with further potentials; a check that fails is a flag."""
    from atomsim.batch import Batch

    for other in others:
        if path.barrier_eV is None:
            break
        potential, name = other.potential, other.potential.name
        try:
            energy = potential(Batch.pack(list(path.images), potential.device)).energy.cpu().numpy()
        except AtomsimError as error:
            path = replace(path, check_flags=(*path.check_flags, f"not checked with {name}: {error}"))
            continue
        check = PathCheck(float(energy.max() - energy[0]), int(energy.argmax()))
        path = replace(path, checks={**path.checks, name: check})
    return path
