"""Structures in three dimensions: what is drawn, in a page and in a notebook, without a network."""

import hashlib
import html
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from browser import visit

import atomsim
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_to_json
from atomsim.report import write_report
from atomsim.report.html import HERE
from atomsim.report.scene_records import scenes_of, scenes_of_step, starts_of
from atomsim.report.scenes import Scene, continuous, scene_json
from atomsim.store.artifacts import ArtifactWriter
from atomsim.store.records import Record

SEEN = '<script>window.dispatchEvent(new Event("beforeprint"))</script></body>'
OXIDE = Atoms("LiRuO2", positions=[[0, 0, 0], [2, 2, 2], [2, 0.4, 2], [2, 2, 3.95]], cell=[4, 4, 4], pbc=True)
MOLECULE = Atoms("LiRuO2", positions=[[0, 0, 0], [2, 2, 2], [0, 2, 3.5], [0, 2, 4.7]], cell=[4, 4, 4], pbc=True)


def record(kind: str, atoms: Atoms, *, label="a", task="t1", parents=(), **more) -> Record:
    return Record(task, kind, kind, label, "converged", parents=parents, structure=atoms_to_json(atoms), **more)


def dimer_record() -> Record:
    minimum = {
        "outcome": "O2",
        "species": "O2",
        "length_A": 1.2,
        "energy_eV": -0.7,
        "pair": [2, 3],
        "metal_bonds": [0, 0],
    }
    minimum |= {"reached_from": ["void"], "status": "converged", "structure": atoms_to_json(MOLECULE)}
    point = {"length_A": 1.9, "inward": True, "energy_eV": 2.0, "mean_force_eV_per_A": 0.0, "converged": True}
    point |= {"metal_bonds": [1, 1], "jump_A": 0.0, "positions_A": OXIDE.positions.tolist()}
    values = {"minima": [minimum], "profile": [point], "barrier_words": "unknown", "outcome": "O2", "flags": []}
    tags = {"pair": [2, 3, [0, 0, 0]], "pair_kind": "edge of one octahedron", "host": "x=0", "x": 0.0}
    return record("dimerize", MOLECULE, task="d", parents=("t1",), tags=tags, values=values)


def hop_record() -> Record:
    cell = Atoms(
        "OLi3", scaled_positions=[[0.5, 0.5, 0.5], [0.01, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=[4] * 3, pbc=True
    )
    moved = cell.copy()
    moved.positions[1, 0] += 4.0  # a hop across a face of the cell
    images = [cell.positions, 0.5 * (cell.positions + moved.positions), moved.positions]
    path = {"length_A": [0, 2, 4], "energy_eV": [0, 0.3, 0], "slope_eV_per_A": [0, 0, 0], "magmoms_muB": None}
    path |= {"positions_A": [i.tolist() for i in images], "forces_eV_per_A": np.zeros((3, 4, 3)).tolist()}
    tags = {"host": "oxide", "ion": "Li", "hop": "Li-a>Li-a", "mechanism": "vacancy", "multiplicity": 1}
    tags |= {"cell_A": cell.cell.array.tolist(), "copies": [[0, 0, 1, 0, 0]], "from": "Li-a", "to": "Li-a"}
    tags |= {
        "sites": [{"name": "Li-a", "fractional": [0.01, 0, 0]}],
        "length_A": 4.0,
        "hops_of_host": 1,
        "left_out": [],
    }
    tags |= {
        "max_length_A": 4.2,
        "most_dimensions": {"vacancy": 1},
        "supercell": np.eye(3).tolist(),
        "space_group": "P1",
    }
    tags |= {
        "image_distance_A": 4.0,
        "supercell_min_A": 4.0,
        "n_host_atoms": 4,
        "bottleneck_A": 1.0,
        "reversible": True,
    }
    values = {"path": path, "barrier_eV": 0.3, "reverse_barrier_eV": 0.3, "reaction_energy_eV": 0.0, "flags": []}
    values |= {"start_energy_eV": 0.0, "saddle_image": 1, "legs": [], "force_calls": 9, "prefactor_Hz": 1e13}
    return record("barriers", moved, task="h", tags=tags, values=values)


def md_record(run: Path) -> Record:
    writer = ArtifactWriter(
        run / "artifacts" / "m", "trajectory", {"numbers": [3], "pbc": [True] * 3, "interval_fs": 10.0}
    )
    for n in range(90):
        writer.append(step=n, positions=np.full((1, 3), 0.1 * n, dtype=np.float32), cell=3.0 * np.eye(3))
    values = {"artifacts": {"trajectory": writer.finish()}, "frames": 90, "steps": 90, "duration_ps": 0.9}
    return record("md", bulk("Li"), task="m", values=values, tags={"temperature_K": 300.0})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    records = {
        "orderings": [record("structures", OXIDE, task="t0")],
        "relaxed": [record("relax", OXIDE, parents=("t0",), label="</script><script>alert(1)</script>")],
        "dimers": [dimer_record()],
        "hops": [hop_record()],
        "moved": [md_record(run)],
    }
    return write_report(run, {}, records)


def views_in(dom: str) -> dict[str, int]:
    return {key: int(n) for key, n in re.findall(r'id="view-([a-z]+)-structures-3d"[^>]*data-drawn="(\d+)"', dom)}


def test_every_section_draws_its_structures_in_a_browser_without_a_complaint_or_a_request(page, tmp_path):
    seen = tmp_path / "seen.html"
    seen.write_text(page.read_text(encoding="utf-8").replace("</body>", SEEN), encoding="utf-8")
    found = visit(seen, tmp_path, webgl=True)
    assert found.console == []
    drawn = views_in(found.dom)
    assert drawn.keys() == {"relaxed", "dimers", "hops", "moved"}
    assert all(drawn.values())
    assert found.dom.count("<canvas") >= len(drawn)


def test_a_browser_without_webgl_says_so_and_has_the_rest(page, tmp_path):
    found = visit(page, tmp_path)
    assert found.console == []
    assert "has no WebGL" in found.dom
    assert "Relaxations" in found.dom


def test_the_page_carries_the_viewer_once_with_its_licence(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("University of Pittsburgh and contributors") == 1
    assert "<script>alert(1)" not in text
    script = (HERE / "vendor" / "3dmol" / "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() in (HERE / "vendor" / "3dmol" / "README.md").read_text()


def test_before_and_after_are_frames_of_the_same_atoms():
    moved = OXIDE.copy()
    moved.positions[0] = [3.9, 0, 0]  # a step of 0.1 Å across a face
    scene = scenes_of(record("relax", moved), atoms_to_json(OXIDE))[0]
    drawn = scene_json(scene)
    start, end = (np.reshape(f["at"], (-1, 3)) for f in drawn["frames"])
    assert np.linalg.norm(end - start, axis=1).max() == pytest.approx(0.1, abs=1e-3)
    assert [f["title"] for f in drawn["frames"]] == ["before", "after (converged)"]


def test_coordination_shells_are_whole_across_faces():
    rutile = Atoms("RuO2", positions=[[0, 0, 0], [1.3, 1.3, 0], [2.7, 2.7, 0]], cell=[4, 4, 3.1], pbc=True)
    drawn = scene_json(Scene("rutile", [rutile]))
    cell = rutile.cell.array
    places = [*rutile.positions, *(rutile.positions[n] + np.array(s) @ cell for n, *s in drawn["images"])]
    species = [*drawn["species"], *(drawn["species"][n] for n, *_ in drawn["images"])]
    oxygens = [p for p, z in zip(places, species, strict=True) if z == 8]
    near = sum(np.linalg.norm(p - rutile.positions[0]) < drawn["bonds"]["8 44"] for p in oxygens)
    assert near == 2  # one in the cell, one beyond its face
    assert "8 8" not in drawn["bonds"]  # drawn as dimers, by their length


def test_the_ends_of_a_dimer_are_drawn_beside_each_other():
    split = Atoms("O2", positions=[[0.2, 2, 2], [3.0, 2, 2]], cell=[4, 4, 4], pbc=True)  # 1.2 Å across a face
    drawn = scene_json(Scene("O2", [split]))
    places = [p for n, *s in drawn["images"] for p in [split.positions[n] + 4.0 * np.array(s)]]
    assert min(np.linalg.norm(p - split.positions[0]) for p in places) == pytest.approx(1.2)


def test_a_dimer_record_shows_minima_and_the_scan_with_the_driven_pair():
    scenes = scenes_of(dimer_record(), atoms_to_json(OXIDE))
    assert [len(s.frames) for s in scenes] == [2, 2]
    assert "O2, -0.70 eV" in scenes[0].titles[1]
    assert all(s.pairs == ((2, 3, (0, 0, 0)),) for s in scenes)


def test_a_network_has_the_hops_in_the_cell_of_the_sites():
    network, path = scenes_of_step([hop_record()], {})
    (hop,) = (m for m in network.markers if m.end is not None)
    assert np.subtract(hop.end, hop.start) == pytest.approx([4, 0, 0])
    assert "0.30 eV" in hop.label
    assert list(network.frames[0].numbers) == [8]
    assert len(path.frames) == 3


def test_a_vacancy_is_marked_where_the_oxygen_was():
    without = OXIDE[[0, 1, 3]]
    without.rattle(0.01, seed=1)
    tags = {"role": "vacancy", "sites": [2], "host": "a"}
    (scene,) = scenes_of(record("oxygen", without, tags=tags), atoms_to_json(OXIDE))
    assert scene.markers[0].start == pytest.approx(tuple(OXIDE.positions[2]))
    assert len(scene.frames) == 2


def test_a_long_trajectory_is_thinned_and_keeps_its_ends(tmp_path):
    (scene,) = scenes_of(md_record(tmp_path), run=tmp_path)
    assert len(scene.frames) <= 40
    assert (scene.titles[0], scene.titles[-1]) == ("0.00 ps", "0.89 ps")


def test_what_tasks_began_with_is_found_by_their_parents(tmp_path):
    parent, child = record("delithiate", OXIDE, task="p"), record("relax", OXIDE, parents=("p",))
    assert starts_of(tmp_path, {"a": [parent], "b": [child]})["t1"] == parent.structure


def test_frames_are_continuous_across_faces():
    first, last = bulk("Li", cubic=True), bulk("Li", cubic=True)
    last.positions += last.cell.array[0]
    assert continuous([first, last])[1].positions == pytest.approx(first.positions)


def test_a_notebook_shows_a_result_in_a_frame_that_needs_no_network(tmp_path):
    result = atomsim.relax(bulk("Ar", "fcc", a=5.3), "lennard-jones")
    assert ".view()" in result._repr_html_()
    view = result.view()
    frame = view._repr_html_()
    source = html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
    assert source == view.html
    for _ in range(3):  # a busy machine's browser may be read before it has drawn
        found = visit(view.save(tmp_path / "view.html"), tmp_path, webgl=True)
        if "data-drawn" in found.dom:
            break
    assert found.console == []
    assert int(re.search(r'data-drawn="(\d+)"', found.dom)[1]) > 1
    assert len(view.html) < 700_000


def test_a_result_without_a_structure_says_that_there_is_nothing_to_show():
    with pytest.raises(InputError, match="no structure to show"):
        atomsim.Relaxation(Record("t", "s", "relax", "a", "invalid")).view()
