"""Temperature and pressure as pure functions of the step: constants and linear ramps, stage after stage."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Self

from atomsim.errors import InputError, check_number, check_whole
from atomsim.units import GPA


@dataclass(frozen=True)
class Stage:
    """A number of steps in which temperature and pressure are constant or change linearly."""

    steps: int
    temperature_K: float
    """At the start of the stage."""
    end_temperature_K: float | None = None
    """At its end; None where it does not change."""
    pressure_GPa: float = 0.0
    end_pressure_GPa: float | None = None

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, "a whole number, 1 or more", low=1)
        for key in ("temperature_K", "end_temperature_K"):
            if (value := getattr(self, key)) is not None or key == "temperature_K":
                check_number(key, value, "a temperature of 0 K or more", low=0.0)
        for key in ("pressure_GPa", "end_pressure_GPa"):
            if (value := getattr(self, key)) is not None or key == "pressure_GPa":
                check_number(key, value, "a pressure in GPa")

    def at(self, step: int) -> tuple[float, float]:
        """Return temperature (K) and pressure (GPa) of a step of this stage, in its middle, counted from 0."""
        done = (step + 0.5) / self.steps
        return (
            _between(self.temperature_K, self.end_temperature_K, done),
            _between(self.pressure_GPa, self.end_pressure_GPa, done),
        )


@dataclass(frozen=True)
class Schedule:
    """Stages, one after another; the last one's end holds from then on."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("found a schedule without stages, wanted at least one")

    @classmethod
    def constant(cls, temperature_K: float, steps: int, pressure_GPa: float = 0.0) -> Self:
        """Return one temperature and pressure for so many steps."""
        return cls((Stage(steps, temperature_K, pressure_GPa=pressure_GPa),))

    @classmethod
    def from_json(cls, stages: Sequence[dict[str, Any]]) -> Self:
        """Return the schedule that ``to_json`` has described."""
        return cls(tuple(Stage(**stage) for stage in stages))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the stages as JSON."""
        return [dict(vars(stage)) for stage in self.stages]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Step at which each stage ends."""
        return tuple(accumulate(stage.steps for stage in self.stages))

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return self.ends[-1]

    def at(self, step: int) -> tuple[float, float]:
        """Return temperature (K) and pressure (eV/Å³) of the step that starts when ``step`` steps are done."""
        which = bisect_right(self.ends, step)
        if which == len(self.stages):
            last = self.stages[-1]
            temperature, pressure = (
                _between(last.temperature_K, last.end_temperature_K, 1.0),
                _between(last.pressure_GPa, last.end_pressure_GPa, 1.0),
            )
        else:
            begin = self.ends[which] - self.stages[which].steps
            temperature, pressure = self.stages[which].at(step - begin)
        return temperature, pressure * GPA


def _between(first: float, last: float | None, done: float) -> float:
    return first if last is None else first + (last - first) * done
