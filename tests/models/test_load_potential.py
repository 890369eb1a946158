"""Loading: by name, by pinned file, never an untrusted pickle, only published weights."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from ase import Atoms
from random_mace import random_mace

from atomsim import catalog
from atomsim.batch import Batch
from atomsim.campaign.file import load_campaign
from atomsim.errors import InputError
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential, resolve_device
from atomsim.registry.cards import card_text, list_cards, load_card, own_store, sha256_of

WATER_SALT = Batch.pack([Atoms("LiO", positions=[[0, 0, 0], [1.8, 0.1, 0]], cell=[6, 6, 6], pbc=True)])


@pytest.mark.parametrize("name", [card.name for card in list_cards() if card.state != "missing"])
def test_every_card_loads_and_evaluates(name):
    potential, card = load_potential(name, "cpu"), load_card(name)
    assert isinstance(potential, Potential)
    assert potential.name in (name, f"{name}/{card.head}")
    assert potential.elements == card.numbers
    assert potential.cutoff == card.cutoff_A
    assert str(potential.dtype) == f"torch.{card.dtype}"
    assert len(potential.sha256) == 64
    assert card.weights.sha256 in ("", getattr(potential, "file_sha256", potential.sha256))
    known = WATER_SALT if {3, 8} <= card.numbers else Batch.pack([Atoms("NaO", positions=[[0, 0, 0], [2.2, 0.1, 0]])])
    assert potential(known).energy.isfinite().all()


class Hostile:
    """Unpickling this writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_an_untrusted_file_is_refused_before_anything_in_it_runs(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "nice.model"
    path.write_bytes(pickle.dumps(Hostile(marker)))
    for spelled in (path, str(path)):
        with pytest.raises(InputError, match="--trust-file"):
            load_potential(spelled, "cpu")
    assert not marker.exists()
    # the file is hostile indeed: who says that it is trusted, runs it
    torch.save(Hostile(marker), path)
    with pytest.raises(InputError):
        load_potential(path, "cpu", trust_file=True)
    assert marker.exists()


def test_a_file_that_a_card_pins_needs_no_trust(tmp_path):
    path = tmp_path / "copy.model"
    shutil.copy(load_card("chgnet-0.3.0").weights_path, path)
    potential = load_potential(path, "cpu")
    assert potential.name == "chgnet-0.3.0"
    assert torch.equal(potential(WATER_SALT).energy, load_potential("chgnet-0.3.0", "cpu")(WATER_SALT).energy)


@pytest.fixture
def own_card(tmp_path, monkeypatch):
    """A potentials folder with chgnet's weights beside its card, both ours to spoil."""
    card = load_card("chgnet-0.3.0")
    shutil.copy(card.weights_path, tmp_path / "weights.pth.tar")
    text = (catalog.folder("potentials") / "chgnet-0.3.0.toml").read_text()
    text = text.replace('origin = "package"', 'origin = "file"').replace(card.weights.file, "weights.pth.tar")
    (tmp_path / "chgnet-0.3.0.toml").write_text(text)
    monkeypatch.setattr(catalog, "folder", lambda kind: tmp_path)
    return tmp_path


def test_weights_are_verified(own_card):
    assert load_card("chgnet-0.3.0").state == "verified"
    load_potential("chgnet-0.3.0", "cpu")
    weights = own_card / "weights.pth.tar"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert load_card("chgnet-0.3.0").state == "changed"
    with pytest.raises(InputError, match="not the published ones"):
        load_potential("chgnet-0.3.0", "cpu")
    weights.unlink()
    assert load_card("chgnet-0.3.0").state == "missing"
    with pytest.raises(InputError, match="are missing"):
        load_potential("chgnet-0.3.0", "cpu")


def test_a_fetched_mace_has_the_head_that_its_card_speaks_of(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own_store().mkdir(parents=True)
    torch.save(random_mace([3, 8], heads=["pbe", "r2scan"]), own_store() / "two.model")
    weights = {"origin": "url", "url": "https://models.invalid/two.model", "file": "two.model"}
    weights["sha256"] = sha256_of(own_store() / "two.model")
    foundation = load_card("mace-mh-1")
    card = foundation.model_validate(
        foundation.model_dump() | {"name": "two", "head": "r2scan", "dtype": "float64", "weights": weights}
    )
    (own_store() / "two.toml").write_text(card_text(card), encoding="utf-8")
    energy = {head: load_potential("two", "cpu", head=head)(WATER_SALT).energy for head in (None, "pbe", "r2scan")}
    assert torch.equal(energy[None], energy["r2scan"])
    assert not torch.allclose(energy[None], energy["pbe"], atol=1e-3)
    assert load_potential("two", "cpu").name == "two/r2scan"


def own_mace(folder: Path, monkeypatch, names: dict[str, str], *, elements=("Li", "O"), heads=None) -> Path:
    """One file of random weights, and a card for each name with its head."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    own_store().mkdir(parents=True)
    path = own_store() / "two.model"
    torch.save(random_mace([3, 8, 11], heads=heads), path)
    for name, head in names.items():
        weights = {"origin": "file", "file": path.name, "sha256": sha256_of(path)}
        changes = {"name": name, "head": head, "dtype": "float64", "weights": weights, "elements": elements}
        card = load_card("mace-mh-1")
        card = card.model_validate(card.model_dump() | changes)
        (own_store() / f"{name}.toml").write_text(card_text(card), encoding="utf-8")
    return path


def test_elements_that_a_card_leaves_out_are_refused(tmp_path, monkeypatch):
    path = own_mace(tmp_path, monkeypatch, {"sodium": ""}, elements=("Na",))
    loaded = load_potential("sodium", "cpu")
    for potential in (loaded, load_potential(path, "cpu"), loaded.double):
        assert potential.elements == {11}
        with pytest.raises(InputError, match="Li"):
            potential(WATER_SALT)
    assert loaded(Batch.pack([Atoms("Na2", positions=[[0, 0, 0], [2.5, 0, 0]])])).energy.isfinite().all()
    with pytest.raises(InputError, match="Li"):
        loaded.prune([3])


def test_a_head_is_named_behind_the_file(tmp_path, monkeypatch):
    path = own_mace(tmp_path, monkeypatch, {"first": "pbe", "second": "r2scan"}, heads=["pbe", "r2scan"])
    first, second = load_potential("first", "cpu"), load_potential("second", "cpu")
    assert (first.name, second.name) == ("first/pbe", "second/r2scan")
    assert first.sha256 != second.sha256
    for spelled, card in ((f"{path}#pbe", first), (f"{path}#r2scan", second), ("first#r2scan", second)):
        found = load_potential(spelled, "cpu")
        assert found.sha256 == card.sha256
        assert torch.equal(found(WATER_SALT).energy, card(WATER_SALT).energy)
    with pytest.raises(InputError, match=r"file of several cards: first \(head pbe\), second .*two.model#HEAD"):
        load_potential(path, "cpu")
    with pytest.raises(InputError, match="no head 'pbee'; did you mean 'pbe'"):
        load_potential(f"{path}#pbee", "cpu")
    with pytest.raises(InputError, match="wanted NAME#HEAD with one head"):
        load_potential(f"{path}#pbe", "cpu", head="r2scan")


def test_a_campaign_names_a_head_behind_the_file(tmp_path):
    text = '[campaign]\nname = "heads"\npotential = "two.model#pbe"\n[[step]]\nname = "a"\nkind = "structures"\n'
    (tmp_path / "heads.toml").write_text(text + 'structures = ["Li2O"]\n', encoding="utf-8")
    campaign = load_campaign(tmp_path / "heads.toml")
    assert campaign.header.potential == str(tmp_path / "two.model#pbe")


def test_bad_names_and_files(tmp_path):
    with pytest.raises(InputError, match=r"did you mean 'chgnet-0\.3\.0'"):
        load_potential("chgnet-0.3", "cpu")
    with pytest.raises(InputError, match="No such file"):
        load_potential(tmp_path / "absent.model", "cpu")
    with pytest.raises(InputError, match="Is a directory"):
        load_potential(tmp_path, "cpu")
    empty = tmp_path / "empty.model"
    empty.touch()
    with pytest.raises(InputError, match="not a readable MACE model"):
        load_potential(empty, "cpu", trust_file=True)
    torch.save({"weights": torch.ones(3)}, empty)
    with pytest.raises(InputError, match="found a model of class dict"):
        load_potential(empty, "cpu", trust_file=True)
    with pytest.raises(InputError, match="no heads"):
        load_potential("morse", "cpu", head="pbe")


def test_devices_and_precision():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for bad in ("gpu", "cuda:x", "cuda:-1", "mps", ""):
        with pytest.raises(InputError, match="wanted auto, cpu, cuda or cuda:N"):
            resolve_device(bad)
    with pytest.raises(InputError, match="is not there"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")
    assert load_potential("morse", "cpu", "float32").dtype == torch.float32
    assert load_potential("morse", "cpu", torch.float32).dtype == torch.float32
    with pytest.raises(InputError, match="did you mean 'float64'"):
        load_potential("morse", "cpu", "float46")
    with pytest.raises(InputError, match=r"unknown precision 'torch\.float16'"):
        load_potential("morse", "cpu", torch.float16)


def test_loading_changes_no_global_state():
    random_state, environment = torch.get_rng_state(), dict(os.environ)
    load_potential("chgnet-0.3.0", "cpu", "float64")
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), random_state)
    assert dict(os.environ) == environment


def test_mace_beside_another_e3nn_is_refused(monkeypatch):
    """SevenNet's e3nn has other signs: a model of this one would give plausible, wrong numbers."""
    from atomsim.models.mace import potential

    monkeypatch.setattr(potential, "version", lambda package: "0.6.0")
    with pytest.raises(InputError, match=r"found e3nn 0\.6\.0, which SevenNet wants") as error:
        load_potential("mace-na-ru-o", "cpu")
    assert len(str(error.value).splitlines()) == 1
