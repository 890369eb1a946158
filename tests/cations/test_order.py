"""Cation order: enumeration and symmetry, the model, the search on potentials whose answer is known, bad input."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from atomsim.batch import Evaluation
from atomsim.cations.candidates import enumerate_all
from atomsim.cations.model import fit, make_features, rank_correlation
from atomsim.cations.problem import OrderingProblem
from atomsim.cations.search import find_order
from atomsim.cations.settings import OrderSettings
from atomsim.cations.short_range_order import warren_cowley
from atomsim.cations.sublattice import groups_of, sites_of
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, to_line
from atomsim.structures.charges import formal_charges
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.prototypes import load_prototype
from atomsim.tasks import order
from atomsim.tasks.base import Context

HERE = Context(step="o", potential_name="here", potential_sha256="a" * 64)


def salt(symbols: str = "LiLiCoCo") -> Atoms:
    """Rock salt LiCoO2, cubic cell of 8 atoms."""
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    metals = np.flatnonzero(atoms.symbols == "Mg")
    atoms.symbols[metals] = ["Li", "Li", "Co", "Co"] if symbols == "LiLiCoCo" else symbols
    return atoms


def large() -> Atoms:
    """Sixteen cations on a distorted fcc lattice, eight of each: 4 nearest neighbours, as on a square lattice."""
    atoms = make_supercell(bulk("MgO", "rocksalt", a=4.2, cubic=True), np.diag([2, 2, 1]))
    atoms.set_cell(atoms.cell.array * np.array([1.0, 1.03, 1.09])[:, None], scale_atoms=True)
    metals = np.flatnonzero(atoms.symbols == "Mg")
    atoms.symbols[metals] = ["Li", "Co"] * 8
    return atoms


class Pairs:
    """Energy of unlike neighbours on a rigid lattice: arrangements are its minima, whatever their positions."""

    def __init__(self, problem: OrderingProblem, bond_eV: float = 0.1) -> None:
        self.counts, self.bond_eV = problem.neighbours(1)[1][0], bond_eV
        self.sites = problem.sites
        self.calls = 0
        self.name, self.sha256, self.cutoff, self.elements = "pairs", "c" * 64, 3.0, frozenset(range(1, 90))

    @property
    def device(self):
        import torch

        return torch.device("cpu")

    def energy_of(self, numbers: np.ndarray) -> float:
        own = numbers[self.sites]
        return self.bond_eV * float(((own[:, None] != own) * self.counts).sum() / 2)

    def __call__(self, batch):
        import torch

        self.calls += batch.n_systems
        energies = [self.energy_of(s.numbers) for s in batch.to("cpu").split()]
        dtype = batch.positions.dtype
        return Evaluation(
            energy=torch.tensor(energies, dtype=dtype),
            forces=torch.zeros_like(batch.positions),
            stress=torch.zeros((batch.n_systems, 3, 3), dtype=dtype),
        )


def test_distinct_arrangements_are_orbits_of_all():
    problem = OrderingProblem.of(large(), ["Li+Co"])
    found = enumerate_all(problem, 2000)
    assert found.multiplicities.sum() == problem.n_arrangements == 12870
    assert len(found.occupations) == len(np.unique(problem.canonical(found.occupations), axis=0))
    generator = np.random.default_rng(0)
    for n in generator.integers(len(found.occupations), size=5):
        row = found.occupations[n]
        assert problem.multiplicity(row) == found.multiplicities[n]
        image = np.empty_like(row)
        image[problem.permutations[generator.integers(len(problem.permutations))]] = row
        assert (problem.canonical(image[None])[0] == row).all()
    assert enumerate_all(problem, 10) is None


def test_the_coulomb_term_is_the_ewald_energy():
    problem = OrderingProblem.of(large(), ["Li+Co"])
    features = make_features(problem, 2)
    generator = np.random.default_rng(1)
    occupations = problem.random(4, generator)
    matrix = ewald_matrix(problem.atoms)
    charges = formal_charges(problem.atoms).by_element
    whole = []
    for row in occupations:
        q = np.array([charges[s] for s in problem.made(row).get_chemical_symbols()])
        whole.append(q @ matrix @ q)
    difference = features.of(occupations)[:, 0] - np.array(whole)
    assert np.ptp(difference) < 1e-8  # but for what does not move


def test_a_fit_recovers_a_pair_energy_and_tells_its_error():
    problem = OrderingProblem.of(large(), ["Li+Co"])
    features = make_features(problem, 2)
    generator = np.random.default_rng(2)
    occupations = problem.random(30, generator)
    truth = 0.01 * features.of(occupations)[:, 0] + 0.05 * features.of(occupations)[:, 1]
    exact = fit(features, occupations, truth)
    assert exact.rms_error < 1e-3 * truth.std()
    noise = 0.02
    model = fit(features, occupations, truth + noise * generator.normal(size=30))
    fresh = problem.random(200, generator)
    true = 0.01 * features.of(fresh)[:, 0] + 0.05 * features.of(fresh)[:, 1]
    predicted, deviation = model.predict(fresh)
    off = np.sqrt(((predicted - true) ** 2).mean())
    assert off < model.rms_error < 2 * noise  # leave-one-out counts the noise of the datum left out too
    assert (deviation >= model.rms_error).all()
    # the closed form is what leaving out and fitting again gives, at one penalty
    model = fit(features, occupations, truth + noise)
    assert model.left_out == pytest.approx(truth + noise, abs=0.01 * truth.std())


def test_warren_cowley_of_order_and_of_disorder():
    atoms = salt()  # layers of Li and Co on fcc: of 12 neighbours 4 are like
    problem = OrderingProblem.of(atoms, ["Li+Co"])
    _, alpha = warren_cowley(problem, problem.start[None], 1)
    a, b = problem.species.index("Li"), problem.species.index("Co")
    assert alpha[0, 0, a, b] == pytest.approx(1 - (8 / 12) / 0.5)
    many = OrderingProblem.of(large(), ["Li+Co"])
    _, random = warren_cowley(many, many.random(500, np.random.default_rng(0)), 1)
    assert random[:, 0, 0, 1].mean() == pytest.approx(-1 / 15, abs=0.03)  # of a finite cell at fixed composition


@pytest.mark.parametrize("limit", [2000, 0], ids=["enumerated", "sampled"])
def test_the_ground_state_is_found_with_few_relaxations(limit):
    atoms = large()
    problem = OrderingProblem.of(atoms, ["Li+Co"])
    potential = Pairs(problem, -0.05)
    everything = enumerate_all(problem, 2000)
    energies = [potential.energy_of(problem.made(row).numbers) for row in everything.occupations]
    potential.calls = 0
    how = OrderSettings(
        sublattices=("Li+Co",), relaxations=16, batch=8, lowest=1, enumerate_limit=limit, sweeps=60, cell=False, seed=3,
        shells=2,
    )  # fmt: skip
    found = find_order(atoms, potential, how)
    assert found.lowest.energy == pytest.approx(min(energies), abs=1e-6)
    assert len(found.arrangements) <= 0.2 * max(len(energies), 80)
    assert found.error_meV_per_site < 1
    assert [t.temperature_K for t in found.temperatures] == sorted(how.temperature_K)
    assert found.boltzmann_weights(300.0).sum() == pytest.approx(1)
    assert (found.distinct == len(energies)) if limit else (found.distinct is None)


def test_enumerated_averages_are_the_canonical_ones():
    atoms = large()
    problem = OrderingProblem.of(atoms, ["Li+Co"])
    potential = Pairs(problem, 0.02)
    how = {
        "sublattices": ("Li+Co",),
        "relaxations": 12,
        "batch": 6,
        "lowest": 1,
        "cell": False,
        "sweeps": 100,
        "shells": 2,
    }
    exact = find_order(atoms, potential, OrderSettings(**how))
    sampled = find_order(atoms, potential, OrderSettings(**how, enumerate_limit=0, chains=6))
    for one, other in zip(exact.temperatures, sampled.temperatures, strict=True):
        difference = one.warren_cowley[0, 0, 1] - other.warren_cowley[0, 0, 1]
        assert abs(difference) < 3 * other.warren_cowley_error[0, 0, 1] + 1e-3
        assert other.scale_reduction < 1.2


def test_ranks():
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(rank_correlation([1, 1], [1, 2]))


def test_names_of_sublattices():
    lrmo = load_prototype("LRMO").atoms
    assert len(sites_of(lrmo, "metal-layer")) == 15
    assert len(sites_of(lrmo, "Li:metal-layer")) == 3
    assert len(sites_of(lrmo, "Li:ion-layer")) == 15
    assert len(sites_of(lrmo, "Mn+Co + Ni")) == 12
    assert sites_of(lrmo, "#4").tolist() == [4]
    shifted = lrmo.copy()
    shifted.positions += [0.3, 0.2, 1.9]  # layers through the border of the cell
    assert (sites_of(shifted, "metal-layer") == sites_of(lrmo, "metal-layer")).all()


@pytest.mark.parametrize(
    ("atoms", "names", "message"),
    [
        ("LRMO", ["Mm"], "did you mean 'Mn'"),
        ("LRMO", ["Mn:ion-layer"], "matches no atom"),
        ("LRMO", ["metal-layr"], "metal-layer"),
        ("LRMO", ["#60"], "wanted #0 to #59"),
        ("LRMO", ["Li:ion-layer"], "holds Li alone"),
        ("LRMO", ["metal-layer", "Mn+Co"], "share atom"),
        ("salt", ["metal-layer"], "do not lie in layers"),
        ("molecule", ["metal-layer"], "not periodic"),
    ],
)
def test_bad_sublattices_are_one_line(atoms, names, message):
    given = {
        "LRMO": lambda: load_prototype("LRMO").atoms,
        "salt": salt,
        "molecule": lambda: Atoms("LiMnO2", positions=np.eye(4, 3) * 2),
    }
    structure = given[atoms]()
    if atoms == "salt":  # mixed at random: no layers
        problem = OrderingProblem.of(large(), ["Li+Co"])
        structure = problem.made(problem.random(1, np.random.default_rng(0))[0])
    with pytest.raises(InputError, match=message) as error:
        groups_of(structure, names)
    assert len(str(error.value).splitlines()) == 1


def expand(**keys):
    return order.expand(order.Settings(structures=["LRMO"], **keys), {}, HERE)


def test_one_task_for_each_structure_with_settings_in_its_id():
    (one,), (other,) = expand(), expand(relaxations=20)
    assert one.id != other.id
    assert order.cost(one, order.Settings(structures=["LRMO"])) == 60 * 40


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"temperature_K": [0.0]}, "wanted above 0 K"),
        ({"sublattices": ["Mn"]}, "holds Mn alone"),
        ({"charges": {"Li": 1.0, "Mn": 4.0, "Co": 4.0, "Ni": 2.0, "O": -2.0}}, "leave .* charged"),
    ],
)
def test_bad_steps_are_one_line(keys, message):
    with pytest.raises(InputError, match=message) as error:
        expand(**keys)
    assert len(str(error.value).splitlines()) == 1


def test_all_sequences_of_a_composition():
    problem = OrderingProblem.of(salt(), ["Li+Co"])
    rows = {tuple(r) for r in problem.all_arrangements().tolist()}
    assert rows == set(permutations(problem.start.tolist()))


class Stopping:
    """A potential that is interrupted after some evaluations."""

    def __init__(self, potential, evaluations: int) -> None:
        self.potential, self.left = potential, evaluations

    def __call__(self, batch):
        self.left -= batch.n_systems
        if self.left < 0:
            raise KeyboardInterrupt
        return self.potential(batch)

    def __getattr__(self, name):
        return getattr(self.potential, name)


def test_an_interrupted_search_continues_to_the_bit(tmp_path):
    from atomsim.execution.checkpoint import Remembering

    potential = Pairs(OrderingProblem.of(large(), ["Li+Co"]), 0.03)
    settings = order.Settings(
        structures=["given"], sublattices=["Li+Co"], relaxations=14, batch=7, lowest=1, sweeps=20, chains=2,
        max_steps=3, shells=1, enumerate_limit=0, cell=False, fmax_eV_per_A=5.0, final_fmax_eV_per_A=5.0,
    )  # fmt: skip
    given = Record(
        task="t", step="given", kind="structures", label="salt", status="done", structure=atoms_to_json(large())
    )
    (task,) = order.expand(settings, {"given": [given]}, HERE)
    (whole,) = order.run([task], settings, {}, HERE, potential)
    for evaluations in (3, 10):
        stopped = Remembering(Stopping(potential, evaluations), tmp_path, interval_s=0)
        with pytest.raises(KeyboardInterrupt):
            list(order.run([task], settings, {}, HERE, stopped))
    resumed = Remembering(potential, tmp_path, interval_s=0)
    (again,) = order.run([task], settings, {}, HERE, resumed)
    assert resumed.replayed >= 10
    assert to_line(again) == to_line(whole)


def test_commands_from_file_to_report(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from atomsim.cli import app

    monkeypatch.chdir(tmp_path)
    atoms = load_prototype("LiMO2").atoms  # Li3MnCoNiO6
    make_supercell(atoms, np.diag([2, 1, 1])).write("nmc.vasp", sort=True)
    engine = ["--potential", "lj-test", "--device", "cpu", "--processes", "0"]
    shown = CliRunner().invoke(
        app, ["order", "nmc.vasp", "--relaxations", "7", "--lowest", "1", "--fmax", "5", "-T", "600,900", *engine]
    )
    assert shown.exit_code in (0, 1), shown.output
    words = ["dope", "nmc.vasp", "--dopant", "W", "--sites", "Mn,Li:ion-layer", "--per-site", "1", "--fmax", "5"]
    shown = CliRunner().invoke(app, [*words, *engine])
    assert shown.exit_code in (0, 1), shown.output
    pages = [p.read_text() for p in tmp_path.glob("runs/*/report.html")]
    assert len(pages) == 2
    assert any("Short-range order" in p for p in pages)
    assert any("Where the dopant sits" in p for p in pages)
    bad = CliRunner().invoke(app, ["dope", "nmc.vasp", "--dopant", "Mn", "--out", "runs/bad", *engine])
    assert bad.exit_code == 2
    assert "holds it already" in bad.output
    bad = CliRunner().invoke(app, ["order", "nmc.vasp", "-T", "-5", "--out", "runs/bad", *engine])
    assert bad.exit_code == 2
    assert "above 0 K" in bad.output
