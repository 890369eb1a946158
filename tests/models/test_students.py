"""Students: weights without pickles, small, fast, and as near to their teacher as their cards say."""

from __future__ import annotations

import hashlib
import json
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import covalent_radii
from random_mace import random_mace

from atomsim import catalog
from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.models.mace.safetensors import from_safetensors, to_safetensors
from atomsim.models.mace.wall import WALL_EV, walled
from atomsim.registry.cards import list_cards, load_card
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.random import displaced

STUDENTS = [card.name for card in list_cards() if card.distilled is not None]
HOSTS = {
    "mace-li-ru-s-o": ["Li2RuO3", "Li2SO4", "Li2O"],
    "mace-li-mn-co-ni-w-o": ["Li2MnO3", "LiMO2", "LiCoO2"],
    "mace-na-ru-o": ["Na3RuO4"],
}
ELEMENTS = [3, 8, 16, 44]


@cache
def plain_model() -> torch.nn.Module:
    return random_mace(
        ELEMENTS, dtype=torch.float32, distance_transform="None", residual_first=False, correlation=2, max_ell=1
    )


@cache
def plain_file() -> bytes:
    return to_safetensors(plain_model())


@cache
def student_or_teacher(name: str) -> Potential:
    return load_potential(name, "cpu")


def batch() -> Batch:
    crystal = load_prototype("Li2RuO3").primitive
    crystal.rattle(0.1, seed=1)
    return Batch.pack([crystal])


def test_a_model_comes_back_from_its_file():
    model, back = plain_model(), from_safetensors(plain_file())
    ours, theirs = (MacePotential(m, dtype=torch.float32)(batch()) for m in (back, model))
    torch.testing.assert_close(ours.energy, theirs.energy, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.forces, theirs.forces, rtol=0, atol=1e-5)
    assert ours.forces.abs().max() > 0.01
    assert to_safetensors(back) == plain_file()


def test_a_file_by_path_needs_no_trust_and_keeps_its_sha256(tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(plain_file())
    potential = load_potential(path, "cpu")
    assert potential.name == "own"
    assert potential.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert potential.elements == frozenset(ELEMENTS)


def header_changed(data: bytes, **changes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    (key,) = header["__metadata__"]
    header["__metadata__"][key] = json.dumps(json.loads(header["__metadata__"][key]) | changes)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("r_max", value) for value in (float("nan"), -1.0, 0.0, 1e9, float("inf"), True, 5)),
        ("avg_num_neighbors", 0.0),
        ("wall", 3.0),
        ("num_bessel", 999),
        ("max_ell", 40),
        ("num_interactions", 500),
        ("hidden_irreps", "9999999x0e"),
        ("hidden_irreps", "anything"),
        ("atomic_numbers", [3, 3, 16, 44]),
        ("atomic_numbers", [3, 8, 16, 400]),
        ("radial_MLP", [10**9]),
        ("radial_MLP", ["16"]),
    ],
)
def test_a_header_beyond_all_reason_is_refused_at_once(key, value):
    with pytest.raises(InputError, match=f"architecture has {key} = .*, wanted ") as error:
        from_safetensors(header_changed(plain_file(), **{key: value}))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_refused():
    from safetensors.torch import load, save

    data = plain_file()
    size = int.from_bytes(data[:8], "little")
    tensors = load(data)
    tensors[next(iter(tensors))].view(-1)[0] = float("nan")
    with pytest.raises(InputError, match="is not finite"):
        from_safetensors(save(tensors, metadata=json.loads(data[8 : 8 + size])["__metadata__"]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d[:-100], "not a safetensors file"),
        (lambda d: pickle.dumps({"weights": 1}), "not a safetensors file"),
        (lambda d: header_changed(d, hidden_irreps="8x0e"), "copy or train it again"),
        (lambda d: header_changed(d, interaction="OtherBlock"), "unknown block"),
        (lambda d: header_changed(d, max_ell=10**6), "architecture has max_ell"),
        (lambda d: header_changed(d, unknown=1), "no complete architecture"),
    ],
)
def test_a_damaged_file_is_refused(spoil, message):
    with pytest.raises(InputError, match=message):
        from_safetensors(spoil(plain_file()))


def test_a_wall_repels_near_pairs_and_changes_nothing_beyond():
    plain = from_safetensors(plain_file())
    data = to_safetensors(plain, 0.65)
    with_wall = from_safetensors(data)
    assert to_safetensors(with_wall) == data  # the wall is kept
    assert to_safetensors(with_wall, 0.0) == plain_file()
    reach = 0.65 * float(covalent_radii[3] + covalent_radii[8])
    distances = [1.5 * reach, 1.001 * reach, 0.9 * reach, 0.5 * reach]
    pairs = Batch.pack([Atoms("LiO", positions=[[0, 0, 0], [0, d, 0]]) for d in distances])
    for kernel in ("fast", "reference"):
        walled, without = (MacePotential(m, dtype=torch.float64, kernel=kernel)(pairs) for m in (with_wall, plain))
        added = (walled.energy - without.energy).tolist()
        np.testing.assert_allclose(added, [0, 0, WALL_EV * 0.1**3, WALL_EV * 0.5**3], rtol=1e-6, atol=1e-9)
        pull = walled.forces - without.forces
        np.testing.assert_allclose(pull[-2:, 1], [-0.75 * WALL_EV / reach, 0.75 * WALL_EV / reach], rtol=1e-6)


def test_a_wall_needs_a_repulsion_to_continue():
    model = random_mace(ELEMENTS, pair_repulsion=False)
    with pytest.raises(InputError, match="pair repulsion"):
        walled(model, 0.65)


@pytest.mark.parametrize("changes", [{"heads": ["a", "b"]}, {"distance_transform": "Agnesi"}, {"scale_shift": False}])
def test_what_a_file_cannot_hold_is_refused(changes):
    arguments = {"distance_transform": "None", "dtype": torch.float32, "correlation": 2, "max_ell": 1} | changes
    with pytest.raises(InputError):
        to_safetensors(random_mace(ELEMENTS, **arguments))


@pytest.mark.parametrize("name", STUDENTS)
def test_a_shipped_student_is_small_pinned_and_computed_fast(name):
    card = load_card(name)
    assert card.state == "verified"
    assert card.weights_path.suffix == ".safetensors"
    assert card.weights_path.stat().st_size < 2_000_000
    assert card.distilled.teacher_sha256 == load_card(card.distilled.teacher).weights.sha256
    recipe = catalog.folder("workflows") / card.distilled.recipe
    assert hashlib.sha256(recipe.read_bytes()).hexdigest() == card.distilled.recipe_sha256
    potential = student_or_teacher(name)
    assert potential.kernel == "fast", potential.kernel_note


@pytest.mark.parametrize("name", STUDENTS)
def test_a_shipped_student_is_as_near_to_its_teacher_as_its_card_says(name):
    """On frames that nobody made before: mean errors of three frames scatter, hence the factor of two."""
    card, rng = load_card(name), np.random.default_rng(20261121)
    frames = [displaced(load_prototype(h).primitive, 0.08, 0.02, rng) for h in HOSTS[name] for _ in range(3)]
    student, teacher = (student_or_teacher(p)(Batch.pack(frames)) for p in (name, card.distilled.teacher))
    sizes = torch.tensor([len(f) for f in frames])
    energy = 1e3 * ((student.energy - teacher.energy) / sizes).abs().mean()
    forces = 1e3 * (student.forces - teacher.forces).abs().mean()
    assert energy < 2 * card.errors["crystal_energy_MAE_meV_per_atom"]
    assert forces < 2 * card.errors["crystal_forces_MAE_meV_per_A"]
    # and far better than knowing nothing
    assert forces < 0.25 * 1e3 * teacher.forces.abs().mean()


@pytest.mark.parametrize("name", STUDENTS)
def test_a_shipped_student_repels_at_short_distances(name):
    """The energy of every pair rises all the way as it is pushed together below 60 % of its covalent sum."""
    potential = student_or_teacher(name)
    elements = sorted(potential.elements)
    for n, a in enumerate(elements):
        for b in elements[n:]:
            total = covalent_radii[a] + covalent_radii[b]
            pairs = [Atoms([a, b], positions=[[0, 0, 0], [part * total, 0, 0]]) for part in (0.6, 0.5, 0.4, 0.3, 0.2)]
            energy = potential(Batch.pack(pairs)).energy.numpy()
            assert (np.diff(energy) > 0).all(), (a, b, energy)
