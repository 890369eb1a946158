"""Potentials and cards of another package, found by its entry points and kept to the same contract."""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from ase.build import bulk

import atomsim
from atomsim.catalog import folder as catalog_folder
from atomsim.errors import AtomsimError, InputError
from atomsim.interop import torchsim_model
from atomsim.registry import plugins
from atomsim.testing import check_contract

SPRINGS = """
from atomsim.models.pair import LennardJones


def load(weights, card, device, dtype):
    assert weights is None
    if card.name == "broken":
        return 5
    return LennardJones(onset_A=4.0, cutoff_A=card.cutoff_A, name=card.name, device=device, dtype=dtype)
"""
ENTRIES = """
[atomsim.potentials]
springs = some_springs.potential:load
[atomsim.cards]
springs = some_springs.cards
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed package with a family of potentials and two cards."""
    info = tmp_path / "some_springs-1.2.dist-info"
    for folder in (tmp_path / "some_springs" / "cards", info):
        folder.mkdir(parents=True)
    (tmp_path / "some_springs" / "__init__.py").write_text("")
    (tmp_path / "some_springs" / "potential.py").write_text(SPRINGS)
    card = (catalog_folder("potentials") / "lj-test.toml").read_text()
    for name in ("springs-1", "broken"):
        text = card.replace('name = "lj-test"', f'name = "{name}"').replace('"lennard-jones"', '"springs"')
        (tmp_path / "some_springs" / "cards" / f"{name}.toml").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-springs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.card_folders_of_packages.cache_clear()
    yield tmp_path
    plugins.card_folders_of_packages.cache_clear()
    for name in [n for n in sys.modules if n.startswith("some_springs")]:
        del sys.modules[name]


def test_a_potential_of_another_package_is_one_by_its_name(package):
    potential = atomsim.load_potential("springs-1", device="cpu")
    assert atomsim.relax(bulk("Ar", a=4.8), "springs-1", device="cpu", check_minimum=False).ok
    assert all(check.passed for check in check_contract(potential, atomsim.read("LiCoO2") + atomsim.read("Li")))
    with pytest.raises(InputError, match="gave int, wanted a Potential"):
        atomsim.load_potential("broken", device="cpu")


def test_it_is_imported_when_it_is_loaded_and_not_before(package):
    code = f"""import sys; sys.path.insert(0, {str(package)!r})
import atomsim
from atomsim.registry.cards import card_names
print("springs-1" in card_names(), "some_springs.potential" in sys.modules)"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]
    assert "some_springs.potential" not in sys.modules
    atomsim.load_potential("springs-1", device="cpu")  # here, where torch is imported already
    assert "some_springs.potential" in sys.modules


def test_a_package_that_cannot_be_imported_is_told_by_name(package):
    (package / "some_springs" / "potential.py").write_text("import nothing_of_that_name")
    with pytest.raises(InputError, match=r"some-springs 1\.2 cannot be imported"):
        atomsim.load_potential("springs-1", device="cpu")


class Interface(torch.nn.Module, ABC):
    """What TorchSim asks of a model."""

    device = property(lambda self: self._device)
    dtype = property(lambda self: self._dtype)

    @abstractmethod
    def forward(self, state, **kwargs): ...


def test_a_potential_is_a_torchsim_model(monkeypatch):
    for name in ("torch_sim", "torch_sim.models", "torch_sim.models.interface"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torch_sim.models.interface"].ModelInterface = Interface
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.rattle(0.05, seed=1)
    model = torchsim_model(atomsim.load_potential("lj-test", device="cpu"))
    state = SimpleNamespace(
        positions=torch.tensor(atoms.positions),
        cell=torch.tensor(atoms.cell.array).mT[None],
        pbc=True,
        atomic_numbers=torch.tensor(atoms.numbers),
        system_idx=torch.zeros(len(atoms), dtype=torch.int64),
    )
    found, wanted = model(state), atomsim.evaluate(atoms, "lj-test", device="cpu")
    assert float(found["energy"]) == pytest.approx(wanted.energy_eV)
    torch.testing.assert_close(found["forces"], torch.tensor(wanted.forces_eV_per_A))
    assert model.dtype == torch.float64


def test_without_torchsim_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    with pytest.raises(AtomsimError, match="pip install torch-sim-atomistic"):
        torchsim_model(atomsim.load_potential("lj-test", device="cpu"))
