"""A child's host is found from its vacancies, and its Hessian spares force calls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.build import bulk

from atomsim.io.atoms_json import atoms_to_json
from atomsim.models.load import load_potential
from atomsim.models.shared import Shared
from atomsim.optimize.hessian import hessian
from atomsim.relaxation import RelaxSettings, iter_relax, relax
from atomsim.relaxation.hosts import host_of, inherited
from atomsim.store.records import Task, record_of
from atomsim.tasks import relax as relax_step
from atomsim.tasks.base import Context
from atomsim.tasks.relax import structure_of


def parent():
    atoms = bulk("LiO", "rocksalt", a=4.0, cubic=True)
    (found,) = relax(atoms, load_potential("lj-test", "cpu"), fmax_eV_per_A=0.001, check_minimum=False)
    return found.atoms


def child(removed: list[int], name: str) -> Task:
    atoms = parent()
    vacancies = atoms.get_scaled_positions()[removed].tolist()
    del atoms[removed]
    return Task(name, "s", "relax", name, atoms_to_json(atoms), {"ion": "Li", "vacancies": vacancies})


def test_siblings_have_one_host_and_know_their_own_atoms():
    lithium = [i for i, z in enumerate(parent().numbers) if z == 3]
    one, other = (host_of(structure_of(child([n], str(n)))) for n in lithium[:2])
    assert one.key == other.key
    assert len(one.atoms) == len(parent())
    for host, removed in ((one, lithium[0]), (other, lithium[1])):
        kept = parent()
        del kept[removed]
        np.testing.assert_allclose(host.atoms.positions[host.child_index], kept.positions, atol=1e-4)
        np.testing.assert_array_equal(host.atoms.numbers[host.child_index], kept.numbers)


def test_which_sibling_came_first_changes_no_bit():
    """Children tell of one host with rounding of their own; a process meets them in any order."""
    potential = load_potential("lj-test", "cpu")
    tasks = []
    for n, removed in enumerate(([0], [2, 4], [6])):
        task = child(removed, str(n))
        noise = np.random.default_rng(n).uniform(-1e-13, 1e-13, (3, 3))
        task.structure["cell"] = (np.asarray(task.structure["cell"]) + noise).tolist()
        tasks.append(task)
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        known = inherited([structure_of(tasks[n]) for n in order], potential, RelaxSettings(cell=False))
        assert len({one.host for one in known.values()}) == 1
        found.append({n: known[place] for place, n in enumerate(order)})
    for n in range(3):
        np.testing.assert_array_equal(found[0][n].hessian.atoms, found[1][n].hessian.atoms)


def test_a_structure_without_vacancies_has_no_host():
    assert host_of(structure_of(Task("a", "s", "relax", "a", atoms_to_json(parent()), {}))) is None


def test_the_child_inherits_the_curvature_of_its_own_atoms():
    potential = load_potential("lj-test", "cpu")
    task = child([0], "a")
    known = inherited([structure_of(task)], potential, RelaxSettings())[0]
    host = host_of(structure_of(task))
    (relaxed,) = relax(host.atoms, potential, fmax_eV_per_A=0.01, check_minimum=False)
    whole = hessian(relaxed.atoms, potential).atoms
    np.testing.assert_allclose(
        known.hessian.atoms[2, :, 4], whole[host.child_index[2], :, host.child_index[4]], atol=1e-6
    )


def test_with_it_the_same_minimum_is_reached():
    potential = load_potential("lj-test", "cpu")
    task = child([0], "a")
    settings = RelaxSettings(fmax_eV_per_A=0.002, cell=False, check_minimum=False)  # kicks lead elsewhere
    atoms = structure_of(task)
    known = inherited([atoms], potential, settings)
    ((_, with_host),) = iter_relax([atoms], potential, settings, hessians={0: known[0].hessian})
    ((_, without),) = iter_relax([atoms], potential, settings)
    assert with_host.converged
    assert abs(with_host.energy - without.energy) < 1e-3 * len(atoms)
    assert with_host.steps <= without.steps


def test_the_host_is_relaxed_in_ways_of_its_own():
    """However few steps its child may take, whatever its optimizer's noise and number of starts."""
    potential, atoms, shared = load_potential("lj-test", "cpu"), structure_of(child([0], "a")), Shared()
    usual = inherited([atoms], potential, RelaxSettings())[0]
    for changes in ({"max_steps": 1}, {"starts": 3, "noise_A": 0.2, "seed": 5}, {"keep_symmetry": True}):
        for owner in (None, shared):  # after a call with other settings, too
            found = inherited([atoms], potential, RelaxSettings(**changes), owner)[0]
            assert found.hessian.force_calls == usual.hessian.force_calls
            np.testing.assert_array_equal(found.hessian.atoms, usual.hessian.atoms)


def test_what_decides_the_host_is_told_apart():
    atoms, shared = structure_of(child([0], "a")), Shared()
    cases = [
        (load_potential("lj-test", "cpu"), {}),
        (load_potential("lj-test", "cpu", "float32"), {}),
        (load_potential("morse", "cpu"), {}),
        (load_potential("lj-test", "cpu"), {"cell": False}),
        (load_potential("lj-test", "cpu"), {"pressure_GPa": 5.0}),
    ]
    for potential, changes in cases:
        settings = RelaxSettings(**changes)
        kept, anew = (inherited([atoms], potential, settings, owner)[0].hessian for owner in (shared, None))
        np.testing.assert_array_equal(kept.atoms, anew.atoms)


def test_what_was_relaxed_before_has_no_host_of_its_own():
    """Filled up, each would be another host, at the cost of a Hessian each."""
    first = child([0], "first")
    record = record_of(first, "converged", structure=first.structure)
    settings = relax_step.Settings(structures="before")
    (again,) = relax_step.expand(settings, {"before": [record]}, Context(step="again"))
    assert again.tags["ion"] == "Li"
    assert host_of(structure_of(again)) is None
    unrelaxed = record_of(replace(first, kind="delithiate"), "done", structure=first.structure)
    (once,) = relax_step.expand(settings, {"before": [unrelaxed]}, Context(step="once"))
    assert host_of(structure_of(once)) is not None
