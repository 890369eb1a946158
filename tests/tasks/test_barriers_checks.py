"""``check_with`` takes what ``--potential`` takes: cards, heads of models, files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from ase.io import write
from random_mace import random_mace

import atomsim
from atomsim import catalog
from atomsim.batch import Batch, Evaluation
from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones
from atomsim.slurm.dry_run import dry_start
from atomsim.slurm.profile import read_profile
from atomsim.store.run_folder import read_run
from atomsim.tasks import barriers
from atomsim.tasks.base import Context

CAMPAIGN = """
[campaign]
name = "copper"

[[step]]
name = "hops"
kind = "barriers"
structures = "copper.extxyz"
ion = "Cu"
max_length_A = 2.8
supercell_min_A = 5.0
max_atoms = 8
images = 1
check_with = ["models/two.model#a", "models/two.model#b", "lj-test"]
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two heads."""
    here = tmp_path_factory.mktemp("models")
    torch.save(random_mace([29], heads=["a", "b"]), here / "two.model")
    return here


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    write(tmp_path / "copper.extxyz", bulk("Cu", "fcc", a=3.59))
    (tmp_path / "copper.toml").write_text(CAMPAIGN)
    return tmp_path


def test_a_path_is_checked_with_heads_of_a_file_beside_the_campaign(folder: Path) -> None:
    engine = Engine("emt", "cpu", processes=0, loader="emt_potential:load", trust_file=True)
    run_campaign(load_campaign(folder / "copper.toml"), folder / "run", engine)
    (record,) = read_run(folder / "run")[1]["hops"]
    found = record.values["checked_with"]
    assert set(found) == {"models/two.model#a", "models/two.model#b", "lj-test"}
    assert "checks_failed" not in record.values
    first, second = (found[f"models/two.model#{head}"]["barrier_eV"] for head in "ab")
    assert first != pytest.approx(second, abs=1e-9)  # each its own


@pytest.mark.parametrize(
    ("word", "trusted", "why"),
    [
        ("models/two.model", False, "--trust-file"),
        ("models/two.model#c", True, "head"),
        ("models/gone.model", True, "cannot read"),
        ("lj-test#a", True, "has no heads"),
        ("lj-tes", True, "did you mean"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_any_force_call(
    folder: Path, word: str, trusted: bool, why: str
) -> None:
    settings = load_campaign(folder / "copper.toml").steps[0].settings.model_copy(update={"check_with": [word]})
    context = Context("hops", base_dir=folder, trust_file=trusted)
    with pytest.raises(InputError, match=f"check_with: .*{why}") as error:
        barriers.expand(settings, {}, context)
    assert "\n" not in str(error.value)


RELAXED_FIRST = """
[campaign]
name = "b"
potential = "emt"
[[step]]
name = "host"
kind = "relax"
structures = "cu.cif"
[[step]]
name = "hops"
kind = "barriers"
structures = "host"
ion = "Cu"
max_atoms = 32
check_with = ["{word}"]
"""


class Counted(LennardJones):
    """Lennard-Jones that counts its calls."""

    calls = 0

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += 1
        return super().__call__(batch)


def test_the_potential_itself_and_a_name_twice_are_no_check(folder: Path) -> None:
    settings = load_campaign(folder / "copper.toml").steps[0].settings
    morse = load_potential("morse", device="cpu")
    two = load_potential(str(folder / "models" / "two.model#a"), device="cpu", trust_file=True)
    for own, words, why in (
        (morse, ["morse"], "morse is the potential that is to be checked"),
        (two, ["lj-test", "models/two.model#a"], "two.model#a is the potential"),
        (two, ["models/two.model#b", "lj-test", "lj-test"], "lj-test is named twice"),
    ):
        context = Context(
            "hops", base_dir=folder, trust_file=True, potential_name=own.name, potential_sha256=own.sha256
        )
        with pytest.raises(InputError, match=f"check_with: .*{why}"):
            barriers.expand(settings.model_copy(update={"check_with": words}), {}, context)
    argon = Counted(onset_A=4.5, cutoff_A=5.2)
    crystal = bulk("Ar", cubic=True)
    for verb in (atomsim.relax, atomsim.evaluate):
        with pytest.raises(InputError, match="is the potential that is to be checked"):
            verb(crystal, argon, check_with=[argon])
    with pytest.raises(InputError, match="is the potential that is to be checked"):
        atomsim.neb(crystal, crystal, argon, check_with=argon)
    assert argon.calls == 0


UNFIT = [("lj-tst", "did you mean 'lj-test'"), ("mace-na-ru-o", "Cu is not known to"), ("gone.model", "gone.model")]


@pytest.mark.parametrize(("word", "reason"), UNFIT)
def test_an_unfit_further_potential_is_found_before_the_host_is_relaxed(word, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copper = bulk("Cu", cubic=True)
    write("cu.cif", copper)
    (tmp_path / "b.toml").write_text(RELAXED_FIRST.format(word=word), encoding="utf-8")
    engine = Engine("emt", "cpu", None, 0, loader="emt_potential:load")
    with pytest.raises(InputError, match=reason):
        run_campaign(load_campaign(tmp_path / "b.toml"), tmp_path / "run", engine)
    assert not any(read_run(tmp_path / "run")[1].values())
    profile = read_profile(catalog.folder("slurm") / "cpu-only.toml")
    with pytest.raises(InputError, match=reason):
        dry_start(load_campaign(tmp_path / "b.toml"), tmp_path / "submitted", engine, profile)
    argon = Counted(onset_A=4.5, cutoff_A=5.2)
    with pytest.raises(InputError, match=reason.replace("Cu", "Ar")):
        atomsim.migration(bulk("Ar", cubic=True), "Ar", argon, check_with=word)
    assert argon.calls == 0
