"""The formula that a CIF declares, in the spellings of people and programs."""

from __future__ import annotations

import re

from ase.data import atomic_numbers

from atomsim.io.cif_block import CifBlock, parse_number

PARTS = re.compile(r"\s*[*,]\s*|\s+\.\s*|\.\s+")
"""Separators of the parts of a formula, as of a hydrate."""
FACTOR = re.compile(r"^(\d*\.?\d*).*$", re.DOTALL)


def declared_formula(block: CifBlock) -> dict[str, float] | None:
    """Return the atoms of each element in the declared formula, hydrates included; None where it is not readable."""
    text = block.value("_chemical_formula_sum")
    text = re.sub(r"~(\d+)~", r"\1", text or "")
    total: dict[str, float] = {}
    for n, part in enumerate(PARTS.split(text.strip("() \n"))):
        factor = FACTOR.sub(r"\1", part) if n else ""
        found = _formula_of(part.removeprefix(factor).strip("()[] \n"))
        if found is None:
            return None
        for symbol, count in found.items():
            total[symbol] = total.get(symbol, 0.0) + count * float(factor or 1)
    return total


def _formula_of(text: str) -> dict[str, float] | None:
    text = re.sub(r"\s+\d*[+-]$", "", text)  # a charge
    tokens = text.split()
    if len(tokens) > 1 and all(parse_number(t) is not None for t in tokens[1::2]):  # Li 2 O 1
        text = " ".join(symbol + count for symbol, count in zip(tokens[::2], [*tokens[1::2], ""], strict=False))
    if len(tokens) > 1 and all(re.fullmatch(r"[A-Z]{1,2}[\d.]*", t) for t in tokens):  # CO1 LI1 O2
        text = " ".join(t.capitalize() for t in tokens)
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", text)
    if not parts or any(s not in atomic_numbers and s != "D" for s, _ in parts):
        return None
    if re.sub(r"[\s'\"]", "", text) != "".join(s + n for s, n in parts):
        return None
    total: dict[str, float] = {}
    for symbol, count in parts:
        total[symbol] = total.get(symbol, 0.0) + float(count or 1)
    return total
