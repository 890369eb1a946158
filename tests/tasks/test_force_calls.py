"""Force calls in records are the calls that were made, whatever is computed and however it ends."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import bulk

import atomsim
from atomsim.batch import Batch, Evaluation
from atomsim.models.pair import LennardJones
from atomsim.store.records import total_calls


class Counted(LennardJones):
    """Lennard-Jones on the length scale of oxides that counts the systems it evaluates."""

    calls = 0

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += batch.n_systems
        return super().__call__(batch)


SALT = bulk("MgO", "rocksalt", 4.2, cubic=True)
NOISY = SALT.copy()
NOISY.rattle(0.1, seed=1)
MIXED = SALT.copy()
MIXED.symbols[0] = "Ni"
CPU: dict[str, Any] = {"device": "cpu", "progress": False}

VERBS: dict[str, Any] = {
    "relax": lambda p: atomsim.relax([NOISY], p, max_steps=5, starts=2, noise_A=0.02, **CPU),
    "md": lambda p: [atomsim.md(NOISY, p, temperature_K=300, duration_ps=0.02, every_fs=10, timestep_fs=2, **CPU)],
    "vacancies": lambda p: atomsim.vacancies(SALT, p, **CPU),
    "vacancies of a supercell": lambda p: atomsim.vacancies(SALT, p, supercell_min_A=5.0, max_atoms=16, **CPU),
    "order": lambda p: [
        atomsim.order(MIXED, p, sublattices=["Mg+Ni"], relaxations=2, batch=2, temperature_K=[1000.0], **CPU)
    ],
    "dimerize": lambda p: atomsim.dimerize(SALT, p, points=2, void=False, **CPU),
}


@pytest.mark.parametrize("verb", VERBS)
def test_recorded_calls_are_those_made(verb: str) -> None:
    potential = Counted(epsilon_eV=0.1, sigma_A=2.0, onset_A=4.0, cutoff_A=5.0)
    records = [r.record for r in VERBS[verb](potential)]
    assert total_calls(records) == potential.calls > 0
