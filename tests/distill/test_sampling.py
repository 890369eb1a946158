"""Configurations: nothing overlaps, seeds decide, and labels are the teacher's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.batching.labels import label
from atomsim.distill.active import force_std, select_by_disagreement, select_by_error
from atomsim.distill.labelling import Recorder, evenly, largest_force, read_frames, write_frames
from atomsim.distill.recipe import load_recipe
from atomsim.distill.sampling import frame_sources, frames_of
from atomsim.distill.structures import structures_of
from atomsim.dynamics import Langevin
from atomsim.dynamics.trajectory import snapshots, stable
from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones
from atomsim.structures.random import compressed, dimers, displaced, nearest_pair, packing, permute_species

RECIPE = """
[distill]
name = "small"
summary = "for a test"
teacher = "lj-test"
max_force_eV_per_A = 30.0
[[system]]
name = "oxide"
prototype = "Li2O"
ion = "Li"
x = [1.0]
max_atoms = 12
rattled = 6
relaxations = 1
relax_frames = 4
md_temperatures_K = [300.0, 600.0]
md_steps = 10
md_every = 5
compressed = 2
[[system]]
name = "glass"
domain = "amorphous"
formula = ["Li8O4"]
density_g_per_cm3 = [1.8]
md_temperatures_K = [800.0]
md_steps = 10
md_every = 5
[pairs]
per_pair = 3
box_A = 12.0
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path)


def test_all_sources_give_labelled_frames_of_their_domain(recipe):
    teacher = load_potential("lj-test", "cpu")
    jobs = {job.name: job for job in frame_sources(recipe)}
    assert {j.split for j in jobs.values()} == {"train", "test"}
    for name, job in jobs.items():
        frames = frames_of(job, recipe, teacher)
        assert frames, name
        again = frames_of(job, recipe, teacher)
        assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True)), name
        evaluation = teacher(Batch.pack(frames[:1]))
        assert frames[0].get_potential_energy() == pytest.approx(float(evaluation.energy[0]), abs=1e-9)
        np.testing.assert_allclose(frames[0].get_forces(), evaluation.forces.numpy(), atol=1e-9)
        assert {f.info["config_type"] for f in frames} == {job.domain}
        assert max(map(largest_force, frames)) < 30.0


def test_held_out_frames_are_others(recipe):
    teacher = load_potential("lj-test", "cpu")
    by_split = {}
    for job in frame_sources(recipe):
        if job.kind in ("rattle", "md"):
            by_split.setdefault(job.split, []).extend(frames_of(job, recipe, teacher))
    known = {f.positions.tobytes() for f in by_split["train"]}
    assert by_split["test"]
    assert not any(f.positions.tobytes() in known for f in by_split["test"])


def test_a_random_packing_has_its_density_and_no_overlap():
    atoms = packing(Atoms("Li8Ru4O12").numbers, 3.6, np.random.default_rng(0))
    assert atoms.get_masses().sum() / atoms.cell.volume / 0.602214 == pytest.approx(3.6, rel=1e-3)
    assert nearest_pair(atoms) > 0.79
    with pytest.raises(InputError, match="lower the density"):
        packing(Atoms("Li4O2").numbers, 30.0, np.random.default_rng(0))


def test_displaced_atoms_never_overlap_and_cells_are_strained():
    crystal, rng = bulk("LiO", "rocksalt", a=4.2, cubic=True), np.random.default_rng(1)
    moved = [displaced(crystal, 0.6, 0.05, rng) for _ in range(20)]
    assert min(map(nearest_pair, moved)) > 0.65
    volumes = [m.cell.volume / crystal.cell.volume for m in moved]
    assert 0.8 < min(volumes) < 0.99 < 1.01 < max(volumes) < 1.25


def test_a_compressed_pair_is_as_near_as_asked():
    crystal = bulk("LiO", "rocksalt", a=4.2, cubic=True)
    pushed = compressed(crystal, "O", 1.4, np.random.default_rng(0))
    oxygen = pushed[pushed.numbers == 8]
    distances = oxygen.get_all_distances(mic=True)
    assert distances[distances > 0.1].min() == pytest.approx(1.4, abs=1e-6)


def test_shuffling_keeps_sites_and_composition(recipe):
    crystal = bulk("LiO", "rocksalt", a=4.2, cubic=True)
    exchanged = permute_species(crystal, ["Li", "O"], np.random.default_rng(3))
    np.testing.assert_array_equal(exchanged.positions, crystal.positions)
    assert sorted(exchanged.numbers) == sorted(crystal.numbers)
    assert not np.array_equal(exchanged.numbers, crystal.numbers)
    with pytest.raises(InputError, match="no Ru"):
        permute_species(crystal, ["Li", "Ru"], np.random.default_rng(3))
    delithiated = structures_of(recipe.systems[0], np.random.default_rng(0))
    assert all(a.symbols.count("Li") == a.symbols.count("O") for a in delithiated)


def test_dimers_hold_every_pair_and_every_single_atom():
    found = dimers(["Li", "O"], 3, 0.75, 4.0, 12.0, ["O"])
    assert sorted({f.get_chemical_formula() for f in found}) == ["Li", "Li2", "LiO", "O", "O2"]
    assert sum(f.get_chemical_formula() == "O2" for f in found) == 12


def test_frames_come_back_from_their_file(tmp_path):
    frames = label([bulk("LiO", "rocksalt", a=4.3, cubic=True)], load_potential("lj-test", "cpu"))
    write_frames(tmp_path / "some.extxyz", frames)
    (again,) = read_frames(tmp_path / "some.extxyz")
    assert again.get_potential_energy() == pytest.approx(frames[0].get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(again.get_stress(), frames[0].get_stress(), atol=1e-7)
    write_frames(tmp_path / "none.extxyz", [])
    assert read_frames(tmp_path / "none.extxyz") == []


def test_a_recorder_keeps_what_was_asked():
    recorder = Recorder(load_potential("lj-test", "cpu"))
    batch = Batch.pack([bulk("LiO", "rocksalt", a=a, cubic=True) for a in (4.2, 4.3)])
    evaluation = recorder(batch)
    assert [f.get_potential_energy() for f in recorder.frames] == evaluation.energy.tolist()
    assert [f[0] for f in map(evenly, [list(range(10))] * 2, [3, 20])] == [0, 0]
    assert evenly(list(range(10)), 3) == [0, 4, 9]


def test_a_system_that_blows_up_leaves_and_the_others_go_on():
    lj = load_potential("lj-test", "cpu")
    good = bulk("LiO", "rocksalt", a=4.3, cubic=True)
    bad = good.copy()
    bad.positions[1] = bad.positions[0] + [0.5, 0, 0]
    seen = list(
        snapshots([bad, good], lj, [300.0, 300.0], [1, 2], Langevin(1.0), steps=4, every=2, limit_eV_per_A=50.0)
    )
    assert [(s.key, s.status) for s in stable(iter(seen))] == [(1, "running"), (1, "done")]
    assert [(s.key, s.status) for s in seen if s.status == "exploded"] == [(0, "exploded")]


def test_a_committee_points_at_what_its_members_disagree_on():
    near, far = (LennardJones(4.0, 5.0, epsilon_eV=0.1, sigma_A=s) for s in (2.0, 2.1))
    frames = [bulk("LiO", "rocksalt", a=a, cubic=True) for a in (5.0, 4.2, 4.6)]
    for k, frame in enumerate(frames):
        frame.rattle(0.1, seed=k)
    found = force_std(frames, [near, far])
    assert found.argmax() == 1  # the densest
    assert select_by_disagreement(frames, [near, far], 1)[0] is frames[1]
    assert force_std(frames, [near, near]).max() == 0.0


def test_the_worst_frames_are_chosen_and_labelled_by_the_teacher():
    student, teacher = (LennardJones(4.0, 5.0, epsilon_eV=0.1, sigma_A=s) for s in (2.0, 2.1))
    frames = [bulk("LiO", "rocksalt", a=a, cubic=True) for a in (5.0, 4.2, 4.6)]
    for k, frame in enumerate(frames):
        frame.rattle(0.1, seed=k)
    (found,) = select_by_error(frames, student, teacher, 1, 1e3)
    assert found.cell.volume == pytest.approx(4.2**3)
    assert found.get_potential_energy() == pytest.approx(float(teacher(Batch.pack([frames[1]])).energy[0]))
    assert torch.isfinite(torch.tensor(found.get_forces())).all()
