"""Structures unlike those that a potential learned from: told apart, kept in a small file, flagged in records."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

import atomsim
from atomsim import catalog
from atomsim.distill.familiarity import calibrate
from atomsim.errors import InputError
from atomsim.models.familiarity import (
    Familiarity,
    farthest,
    features_of,
    from_safetensors,
    to_safetensors,
    unfamiliarity,
)
from atomsim.models.load import load_potential
from atomsim.registry.cards import list_cards, load_card
from atomsim.structures.prototypes import load_prototype

STUDENTS = [card.name for card in list_cards() if card.familiar is not None]
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def student():
    return load_potential("mace-li-ru-s-o", "cpu")


@pytest.fixture(scope="module")
def crystal():
    return load_prototype("Li2RuO3").primitive


def test_features_do_not_turn_with_the_crystal_nor_depend_on_its_setting(student, crystal):
    turned = crystal.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    double = crystal.repeat((1, 2, 1))
    ours = features_of(crystal, student)
    np.testing.assert_allclose(features_of(turned, student), ours, atol=1e-4)
    np.testing.assert_allclose(features_of(double, student)[: len(crystal)], ours, atol=1e-4)
    assert np.ptp(ours, axis=0).max() > 0.01


def test_distance_is_zero_at_what_was_learned_and_grows_away_from_it():
    known = RNG.normal(size=(400, 6)) * np.array([5, 3, 2, 1, 0.5, 0.1])
    numbers = np.where(np.arange(400) < 200, 8, 3)
    model = Familiarity.of(known, numbers)
    assert model.of_atoms(known, numbers).max() < 1e-6
    away = [model.of_atoms(known + step * np.array([5, 3, 2, 1, 0.5, 0.1]), numbers).mean() for step in (0.5, 2.0, 8.0)]
    assert 0 < away[0] < away[1] < away[2]
    assert np.isinf(model.of_atoms(known[:1], np.array([44]))).all()


def test_points_that_are_kept_cover_the_others():
    points = RNG.uniform(size=(2000, 2))
    kept = farthest(points, 100)
    apart = np.linalg.norm(points[:, None] - kept[None], axis=2).min(axis=1)
    # 100 discs cover the square: none need be larger than 2 × 1/√(π 100)
    assert apart.max() < 2 / np.sqrt(np.pi * 100)
    assert len(farthest(points[:3], 10)) == 3


def test_the_file_gives_back_the_same_distances():
    known, numbers = RNG.normal(size=(300, 8)), np.full(300, 8)
    model = Familiarity.of(known, numbers).with_limit(0.7)
    back = from_safetensors(to_safetensors(model))
    probe = RNG.normal(size=(50, 8)) * 2
    assert back.limit == 0.7
    np.testing.assert_allclose(back.of_atoms(probe, numbers[:50]), model.of_atoms(probe, numbers[:50]), atol=0.02)
    with pytest.raises(InputError, match="no summary of what a potential learned from"):
        from_safetensors(b"something else")


def test_a_limit_is_judged_on_frames_that_it_was_not_chosen_on():
    distance = RNG.uniform(0, 4, size=600)
    errors = 0.1 * distance + RNG.normal(0, 0.02, size=600)
    found = calibrate(distance, errors, 0.2)
    assert 1.4 < found.limit < 2.0  # of distances above 1.65, 85 % lie above the 2 where errors are too large
    assert found.precision > 0.7
    assert found.recall > 0.85
    assert found.structures == 300
    with pytest.raises(InputError, match="no distance from the training tells"):
        calibrate(distance, np.zeros(600), 0.2)
    with pytest.raises(InputError, match="found 3 frames"):
        calibrate([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.2)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_shipped_student_knows_its_crystals_and_flags_what_is_none(name):
    card, potential = load_card(name), load_potential(name, "cpu")
    assert card.familiar.precision >= 0.8
    assert card.familiar.recall >= 0.7
    host = {"mace-li-ru-s-o": "Li2RuO3", "mace-li-mn-co-ni-w-o": "LiCoO2", "mace-na-ru-o": "Na3RuO4"}[name]
    known = load_prototype(host).primitive
    strange = known.copy()
    strange.positions += np.random.default_rng(1).normal(0, 0.5, strange.positions.shape)
    near, far = unfamiliarity([known, strange], potential)
    assert near < 1 < far


def test_records_carry_it_and_a_changed_summary_is_refused(student, crystal, tmp_path, monkeypatch):
    found = atomsim.evaluate(crystal, student)
    assert found.record.values["unfamiliarity"] < 1
    assert not found.flags
    strange = crystal.copy()
    strange.set_cell(1.25 * strange.cell.array, scale_atoms=True)
    flags = atomsim.evaluate(strange, student).flags
    assert len(flags) == 1
    assert flags[0].startswith("unlike what mace-li-ru-s-o learned from (")
    assert unfamiliarity([crystal], load_potential("lj-test", "cpu")) is None

    folder = catalog.folder("potentials")
    for end in (".toml", ".safetensors", ".familiar.safetensors"):
        shutil.copy(folder / f"mace-li-ru-s-o{end}", tmp_path)
    summary = tmp_path / "mace-li-ru-s-o.familiar.safetensors"
    summary.write_bytes(summary.read_bytes() + b" ")
    assert hashlib.sha256(summary.read_bytes()).hexdigest() != load_card("mace-li-ru-s-o").familiar.sha256
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(tmp_path))
    with pytest.raises(InputError, match="is not the file that the card mace-li-ru-s-o pins; copy it again"):
        load_potential("mace-li-ru-s-o", "cpu")
    summary.unlink()  # without it the student works, and says nothing of it
    assert load_potential("mace-li-ru-s-o", "cpu").familiarity is None
