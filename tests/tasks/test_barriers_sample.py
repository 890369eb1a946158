"""``sample`` of ``barriers``: random hops of a disordered host, and the distribution of their barriers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomsim.hopping.distribution import barrier_distribution
from atomsim.store.records import record_of
from atomsim.tasks import barriers
from atomsim.tasks.base import Context, Origin, write_origins


def disordered(seed: int = 0) -> Atoms:
    atoms = bulk("LiF", "rocksalt", 4.0, cubic=True) * (2, 1, 1)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.15, size=atoms.positions.shape)
    return atoms


def tasks_of(folder, seed: int = 0, **keys):
    write_origins(folder / "glass.jsonl", [Origin("glass", disordered())])
    small = {"max_length_A": 3.2, "supercell_min_A": 4.0, "max_atoms": 60}
    settings = barriers.Settings(structures=["glass.jsonl"], **small, **keys)
    return barriers.expand(settings, {}, Context("hops", seed=seed, base_dir=folder))


def test_a_sample_is_of_all_hops_seeded_and_says_what_it_left_out(tmp_path):
    every = tasks_of(tmp_path)
    some = tasks_of(tmp_path, sample=4)
    names = [t.tags["hop"] for t in some]
    assert len(every) > 20
    assert len(set(names)) == 4
    assert set(names) < {t.tags["hop"] for t in every}
    assert [t.tags["hop"] for t in tasks_of(tmp_path, sample=4)] == names
    assert [t.tags["hop"] for t in tasks_of(tmp_path, seed=1, sample=4)] != names
    assert len(some[0].tags["left_out"]) == some[0].tags["hops_of_host"] - 4
    assert len(tasks_of(tmp_path, sample=999)) == len(every)
    with pytest.raises(ValueError, match="only and sample"):
        barriers.Settings(structures=["a.cif"], only=["a"], sample=1)
    values = {"reverse_barrier_eV": 0.0, "flags": [], "n_images": 3}
    records = [
        record_of(t, "converged", values=values | {"barrier_eV": b, "reaction_energy_eV": 0.1})
        for t, b in zip(some, (0.2, 0.3, 0.4, 0.5), strict=True)
    ]
    found = barrier_distribution(records)
    assert (found.drawn, found.good, found.of) == (4, 4, len(every) + len(every[0].tags["left_out"]))
    assert found.mean_eV == pytest.approx(0.3)  # 0.2 … 0.5 one way, 0.1 … 0.4 back
    assert (found.quantiles_eV[0], found.quantiles_eV[-1]) == pytest.approx((0.1, 0.5))
    assert found.site_deviation_eV == pytest.approx(0.1)
    assert barrier_distribution(records[:1]) is None
