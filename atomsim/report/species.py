"""Oxygen species in every step: the shortest O–O distance, pairs by kind of bond, and flags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms

from atomsim.analysis.framework import CENTRES
from atomsim.analysis.oxygen import CLASSES, OXYGEN, SpeciesCounts, species_counts
from atomsim.errors import AtomsimError
from atomsim.report.blocks import Cell, Column, Notice, Table
from atomsim.report.parts import Part
from atomsim.report.paths import path_images
from atomsim.store.artifacts import Artifact, artifacts_of, open_artifact
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
    found = [_counted(r, run) for r in records if r.structure is not None and OXYGEN in r.structure["numbers"]]
    found = [f for f in found if f.species.shortest_A is not None]
    if not found:
        return part
    first, *others = part.sections
    section = replace(first, blocks=(*first.blocks, _table(found)))
    return replace(part, sections=(section, *others), notices=(*part.notices, *_notices(step, found)))


@dataclass(frozen=True)
class _Counted:
    """Oxygen species of one record: of its final structure, all images of its path, or frames of its trajectory."""

    record: Record
    species: SpeciesCounts
    between_ps: float | None = None
    """Time between frames that were looked at; None where there is no trajectory."""

    @property
    def near(self) -> bool:
        """True if a pair is to be flagged."""
        return (self.species.shortest_A or FLAG_A) < FLAG_A


def _counted(record: Record, run: Path | None) -> _Counted:
    if run is not None and "trajectory" in artifacts_of(record):
        try:
            trajectory = open_artifact(run, record, "trajectory")
            stride = max(1, len(trajectory) // MOST_FRAMES)
            between_ps = stride * float(trajectory.about["interval_fs"]) / 1000.0
            return _Counted(record, species_counts(_frames(trajectory, stride)), between_ps)
        except AtomsimError:  # atomsim check says what is missing
            return _Counted(record, species_counts([record.atoms]))
    return _Counted(record, species_counts(path_images(record) or [record.atoms]))


def _frames(trajectory: Artifact, stride: int) -> Iterator[Atoms]:
    about = trajectory.about
    for n, f in enumerate(trajectory):
        if n % stride == 0:
            yield Atoms(about["numbers"], positions=f["positions"], cell=f["cell"], pbc=about["pbc"])


def _table(found: Sequence[_Counted]) -> Table:
    names = [name for name in CLASSES if name != "lattice"]
    long, timed = any(f.species.frames > 1 for f in found), any(f.between_ps is not None for f in found)
    columns = [Column("Structure"), Column("Shortest O–O (Å)", ".3f"), *(Column(name, "d") for name in names)]
    columns += [Column("Frames", "d"), Column("Frames with a bond", "d")] if long else []
    columns += [Column("Longest life of a bond (ps)", ".2f")] if timed else []
    rows: list[list[Cell]] = []
    for f in found:
        s = f.species
        row: list[Cell] = [f.record.label, s.shortest_A, *(s.counts[n] for n in names)]
        row += [s.frames, s.dimer_frames] if long else []
        row += [s.longest * f.between_ps if f.between_ps and s.longest else None] if timed else []
        rows.append(row)
    caption = "Pairs in a cell by length" + (", the most in any image or frame" if long else "") + ". "
    if any(CENTRES & set(f.record.atoms.symbols) for f in found):
        caption += "Two oxygens of one polyanion, such as sulfate, are no pair. "
    caption += f"Marked: below {FLAG_A:g} Å."
    flagged = frozenset(n for n, f in enumerate(found) if f.near)
    return Table("oxygen-species", "Oxygen species", columns, rows, caption, flagged=flagged)


def _notices(step: str, found: Sequence[_Counted]) -> list[Notice]:
    near = [(f.record, f.species) for f in found if f.near]
    if not near:
        return []
    bonded = any(s.dimer_frames for _, s in near)
    lines = [f"{r.label}: shortest O–O {s.shortest_A:.2f} Å, {_words(s)}" for r, s in near]
    text = f"O–O pairs below {FLAG_A:g} Å. Potentials learned few: look at them with a second one ('atomsim dimerize')."
    return [Notice("warning" if bonded else "note", f"{step}: short O–O pairs in {len(near)}", text, lines)]


def _words(found: SpeciesCounts) -> str:
    counts = [f"{n} {name}" for name, n in found.counts.items() if n and name != "lattice"]
    return ", ".join(counts) or "no bond"
