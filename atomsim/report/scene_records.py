"""Scenes from records: structures before and after, paths and trajectories as frames, networks, dimers, vacancies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.errors import AtomsimError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.report.blocks import StructureView
from atomsim.report.parts import Part
from atomsim.report.paths import path_images
from atomsim.report.scenes import Marker, Scene, continuous, same_atoms, thinned
from atomsim.report.style import GREEN, PURPLE, along
from atomsim.store.artifacts import artifacts_of, open_artifact
from atomsim.store.records import Record
from atomsim.store.run_folder import RunFolder

MAX_SCENES = 40
"""Most scenes of one step: a page stays a file that can be mailed."""
FRAMEWORK_APART_A = 0.6
"""Atoms of a supercell that fold to within this of each other are one atom of the primitive cell, Å."""

Starts = Mapping[str, dict[str, Any]]
"""Structures that tasks began with, by the task."""


def with_views(
    part: Part, records: Sequence[Record], starts: Starts, run: Path | None, shown_later: bool = False
) -> Part:
    """Return a part of a report with the structures of its records in three dimensions.

    Args:
        part: a step's part of the report.
        records: of the step.
        starts: structures before.
        run: folder of the run, where trajectories lie.
        shown_later: another step shows the same structures as its starts.
    """
    scenes = [] if shown_later or not part.sections else scenes_of_step(records, starts, run)
    if not scenes:
        return part
    shown = [scenes[n] for n in thinned(scenes, MAX_SCENES)]
    caption = "Drag to turn, scroll to come nearer, point at an atom for its name and number."
    if len(shown) < len(scenes):
        caption += f" {len(shown)} of {len(scenes)} structures; 'atomsim show' has all."
    view = StructureView("structures-3d", "Structures", shown, caption)
    first, *others = part.sections
    return replace(part, sections=(replace(first, blocks=(*first.blocks, view)), *others))


def starts_of(run: Path, records: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
    """Structures that tasks began with: from the tasks of a run where they are on disk, else from parents' records."""
    by_task = {r.task: r.structure for found in records.values() for r in found if r.structure is not None}
    found: dict[str, dict[str, Any]] = {
        r.task: by_task[r.parents[0]]
        for step in records.values()
        for r in step
        if len(r.parents) == 1 and r.parents[0] in by_task
    }
    for path in sorted((run / "steps").glob("*/tasks.jsonl")):
        tasks = RunFolder(run).read_tasks(path.parent.name) or []
        found |= {t.id: t.structure for t in tasks if t.structure is not None}
    return found


def scenes_of_step(records: Sequence[Record], starts: Starts, run: Path | None = None) -> list[Scene]:
    """Return the scenes of a step's records, networks of hops first."""
    return [*_networks(records), *(s for r in records for s in scenes_of(r, starts.get(r.task), run))]


def scenes_of(record: Record, start: Mapping[str, Any] | None = None, run: Path | None = None) -> list[Scene]:
    """Return the scenes of one record; none where it has no structure.

    Args:
        record: of any kind.
        start: the structure that its task began with.
        run: folder of the run, where trajectories lie.
    """
    before = None if start is None else atoms_from_json(dict(start))
    make = KINDS.get(record.kind, _before_and_after)
    if record.structure is None and before is None:
        return []
    return make(record, before, run)


def _before_and_after(record: Record, before: Atoms | None, run: Path | None) -> list[Scene]:
    del run
    if record.structure is None:
        return []
    if before is None or not same_atoms(before, record.atoms) or _alike(before, record.atoms):
        return [Scene(record.label, [record.atoms], [record.status])]
    return [Scene(record.label, continuous([before, record.atoms]), ["before", f"after ({record.status})"])]


def _alike(a: Atoms, b: Atoms) -> bool:
    """True if nothing moved, as where structures are only analysed."""
    return np.array_equal(a.positions, b.positions) and np.array_equal(a.cell.array, b.cell.array)


def _path(record: Record, before: Atoms | None, run: Path | None) -> list[Scene]:
    images = path_images(record)
    if not images:
        return _before_and_after(record, before, run)
    zero = images[0].get_potential_energy()
    titles = [f"image {n}, {a.get_potential_energy() - zero:+.3f} eV" for n, a in enumerate(images)]
    first, last = images[0].positions, images[-1].positions
    far = int(np.linalg.norm(last - first, axis=1).argmax())
    line = Marker(_point(first[far]), _point(last[far]), GREEN, dashed=True, radius_A=0.06)
    return [Scene(f"path {record.label}", images, titles, markers=(line,))]


def _trajectory(record: Record, before: Atoms | None, run: Path | None) -> list[Scene]:
    if run is None or "trajectory" not in artifacts_of(record):
        return _before_and_after(record, before, run)
    try:
        artifact = open_artifact(run, record, "trajectory")
        chosen = thinned(range(len(artifact)))
        about, found = artifact.about, [artifact[n] for n in chosen]
    except AtomsimError:  # atomsim check says what is missing
        return _before_and_after(record, before, run)
    frames = [Atoms(about["numbers"], positions=f["positions"], cell=f["cell"], pbc=about["pbc"]) for f in found]
    titles = [f"{n * about['interval_fs'] / 1000:.2f} ps" for n in chosen]
    return [Scene(record.label, frames, titles)] if frames else []


def _dimers(record: Record, before: Atoms | None, run: Path | None) -> list[Scene]:
    """The scan as frames, then the intact cell beside each minimum, the driven pair marked."""
    minima, profile = record.values.get("minima", ()), record.values.get("profile", ())
    if before is None or not minima:
        return _before_and_after(record, before, run)
    first, second, shift = record.tags["pair"]
    pair = ((first, second, tuple(shift)),)
    found = [atoms_from_json(m["structure"]) for m in minima]
    names = [f"{m['outcome']}, {m['energy_eV']:+.2f} eV" for m in minima]
    scenes = [
        Scene(f"{record.label}: {name}", continuous([before, atoms]), ["intact", name], pair)
        for name, atoms in zip(names, found, strict=True)
    ]
    scan = [p for p in profile if "positions_A" in p]
    if scan:
        frames = [before, *(_moved(found[0], p["positions_A"]) for p in scan)]
        titles = [f"{'in' if p['inward'] else 'out'} {p['length_A']:.2f} Å, {p['energy_eV']:+.2f} eV" for p in scan]
        scenes.append(Scene(f"{record.label}: scan", continuous(frames), ["intact", *titles], pair))
    return scenes


def _moved(atoms: Atoms, positions: Any) -> Atoms:
    moved: Atoms = atoms.copy()
    moved.positions = np.array(positions)
    return moved


def _vacancy(record: Record, before: Atoms | None, run: Path | None) -> list[Scene]:
    """A crystal without some oxygens, before and after, where they were marked."""
    sites = record.tags.get("sites")
    if record.tags.get("role") != "vacancy" or not sites or before is None:
        return _before_and_after(record, before, run)
    wrapped = before.copy()
    wrapped.wrap(eps=0.02)
    marks = [Marker(_point(wrapped.positions[s]), color=PURPLE, label="vacancy", radius_A=0.5) for s in sites]
    del before[sites]
    found = _before_and_after(record, before, run)
    return [replace(scene, markers=marks) for scene in found]


def _networks(records: Sequence[Record]) -> list[Scene]:
    """Sites and hops of each host in its primitive cell, hops colored by their barriers."""
    hosts: dict[str, list[Record]] = {}
    for r in records:
        if r.kind == "barriers" and "sites" in r.tags and "cell_A" in r.tags:
            hosts.setdefault(r.tags["host"], []).append(r)
    return [_network(host, found) for host, found in hosts.items()]


def _network(host: str, records: Sequence[Record]) -> Scene:
    tags = records[0].tags
    cell = np.array(tags["cell_A"])
    fractional = np.array([s["fractional"] for s in tags["sites"]]) % 1.0
    shift = fractional - np.array([s["fractional"] for s in tags["sites"]])
    names = [s["name"] for s in tags["sites"]]
    markers = [Marker(_point(f @ cell), label=n, color=GREEN) for f, n in zip(fractional, names, strict=True)]
    known = sorted(records, key=lambda r: r.values.get("barrier_eV", np.inf))
    for record, color in zip(known, along(len(known)), strict=True):
        barrier = record.values.get("barrier_eV")
        words = "no barrier" if barrier is None else f"{barrier:.2f} eV"
        for n, (a, b, *translation) in enumerate(record.tags.get("copies", ())):
            start = fractional[a]
            end = fractional[b] - shift[b] + shift[a] + np.array(translation)
            label = f"{record.tags['hop']} {words}" if n == 0 else ""
            markers.append(Marker(_point(start @ cell), _point(end @ cell), color, label, not record.good, 0.09))
    return Scene(f"{host}: sites and hops", [_folded(records, cell)], ["barriers on the hops"], (), markers, True)


def _folded(records: Sequence[Record], cell: np.ndarray) -> Atoms:
    """The framework of a host in its primitive cell, from a path in its supercell; empty where none was computed."""
    images = next((p for p in map(path_images, records) if p), None)
    if images is None:
        return Atoms(cell=cell, pbc=True)
    framework = images[0][[s != records[0].tags["ion"] for s in images[0].symbols]]
    folded = Atoms(framework.numbers, positions=framework.positions, cell=cell, pbc=True)
    folded.wrap(eps=0.02)
    kept: list[int] = []
    for n in range(len(folded)):
        alike = [k for k in kept if folded.numbers[k] == folded.numbers[n]]
        if not alike or folded.get_distances(n, alike, mic=True).min() > FRAMEWORK_APART_A:
            kept.append(n)
    return folded[kept]


def _point(position: Any) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in position)
    return x, y, z


KINDS: Mapping[str, Callable[[Record, Atoms | None, Path | None], list[Scene]]] = {
    "barriers": _path,
    "neb": _path,
    "md": _trajectory,
    "dimerize": _dimers,
    "oxygen": _vacancy,
}
