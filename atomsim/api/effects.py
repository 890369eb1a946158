"""``atomsim.dopant_effects``: hops, oxygen vacancies and metal migration with and without a dopant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.api.arguments import listed, verb
from atomsim.api.cations import Doping, execute_step
from atomsim.api.execution import How, check_processes, run_path
from atomsim.api.inputs import Item
from atomsim.api.potentials import remember, resolve
from atomsim.api.results import Result, Results
from atomsim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atomsim.cations.doped import Paired
    from atomsim.cations.effects import EventPair, SurroundingsBarriers

EFFECT_KEYS = (
    *("cells", "ion", "hops", "max_length_A", "near_A", "vacancies", "migrations", "migrating"),
    *("images", "fmax_eV_per_A", "end_fmax_eV_per_A", "max_steps", "check_minimum"),
)
"""Keywords of ``dopant_effects`` that are keys of its step."""


class DopantEffects(Results[Result]):
    """Records of events without and with a dopant."""

    @property
    def differences(self) -> list[Paired]:
        """With minus without by kind of event and place, with intervals, eV; ``resolved`` where they leave out 0."""
        from atomsim.cations.effects import event_differences

        return event_differences([r.record for r in self])

    @property
    def pairs(self) -> list[EventPair]:
        """Each event with both of its records."""
        from atomsim.cations.effects import event_pairs

        return event_pairs([r.record for r in self])

    @property
    def barriers_by_surroundings(self) -> list[SurroundingsBarriers]:
        """Kinetically resolved barriers by the metals at the bottleneck, eV."""
        from atomsim.cations.effects import barriers_by_surroundings

        return barriers_by_surroundings([r.record for r in self])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the barriers of hops with the dopant against those without it."""
        from atomsim.api.views import axes

        drawn = axes(ax)
        for name, near in (("dopant at the bottleneck", True), ("elsewhere", False)):
            own = [p.values("resolved_eV") for p in self.pairs if p.event == "hop" and p.near is near]
            known = [v for v in own if v is not None]
            drawn.plot([v[0] for v in known], [v[1] for v in known], "o", ms=4, label=name)
        drawn.axline((0, 0), slope=1, color="grey", lw=1)
        drawn.set_xlabel("barrier without the dopant, eV")
        drawn.set_ylabel("with it, eV")
        drawn.legend()
        return drawn


@verb
def dopant_effects(
    doped: Doping,
    potential: Any = "chgnet-0.3.0",
    *,
    cells: int = 1,
    ion: str = "Li",
    hops: int = 6,
    max_length_A: float = 3.4,
    near_A: float = 3.6,
    vacancies: int = 4,
    migrations: int = 0,
    migrating: Sequence[str] = ("Mn",),
    images: int = 5,
    fmax_eV_per_A: float = 0.05,
    end_fmax_eV_per_A: float = 0.02,
    max_steps: int = 300,
    check_minimum: bool = False,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> DopantEffects:
    """Compare hops, oxygen vacancies and migrating metals in a crystal with and without a dopant, pair by pair.

    Events of the same atoms are computed on both sides, half of them near the dopant, half far from it. Barriers count
    with a proven saddle on both sides only.

    Args:
        doped: what ``dope`` returned, with this potential.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        cells: doped cells of each undoped one, the lowest in energy.
        ion: element that hops, and between the layers.
        hops: hops in each pair of cells, half of them with the dopant near.
        max_length_A: longest hop.
        near_A: metals within this of the middle of a hop are at its bottleneck.
        vacancies: oxygen vacancies in each pair, half bonded to the dopant.
        migrations: metals that go to the tetrahedron in the ion layer, ions in the way taken out.
        migrating: their elements; the dopant may be one.
        images: images between the ends of a path.
        fmax_eV_per_A: largest projected force of a path; of its saddle 0.4 of it.
        end_fmax_eV_per_A: largest force of ends and vacancies.
        max_steps: of a relaxation or a path.
        check_minimum: look for a mode of negative curvature at each end.
        settings: all of these at once; keywords take their place.
        seed: of the choice of events, and of paths.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Records of both sides, with ``.differences``, ``.pairs`` and ``.barriers_by_surroundings``.

    Raises:
        InputError: for anything but a result of ``dope`` whose doped cells keep all ions, or a crystal without what is
            asked for.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> doped = atomsim.dope("LRMO", "W", sites=["Mn"])  # doctest: +SKIP
        >>> found = atomsim.dopant_effects(doped, hops=8)  # doctest: +SKIP
        >>> [(p.what, p.site, p.mean, p.resolved) for p in found.differences]  # doctest: +SKIP
    """
    keys = {key: value for key, value in locals().items() if key in EFFECT_KEYS}
    keys |= {"migrating": listed("migrating", migrating)}
    if not isinstance(doped, Doping):
        raise InputError(f"doped: found {type(doped).__name__}, wanted what atomsim.dope returns")
    records = [r.record for r in doped if r.record.good]
    items = [Item(r.label, r.atoms, r.tags | {"energy_eV": r.values["energy_eV"]}) for r in records]
    how = How(remember(resolve(potential, device)), check_processes(processes), run_path(run), progress)
    return execute_step("effects", items, keys, how, seed, lambda found: DopantEffects(Result(r) for r in found))
