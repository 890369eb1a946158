"""``atomsim.dimerize`` and ``atomsim.vacancies``: pairs driven together, and what it costs to take oxygen out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from atomsim.api.arguments import listed, made, verb
from atomsim.api.each import changed
from atomsim.api.execution import GIVEN, Found, How, Plan, Planned, check_processes, execute, run_path
from atomsim.api.inputs import checked, items_of
from atomsim.api.potentials import remember, resolve
from atomsim.api.results import Result, Results
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.oxygen.summary import Summary

DIMER_KEYS = (
    "kinds",
    "per_kind",
    "longest_A",
    "symprec_A",
    "target_A",
    "points",
    "scan_fmax_eV_per_A",
    "fmax_eV_per_A",
    "max_steps",
    "noise_A",
    "void",
    "saddle",
    "cell",
    "max_pressure_GPa",
    "moments",
    "check_with",
)
"""Keywords of ``dimerize`` that are keys of its step."""
VACANCY_KEYS = (
    "vacancies",
    "longest_A",
    "symprec_A",
    "cell",
    "fmax_eV_per_A",
    "max_steps",
    "supercell_min_A",
    "max_atoms",
    "check_relax",
)
"""Keys of an ``oxygen`` step that ``vacancies`` sets."""


class DimerSearch(Result):
    """Result of the search for a dimer in one pair."""

    columns: ClassVar[tuple[str, ...]] = ("length_A", "dimer_length_A", "dimer_energy_eV", "upper_bound_eV")

    @property
    def outcome(self) -> str:
        """``O2``, ``superoxide``, ``peroxide``, ``peroxo-like`` or ``no dimer``."""
        return str(self.record.values.get("outcome", "unknown"))

    @property
    def energy_eV(self) -> float:  # noqa: N802 - units in names
        """The lowest dimer above the intact cell, eV; NaN without one."""
        return self.value("dimer_energy_eV")

    @property
    def barrier_eV(self) -> float:  # noqa: N802
        """Barrier to the lowest dimer that the scan led to, eV; NaN where no saddle is proven."""
        return self.value("barrier_eV")

    @property
    def upper_bound_eV(self) -> float:  # noqa: N802
        """Upper bound of that barrier, eV; NaN where no scan led to a dimer."""
        return self.value("upper_bound_eV")

    @property
    def profile(self) -> list[dict[str, Any]]:
        """Points of the scan, in and out: length, energy, mean force, moments, bonds to metals."""
        return list(self.record.values.get("profile", ()))

    @property
    def minima(self) -> list[dict[str, Any]]:
        """All minima that were found, the lowest first; see ``minimum`` for their structures."""
        return [{k: v for k, v in m.items() if k != "structure"} for m in self.record.values.get("minima", ())]

    def minimum(self, number: int) -> Atoms:
        """Return the structure of a minimum."""
        from atomsim.io.atoms_json import atoms_from_json

        known = self.record.values.get("minima", ())
        if not 0 <= number < len(known):
            raise InputError(f"found minimum {number!r}, wanted 0 to {len(known) - 1}")
        return atoms_from_json(known[number]["structure"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the profile: in and out, and the minima."""
        from atomsim.api.views import axes

        drawn = axes(ax)
        for inward, style in ((True, "-o"), (False, "--o")):
            part = [p for p in self.profile if p["inward"] is inward]
            drawn.plot([p["length_A"] for p in part], [p["energy_eV"] for p in part], style, ms=3)
        near = [m for m in self.minima if m["length_A"] is not None and m["length_A"] < part[0]["length_A"] + 2]
        drawn.plot([m["length_A"] for m in near], [m["energy_eV"] for m in near], "D")
        drawn.set_xlabel("O–O, Å")
        drawn.set_ylabel("energy above the intact cell, eV")
        return drawn

    def _in_words(self) -> str:
        return f", {self.outcome}"


class Dimers(Results[DimerSearch]):
    """Pairs of one or many structures."""


class Vacancies(Results[Result]):
    """Records of crystals, vacancies and O2."""

    @property
    def summary(self) -> Summary:
        """Formation energies against O2 of the same potential, eV."""
        from atomsim.oxygen.summary import summary_of_step

        return summary_of_step([r.record for r in self])

    @property
    def opinions(self) -> dict[str, Any]:
        """Formation energies by each potential that was asked, each against its own O2, the largest spread first."""
        from atomsim.oxygen.opinions import oxygen_opinions

        return oxygen_opinions([r.record for r in self])


@verb
def dimerize(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    kinds: Sequence[str] = (
        "shared edge of two octahedra",
        "edge of one octahedron",
        "edge around an ion's site",
        "across the ion layer",
    ),
    per_kind: int = 1,
    longest_A: float = 3.2,
    symprec_A: float = 0.05,
    target_A: float = 1.2,
    points: int = 12,
    scan_fmax_eV_per_A: float = 0.1,
    fmax_eV_per_A: float = 0.01,
    max_steps: int = 500,
    noise_A: float = 0.02,
    void: bool = True,
    saddle: bool = True,
    cell: bool = False,
    max_pressure_GPa: float = 10.0,
    moments: bool = False,
    check_with: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Dimers:
    """Drive pairs of oxygens together, and find what they become and what it takes.

    Args:
        structures: relaxed oxides, one or many.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        kinds: pairs to drive, by their place in the crystal.
        per_kind: pairs of each kind, the shortest first; 0 for all.
        longest_A: longest pair.
        symprec_A: tolerance in which sites and pairs are alike by symmetry.
        target_A: length that a scan ends at.
        points: lengths of a scan in one direction.
        scan_fmax_eV_per_A: largest force at the points of a scan.
        fmax_eV_per_A: largest force at minima.
        max_steps: of one relaxation.
        noise_A: seeded noise at the start of a scan.
        void: also put O2 into the largest void that both atoms leave.
        saddle: look for the saddle from the top of the scan, and prove it.
        cell: let the cell follow before a scan and after a release; then no saddle is looked for.
        max_pressure_GPa: structures under more are refused.
        moments: refuse a potential without magnetic moments.
        check_with: names of further potentials to evaluate each minimum with.
        settings: all of these at once; keywords take their place.
        seed: of the noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One result for each pair: profile, minima with species and energies (eV), barrier or upper bound.

    Raises:
        InputError: for a structure without pairs of oxygens, a bond, or a target above a pair's length.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.dimerize("charged.cif")  # doctest: +SKIP
        >>> found.counts, [pair.outcome for pair in found]  # doctest: +SKIP
    """
    keys = {key: value for key, value in locals().items() if key in DIMER_KEYS}
    if isinstance(check_with, str):
        keys["check_with"] = [check_with]
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    result: Dimers = _execute(
        "dimerize", structures, keys, how, seed, lambda records: Dimers(DimerSearch(r) for r in records)
    )
    return result


@verb
def vacancies(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    pairs: bool = False,
    longest_A: float = 3.2,
    symprec_A: float = 0.05,
    cell: bool = False,
    fmax_eV_per_A: float = 0.02,
    max_steps: int = 500,
    supercell_min_A: float = 0.0,
    max_atoms: int = 120,
    check_with: Sequence[str] = (),
    check_relax: bool = False,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Vacancies:
    """Compute the formation energies of all symmetry-distinct neutral oxygen vacancies.

    Args:
        structures: relaxed oxides, one or many.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        pairs: pairs of vacancies too.
        longest_A: longest pair.
        symprec_A: tolerance in which sites and pairs are alike by symmetry.
        cell: let the cell follow a vacancy.
        fmax_eV_per_A: largest force.
        max_steps: of one relaxation.
        supercell_min_A: distance wanted between a vacancy and its image; 0 keeps the cell given.
        max_atoms: largest supercell that may be used for it.
        check_with: names of further potentials that judge each relaxed cell; see ``.opinions``.
        check_relax: each relaxes it again, instead of evaluating only.
        seed: of the search for soft modes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Records of crystals, vacancies and O2; ``.summary.vacancies`` has the energies, unrelaxed and relaxed, in eV.

    Raises:
        InputError: for a structure without oxygen, or of which nothing would be left.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.vacancies("Li2O", "lj-test", device="cpu")
        >>> found.counts, found.summary.notes
        ({'converged': 2, 'invalid': 1}, ('no O2 to count from: O2 of this potential has a bond of 2.243 Å, ...',))
    """
    which: Literal["single", "pairs"] = "pairs" if pairs else "single"
    keys = {key: value for key, value in locals().items() if key in VACANCY_KEYS} | {"vacancies": which}
    keys["check_with"] = listed("check_with", check_with)
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    result: Vacancies = _execute(
        "oxygen", structures, keys, how, seed, lambda records: Vacancies(Result(r) for r in records)
    )
    return result


def _execute(kind: str, structures: Any, keys: Mapping[str, Any], how: How, seed: int, results: Any) -> Any:
    """Run one step on what was given."""
    from atomsim.tasks import kind_of

    step: Any = made(kind_of(kind).Settings, {"structures": [GIVEN], **keys})
    items, _ = items_of(structures)
    assert how.loaded is not None
    items = checked(items, how.loaded.potential, step)
    for item in items:
        if item.problem:
            raise InputError(f"{item.label}: {item.problem}")
    plan = Plan(kind, (Planned(kind, kind, {"structures": GIVEN, **changed(keys, step)}),), {GIVEN: items}, int(seed))

    def collect(found: Found) -> Any:
        return results(found.get(kind, ()))

    return execute(plan, how, collect)
