"""Every error that a user can cause, each worth one clear line, and checks of single settings that raise them.

A message says what was found, what was wanted and what to do next.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

UNIT = re.compile(r"(_(eV|per|atom|A|A2|A3|GPa|K|V|deg|fs|ps|s|h))+$")
"""Units at the end of a key."""


class AtomsimError(Exception):
    """Something went wrong that is not a programming error. Exit code 1."""

    exit_code = 1


class StorageError(AtomsimError):
    """Failure to write the state or artifacts of a task: no fault of the task, which resumes once there is room."""


class InputError(AtomsimError, ValueError):
    """The user's input cannot be used as it stands: found, wanted, next. Exit code 2; in Python also a ValueError."""

    exit_code = 2


class InUseError(InputError):
    """Another process is at work where this one would be; it goes away by itself."""


_warned: set[str] = set()


def note_once(note: str) -> None:
    """Write to standard error, once."""
    if note and note not in _warned:
        _warned.add(note)
        sys.stderr.write(f"note: {note}\n")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 task``, ``2 tasks``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" did you mean 'x'?"`` for the closest known word, or an empty string.

    Units are part of key names but not of what people remember: ``fmax`` finds ``fmax_eV_per_A``.
    """
    stems = {stem: name for name in reversed(list(known)) for stem in (name, UNIT.sub("", name))}
    matches = get_close_matches(word, list(stems), n=1, cutoff=0.5)
    return f" did you mean {stems[matches[0]]!r}?" if matches else ""


class Interrupted(KeyboardInterrupt):
    """A verb was stopped by Ctrl-C or a notebook's stop button; what had finished is kept."""

    def __init__(self, results: Any) -> None:
        done = len(results) if hasattr(results, "__len__") else 0
        super().__init__(f"interrupted; {counted(done, 'result')} had finished, see .results")
        self.results = results
        """Results that had finished, in the verb's own type."""


def check_number(
    key: str, value: Any, wanted: str, *, above: float = -math.inf, low: float = -math.inf, high: float = math.inf
) -> None:
    """Refuse what is not a finite number above ``above`` and from ``low`` to ``high``.

    Raises:
        InputError: naming the key.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
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
    if type(value).__name__ not in ("bool", "bool_"):  # NumPy's too, which is not imported here
        raise InputError(f"found {key}={value!r}, wanted True or False")
