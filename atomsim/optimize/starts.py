"""Several starts of one system: all descend some way, and the lowest continues."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from atomsim.optimize.drive import Outcome
from atomsim.optimize.entering import Group
from atomsim.optimize.space import Space

SCREEN_FMAX = 0.1
"""Residual force at which starts are compared, eV/Å: by then a start is in the basin that it ends in."""
FARTHER_A = 0.1
"""Noise of all starts but the first, Å, where the first has less: enough to reach another basin."""


@dataclass(frozen=True)
class Start:
    """Key of a group that is one of several starts of a system."""

    system: Hashable
    number: int


def lowest_starts(
    groups: Iterable[Group], descend: Callable[[Iterable[Group]], Iterator[Outcome]], starts: int, space: Space
) -> Iterator[tuple[Outcome, Group]]:
    """Descend from all starts; yield each system's cost so far and the group that continues, as its last start ends.

    Which start is chosen does not depend on the other systems, nor on the order in which starts end.

    Args:
        groups: the starts, their keys ``Start``.
        descend: ``drive`` with all but its groups, to ``SCREEN_FMAX`` or so.
        starts: how many each system has.
        space: what moves; under pressure the lowest is that of lowest enthalpy.
    """
    ended: dict[Hashable, list[Outcome]] = {}
    for outcome in descend(groups):
        assert isinstance(outcome.key, Start)
        system = outcome.key.system
        tried = ended.setdefault(system, [])
        tried.append(outcome)
        if len(tried) == starts:
            tried = sorted(ended.pop(system), key=_number)
            best = min(tried, key=partial(_rank, space=space))
            spent = replace(
                tried[0],
                key=system,
                steps=sum(o.steps for o in tried),
                force_calls=sum(o.force_calls for o in tried),
            )
            yield spent, Group(system, best.batch, best.inverse_hessian)


def _number(outcome: Outcome) -> int:
    assert isinstance(outcome.key, Start)
    return outcome.key.number


def _rank(outcome: Outcome, space: Space) -> tuple[bool, float]:
    """Lowest first; what failed may have any energy and comes last."""
    failed = outcome.status not in ("converged", "max_steps")
    return failed, 0.0 if failed else float(space.energy(outcome.batch, outcome.evaluation).sum())
