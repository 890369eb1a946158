"""SevenNet checkpoints of the package ``sevenn``: equal to its own calculator, batched, named by modality and hash."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from crystals import assorted

from atomsim.batch import Batch
from atomsim.errors import AtomsimError, InputError
from atomsim.models.checks import check_contract
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import quiet_mace
from atomsim.models.sevennet_convolution import Convolution, fits
from atomsim.registry.cards import list_cards, load_card

CARDS = ("sevennet-0", "sevennet-l3i5", "sevennet-mf-0-pbe", "sevennet-mf-0-r2scan")
OXIDE = [8, 3, 44, 25]


def package():
    """The package; skips a test where it is not installed, or where an older e3nn is there for MACE."""
    try:
        return pytest.importorskip("sevenn.calculator")
    except ValueError as error:
        pytest.skip(str(error))


def crystals() -> list[Atoms]:
    salt = bulk("NaCl", "rocksalt", a=5.6)
    salt.rattle(0.05, seed=1)
    oxide = Atoms("LiRuO2", positions=[[0, 0, 0], [2, 2, 2], [2, 0, 2], [2, 2, 0.1]], cell=[4, 4.1, 4.2], pbc=True)
    return [salt, oxide, oxide.repeat((1, 1, 2))]


class IrrepsConvolution:
    """What the package calls so, as far as its convolution goes: random weights, and lengths of pairs unseen."""

    key_x, key_filter, key_weight_input, key_edge_idx = "x", "filter", "weight", "edges"
    is_parallel = False

    def __init__(self, degree: int) -> None:
        with quiet_mace():
            import mace.modules  # noqa: F401  before e3nn, which loads its constants the old way
            from e3nn import o3

        source, filters = o3.Irreps("4x0e+3x1o+2x2e"), o3.Irreps.spherical_harmonics(degree)
        paths = [(i, j, ir) for i, (_, a) in enumerate(source) for j, (_, b) in enumerate(filters) for ir in a * b]
        paths = [p for p in paths if p[2].l <= degree]
        target, order, _ = o3.Irreps([(source[i].mul, ir) for i, _, ir in paths]).sort()
        instructions = [(i, j, order[k], "uvu", True) for k, (i, j, _) in enumerate(paths)]
        with quiet_mace():
            self.convolution = o3.TensorProduct(
                source, filters, target, instructions, shared_weights=False, internal_weights=False
            )
        self.weight_nn, self.denominator = torch.nn.Identity(), torch.nn.Parameter(torch.tensor([3.5]))

    def __call__(self, data):
        to, start = data["edges"]
        message = self.convolution(data["x"][start], data["filter"], data["weight"])
        return torch.zeros(len(data["x"]), message.shape[1]).index_add(0, to, message) / self.denominator


def test_a_convolution_with_fewer_operations_is_the_same():
    layer = IrrepsConvolution(2)
    assert fits(layer)
    torch.manual_seed(1)
    product, atoms, pairs = layer.convolution, 5, 40
    data = {
        "x": torch.randn(atoms, product.irreps_in1.dim, requires_grad=True),
        "filter": torch.randn(pairs, product.irreps_in2.dim, requires_grad=True),
        "weight": torch.randn(pairs, product.weight_numel, requires_grad=True),
        "edges": torch.randint(atoms, (2, pairs)),
    }
    given = [data["x"], data["filter"], data["weight"]]
    theirs, ours = layer(data), Convolution(layer)(dict(data))["x"]
    assert ours.detach().numpy() == pytest.approx(theirs.detach().numpy(), abs=2e-5)
    direction = torch.randn_like(theirs)
    for one, other in zip(*(torch.autograd.grad((v * direction).sum(), given) for v in (theirs, ours)), strict=True):
        assert other.numpy() == pytest.approx(one.numpy(), abs=2e-4)


def test_cards_pin_hash_and_size_and_name_the_modality():
    cards = {card.name: card for card in list_cards() if card.family == "sevennet"}
    assert set(cards) == set(CARDS)
    assert all(len(c.weights.sha256) == 64 and c.weights.size_bytes > 1e6 for c in cards.values())
    assert [cards[name].head for name in CARDS] == ["", "", "PBE", "R2SCAN"]


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr("atomsim.registry.card_file.find_spec", lambda name: None)
    with pytest.raises(InputError, match="sevenn"):
        load_potential("sevennet-0", "cpu")


@pytest.mark.parametrize("name", CARDS)
def test_a_batch_equals_the_packages_own_calculator(name):
    own = package()
    card = load_card(name)
    calculator = own.SevenNetCalculator(str(card.weights_path), device="cpu", modal=card.head or None)
    systems = crystals()
    evaluation = load_potential(name, "cpu", "float32")(Batch.pack(systems))
    start = 0
    for n, atoms in enumerate(systems):
        atoms.calc = calculator
        size = len(atoms)
        assert float(evaluation.energy[n]) / size == pytest.approx(atoms.get_potential_energy() / size, abs=1e-5)
        assert evaluation.forces[start : start + size].numpy() == pytest.approx(atoms.get_forces(), abs=1e-4)
        assert evaluation.stress[n].numpy() == pytest.approx(atoms.get_stress(voigt=False), abs=1e-5)
        start += size


def test_sevennet_keeps_the_contract():
    package()
    potential = load_potential("sevennet-mf-0-pbe", "cpu", "float32")
    systems = [a for a in assorted(OXIDE) if len(a) <= 8]
    broken = [str(c) for c in check_contract(potential, systems) if not c.passed]
    assert not broken, "\n".join(broken)


def test_modalities_are_potentials_of_their_own_and_must_be_named():
    package()
    pbe, r2scan = (load_potential(f"sevennet-mf-0-{m}", "cpu") for m in ("pbe", "r2scan"))
    assert pbe.sha256 != r2scan.sha256
    batch = Batch.pack(crystals()[:1])
    assert abs(float((pbe(batch).energy - r2scan(batch).energy)[0])) > 0.1
    with pytest.raises(InputError, match=r"PBE"):
        load_potential("sevennet-mf-0-pbe", "cpu", head="scan")
    with pytest.raises(InputError, match="one functional"):
        load_potential("sevennet-0", "cpu", head="PBE")


def test_double_precision_is_the_same_potential_and_its_forces_are_a_gradient():
    package()
    potential = load_potential("sevennet-0", "cpu").double
    assert potential.sha256 == load_potential("sevennet-0", "cpu").sha256
    (atoms, *_), step = crystals(), 1e-4
    force = float(potential(Batch.pack([atoms])).forces[0, 0])
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[0, 0] += sign * step
        moved.append(other)
    energy = potential(Batch.pack(moved)).energy
    assert force == pytest.approx(-float(energy[0] - energy[1]) / (2 * step), abs=1e-5)
    assert potential.dtype == torch.float64
    assert np.isfinite(force)


def test_another_file_is_refused(tmp_path, monkeypatch):
    target = tmp_path / "pretrained_potentials" / "SevenNet_0__11Jul2024" / "checkpoint_sevennet_0.pth"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"something else")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    monkeypatch.setattr("atomsim.registry.card_file.find_spec", lambda name: spec)
    with pytest.raises((InputError, AtomsimError), match="sha256"):
        load_potential("sevennet-0", "cpu")
