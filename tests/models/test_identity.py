"""What a potential is called in records: everything that decides its energies, and nothing that came before."""

from __future__ import annotations

import contextlib
import io
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator

from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.models.ase import AsePotential
from atomsim.models.combine import Sum
from atomsim.models.load import _from_weights, load_potential
from atomsim.models.pair import Morse
from atomsim.registry.cards import load_card


class Holding(Calculator):
    """Holds something somewhere."""

    implemented_properties = ("energy", "forces")

    def __init__(self, **held: object) -> None:
        super().__init__()
        self.__dict__.update(held)


class Tiny(torch.nn.Module):
    """A network with a weight and a setting."""

    def __init__(self, weight: float, power: int = 2, act: object = None) -> None:
        super().__init__()
        self.act = act
        self.linear = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(self.linear.weight, weight)
        torch.nn.init.zeros_(self.linear.bias)
        self.power = power


def sha(**held: object) -> str:
    return AsePotential(Holding(**held)).sha256


def circle(number: int) -> SimpleNamespace:
    one = SimpleNamespace(number=number)
    one.other = SimpleNamespace(back=one)
    return one


@pytest.mark.parametrize(
    "make",
    [
        lambda v: {"weights": np.array([1.0, v])},
        lambda v: {"weights": torch.tensor([1.0, v], dtype=torch.bfloat16)},
        lambda v: {"model": Tiny(v)},
        lambda v: {"model": Tiny(1.0, power=int(v))},
        lambda v: {"models": [Tiny(1.0), Tiny(v)]},
        lambda v: {"model": Tiny(1.0, act={2.0: torch.tanh, 3.0: torch.relu}[v])},
        lambda v: {"model": Tiny(1.0, act={2.0: lambda x: x, 3.0: lambda x: -x}[v])},
        lambda v: {"model": Tiny(1.0, act=partial(torch.clamp, max=v))},
        lambda v: {"model": Tiny(1.0, act=SimpleNamespace(scale=v))},
        lambda v: {"charges": [v, -v]},
        lambda v: {"deep": {"a": [SimpleNamespace(table={"x": (1, np.array([v]))})]}},
        lambda v: {"settings": {1, 2, v}},
        lambda v: {"path": Path(f"weights-{v}")},
        lambda v: {"inner": LennardJones(sigma=v)},
        lambda v: {"calcs": SumCalculator([EMT(), LennardJones(sigma=v)])},
        lambda v: {"ring": circle(int(v))},
        lambda v: {"objects": np.array([1, str(v), None], dtype=object)},
    ],
)
def test_every_number_that_can_be_reached_tells_two_apart(make):
    assert len(sha(**make(2.0))) == 64
    assert sha(**make(2.0)) == sha(**make(2.0))
    assert sha(**make(2.0)) != sha(**make(3.0))


def test_two_models_of_one_class_are_two_potentials():
    with contextlib.redirect_stdout(io.StringIO()):
        from chgnet.model import CHGNet
        from chgnet.model.dynamics import CHGNetCalculator

        names = ("0.3.0", "r2scan", "0.3.0")
        models = [CHGNet.load(model_name=name, use_device="cpu", verbose=False) for name in names]
        first, other, again = (AsePotential(CHGNetCalculator(m, use_device="cpu")).sha256 for m in models)
    assert first == again != other


def test_use_changes_no_identity():
    for calculator in (EMT(), LennardJones(sigma=2.5, epsilon=0.1)):
        before = AsePotential(calculator).sha256
        atoms = bulk("Cu", cubic=True)
        atoms.calc = calculator
        atoms.get_forces()
        assert AsePotential(calculator).sha256 == before
    assert AsePotential(EMT()).sha256 != AsePotential(EMT(asap_cutoff=True)).sha256


def a_bias(batch):
    raise NotImplementedError


def test_what_cannot_be_read_computes_and_is_kept_under_a_name_only(monkeypatch):
    from ase.calculators.vasp import Vasp

    class Local(EMT):
        pass

    for calculator, why in (
        (Holding(energy_of=lambda atoms: 0.0), "function that cannot be imported"),
        (Holding(inner=[Local()]), "class that cannot be imported"),
        (Holding(stream=(n for n in range(3))), "Holding.stream"),
        (Vasp(), "asks another program"),
    ):
        potential = load_potential(calculator)
        assert potential.sha256 == ""
        monkeypatch.setattr("chosen.load", lambda *_, p=potential, **__: p, raising=False)
        with pytest.raises(InputError, match=why) as error:
            Engine("x", loader="chosen:load").load()
        assert "name=" in str(error.value)
        assert "\n" not in str(error.value)
        named, same, other = (load_potential(calculator, name=word) for word in ("mine", "mine", "yours"))
        assert named.name == "mine"
        assert len(named.sha256) == 64
        assert named.sha256 == same.sha256 != other.sha256
        monkeypatch.setattr("chosen.load", lambda *_, p=named, **__: p)
        assert Engine("x", loader="chosen:load").load() is named


@pytest.fixture(autouse=True)
def _chosen(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "chosen", SimpleNamespace())


def test_a_calculator_that_can_be_read_is_itself_under_any_name():
    assert load_potential(EMT(), name="mine").sha256 == load_potential(EMT()).sha256
    with pytest.raises(InputError, match="leave it out"):
        load_potential(EMT(), head="pbe")
    with pytest.raises(InputError, match="leave it out"):
        load_potential("morse", "cpu", name="mine")


def test_a_sum_with_an_unreadable_bias_has_no_identity():
    morse = Morse()
    assert Sum([morse, lambda batch: batch]).sha256 == ""  # two of them would look alike
    assert Sum([morse, a_bias]).sha256 == Sum([Morse(), a_bias]).sha256 != ""


def test_no_family_is_taken_for_another():
    card = load_card("chgnet-0.3.0")
    for family in ("morse", "orb"):
        wrong = card.model_copy(update={"family": family})
        with pytest.raises(InputError, match=r"family '\w+'.*chgnet, mace"):
            _from_weights(wrong, b"", torch.device("cpu"), torch.float32, None)
