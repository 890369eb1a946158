"""Checks of single settings; each error says what was found and what was wanted."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

from atomsim.errors import InputError


def check_number(
    key: str, value: Any, wanted: str, *, above: float = -math.inf, low: float = -math.inf, high: float = math.inf
) -> None:
    """Refuse what is not a finite number above ``above`` and from ``low`` to ``high``.

    Raises:
        InputError: naming the key.
    """
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    try:
        finite = number and math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        finite = False
    if not (finite and value > above and low <= value <= high):
        raise InputError(f"found {key}={value!r}, wanted {wanted}")


def check_whole(key: str, value: Any, wanted: str, *, low: int, high: float = math.inf) -> None:
    """Refuse what is not a whole number from ``low`` to ``high``; 2.0 is not one either.

    Raises:
        InputError: naming the key.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and low <= int(value) <= high):
        raise InputError(f"found {key}={value!r}, wanted {wanted}")


def check_flag(key: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        InputError: naming the key.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"found {key}={value!r}, wanted True or False")
