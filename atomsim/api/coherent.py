"""``atomsim.coherent_interface``: the coherent interface of two crystals and its work of adhesion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from atomsim.api.arguments import listed, made, verb
from atomsim.api.each import changed
from atomsim.api.execution import How, Plan, Planned, check_processes, execute, run_path
from atomsim.api.inputs import one_item
from atomsim.api.potentials import remember, resolve
from atomsim.api.results import Result, Results

COHERENT_KEYS = (
    *("film_hkl", "substrate_hkl", "max_strain", "max_area_A2", "thickness_A", "gap_A", "vacuum_A", "terminations"),
    *("shifts", "max_atoms", "fmax_eV_per_A", "max_steps"),
)
"""Keywords of ``coherent_interface`` that are keys of its step."""


class CoherentInterface(Result):
    """One relaxed interface: a pair of terminations."""

    columns: ClassVar[tuple[str, ...]] = ("work_J_per_m2", "distance_A", "force_calls")

    @property
    def terminations(self) -> tuple[str, str]:
        """Planes of film and substrate that face each other."""
        return self.record.tags["film_termination"], self.record.tags["substrate_termination"]

    @property
    def strain(self) -> tuple[float, float]:
        """Principal strains of the film."""
        one, other = self.record.tags["strain"]
        return one, other

    @property
    def area_A2(self) -> float:  # noqa: N802 - units in names
        """Area of the interface's cell."""
        return float(self.record.tags["area_A2"])

    @property
    def matches(self) -> list[dict[str, float]]:
        """Lattice matches within the strain that was allowed, the smallest area first: area, both strains."""
        return [{"area_A2": a, "strain_1": s, "strain_2": t} for a, s, t in self.record.tags["matches"]]

    @property
    def work_J_per_m2(self) -> float:  # noqa: N802 - units in names
        """Work of adhesion, relaxed; NaN where a relaxation failed."""
        return self.value("work_J_per_m2")


@verb
def coherent_interface(
    film: Any,
    substrate: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    film_hkl: Sequence[int] = (0, 0, 1),
    substrate_hkl: Sequence[int] = (0, 0, 1),
    max_strain: float = 0.05,
    max_area_A2: float = 200.0,
    thickness_A: float = 8.0,
    gap_A: float = 2.0,
    vacuum_A: float = 12.0,
    terminations: int = 4,
    shifts: int = 2,
    max_atoms: int = 400,
    fmax_eV_per_A: float = 0.05,
    max_steps: int = 500,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Results[CoherentInterface]:
    """Build the coherent interface of two crystals, relax it, and compute its work of adhesion.

    The film takes the lattice of the substrate in the match of least area (Zur & McGill 1984). The slabs alone are
    relaxed in the same cell, so that the film's strain does not count.

    Args:
        film: crystal that takes the other's lattice, best relaxed with this potential.
        substrate: the other.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        film_hkl: plane of the film, in indices of the cell given.
        substrate_hkl: plane of the substrate, likewise.
        max_strain: largest principal strain of the film; 0.05 is 5 %.
        max_area_A2: largest area of a lattice match.
        thickness_A: least thickness of each slab.
        gap_A: distance of the slabs before relaxing.
        vacuum_A: vacuum above the film.
        terminations: pairs of terminations that are computed, at most.
        shifts: lateral shifts along each vector, unrelaxed; the lowest is relaxed.
        max_atoms: largest interface that may be computed.
        fmax_eV_per_A: largest force.
        max_steps: of one relaxation.
        settings: all of these at once; keywords take their place.
        seed: of the relaxations.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One result for each pair of terminations.

    Raises:
        InputError: for lattices that do not match within the strain, naming the least; a plane that is none; an
            interface of too many atoms.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> coating, host = atomsim.relax("Li2WO4"), atomsim.relax("LiCoO2")  # doctest: +SKIP
        >>> found = atomsim.coherent_interface(coating, host, max_area_A2=180, max_atoms=500)  # doctest: +SKIP
        >>> [(i.terminations, i.strain, i.work_J_per_m2) for i in found]  # doctest: +SKIP
    """
    from atomsim.tasks.coherent import Settings

    keys = {key: value for key, value in locals().items() if key in COHERENT_KEYS}
    keys |= {"film_hkl": listed("film_hkl", film_hkl), "substrate_hkl": listed("substrate_hkl", substrate_hkl)}
    step = made(Settings, {"film": "film", "substrate": "substrate", **keys})
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    given = {name: [one_item(what, name)] for name, what in (("film", film), ("substrate", substrate))}
    planned = Planned("coherent", "coherent", {"film": "film", "substrate": "substrate", **changed(keys, step)})
    plan = Plan("coherent", (planned,), given, int(seed))
    return execute(plan, how, lambda found: Results(CoherentInterface(r) for r in found.get("coherent", ())))
