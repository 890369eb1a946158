"""Errors in the words that were typed: the option ``--fmax``, not the key ``fmax_eV_per_A`` behind it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from atomsim.errors import AtomsimError, Interrupted, counted

P = ParamSpec("P")
R = TypeVar("R")

UNITS = r"(?:_(?:eV|GPa|A|A2|A3|fs|ps|K|V|deg|g|g_cm3|mg|Wh)(?:_per_[A-Za-z0-9]+)*)?"


def speaks_options(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command's errors name its options instead of the keys and fields that they become."""

    @wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AtomsimError as error:
            text = in_options(str(error), options_of(command))
            if text == str(error):
                raise
            raise type(error)(text) from error

    return spoken


def options_of(command: Callable[..., object]) -> tuple[str, ...]:
    """Return the parameters of a command."""
    return tuple(inspect.signature(command).parameters)


def in_options(text: str, parameters: Iterable[str]) -> str:
    """Return a message with ``--max-length`` for ``max_length_A``; a plain word only where it is named as a key."""
    parameters = tuple(parameters)
    if "out" in parameters:
        text = text.replace("with run=", "with --out")
    if "every" in parameters:
        text = text.replace("time_between_frames_fs", "--every")
    for name in parameters:
        option = f"--{name.replace('_', '-')}"
        text = re.sub(rf"(?<![\w-]){name}{UNITS}(?==|: found|: wanted| was [^ ]+, now )", option, text)
        if "_" in name:
            text = re.sub(rf"(?<![\w-]){name}{UNITS}(?![\w-])", option, text)
        else:
            text = re.sub(rf"(?<![\w-]){name}{UNITS[:-1]}(?![\w-])", option, text)  # with a unit only
    return text


def without_file(text: str, name: str) -> str:
    """Return a message on a campaign file that the command wrote itself, without the file's name and places in it."""
    head = rf"(?:{re.escape(name)}: )?(?:(?:\[\[step\]\](?: \d+ \([^)]*\))?|\[campaign\]|step '[^']*'): )?"
    text = re.sub(rf"^{head}", "", text)
    return re.sub(r"[;,.]? ?'atomsim check --keys [^']*' lists all keys", "; --help lists all options", text)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Say where a verb that is stopped by Ctrl-C continues: its own message speaks to Python.

    Raises:
        KeyboardInterrupt: with the words of a command.
    """
    try:
        yield
    except Interrupted as error:
        done = counted(len(error.results), "result")
        raise KeyboardInterrupt(
            f"{done} and all frames are in {folder}; run the same command again to continue"
        ) from error


@contextmanager
def kept_nowhere(what: str) -> Iterator[None]:
    """Say that nothing is kept of a verb that is stopped by Ctrl-C, such as 'x.extxyz was not written'.

    Raises:
        KeyboardInterrupt: with the words of a command.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"{what}; the same command begins anew") from error
