"""Oxygen species in reports: counted by length in structures, along paths and trajectories, and flagged."""

import csv

import numpy as np
import pytest
from ase import Atoms

from atomsim.analysis.oxygen import species_counts
from atomsim.io.atoms_json import atoms_to_json
from atomsim.report import write_report
from atomsim.store.artifacts import ArtifactWriter
from atomsim.store.records import Record


def oxide(length_A: float) -> Atoms:
    return Atoms("RuO2", positions=[[0, 0, 0], [4, 4, 4], [4 + length_A, 4, 4]], cell=[9, 9, 9], pbc=True)


def record(kind: str, atoms: Atoms, **more) -> Record:
    return Record(f"t{kind}", kind, kind, f"a {kind}", "converged", structure=atoms_to_json(atoms), **more)


def table(run, name):
    with (run / "exports" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("length_A", "name"),
    [(1.21, "O2"), (1.33, "superoxide"), (1.49, "peroxide"), (2.0, "peroxo-like"), (2.8, "lattice")],
)
def test_a_pair_is_counted_by_its_length(length_A, name):
    found = species_counts([oxide(length_A)])
    assert found.counts[name] == 1
    assert sum(found.counts.values()) == 1
    assert found.shortest_A == pytest.approx(length_A)
    assert found.dimer_frames == (length_A < 1.65)


def test_a_trajectory_is_counted_frame_by_frame_and_may_be_a_stream():
    found = species_counts(oxide(d) for d in (2.8, 1.2, 1.25, 2.8))
    assert (found.frames, found.dimer_frames, found.counts["O2"]) == (4, 2, 1)
    assert found.shortest_A == pytest.approx(1.2)


def test_the_edge_of_a_sulfate_is_no_pair_and_a_peroxide_on_sulfur_is():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    sulfate = Atoms("SO4", np.concatenate([[[0, 0, 0]], 1.43 * corners]) + 4.0, cell=[9] * 3, pbc=True)
    assert species_counts([sulfate]).shortest_A is None
    sulfate.positions[2] = sulfate.positions[1] + [0.0, 1.45, 0.0]
    assert species_counts([sulfate]).counts["peroxide"] == 1


def test_the_life_of_a_bond_is_that_of_one_pair():
    assert species_counts(oxide(d) for d in (1.3, 1.3, 2.8, 1.3, 1.3, 1.3)).longest == 3
    assert species_counts([oxide(2.8)]).longest == 0


def test_relaxed_structures_paths_and_trajectories_have_a_table_and_a_flag(tmp_path):
    writer = ArtifactWriter(
        tmp_path / "artifacts" / "tmd", "trajectory", {"numbers": [44, 8, 8], "pbc": [True] * 3, "interval_fs": 5.0}
    )
    for d in (2.8, 1.3, 2.8):
        writer.append(positions=oxide(d).positions.astype(np.float32), cell=9.0 * np.eye(3))
    path = {"positions_A": [oxide(d).positions.tolist() for d in (2.8, 1.45, 2.8)], "energy_eV": [0.0, 1.0, 0.0]}
    path |= {"forces_eV_per_A": np.zeros((3, 3, 3)).tolist(), "length_A": [0.0, 1.0, 2.0]}
    path |= {"slope_eV_per_A": [0.0, 0.0, 0.0]}
    moved = {"artifacts": {"trajectory": writer.finish()}, "frames": 3, "steps": 3, "duration_ps": 0.1}
    records = {
        "relaxed": [record("relax", oxide(2.8)), record("relax", oxide(2.2))],
        "path": [record("neb", oxide(2.8), values={"path": path, "flags": []})],
        "moved": [record("md", oxide(2.8), values=moved, tags={"temperature_K": 300.0})],
    }
    text = write_report(tmp_path, {}, records).read_text(encoding="utf-8")
    assert "relaxed: short O–O pairs in 1" in text
    assert "moved: short O–O pairs in 1" in text
    rows = table(tmp_path, "relaxed-oxygen-species.csv")
    assert [row["peroxo-like"] for row in rows] == ["0", "1"]
    (row,) = table(tmp_path, "moved-oxygen-species.csv")
    assert (row["superoxide"], row["Frames"], row["Frames with a bond"]) == ("1", "3", "1")
    assert float(row["Longest life of a bond (ps)"]) == 0.005


def test_what_has_no_oxygen_has_no_table(tmp_path):
    write_report(tmp_path, {}, {"metal": [record("relax", Atoms("Li", cell=[3] * 3, pbc=True))]})
    assert not (tmp_path / "exports" / "metal-oxygen-species.csv").exists()
