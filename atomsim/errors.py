"""Every error that a user can cause, each worth one clear line.

A message says what was found, what was wanted and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AtomsimError(Exception):
    """Something went wrong that is not a programming error. Exit code 1."""

    exit_code = 1


class InputError(AtomsimError):
    """The user's input cannot be used as it stands. Exit code 2."""

    exit_code = 2


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" did you mean 'x'?"`` for the closest known word, or an empty string."""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" did you mean {matches[0]!r}?" if matches else ""
