"""Dimers: what a scan and a release find, alike alone and in a batch; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.errors import InputError
from atomsim.models.pair import Morse, switch
from atomsim.oxygen.dimers import Request, find_dimers
from atomsim.oxygen.place import in_void
from atomsim.oxygen.scan import ScanPoint, bound, lengths, release_points
from atomsim.oxygen.settings import DimerSettings
from atomsim.structures.pairs import find_pairs

DEPTH, LENGTH = 2.0, 1.4


class Bonding:
    """Atoms on springs to their places in a rock salt, and a Morse bond between oxygens, minimum at 1.4 Å.

    Everything is known: the lattice holds both oxygens apart, and the bond has a minimum of its own.
    """

    name, sha256, dtype, cutoff = "bonding-test", "", torch.float64, 4.0
    elements = frozenset({8, 12})

    def __init__(self, home: Atoms, stiffness: float = 2.0) -> None:
        self.home = torch.from_numpy(home.positions.copy())
        self.stiffness = stiffness
        self.bond = Morse(onset_A=2.2, cutoff_A=2.6, depth_eV=DEPTH, alpha_per_A=3.0, r0_A=LENGTH)
        self.device = torch.device("cpu")

    def __call__(self, batch: Batch) -> Evaluation:
        oxygen = batch.numbers == 8
        n = len(self.home)
        evaluation = self.bond(_only_oxygen(batch, oxygen))
        away = batch.positions.view(-1, n, 3) - self.home
        away = away - away.mean(dim=1, keepdim=True)
        forces = (-self.stiffness * away).reshape(-1, 3)
        forces[oxygen] += evaluation.forces
        energy = evaluation.energy + 0.5 * self.stiffness * (away**2).sum(dim=(1, 2))
        return Evaluation(energy, forces, torch.zeros_like(batch.cell))


def _only_oxygen(batch: Batch, oxygen: torch.Tensor) -> Batch:
    return replace(
        batch,
        positions=batch.positions[oxygen],
        numbers=batch.numbers[oxygen],
        system=batch.system[oxygen],
        fixed=batch.fixed[oxygen],
    )


def salt() -> Atoms:
    from ase.build import bulk

    return bulk("MgO", "rocksalt", a=4.2, cubic=True)


def requests(n: int = 1) -> list[Request]:
    (pair,) = find_pairs(salt())
    return [Request(k, salt(), pair) for k in range(n)]


def along_the_pair(r: np.ndarray) -> np.ndarray:
    """Energy over the intact crystal, whose oxygens lie beyond the bond's reach, when both leave their places alike."""
    away = 0.5 * (4.2 / 2**0.5 - r)
    morse = DEPTH * (np.exp(-6 * (r - LENGTH)) - 2 * np.exp(-3 * (r - LENGTH)))
    return 2.0 * away**2 + morse * switch(torch.from_numpy(r), 2.2, 2.6).numpy()


CHEAP = DimerSettings(points=8, fmax_eV_per_A=0.005, scan_fmax_eV_per_A=0.02, saddle=False, void=False)


def test_a_bond_is_found_by_driving_and_its_energy_is_that_of_the_springs():
    (found,) = find_dimers(requests(), Bonding(salt()), CHEAP)
    assert found.status == "converged"
    assert found.dimer is not None
    r = np.linspace(1.2, 1.8, 20001)
    energy = along_the_pair(r)
    assert found.dimer.energy_eV == pytest.approx(float(energy.min()), abs=0.01)
    assert found.dimer.species.length == pytest.approx(float(r[energy.argmin()]), abs=0.01)
    assert found.bound_eV is not None
    assert found.bound_eV >= max(p.energy_eV for p in found.way) - 1e-9
    assert found.proven_barrier is None
    assert "upper bound" in found.barrier_words


def test_a_proven_saddle_is_below_the_bound():
    (found,) = find_dimers(requests(), Bonding(salt()), replace(CHEAP, saddle=True))
    assert found.proven_barrier is not None, found.message
    known = along_the_pair(np.linspace(1.6, 2.9, 20001))
    assert found.proven_barrier == pytest.approx(float(known.max()), abs=0.01)
    assert found.proven_barrier <= found.bound_eV + 0.01
    assert "saddle proven" in found.barrier_words


def test_a_record_holds_profile_minima_and_what_is_known_of_the_barrier():
    """With moments, as a potential that has them gives them; JSON throughout."""
    import json

    from atomsim.io.atoms_json import atoms_to_json
    from atomsim.report.oxygen import dimer_part
    from atomsim.store.records import Task
    from atomsim.tasks.base import Context
    from atomsim.tasks.dimerize_record import search_record

    class Magnetic(Bonding):
        def __call__(self, batch: Batch) -> Evaluation:
            moments = torch.where(batch.numbers == 8, 0.75, 0.1).to(torch.float64)
            return replace(super().__call__(batch), magmoms=moments)

    potential = Magnetic(salt())
    (found,) = find_dimers(requests(), potential, CHEAP)
    task = Task("t", "s", "dimerize", "salt 1-3", atoms_to_json(salt()), {"host": "salt", "pair_kind": "edge"})
    record = search_record(task, found, [], potential, Context(step="s"))
    json.dumps(record.values, allow_nan=False)
    assert record.good
    assert record.values["outcome"] == "peroxide"  # 1.4 Å, and the lattice pulls
    assert record.values["dimer_moment_muB"] == pytest.approx(0.75)
    assert "upper_bound_eV" in record.values
    assert "barrier_eV" not in record.values
    assert any("not by moment" in flag for flag in record.values["flags"])  # 0.75 is O2's
    assert len(record.values["profile"]) == 15
    assert len(record.values["profile"][0]["metal_moments_muB"]) == 4
    part = dimer_part("s", [record])
    assert "upper bound" in part.headlines[0].remark


def test_pairs_in_a_batch_are_as_alone():
    potential = Bonding(salt())
    (alone,) = find_dimers(requests(), potential, CHEAP)
    for found in find_dimers(requests(3), potential, CHEAP, capacity=Capacity(systems=3)):
        assert len(found.profile) == len(alone.profile)
        for one, other in zip(found.profile, alone.profile, strict=True):
            assert one.energy_eV == pytest.approx(other.energy_eV, abs=1e-6)


def test_twenty_unlike_pairs_in_a_batch_are_as_alone():
    """A lattice without symmetry, so that no two pairs are alike; three of them are looked at."""
    home = salt()
    home.positions += 0.03 * np.random.default_rng(5).standard_normal(home.positions.shape)
    potential = Bonding(home)
    some = [Request(k, home, pair) for k, pair in enumerate(find_pairs(home)[:20])]
    settings = replace(CHEAP, points=3, fmax_eV_per_A=0.05)
    together = find_dimers(some, potential, settings, capacity=Capacity(systems=20))
    assert len(together) == 20
    for found in together[::7]:
        (alone,) = find_dimers([some[found.key]], potential, settings)
        assert [p.length_A for p in found.profile] == [p.length_A for p in alone.profile]
        energies = [[p.energy_eV for p in one.profile] for one in (found, alone)]
        assert energies[0] == pytest.approx(energies[1], abs=1e-6)


def test_a_lattice_that_holds_its_oxygens_has_no_dimer():
    stiff = Bonding(salt(), stiffness=40.0)
    (found,) = find_dimers(requests(), stiff, CHEAP)
    assert found.status == "converged"
    assert found.dimer is None
    assert found.barrier_words == "no dimer was found"


def test_o2_in_a_void_is_a_molecule_far_from_all_others():
    crystal = salt().repeat(2)
    (pair,) = find_pairs(crystal)[:1]
    placed = in_void(crystal, pair)
    assert placed is not None
    i, j = pair.first, pair.second
    assert placed.get_distance(i, j, mic=True) == pytest.approx(1.21, abs=1e-6)
    others = [n for n in range(len(placed)) if n not in (i, j)]
    assert min(placed.get_distances(n, others, mic=True).min() for n in (i, j)) > 1.2
    assert np.allclose(placed.positions[others], crystal.positions[others])


def test_what_cannot_be_driven_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"target_A = 0\.8, wanted 0\.9"):
        DimerSettings(target_A=0.8)
    with pytest.raises(InputError, match="lower target_A"):
        find_dimers(requests(), Bonding(salt()), DimerSettings(target_A=3.0))
    (found,) = find_dimers(requests(), Bonding(salt()), DimerSettings(moments=True))
    assert found.status == "invalid"
    assert "this potential has none" in found.message


def point(length: float, energy: float, slope: float, *, inward: bool = True, jump: float = 0.0, squeezed: float = 0.0):
    return ScanPoint(length, inward, energy, slope, True, Atoms(), None, (2, 2), 1.9, jump, squeezed, 1)


def test_a_scan_is_let_go_where_its_profile_has_a_minimum():
    # E = (L − 1.5)² (L − 2.5)²: minima at 1.5 and 2.5, the latter the start
    x = np.linspace(2.5, 1.2, 11)[1:]
    profile = [point(r, (r - 1.5) ** 2 * (r - 2.5) ** 2, 2 * (r - 1.5) * (r - 2.5) * (2 * r - 4)) for r in x.tolist()]
    (chosen,) = release_points(profile, 2.5)
    assert chosen.length_A == pytest.approx(1.5, abs=0.1)
    # the hill between them, to better than its points
    assert bound([p for p in profile if p.length_A > 1.45], {}) == pytest.approx(0.0625, abs=2e-4)


def test_a_bound_holds_across_a_jump():
    profile = [point(2.0, 0.5, -1.0), point(1.8, 0.2, 0.0, jump=0.9, squeezed=1.4)]
    assert bound(profile, {}) == pytest.approx(1.4)
    assert bound(profile, {1: 0.9}) == pytest.approx(0.9)


def test_a_scan_goes_in_and_out_again():
    found = lengths(2.4, 1.2, 4)
    assert found == pytest.approx([2.1, 1.8, 1.5, 1.2, 1.5, 1.8, 2.1])
