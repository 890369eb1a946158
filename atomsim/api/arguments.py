"""Arguments of verbs: unknown names, foreign types and wrong units are refused in one line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ValidationError

from atomsim.errors import InputError, nearest

P = ParamSpec("P")
R = TypeVar("R")

PLAUSIBLE: dict[str, tuple[float, float, str]] = {
    "fmax_eV_per_A": (0.0, 5.0, "a force in eV/Å, such as 0.05"),
    "end_fmax_eV_per_A": (0.0, 5.0, "a force in eV/Å, such as 0.02"),
    "pressure_GPa": (-1000.0, 1000.0, "a pressure in GPa (1 GPa = 10 kbar)"),
    "noise_A": (0.0, 0.5, "a length in Å, such as 0.02"),
    "supercell_min_A": (0.0, 100.0, "a length in Å, such as 8"),
    "max_length_A": (0.0, 10.0, "a length in Å, such as 4"),
    "temperature_K": (0.0, 10_000.0, "a temperature in K, such as 300"),
}
"""Least, largest and meaning of numbers: outside, only another unit explains them."""
DEFAULTS_ELSEWHERE = frozenset({"spring_eV_per_A2", "climb", "prove_saddle", "retries"})
"""Settings of the engine that no step kind has: only their defaults can be asked for."""


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function, and fill in those that ``settings=`` gives.

    A keyword that is given takes the place of the same field of ``settings``.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = _bound(function.__name__, signature, args, kwargs)
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
        settings = None if open_ended else bound.arguments.pop("settings", None)
        if settings is not None:
            for key, value in fields_of(settings, signature.parameters).items():
                bound.arguments.setdefault(key, value)
        bound.apply_defaults()
        for key, value in bound.arguments.items():
            check_unit(key, value)
            if key == "seed":
                check_seed(value)
        return function(*bound.args, **bound.kwargs)

    return cast("Callable[P, R]", called)


def _bound(
    name: str, signature: inspect.Signature, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    known = signature.parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for key in kwargs:
        if key not in known and not open_ended:
            raise InputError(f"unknown setting {key!r};{nearest(key, known)} atomsim.{name} takes {', '.join(known)}")
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(f"atomsim.{name}: {error}; it takes {', '.join(known)}") from error


def fields_of(settings: Any, known: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a settings object that a verb has.

    Raises:
        InputError: if it has others, or is none.
    """
    known = list(known)
    if isinstance(settings, BaseModel):
        found = {key: getattr(settings, key) for key in type(settings).model_fields}
    elif is_dataclass(settings) and not isinstance(settings, type):
        found = {f.name: getattr(settings, f.name) for f in fields(settings)}
        odd = [f.name for f in fields(settings) if f.name in DEFAULTS_ELSEWHERE and found[f.name] != f.default]
        if odd:
            raise InputError(f"settings: {', '.join(odd)} cannot be set here; leave the default")
        found = {key: value for key, value in found.items() if key not in DEFAULTS_ELSEWHERE}
    elif isinstance(settings, Mapping):
        found = dict(settings)
    else:
        raise InputError(f"settings: found {type(settings).__name__}, wanted RelaxSettings or the like, or a dict")
    found = {key: value for key, value in found.items() if key not in ("structures", "start", "end")}
    for key in found:
        if key not in known:
            raise InputError(f"settings: unknown setting {key!r};{nearest(key, known)} wanted {', '.join(known)}")
    return found


def check_unit(key: str, value: Any) -> None:
    """Refuse a number that only another unit explains.

    Raises:
        InputError: naming the unit that is wanted.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    if key not in PLAUSIBLE or not number:
        return
    low, high, wanted = PLAUSIBLE[key]
    if not low <= value <= high:  # false for NaN too
        raise InputError(f"found {key}={value!r}, wanted {wanted} (from {low:g} to {high:g})")


def check_temperature(temperature_K: Any) -> float:
    """Return a temperature as a float.

    Raises:
        InputError: if it is no temperature in K above 0.
    """
    if isinstance(temperature_K, bool) or not isinstance(temperature_K, int | float | np.number):
        raise InputError(f"found temperature_K={temperature_K!r}, wanted a temperature in K, such as 300")
    check_unit("temperature_K", temperature_K)
    if not temperature_K > 0:
        raise InputError(f"found temperature_K={temperature_K!r}, wanted a temperature in K above 0")
    return float(temperature_K)


def check_seed(seed: Any) -> None:
    """Refuse what is no seed.

    Raises:
        InputError: if it is not a whole number of 0 or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"found seed={seed!r}, wanted a whole number, 0 or more")


def made(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """Return settings of a step kind; tuples, ranges and NumPy numbers are taken as lists and numbers.

    Raises:
        InputError: naming the first setting that is not as wanted.
    """
    given = {key: plain(value) for key, value in values.items()}
    for key in given:
        if key not in model.model_fields:
            raise InputError(f"unknown setting {key!r};{nearest(key, model.model_fields)}")
    from atomsim.tasks.keys import wanted_of

    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        wanted = wanted_of(problem)
        if not problem["loc"]:
            raise InputError(wanted) from error
        key = str(problem["loc"][0])
        if problem["type"] == "missing":
            raise InputError(f"{key} is not given; it must be") from error
        if problem["type"] == "value_error" and wanted.startswith(("found ", "unknown ")):
            raise InputError(f"{key}: {wanted}") from error
        hint = nearest(str(given.get(key)), wanted.replace("'", "").replace(" or ", ", ").split(", "))
        hint = f";{hint}" if problem["type"] == "literal_error" and hint else ""
        raise InputError(f"found {key}={given.get(key)!r}, wanted {_wanted(key, wanted)}{hint}") from error


def _wanted(key: str, wanted: str) -> str:
    """Name the unit beside what pydantic wants."""
    return f"{wanted} ({PLAUSIBLE[key][2]})" if key in PLAUSIBLE else wanted


def listed(key: str, value: Any, wanted: str = "a list") -> list[Any]:
    """Return many values as a list; a word stands for a list of one.

    Raises:
        InputError: naming the argument, if it is neither.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise InputError(f"found {key}={value!r}, wanted {wanted}")
    return list(value)


def mapped(key: str, value: Any, wanted: str) -> dict[str, Any]:
    """Return a mapping as a dict; nothing stands for an empty one.

    Raises:
        InputError: naming the argument, if it is something else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"found {key}={value!r}, wanted {wanted}")
    return dict(value or {})


def plain(value: Any) -> Any:
    """Return tuples, ranges and arrays as lists, NumPy's and integral floats as Python's own numbers."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, tuple | range | list):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return value
