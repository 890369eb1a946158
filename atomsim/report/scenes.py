"""Scenes of the 3D view: crystals as frames, drawn with whole coordination shells, dimers and hop networks marked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list

from atomsim.analysis.framework import CENTRES
from atomsim.report.style import BLUE, GREEN, PURPLE, VERMILION

IONS = frozenset({1, 3, 11, 12, 19, 20, 30, 37, 55})
"""Elements drawn without bonds to their neighbors: mobile ions."""
ANIONS = frozenset({7, 8, 9, 16, 17, 34, 35, 53})
BOND_FACTOR = 1.25
"""Atoms nearer than this part of the sum of their covalent radii are bonded."""
DIMER_A, PEROXO_A = 1.65, 2.4
"""O–O pairs below are drawn as a bond, or dashed."""
EDGE = 0.02
"""Atoms this near to a face of the cell, in fractions, are drawn on the opposite face too."""
MAX_FRAMES = 40
COLORS = {3: "#7FB77E", 8: "#C8102E", 11: "#B59ACD", 44: "#4C78A8", 25: "#7A5CA8", 27: "#3D6FB6", 28: "#5AA469"}
"""Colors that differ from Jmol's."""


@dataclass(frozen=True)
class Marker:
    """A sphere, or a line where it has an end, drawn besides the atoms; Å."""

    start: tuple[float, float, float]
    end: tuple[float, float, float] | None = None
    color: str = BLUE
    label: str = ""
    dashed: bool = False
    radius_A: float = 0.35


@dataclass(frozen=True, eq=False)
class Scene:
    """One or several frames of the same atoms, to be shown in turn."""

    name: str
    frames: Sequence[Atoms]
    """Positions are continuous from frame to frame."""
    titles: Sequence[str] = ()
    """One for each frame: ``before``, ``after``, an energy; numbers where there are none."""
    pairs: Sequence[tuple[int, int, tuple[int, int, int]]] = ()
    """Atom, atom and the cell of the second: pairs whose length is written beside them."""
    markers: Sequence[Marker] = field(default=())
    framework: bool = False
    """Draw atoms small and pale, as the background of markers."""


def thinned(frames: Sequence[Any], most: int = MAX_FRAMES) -> list[int]:
    """Numbers of at most ``most`` frames, evenly spread, both ends among them."""
    return sorted({round(float(n)) for n in np.linspace(0, len(frames) - 1, min(most, len(frames)))})


def scene_json(scene: Scene) -> dict[str, Any]:
    """Return what the page's script draws: wrapped atoms, their images at faces, bond limits, markers."""
    periodic = bool(scene.frames[0].pbc.any())
    shown = list(scene.frames)
    titles = [scene.titles[n] if n < len(scene.titles) else f"{n + 1} of {len(shown)}" for n in range(len(shown))]
    first = shown[0]
    wraps = _wraps(first)
    frames = [_wrapped(atoms, wraps) for atoms in shown]
    pairs = [[i, j, *_shift_after(wraps, i, j, shift)] for i, j, shift in scene.pairs]
    species = sorted(set(first.numbers.tolist()))
    return {
        "name": scene.name,
        "species": first.numbers.tolist(),
        "elements": {z: _element(z) for z in species},
        "images": _images(frames, pairs),
        "bonds": _bond_limits(species),
        "dimers": [DIMER_A, PEROXO_A],
        "centres": sorted({atomic_numbers[s] for s in CENTRES} & set(species)),
        "colors": {"dimer": VERMILION, "pair": PURPLE, "moved": GREEN},
        "pairs": pairs,
        "framework": scene.framework,
        "frames": [
            {"title": title, "cell": _rounded(atoms.cell.array) * periodic, "at": _rounded(atoms.positions)}
            for title, atoms in zip(titles, frames, strict=True)
        ],
        "markers": [_marker(m) for m in scene.markers],
    }  # fmt: skip


def scenes_json(scenes: Sequence[Scene]) -> str:
    """Return scenes as JSON that may stand in a script element."""
    text = json.dumps([scene_json(s) for s in scenes], ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def continuous(frames: Sequence[Atoms]) -> list[Atoms]:
    """Return frames whose atoms take the shortest way from one to the next, across faces of the cell."""
    found = [frames[0]]
    for atoms in frames[1:]:
        moved = atoms.copy()
        if atoms.pbc.any():
            here, before = atoms.get_scaled_positions(wrap=False), found[-1].get_scaled_positions(wrap=False)
            way = here - before
            moved.positions = (before + way - np.round(way) * atoms.pbc) @ atoms.cell.array
        found.append(moved)
    return found


def same_atoms(a: Atoms, b: Atoms) -> bool:
    """Tell two structures that are frames of one scene, by their atoms."""
    return len(a) == len(b) and bool((a.numbers == b.numbers).all())


def _marker(marker: Marker) -> dict[str, Any]:
    found: dict[str, Any] = {"from": _rounded(np.array(marker.start)), "color": marker.color, "r": marker.radius_A}
    if marker.end is not None:
        found["to"] = _rounded(np.array(marker.end))
    return found | {"label": marker.label, "dashed": marker.dashed}


def _element(z: int) -> dict[str, Any]:
    color = COLORS.get(z) or "#{:02x}{:02x}{:02x}".format(*(round(255 * float(c)) for c in jmol_colors[z]))
    return {
        "symbol": chemical_symbols[z],
        "color": color,
        "r": round((0.75 if z in IONS else 1.0) * (0.15 + 0.2 * float(covalent_radii[z])), 2),
    }


def _wraps(atoms: Atoms) -> np.ndarray:
    """Lattice translations that bring each atom into the cell, (n_atoms, 3)."""
    if not atoms.pbc.any():
        return np.zeros((len(atoms), 3), dtype=int)
    fractional = atoms.get_scaled_positions(wrap=False)
    return np.asarray(-np.floor(fractional + EDGE) * atoms.pbc, dtype=int)


def _wrapped(atoms: Atoms, wraps: np.ndarray) -> Atoms:
    return Atoms(atoms.numbers, positions=atoms.positions + wraps @ atoms.cell.array, cell=atoms.cell, pbc=atoms.pbc)


def _shift_after(wraps: np.ndarray, i: int, j: int, shift: Sequence[int]) -> list[int]:
    """The cell of the second atom of a pair once both were wrapped."""
    return [int(s) for s in np.array(shift) - wraps[j] + wraps[i]]


def _images(frames: Sequence[Atoms], pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Images drawn besides the atoms: on opposite faces, coordination shells, ends of pairs; [atom, a, b, c]."""
    first = frames[0]
    found: set[tuple[int, ...]] = {(p[1], p[2], p[3], p[4]) for p in pairs}
    if first.pbc.any():
        near = np.abs(first.get_scaled_positions(wrap=False)) < EDGE
        for atom, at in enumerate(near & first.pbc):
            found |= {(atom, *shift) for shift in product(*((0, 1) if a else (0,) for a in at))}
        found |= {
            (int(j), *(int(s) for s in shift))
            for atoms in (first, frames[-1])
            for i, j, shift in zip(*neighbor_list("ijS", atoms, _limits(atoms)), strict=True)
            if atoms.numbers[i] not in ANIONS
        }
        for atoms in frames:
            j, shifts = neighbor_list("jS", atoms, {("O", "O"): PEROXO_A})
            found |= {(int(a), *(int(s) for s in shift)) for a, shift in zip(j, shifts, strict=True)}
    return sorted([int(x) for x in f] for f in found if any(f[1:]))


def _bond_limits(species: Sequence[int]) -> dict[str, float]:
    """Longest bond by its two elements, Å; between metals only where there is no anion, O–O are drawn as dimers."""
    anions = [z for z in species if z in ANIONS]
    found = {}
    for a, b in combinations_with_replacement(species, 2):
        ionic = bool(anions) and (a in ANIONS) == (b in ANIONS)
        covalent = {a, b} <= ANIONS | {6, 7, 15, 16} and (a, b) != (8, 8) and a != b
        if (ionic and not covalent) or (len(species) > 1 and (a in IONS or b in IONS)) or (a, b) == (8, 8):
            continue
        found[f"{a} {b}"] = round(BOND_FACTOR * float(covalent_radii[a] + covalent_radii[b]), 2)
    return found


def _limits(atoms: Atoms) -> dict[tuple[str, str], float]:
    species = sorted(set(atoms.numbers.tolist()))
    named: Mapping[str, float] = _bond_limits(species)
    pairs = {key: [chemical_symbols[int(z)] for z in key.split()] for key in named}
    return {(a, b): named[key] for key, (a, b) in pairs.items()} or {("H", "H"): 0.1}


def _rounded(array: np.ndarray) -> list[float]:
    return [round(float(x), 3) for x in np.asarray(array).ravel()]
