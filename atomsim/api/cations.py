"""``atomsim.order`` and ``atomsim.dope``: how cations order, and where a dopant sits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from atomsim.api.arguments import listed, made, mapped, verb
from atomsim.api.each import changed
from atomsim.api.execution import GIVEN, How, Plan, Planned, T, check_processes, execute, run_path
from atomsim.api.inputs import Item, checked, items_of
from atomsim.api.potentials import remember, resolve
from atomsim.api.results import Result, Results
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.cations.doped import Paired, Preference, VoltageShift

ORDER_KEYS = (
    *("sublattices", "ion", "charges", "shells", "relaxations", "batch", "lowest", "target_meV_per_site"),
    *("temperature_K", "chains", "sweeps", "enumerate_limit", "fmax_eV_per_A", "final_fmax_eV_per_A", "max_steps"),
    *("noise_A", "cell", "check_with", "check_relax"),
)
"""Keywords of ``order`` that are keys of its step."""
DOPE_KEYS = (
    *("dopant", "sites", "count", "fraction", "per_site", "compensation", "ion", "charges"),
    *("fmax_eV_per_A", "max_steps", "noise_A", "cell", "check_minimum", "check_with", "check_relax"),
)
"""Keywords of ``dope`` that are keys of its step."""


class CationOrder(Result):
    """Cation order of one structure: lowest arrangements, the model, short-range order against temperature."""

    columns: ClassVar[tuple[str, ...]] = ("energy_eV", "leave_one_out_meV_per_site", "relaxations", "force_calls")

    @property
    def lowest(self) -> list[Atoms]:
        """The lowest arrangements, relaxed, the lowest first."""
        from atomsim.io.atoms_json import atoms_from_json

        return [atoms_from_json(o["structure"]) for o in self.record.values.get("orderings", ())]

    @property
    def arrangements(self) -> list[dict[str, Any]]:
        """All arrangements that were relaxed: energy, multiplicity, species of the sites, Boltzmann weights."""
        return list(self.record.values.get("relaxed", ()))

    @property
    def leave_one_out_meV_per_site(self) -> float:  # noqa: N802 - units in names
        """Leave-one-out error of the model; NaN without one."""
        return self.value("leave_one_out_meV_per_site")

    @property
    def temperatures(self) -> list[dict[str, Any]]:
        """Mean energy, R̂ of the chains and Warren–Cowley parameters (shells × species × species) by temperature."""
        return list(self.record.values.get("temperatures", ()))

    @property
    def opinions(self) -> list[dict[str, Any]]:
        """The lowest arrangements by each potential that was asked, with their spread, the largest first."""
        return list(self.record.values.get("opinions", ()))

    def short_range_order(self, one: str, other: str, shell: int = 0) -> dict[float, float]:
        """Return α of a pair of elements in a shell by temperature: 0 is random, negative prefers the pair.

        Raises:
            InputError: if an element is not on the sublattices, or there is no such shell.
        """
        species = list(self.record.values.get("species", ()))
        for element in (one, other):
            if element not in species:
                raise InputError(f"found {element!r}, wanted one of {', '.join(species)}")
        shells = len(self.record.values.get("shells_A", ()))
        if not 0 <= shell < shells:
            raise InputError(f"found shell {shell!r}, wanted 0 to {shells - 1}")
        a, b = species.index(one), species.index(other)
        return {t["temperature_K"]: t["warren_cowley"][shell][a][b] for t in self.temperatures}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what the model predicts of each arrangement without it against its relaxed energy."""
        from atomsim.api.views import axes

        drawn = axes(ax)
        known = sorted(self.arrangements, key=lambda a: a["relaxed_as"])
        predicted = [e - self.value("energy_eV") for e in self.record.values.get("left_out_eV", ())]
        drawn.plot([a["above_lowest_eV"] for a in known][: len(predicted)], predicted, "o", ms=4)
        drawn.set_xlabel("relaxed, eV above the lowest")
        drawn.set_ylabel("model without it, eV")
        return drawn


class Doping(Results[Result]):
    """Records of undoped and doped cells."""

    @property
    def preferences(self) -> list[Preference]:
        """Each sublattice against the best, at one composition, eV per cell."""
        from atomsim.cations.doped import preferences

        return preferences([r.record for r in self])

    @property
    def layers(self) -> list[Paired]:
        """Changes of slab, ion layer, their sum, c and O–O across, doped − undoped, with intervals, Å."""
        from atomsim.cations.doped import paired_layers

        return paired_layers([r.record for r in self])

    @property
    def voltage_shifts(self) -> list[VoltageShift]:
        """Shifts of the mean voltage between neighbouring ion contents, where several were given, V."""
        from atomsim.cations.doped import voltage_shifts

        return voltage_shifts([r.record for r in self])

    @property
    def opinions(self) -> dict[str, Any]:
        """Preferences and cells by each potential that was asked, with their spread, the largest first."""
        from atomsim.cations.opinions import dopant_opinions

        return dopant_opinions([r.record for r in self])


@verb
def order(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    sublattices: Sequence[str] = ("metal-layer",),
    ion: str = "Li",
    charges: Mapping[str, float] | None = None,
    shells: int = 3,
    relaxations: int = 40,
    batch: int = 10,
    lowest: int = 3,
    target_meV_per_site: float = 15.0,
    temperature_K: Sequence[float] = (300.0, 600.0, 1000.0, 1500.0),
    chains: int = 4,
    sweeps: int = 400,
    enumerate_limit: int = 2000,
    fmax_eV_per_A: float = 0.05,
    final_fmax_eV_per_A: float = 0.02,
    max_steps: int = 300,
    noise_A: float = 0.02,
    cell: bool = True,
    check_with: Sequence[str] = (),
    check_relax: bool = False,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> CationOrder | Results[CationOrder]:
    """Find how cations order on named sublattices, at their ground state and at temperatures.

    A model of formal charges and pairs is fitted to relaxed energies; replica exchange samples it, or all
    arrangements are enumerated where they are few; what it ranks low or knows least is relaxed next.

    Args:
        structures: cells of the average lattice, one or many; best unrelaxed, as symmetry tells arrangements apart.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        sublattices: each ordered within itself: an element, ``metal-layer``, ``Li:ion-layer``, ``#12``, joined by ``+``
        ion: element between the layers.
        charges: formal charges of elements, e; the others follow from common states and neutrality.
        shells: pair shells of the model and of the short-range order.
        relaxations: most arrangements to relax.
        batch: arrangements relaxed between two fits.
        lowest: lowest arrangements relaxed to the end and handed on.
        target_meV_per_site: leave-one-out error at which the search may end early.
        temperature_K: of short-range order and Boltzmann weights.
        chains: independent chains of replica exchange.
        sweeps: of the final sampling.
        enumerate_limit: symmetry-distinct arrangements up to which all are enumerated.
        fmax_eV_per_A: largest force while searching.
        final_fmax_eV_per_A: largest force of the lowest ones.
        max_steps: of one relaxation.
        noise_A: seeded noise at the start of a relaxation.
        cell: relax the cell too.
        check_with: names of further potentials that judge the lowest arrangements; see ``.opinions``.
        check_relax: each relaxes them again, instead of evaluating only.
        settings: all of these at once; keywords take their place.
        seed: of sampling and noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many structures at once; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One result for one structure, a sequence for many.

    Raises:
        InputError: for a sublattice that matches nothing or holds one element, layers of what has none, charges that
            do not balance, or a temperature of 0 K or less.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.order("LRMO", relaxations=40)  # doctest: +SKIP
        >>> found.lowest[0], found.short_range_order("Li", "Mn")  # doctest: +SKIP
    """
    keys = {key: value for key, value in locals().items() if key in ORDER_KEYS}
    given = [temperature_K] if isinstance(temperature_K, int | float) else temperature_K
    keys |= {"temperature_K": listed("temperature_K", given), "sublattices": listed("sublattices", sublattices)}
    keys |= {"charges": mapped("charges", charges, "charges in e by element")}
    keys["check_with"] = listed("check_with", check_with)
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    items, single = items_of(structures)
    found = execute_step("order", items, keys, how, seed, lambda records: [CationOrder(r) for r in records])
    return found[0] if single and len(found) == 1 else Results(found)


@verb
def dope(
    structures: Any,
    dopant: str,
    potential: Any = "chgnet-0.3.0",
    *,
    sites: Sequence[str] = ("Mn",),
    count: int | None = None,
    fraction: float | None = None,
    per_site: int = 4,
    compensation: Literal["none", "remove_ion", "swap"] = "none",
    ion: str = "Li",
    charges: Mapping[str, float] | None = None,
    fmax_eV_per_A: float = 0.02,
    max_steps: int = 500,
    noise_A: float = 0.02,
    cell: bool = True,
    check_minimum: bool = False,
    check_with: Sequence[str] = (),
    check_relax: bool = False,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Doping:
    """Put an element on named sublattices: where it sits at fixed composition, and what it does to the layers.

    On the first sublattice the dopant replaces atoms; on the others it is exchanged with what stands there, so that
    all cells have one composition and no chemical potential is needed.

    Args:
        structures: undoped crystals, one or many, or a result of ``order``, whose lowest arrangements are taken.
        dopant: element to put in.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        sites: sublattices: ``Mn``, ``Li:metal-layer``, ``Li:ion-layer``, ``#12``.
        count: dopants per cell.
        fraction: share of the first sublattice that is replaced, in place of ``count``; one atom if neither is given.
        per_site: configurations on each sublattice of each crystal, half of them the lowest in Coulomb energy.
        compensation: what pays for the charge: ``none`` (metals), ``remove_ion``, ``swap`` (cations become ions).
        ion: element between the layers.
        charges: formal charges of elements, e, where not the common ones.
        fmax_eV_per_A: largest force.
        max_steps: of one relaxation.
        noise_A: seeded noise at the start.
        cell: relax the cell too.
        check_minimum: look for a mode of negative curvature at the end.
        check_with: names of further potentials that judge each relaxed cell; see ``.opinions``.
        check_relax: each relaxes it again, instead of evaluating only.
        settings: all of these at once; keywords take their place.
        seed: of the choice and the noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Records of undoped and doped cells, with ``.preferences``, ``.layers`` and ``.voltage_shifts``.

    Raises:
        InputError: for a dopant that the host holds or the potential does not know, a sublattice that matches nothing,
            less than one atom or more than there are, or a charge that cannot be balanced.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.dope("LRMO", "W", sites=["Mn", "Co", "Li:ion-layer"])  # doctest: +SKIP
        >>> [(p.site, p.above_eV) for p in found.preferences]  # doctest: +SKIP
    """
    keys = {key: value for key, value in locals().items() if key in DOPE_KEYS}
    keys |= {"sites": listed("sites", sites), "charges": mapped("charges", charges, "charges in e by element")}
    keys["check_with"] = listed("check_with", check_with)
    if count is None and fraction is None:
        keys["count"] = 1
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    items = items_of(structures)[0]
    if isinstance(structures, CationOrder):
        lowest = structures.lowest
        items = [Item(f"{structures.label} {n}", atoms) for n, atoms in enumerate(lowest, 1)]
    return execute_step("dope", items, keys, how, seed, lambda records: Doping(Result(r) for r in records))


def execute_step(
    kind: str, items: list[Item], keys: Mapping[str, Any], how: How, seed: int, results: Callable[[Any], T]
) -> T:
    """Run one step on what was given.

    Raises:
        InputError: if a structure or a setting is not as wanted.
    """
    from atomsim.tasks import kind_of

    step: Any = made(kind_of(kind).Settings, {"structures": [GIVEN], **keys})
    assert how.loaded is not None
    items = checked(items, how.loaded.potential, step)
    for item in items:
        if item.problem:
            raise InputError(f"{item.label}: {item.problem}")
    planned = Planned(kind, kind, {"structures": GIVEN, **changed(keys, step)})
    plan = Plan(kind, (planned,), {GIVEN: items}, int(seed))
    return execute(plan, how, lambda found: results(found.get(kind, ())))
