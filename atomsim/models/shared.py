"""Results that many tasks need and one of them computes: kept by their content and by who computed them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel

T = TypeVar("T")

MOST = 64
"""Results that are kept; the one that was not asked for longest goes."""
DECIDES = ("sha256", "dtype", "device", "kernel")
"""Attributes of a potential that decide its results, to the last bit."""


class Shared:
    """Results that several tasks need, such as a host's Hessian, each computed once.

    Whoever runs tasks owns one and passes it on (``Job.shared``). A result is found by everything that decides it, so
    that it is the same whether it was kept or is computed anew, and no task depends on those before it.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, tuple[EnergyModel, Any]] = OrderedDict()

    def get(self, potential: EnergyModel, what: Hashable, compute: Callable[[], T]) -> T:
        """Return what was computed with a potential, or compute it.

        Args:
            potential: who is asked; potentials of equal weights, precision, device and kernel are one.
            what: all else that decides the result.
            compute: makes it.
        """
        key = (_who(potential), what)
        if key not in self._kept:
            with lasting(potential):
                self._kept[key] = (potential, compute())
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        found: T = self._kept[key][1]
        return found


def lasting(potential: EnergyModel) -> AbstractContextManager[None]:
    """Keep what is evaluated meanwhile in checkpoints for as long as any task may need it, where there are any."""
    keeping: Callable[[], AbstractContextManager[None]] = getattr(potential, "lasting", nullcontext)
    return keeping()


def _who(potential: EnergyModel) -> Hashable:
    """Identity of a potential; one without is itself, which it stays as long as it is kept beside its result."""
    if not getattr(potential, "sha256", ""):
        return id(potential)
    return tuple(str(getattr(potential, name, "")) for name in DECIDES)
