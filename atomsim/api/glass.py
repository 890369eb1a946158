"""``atomsim.amorphize`` and ``atomsim.glass``: glasses from a composition, and verdicts on structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from atomsim.api.arguments import listed, made, plain, verb
from atomsim.api.dynamics import Dynamics
from atomsim.api.each import changed
from atomsim.api.execution import GIVEN, Found, How, Plan, Planned, check_processes, execute, run_path
from atomsim.api.inputs import Item, items_of
from atomsim.api.potentials import remember, resolve
from atomsim.api.results import Result, Results
from atomsim.api.views import axes
from atomsim.errors import InputError, Interrupted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MADE = "glasses"
CRYSTALS = "crystals"
AMORPHIZE_KEYS = (
    "seeds",
    "start",
    "units",
    "density_g_per_cm3",
    "crystal",
    "crystal_fraction",
    "melt_K",
    "end_K",
    "anneal_K",
    "melt_ps",
    "quench_ps",
    "anneal_ps",
    "pressure_GPa",
    "timestep_fs",
    "every_fs",
    "tau_fs",
    "tau_p_fs",
    "compressibility_per_GPa",
    "fmax_eV_per_A",
    "max_steps",
    "teacher",
    "teacher_frames",
)
"""Keywords of ``amorphize`` that are keys of its step."""


@dataclass(frozen=True, eq=False, repr=False)
class Amorphous(Dynamics):
    """One glass: its relaxed structure, and the trajectory to it where a run folder keeps it."""

    columns = ("density_g_per_cm3", "energy_per_atom_eV", "pressure_GPa")

    @property
    def density_g_per_cm3(self) -> float:
        """Density of the relaxed glass."""
        return self.value("density_g_per_cm3")

    def _in_words(self) -> str:
        found = self.record.values.get("density_g_per_cm3")
        return "" if found is None else f", {found:.2f} g/cm³"


class Glass(Result):
    """Verdict on one structure, with its reasons and numbers."""

    columns: ClassVar[tuple[str, ...]] = ("density_g_per_cm3", "density_ratio", "above_crystals_eV_per_atom")

    @property
    def verdict(self) -> str:
        """The first flag, ``glass`` without one, ``composite`` with a grain in it, ``undecided`` in a small cell."""
        return str(self.record.values.get("verdict", "undecided"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each flag, and remarks that decide nothing."""
        return tuple(self.record.values.get("reasons", ()))

    def g(self, first: str, second: str) -> tuple[list[float], list[float]]:
        """Return r (Å) and the partial pair distribution of two elements.

        Raises:
            InputError: for an element that is not there.
        """
        known = self.record.values.get("g", {})
        pair = "-".join(sorted((first, second)))
        if pair not in known:
            raise InputError(f"no pair {pair!r}; wanted one of {', '.join(known)}")
        return self.record.values["r_A"], known[pair]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the structure factor of X-rays.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.

        Raises:
            InputError: for a structure that could not be judged.
        """
        if not self.ok:
            raise InputError(f"{self.label}: nothing to draw: {self.message or self.status}")
        drawn = axes(ax)
        drawn.plot(self.record.values["q_per_A"], self.record.values["S_xray"], label=self.label)
        drawn.set_xlabel("q, 1/Å")
        drawn.set_ylabel("S(q), X-rays")
        return drawn

    def _in_words(self) -> str:
        return f", {self.verdict}"


class Glasses(Results[Glass]):
    """Verdicts on one or many structures."""

    @property
    def verdicts(self) -> dict[str, int]:
        """Number of structures of each verdict."""
        found: dict[str, int] = {}
        for result in self:
            found[result.verdict] = found.get(result.verdict, 0) + 1
        return found

    @property
    def spread(self) -> dict[str, dict[str, list[float]]]:
        """Mean and standard deviation of densities, energies and others over the structures of each formula."""
        from atomsim.tasks.glass import spread_of

        return spread_of([r.record for r in self if "verdict" in r.record.values])


@verb
def amorphize(
    formula: Any,
    n_atoms: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    seeds: int | Sequence[int] = (1, 2, 3, 4),
    start: Literal["units", "atoms", "rocksalt", "composite"] = "units",
    units: Sequence[str] | None = None,
    density_g_per_cm3: float | None = None,
    crystal: str | None = None,
    crystal_fraction: float = 0.5,
    melt_K: float | None = None,
    end_K: float = 300.0,
    anneal_K: float = 600.0,
    melt_ps: float = 4.0,
    quench_ps: float = 10.0,
    anneal_ps: float = 4.0,
    pressure_GPa: float = 0.0,
    timestep_fs: float = 2.0,
    every_fs: float = 100.0,
    tau_fs: float = 100.0,
    tau_p_fs: float = 1000.0,
    compressibility_per_GPa: float = 0.01,
    fmax_eV_per_A: float = 0.05,
    max_steps: int = 1000,
    teacher: str | None = None,
    teacher_frames: int = 8,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Results[Amorphous]:
    """Make glasses of a composition: pack ions, melt, quench, anneal and relax, once for each seed.

    Args:
        formula: such as ``"Li2Ru0.8S0.2O3.2"``, a mixture such as ``{"Li2RuO3": 0.8, "Li2SO4": 0.2}``, or several.
        n_atoms: atoms in the cell, at which the formula must be whole; one for each formula, or one for all.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        seeds: of the packing, the velocities and the noise; a number n stands for 1 to n.
        start: packed rigid ``units``, packed ``atoms``, disordered ``rocksalt`` with centres of units in tetrahedral
            holes, or a ``composite``: a grain of disordered rocksalt in packed units.
        units: rigid units, such as ``["SO4"]``; those that the formula holds if not given.
        density_g_per_cm3: of the packing, in which it is melted; by ionic volumes if not given.
        crystal: formula of the grain of a composite.
        crystal_fraction: part of the atoms that are in it.
        melt_K: of the melt; by the start if not given (1500 K for units, which break above).
        end_K: at the end of the quench.
        anneal_K: of the anneal.
        melt_ps: length of the melt, at fixed cell.
        quench_ps: length of the quench, at constant pressure.
        anneal_ps: length of the anneal; 0 leaves it out.
        pressure_GPa: during quench, anneal and relaxation.
        timestep_fs: time step.
        every_fs: time from frame to frame.
        tau_fs: relaxation time of the bath.
        tau_p_fs: relaxation time of the pressure.
        compressibility_per_GPa: sets how fast the cell follows, not what is sampled.
        fmax_eV_per_A: largest force of the final relaxation.
        max_steps: of the final relaxation.
        teacher: name of another potential, which labels a sample of the frames: errors in the record's ``teacher``, and
            a flag where they are beyond those of the potential's card.
        teacher_frames: frames that it labels, of each glass.
        seed: of the whole; other glasses of the same ``seeds``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which frames, states and results are kept; the same call again resumes.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One ``Amorphous`` for each formula and seed.

    Raises:
        InputError: for a formula that is not whole at this number of atoms (the nearest are named), a unit that it
            cannot hold, a density that cannot be packed (the largest is named), or a melt below the end temperature.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.amorphize(
        ...     "ArKr", 8, "lj-test", seeds=1, start="atoms", density_g_per_cm3=1.0, melt_K=90, end_K=20, anneal_ps=0,
        ...     melt_ps=0.02, quench_ps=0.02, every_fs=10, max_steps=2, device="cpu"
        ... )  # doctest: +SKIP
        >>> found[0].density_g_per_cm3  # doctest: +SKIP
        2.1
    """
    keys = {key: value for key, value in locals().items() if key in AMORPHIZE_KEYS}
    keys["seeds"] = (
        seeds if isinstance(seeds, Integral) else listed("seeds", seeds, "a number of glasses, or a list of seeds")
    )
    keys["units"] = None if units is None else listed("units", units)
    what = {"formula": _formulas(formula), "n_atoms": list(n_atoms) if isinstance(n_atoms, list | tuple) else n_atoms}
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    settings: Any = _settings("amorphize", {**what, **keys})
    plan = Plan(MADE, (Planned(MADE, "amorphize", {**what, **changed(keys, settings)}),), {}, int(seed))

    def collect(found: Found) -> list[Amorphous]:
        return [replace(Amorphous(r), path=how.run) for r in found.get(MADE, ())]

    try:
        return Results(execute(plan, how, collect))
    except Interrupted as error:
        raise Interrupted(Results(error.results)) from None


def _formulas(formula: Any) -> Any:
    if isinstance(formula, Mapping):
        return [{str(f): plain(w) for f, w in formula.items()}]
    return list(formula) if isinstance(formula, list | tuple) else formula


def _settings(kind: str, keys: Mapping[str, Any]) -> Any:
    from atomsim.tasks import kind_of

    return made(kind_of(kind).Settings, dict(keys))


@verb
def glass(structures: Any, crystals: Any = None, *, run: str | Path | None = None, progress: Any = None) -> Glasses:
    """Judge whether structures are glasses, and give the reasons where they are not.

    Args:
        structures: results of ``amorphize`` or ``md``, files, ASE Atoms, pymatgen Structures; one or many.
        crystals: results of ``relax`` for crystals of the same potential; energies and densities are counted from
            their cheapest mixture.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One ``Glass`` for each structure: ``.verdict``, ``.reasons``, ``.record.values`` with all numbers.

    Raises:
        InputError: for a structure that cannot be read, or crystals without an energy.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> found = atomsim.glass(bulk("LiF", "rocksalt", 4.03, cubic=True) * (2, 2, 2))
        >>> found[0].verdict, found[0].reasons[0]
        ('crystal', 'it has the symmetry of Fm-3m to 0.1 Å: a crystal')
    """
    items, _ = items_of(structures)
    bad = [item for item in items if item.problem]
    if bad:
        raise InputError(f"{bad[0].label}: {bad[0].problem}")
    given = {GIVEN: _with_frames(structures, items)}
    keys: dict[str, Any] = {"structures": GIVEN}
    if crystals is not None:
        given[CRYSTALS], _ = items_of(crystals)
        if any(i.record is None or "energy_eV" not in i.record.values for i in given[CRYSTALS]):
            raise InputError("crystals: wanted results of atomsim.relax, which have an energy")
        keys["crystals"] = CRYSTALS
    how = How(None, None, run_path(run), progress)
    plan = Plan("glass", (Planned("glass", "glass", keys),), given)
    return Glasses(execute(plan, how, lambda found: [Glass(r) for r in found.get("glass", ())]))


def _with_frames(structures: Any, items: Sequence[Item]) -> list[Item]:
    """Say where the frames of results are, so that units and flow are followed along them."""
    from atomsim.tasks.glass import FRAMES_IN

    listed = [structures] if isinstance(structures, Dynamics) else structures
    many = list(listed) if isinstance(listed, list | tuple | Results) else []
    paths = {r.record.task: r.path for r in many if isinstance(r, Dynamics) and r.path is not None}
    return [
        replace(i, tags={**i.tags, FRAMES_IN: str(paths[i.record.task])})
        if i.record is not None and i.record.task in paths
        else i
        for i in items
    ]
