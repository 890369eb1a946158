"""Symmetry operations of a CIF: as listed, or those of the settings that its names and numbers may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.io.cif_block import CifBlock

OPERATORS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz", "_symmetry_equiv_pos_as_xyz_")
HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
SYMBOL = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_full",
    "_space_group_name_H-M",
)
REFERENCE = "_space_group_name_H-M_ref"
"""Symbol of the type of the group, not of the setting."""
NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
CODE = ("_space_group_IT_coordinate_system_code",)
PARTS = 24
"""Translations of space groups are multiples of 1/24 of a cell vector."""
QUALIFIER = re.compile(
    r"(?:\s*:\s*([-\w]+)|\s*\(?\s*origin(?:\s+choice)?\s*([12])\s*\)?|(?<=\S)\s+([HRSZ])|(?<=[\dacdmn])([HRSZ]))$"
)
"""Suffix of a symbol that tells its setting: ``:2``, ``:H``, ``:b1``, ``(origin choice 2)``, ``R``, ICSD's ``Z``."""
CHOICES = {"s": "1", "z": "2", "o1": "1", "o2": "2", "abc": "", "1abc": "1", "2abc": "2"}


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Operations of a space group in one setting."""

    name: str
    rotations: NDArray[np.int64]
    """(n, 3, 3), on fractional coordinates as columns."""
    translations: NDArray[np.int64]
    """(n, 3), in 24ths of the cell vectors, 0 to 23."""
    choice: str = ""
    """Origin, axes or cell choice as spglib names them: 2, H, b1, cab, 2cab …"""

    @cached_property
    def number(self) -> int:
        """Number of the space group in International Tables."""
        metric = np.einsum("nki,nkj->ij", self.rotations, self.rotations) / len(self.rotations)
        found = spglib.get_spacegroup_type_from_symmetry(
            self.rotations, self.translations / PARTS, lattice=np.linalg.cholesky(metric)
        )
        return 0 if found is None else int(found.number)

    @property
    def triplets(self) -> list[str]:
        """Operations as ``x+1/2,y,-z``."""
        ops = zip(self.rotations, self.translations, strict=True)
        return [_op(r, t).triplet() for r, t in ops]

    def mismatch(self, cell: NDArray[np.float64]) -> float:
        """Return by how much the operations change the cell's metric, as a fraction of its largest element."""
        metric = cell @ cell.T
        turned = np.einsum("nki,kl,nlj->nij", self.rotations, metric, self.rotations)
        return float(np.abs(turned - metric).max() / metric.max())


@dataclass(frozen=True)
class Declared:
    """Space group as a CIF declares it in words."""

    text: str
    number: int | None
    settings: tuple[Symmetry, ...]
    """Settings that fit all of it; empty where it says nothing."""


def listed(block: CifBlock) -> Symmetry | None:
    """Return the operations that a block lists, or None.

    Raises:
        InputError: if one cannot be understood, together they are no group, or two lists differ.
    """
    lists = [texts for tag in OPERATORS if (texts := block.column(tag)) is not None]
    if not lists:
        return None
    found, *others = [_symmetry("the listed operations", [_operation(block, t) for t in texts]) for texts in lists]
    if any(sorted(found.triplets) != sorted(other.triplets) for other in others):
        raise InputError(f"{block.where}: two lists of operations that differ; keep the right one")
    if not _is_group(found):
        raise InputError(
            f"{block.where}: its {len(found.rotations)} operations are no group, some are missing or wrong; "
            "complete the loop, or give the Hall symbol in its place"
        )
    return found


def _operation(block: CifBlock, text: str | None) -> gemmi.Op:
    try:
        op = gemmi.Op(re.sub(r"\s", "", text or ""))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{block.where}: cannot read the operation {text!r}; want one like 'x+1/2, y, -z'") from error
    if np.any(np.array(op.rot) % PARTS):
        raise InputError(f"{block.where}: the operation {text!r} is of no crystal; correct it")
    return op


def declared(block: CifBlock) -> Declared:
    """Return the settings that a block's Hall symbol, Hermann-Mauguin symbols, number and setting code may all mean.

    Raises:
        InputError: if they contradict each other.
    """
    hall, code = block.value(*HALL), block.value(*CODE)
    symbols = [s for tag in SYMBOL if (s := block.value(tag))] or [s for s in [block.value(REFERENCE)] if s]
    numbers = [n for tag in NUMBER if (n := block.value(tag))]
    declared = [
        *dict.fromkeys(symbols),
        *([f"Hall {hall}"] if hall else []),
        *(f"number {n}" for n in dict.fromkeys(numbers)),
    ]
    text = ", ".join([*declared, *([code] if code else [])])
    for number in numbers:
        if not (number.isdecimal() and 1 <= int(number) <= 230):
            raise InputError(f"{block.where}: space group number {number!r}; want 1 to 230")
    named = [_named(s) or _extra(s) for s in symbols]
    if hall and (exact := _from_hall(hall)) is not None:
        settings = [exact]
    elif named:
        settings = [s for s in named[0] if all(s in others for others in named[1:])]
    else:
        settings = [_setting(h) for h in range(1, 531) if str(_type(h).number) in numbers[:1]]
    known = {s.number for s in settings} | {s.number for found in named for s in found} | {int(n) for n in numbers}
    if len(known) > 1 or (all(named) and named and not settings):
        raise InputError(f"{block.where}: space group {text} contradicts itself; correct what is wrong")
    if code and len(settings) > 1:
        settings = [s for s in settings if _agrees(s.choice, code.lower())] or settings
    return Declared(text, known.pop() if known else None, tuple(settings))


def _named(symbol: str) -> list[Symmetry]:
    """Return the settings of a Hermann-Mauguin symbol; none where no setting has that name."""
    text = re.sub(r"<[^>]*>|[_~]", "", symbol.strip().strip("'\""))
    text = re.sub(r"\((\d)\)", r"\1", text)
    for whole in (text, QUALIFIER.sub("", text)):
        names = " ".join(whole.lower().split())
        found = _names().get(names) or _names().get(names.replace(" ", ""), ())
        if found:
            break
    match = QUALIFIER.search(text) if whole != text else None
    if match is None:
        return [_setting(h) for h in found]
    choice = next(g for g in match.groups() if g).lower()
    return [_setting(h) for h in found if _agrees(_type(h).choice, choice)]


def _agrees(of_setting: str, choice: str) -> bool:
    """True if a setting is the choice that a file names: ``2`` is ``2cab`` too, ``1`` also where one origin is."""
    choice = CHOICES.get(choice, choice)
    own = of_setting.lower()
    if own == choice or (choice == "1" and own == ""):
        return True
    if choice in {"1", "2"}:
        return own[:1] == choice
    return choice in {"a", "b", "c"} and re.fullmatch(f"-?{choice}[123]", own) is not None


@cache
def _names() -> dict[str, tuple[int, ...]]:
    """Hall numbers by Hermann-Mauguin symbol in lower case, with and without spaces: full, short, older spellings."""
    by_hall: dict[str, list[str]] = {}
    for entry in gemmi.spacegroup_table():
        by_hall.setdefault(entry.hall, []).append(entry.hm)
    names: dict[str, dict[int, None]] = {}
    for h in range(1, 531):
        kind = _type(h)
        for name in _spellings(kind.number, [kind.international_full, *by_hall.get(kind.hall_symbol, [])], kind):
            for spelled in (name, name.replace(" ", "")):
                names.setdefault(spelled, {})[h] = None
    return {name: tuple(found) for name, found in names.items()}


def _spellings(number: int, full: Iterable[str], kind: spglib.SpaceGroupType) -> set[str]:
    names = {" ".join(name.replace("_", "").lower().split()) for name in full}
    if 3 <= number <= 15:  # P 1 21/n 1 is P 21/n for short
        names |= {" ".join(part for n, part in enumerate(name.split()) if n == 0 or part != "1") for name in names}
    else:
        names.add(" ".join(kind.international.replace("_", "").lower().split()))
    if number >= 195:  # before 1983: F m 3 m
        names |= {name.replace("-3", "3") for name in names if "-3" in name.split()[2:3]}
    return names


@cache
def _type(hall_number: int) -> spglib.SpaceGroupType:
    found = spglib.get_spacegroup_type(hall_number)
    assert found is not None
    return found


@cache
def _setting(hall_number: int) -> Symmetry:
    kind, operations = _type(hall_number), spglib.get_symmetry_from_database(hall_number)
    assert operations is not None
    name = f"{kind.international_full}:{kind.choice}" if kind.choice else kind.international_full
    translations = np.rint(operations["translations"] * PARTS).astype(int) % PARTS
    return Symmetry(name.replace("_", ""), operations["rotations"].astype(int), translations, kind.choice)


def _extra(symbol: str) -> list[Symmetry]:
    """Return settings beyond the 530 (F 1, C 1 1 2, C 4 2 2 …) by their full symbol."""
    name = " ".join(symbol.replace("_", "").split())
    return [_symmetry(e.hm, e.operations()) for e in gemmi.spacegroup_table() if e.hm == name and name[-1] not in "a)"]


def _from_hall(hall: str) -> Symmetry | None:
    try:
        return _symmetry(f"Hall {hall}", gemmi.symops_from_hall(hall.replace("_", " ")))
    except (RuntimeError, ValueError):
        return None


def _symmetry(name: str, ops: Iterable[gemmi.Op]) -> Symmetry:
    unique = {(*np.ravel(op.rot), *(np.array(op.tran) % PARTS)): op for op in ops}
    rotations = np.array([op.rot for op in unique.values()]) // PARTS
    translations = np.array([op.tran for op in unique.values()]) % PARTS
    return Symmetry(name, rotations, translations)


def _op(rotation: NDArray[np.int64], translation: NDArray[np.int64]) -> gemmi.Op:
    op = gemmi.Op("x,y,z")
    op.rot = (rotation * PARTS).tolist()
    op.tran = translation.tolist()
    return op


def _is_group(symmetry: Symmetry) -> bool:
    r, t = symmetry.rotations, symmetry.translations
    if np.any(np.abs(np.rint(np.linalg.det(r))) != 1) or np.abs(r).max() > 100:
        return False
    products = np.einsum("aij,bjk->abik", r, r).reshape(-1, 9)
    shifts = ((np.einsum("aij,bj->abi", r, t) + t[:, None]) % PARTS).reshape(-1, 3)
    found = np.unique(np.hstack([products, shifts]), axis=0)
    own = np.unique(np.hstack([r.reshape(-1, 9), t]), axis=0)
    return found.shape == own.shape and bool((found == own).all())
