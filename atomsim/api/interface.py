"""``atomsim.interface``: reactions of two phases in contact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from atomsim.api.arguments import listed, made, mapped, plain, verb
from atomsim.api.each import changed
from atomsim.api.execution import How, Plan, Planned, execute
from atomsim.api.relaxed import Relaxation
from atomsim.api.results import Result, Results
from atomsim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atomsim.interfaces.record import Condition

KEYS = ("open_to", "voltages_V", "gaps_eV", "gap_below_eV")


class Interface(Result):
    """Reactions of two phases in contact, closed and at each voltage."""

    columns: ClassVar[tuple[str, ...]] = ("mutual_eV_per_atom", "x")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The closed interface first, then open ones by the order of the voltages."""
        from atomsim.interfaces.record import from_values

        return tuple(from_values(kept) for kept in self.record.values.get("conditions", ()))

    @property
    def mutual_eV_per_atom(self) -> float:  # noqa: N802 - units in names
        """Lowest mutual energy of the closed interface, eV per atom; NaN where it could not be computed."""
        return self.value("mutual_eV_per_atom")

    @property
    def equation(self) -> str:
        """The reaction of lowest mutual energy, closed."""
        return str(self.record.values.get("equation", ""))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the mutual energy against the mixing ratio."""
        from atomsim.api.views import axes

        drawn = axes(ax)
        for condition in self.conditions:
            kinks = condition.found.kinks
            drawn.plot([k.x for k in kinks], [k.mutual_eV_per_atom for k in kinks], "-o", ms=3, label=condition.name)
        drawn.set_xlabel(f"x in x {self.record.tags['first']} + (1 − x) {self.record.tags['second']}")
        drawn.set_ylabel("mutual reaction energy, eV/atom")
        drawn.legend()
        return drawn

    def _in_words(self) -> str:
        return f", {1000 * self.mutual_eV_per_atom:.0f} meV/atom, {self.equation}" if self.ok else ""


@verb
def interface(
    phases: Any,
    first: str | Sequence[str],
    second: str | Sequence[str],
    *,
    open_to: str | None = None,
    voltages_V: Sequence[float] = (),
    gaps_eV: Mapping[str, float] | None = None,
    gap_below_eV: float = 0.5,
) -> Interface | Results[Interface]:
    """Find what two phases in contact react to, by the hull over their mixing ratio.

    Zhu, He & Mo, J. Mater. Chem. A 2016, 4, 3253. Nothing is computed anew: energies are those of the relaxations.

    Args:
        phases: relaxations of all phases that may form, of one potential, the two in contact among them.
        first: formula of one phase, or of several.
        second: formula of the other, or of several.
        open_to: element that is exchanged with a reservoir, such as ``Li``.
        voltages_V: of that element against its own phase, V: μ = μ⁰ − z e φ, z being 2 for Mg, and 1 for oxygen.
        gaps_eV: band gaps by formula, before those of the shipped table.
        gap_below_eV: a product with a smaller gap is an electronic conductor.

    Returns:
        One result for one pair, a sequence for several: mutual and total energies in eV per atom (of those that are
        not exchanged), kinks with balanced equations, share of electronic conductors.

    Raises:
        InputError: for anything but relaxations, two potentials, pressure, or voltages without ``open_to``.

    Examples:
        >>> import atomsim
        >>> relaxed = atomsim.relax(["Li", "Li2O", "Li2O2"], "lj-test", keep_symmetry=True, device="cpu")
        >>> found = atomsim.interface(relaxed, "Li", "Li2O2")
        >>> found.status, len(found.conditions)
        ('done', 1)
    """
    from atomsim.tasks.interface import Settings

    members = (
        [phases]
        if isinstance(phases, Relaxation)
        else listed("phases", phases, "relaxations, as atomsim.relax returns them")
    )
    for one in members:
        if not isinstance(one, Relaxation):
            raise InputError(f"phases: found {type(one).__name__}, wanted relaxations, as atomsim.relax returns them")
    if not members:
        raise InputError("phases: found none, wanted relaxations of all phases that may form")
    pairs = {"first": listed("first", first, "formulas"), "second": listed("second", second, "formulas")}
    given = {
        "open_to": open_to,
        "voltages_V": [voltages_V] if isinstance(voltages_V, int | float) else listed("voltages_V", voltages_V),
        "gaps_eV": mapped("gaps_eV", gaps_eV, "band gaps in eV by formula"),
        "gap_below_eV": gap_below_eV,
    }
    keys = {key: plain(value) for key, value in given.items()}
    step: Any = made(Settings, {"phases": ["relaxed"], **pairs, **keys})
    planned = Planned("interface", "interface", {"phases": ["relaxed"], **pairs, **changed(keys, step)})
    how = How(progress=False, records={"relaxed": [m.record for m in members]})
    found = execute(Plan("interface", (planned,)), how, lambda kept: [Interface(r) for r in kept["interface"]])
    single = isinstance(first, str) and isinstance(second, str)
    return found[0] if single else Results(found)
