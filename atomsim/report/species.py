"""Oxygen species in every step: the shortest O–O distance, pairs by kind of bond, and flags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from atomsim.analysis.oxygen import CLASSES, OXYGEN, SpeciesCounts, species_counts
from atomsim.errors import AtomsimError
from atomsim.report.blocks import Cell, Column, Notice, Table
from atomsim.report.parts import Part
from atomsim.report.paths import path_images
from atomsim.store.artifacts import artifacts_of, open_artifact
from atomsim.store.records import Record

FLAG_A = CLASSES["peroxo-like"][1]
"""O–O distances below this are flagged: shorter than any edge of an octahedron of an oxide at rest."""
KINDS = frozenset({"relax", "barriers", "neb", "md"})
"""Kinds of steps that get a table; ``dimerize``, ``oxygen`` and ``electrode`` show their own."""
MOST_FRAMES = 400
"""Most frames of a trajectory that are looked at, evenly spread."""


def with_species(step: str, part: Part, records: Sequence[Record], run: Path | None) -> Part:
    """Return a part of a report with the oxygen species of its records; as it is where there are none."""
    if not part.sections or not records or records[0].kind not in KINDS:
        return part
    found = [(r, species_counts(frames)) for r in records if (frames := list(_frames(r, run)))]
    found = [(r, s) for r, s in found if s.shortest_A is not None]
    if not found:
        return part
    first, *others = part.sections
    section = replace(first, blocks=(*first.blocks, _table(found)))
    return replace(part, sections=(section, *others), notices=(*part.notices, *_notices(step, found)))


def _frames(record: Record, run: Path | None) -> Iterator[Atoms]:
    """Structures of a record that count: the final one, all images of a path, frames of a trajectory."""
    if record.structure is None or record.structure["numbers"].count(OXYGEN) == 0:
        return
    if run is not None and "trajectory" in artifacts_of(record):
        try:
            trajectory = open_artifact(run, record, "trajectory")
            about, stride = trajectory.about, max(1, len(trajectory) // MOST_FRAMES)
            for n, f in enumerate(trajectory):
                if n % stride == 0:
                    yield Atoms(about["numbers"], positions=f["positions"], cell=f["cell"], pbc=about["pbc"])
        except AtomsimError:  # atomsim check says what is missing
            yield record.atoms
        return
    yield from path_images(record) or [record.atoms]


def _table(found: Sequence[tuple[Record, SpeciesCounts]]) -> Table:
    names = [name for name in CLASSES if name != "lattice"]
    long = any(s.frames > 1 for _, s in found)
    columns = [Column("Structure"), Column("Shortest O–O (Å)", ".3f"), *(Column(name, "d") for name in names)]
    columns += [Column("Frames", "d"), Column("Frames with a bond", "d")] if long else []
    rows: list[list[Cell]] = [
        [r.label, s.shortest_A, *(s.counts[n] for n in names), *([s.frames, s.dimer_frames] if long else [])]
        for r, s in found
    ]
    caption = "Pairs in a cell by length" + (", the most in any image or frame" if long else "") + ". "
    caption += f"Marked: below {FLAG_A:g} Å."
    flagged = frozenset(n for n, (_, s) in enumerate(found) if (s.shortest_A or FLAG_A) < FLAG_A)
    return Table("oxygen-species", "Oxygen species", columns, rows, caption, flagged=flagged)


def _notices(step: str, found: Sequence[tuple[Record, SpeciesCounts]]) -> list[Notice]:
    near = [(r, s) for r, s in found if (s.shortest_A or FLAG_A) < FLAG_A]
    if not near:
        return []
    bonded = any(s.dimer_frames for _, s in near)
    lines = [f"{r.label}: shortest O–O {s.shortest_A:.2f} Å, {_words(s)}" for r, s in near]
    text = f"O–O pairs below {FLAG_A:g} Å. Potentials learned few: look at them with a second one ('atomsim dimerize')."
    return [Notice("warning" if bonded else "note", f"{step}: short O–O pairs in {len(near)}", text, lines)]


def _words(found: SpeciesCounts) -> str:
    counts = [f"{n} {name}" for name, n in found.counts.items() if n and name != "lattice"]
    return ", ".join(counts) or "no bond"
