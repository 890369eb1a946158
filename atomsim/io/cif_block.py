"""One data block of a CIF: values by tag, numbers with the digits that were given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import gemmi.cif

from atomsim.errors import InputError

NUMBER = re.compile(r"[+-]?(?:\d+\.?(?P<a>\d*)|\.(?P<b>\d+))(?:[eE](?P<exponent>[+-]?\d+))?(?:\((?P<su>\d+)\))?")
FRACTION = re.compile(r"([+-]?\d+)/([1-9]\d*)")


@dataclass(frozen=True)
class Number:
    """A number as written in a CIF."""

    value: float
    unit: float
    """Unit of its last digit, times the s.u. in brackets; 0 for integers and fractions."""


def parse_number(text: str) -> Number | None:
    """Return the number that a text is, or None: ``0.667``, ``.5``, ``+5e-1``, ``0.6667(12)``, ``2/3``."""
    if fraction := FRACTION.fullmatch(text):
        return Number(int(fraction[1]) / int(fraction[2]), 0.0)
    match = NUMBER.fullmatch(text)
    if not match:
        return None
    digits = len(match["a"] or match["b"] or "")
    uncertainty = max(1, int(match["su"] or 1))
    unit = uncertainty * 10.0 ** (int(match["exponent"] or 0) - digits) if digits else 0.0
    return Number(float(text.split("(")[0]), unit)


class CifBlock:
    """Values of a data block by tag, in any case and of any dictionary (``_cell.length_a`` is ``_cell_length_a``)."""

    def __init__(self, block: gemmi.cif.Block, where: str) -> None:
        self.where = where
        """Beginning of messages: the file, and the block where there are several."""
        self.source = block
        self._columns: dict[str, list[str]] = {}
        self._spelled: dict[str, str] = {}
        self._repeated: set[str] = set()
        for item in block:
            if item.pair is not None:
                tag, value = cast("tuple[str, str]", item.pair)
                self._add(tag, [value])
            elif item.loop is not None:
                width = len(item.loop.tags)
                for n, tag in enumerate(item.loop.tags):
                    self._add(tag, item.loop.values[n::width])

    def _add(self, tag: str, values: list[str]) -> None:
        key = tag.lower().replace(".", "_")
        if self._columns.setdefault(key, values) != values:
            self._repeated.add(key)
        self._spelled.setdefault(key, tag)

    def column(self, *tags: str) -> list[str | None] | None:
        """Return a loop's values for the first of the tags that has any; None stands for ``?`` and ``.``."""
        for tag in tags:
            key = tag.lower()
            if key in self._repeated:
                raise InputError(f"{self.where}: {self._spelled[key]} stands twice, with different values; keep one")
            values = [
                None if gemmi.cif.is_null(v) else gemmi.cif.as_string(v).strip() for v in self._columns.get(key, [])
            ]
            if any(v is not None for v in values):
                return values
        return None

    def value(self, *tags: str) -> str | None:
        """Return the value of the first of the tags that has one."""
        values = self.column(*tags)
        if values is None:
            return None
        if len(set(values)) > 1:
            raise InputError(f"{self.where}: {tags[0]} has {len(values)} values; want one")
        return values[0]

    def number(self, tag: str) -> float:
        """Return the number of a tag that must be there."""
        text = self.value(tag)
        if text is None:
            raise InputError(f"{self.where}: no {tag}; add it")
        number = parse_number(text)
        if number is None:
            raise InputError(f"{self.where}: {tag} is {text!r}; want a number")
        return number.value

    def first(self, prefixes: Sequence[str]) -> str | None:
        """Return the first tag that begins with one of the prefixes, as spelled, or None."""
        return next((self._spelled[k] for k in self._columns if k.startswith(tuple(prefixes))), None)
