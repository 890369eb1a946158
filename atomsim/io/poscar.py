"""POSCAR files: which elements they name and which coordinates they hold, before ASE reads them."""

from __future__ import annotations

import re
from pathlib import Path

from ase.data import atomic_numbers

from atomsim.errors import InputError, counted
from atomsim.io.text import read_text

COUNTS_LINE = 5
"""Line (from 0) of the numbers of atoms in VASP 4, of the symbols since VASP 5."""


LOGICAL = re.compile(r"\.?(t|true|f|false)\.?", re.IGNORECASE)
"""A logical value as Fortran, and so VASP, reads it."""


def check_poscar(path: Path) -> None:
    """Refuse a POSCAR that does not say which elements its atoms are.

    VASP 4 took them from the POTCAR. They are known for sure only where the comment line is made
    of one symbol for each number of atoms and nothing else.

    Raises:
        InputError: saying which line to add.
    """
    lines = read_text(path).split("\n")
    fields = [line.split("!")[0].split() for line in lines[: COUNTS_LINE + 2]]
    if len(fields) <= COUNTS_LINE or not fields[COUNTS_LINE]:
        return  # no POSCAR at all: the reader says what is wrong
    words = fields[COUNTS_LINE]
    if all(w.isdecimal() for w in words):
        comment = lines[0].split()
        if len(comment) != len(words) or not all(_is_element(c) for c in comment):
            raise InputError(
                f"{path}: no symbols of elements, only numbers of atoms ({' '.join(words)}), as VASP 4 wrote it; "
                f"add a line of {len(words)} symbols before them"
            )
        _check_number(path, lines, COUNTS_LINE)
        return
    for word in words:  # VASP writes Li_sv or, since 6, Li_sv/1a2b3c
        if not _is_element(word.split("/")[0].split("_")[0]):
            raise InputError(f"{path}: {word!r} in line {COUNTS_LINE + 1} is no element; want the symbol of one")
    counts = [w for w in fields[COUNTS_LINE + 1] if w.isdecimal()] if len(fields) > COUNTS_LINE + 1 else []
    if len(counts) != len(words):
        raise InputError(f"{path}: {len(words)} symbols but {len(counts)} numbers of atoms; want one for each symbol")
    _check_number(path, lines, COUNTS_LINE + 1)


def _check_number(path: Path, lines: list[str], counts_line: int) -> None:
    """Refuse another number of positions than of atoms; velocities stand behind a line of their own."""
    wanted = sum(int(w) for w in lines[counts_line].split("!")[0].split() if w.isdecimal())
    first = (
        counts_line + 2 + lines[counts_line + 1].strip().lower().startswith("s") if len(lines) > counts_line + 1 else 0
    )
    found = 0
    while first and first + found < len(lines) and _is_position(lines[first + found]):
        found += 1
    if found != wanted:
        raise InputError(
            f"{path}: {counted(wanted, 'atom')} but {counted(found, 'position')}; "
            "correct the numbers of atoms, or the positions"
        )


def _is_position(line: str) -> bool:
    words = line.split()[:3]
    try:
        return len([float(word.lower().replace("d", "e")) for word in words]) == 3
    except ValueError:
        return False


def selective_flags(path: Path) -> list[list[bool]] | None:
    """Return the flags of selective dynamics, three of each atom, True where it moves; None where there are none.

    ASE takes all but a capital ``F`` for true.

    Raises:
        InputError: naming the first atom whose flags are no three logical values.
    """
    lines = read_text(path).split("\n")
    fields = [line.split("!")[0].split() for line in lines]
    if len(fields) <= COUNTS_LINE:
        return None
    at = COUNTS_LINE + (not all(w.isdecimal() for w in fields[COUNTS_LINE]))
    if len(fields) < at + 3 or not lines[at + 1].strip().lower().startswith("s"):
        return None
    n = sum(int(w) for w in fields[at] if w.isdecimal())
    flags = []
    for k, words in enumerate(fields[at + 3 : at + 3 + n], 1):
        found = [LOGICAL.fullmatch(word) for word in words[3:6]]
        if len(found) < 3 or not all(found):
            raise InputError(
                f"{path}: atom {k} has the flags {' '.join(words[3:6])!r}; want three of T and F, as the line "
                f"{lines[at + 1].strip()!r} says: correct them, or remove that line"
            )
        flags.append([match is not None and match[1].lower().startswith("t") for match in found])
    return flags


def _is_element(symbol: str) -> bool:
    return symbol in atomic_numbers and symbol != "X"
