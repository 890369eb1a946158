"""A task's record is the same to the bit whatever its process did before, and counts what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from ase.io import read

from atomsim.batch import Batch, Evaluation
from atomsim.execution.checkpoint import Remembering
from atomsim.execution.job import Job, TaskOutcome, serial
from atomsim.io.atoms_json import atoms_to_json
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones
from atomsim.models.shared import Shared
from atomsim.relaxation import relax
from atomsim.store.export import write_structures
from atomsim.store.records import Record, Task, record_of, total_calls
from atomsim.structures.delithiation import delithiate
from atomsim.tasks import barriers, kind_of
from atomsim.tasks import delithiate as delithiate_step
from atomsim.tasks import relax as relax_step
from atomsim.tasks.base import Context, Origin, make_task


class Counting:
    """A potential that counts what it evaluates."""

    def __init__(self, inner: Potential) -> None:
        self.inner, self.calls = inner, 0

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += batch.n_systems
        return self.inner(batch)

    def __getattr__(self, name: str):
        return getattr(self.inner, name)


def run(tasks: Sequence[Task], settings, potential, shared: Shared | None = None) -> list[TaskOutcome]:
    """One process that is given these tasks, after others that filled ``shared``."""
    job = Job(tasks[0].kind, settings, tasks, Context("step", seed=1), {}, shared=shared or Shared())
    return list(serial(job, potential))


def outcomes(found: Sequence[TaskOutcome]) -> dict[str, dict]:
    return {o.record.task: o.record.outcome() for o in found}


@cache
def orderings() -> tuple[relax_step.Settings, list[Task]]:
    """Two orderings of LiO, to be relaxed with noise."""
    made = delithiate_step.Settings(parent="host.extxyz", x_per_formula_unit=[0.75, 0.5], primitive=False)
    host = bulk("LiO", "rocksalt", a=4.0, cubic=True)
    found = delithiate(host, "Li", made.x_per_formula_unit, orderings=1)
    settings = relax_step.Settings(structures="orderings", noise_A=0.05, check_minimum=False)
    records = []
    for ordering in found.orderings:
        origin = Origin(f"{ordering.x}-{ordering.index}", ordering.atoms, found.tags(ordering, "LiO"))
        task = make_task(origin, "delithiate", made, Context("made"))
        records.append(record_of(task, "done", structure=task.structure))
    return settings, relax_step.expand(settings, {"orderings": records}, Context("step", seed=1))


@cache
def hops() -> tuple[barriers.Settings, list[Task], Potential]:
    """Two kinds of hops in hcp argon."""
    settings = barriers.Settings(
        structures="argon", ion="Ar", max_length_A=4.2, supercell_min_A=6.0, max_atoms=16, images=3,
        end_fmax_eV_per_A=0.02, search="band", max_steps=25,
    )  # fmt: skip
    argon = bulk("Ar", "hcp", a=3.7, c=6.3)
    origin = Record("", "before", "relax", "argon", "converged", structure=atoms_to_json(argon))
    tasks = barriers.expand(settings, {"argon": [origin]}, Context("step", seed=1))
    return settings, tasks, LennardJones(onset_A=4.5, cutoff_A=5.2)


def cases():
    settings, tasks = orderings()
    yield settings, tasks, load_potential("lj-test", "cpu")
    yield hops()


@pytest.mark.parametrize("which", [0, 1], ids=["relax", "barriers"])
def test_no_record_depends_on_what_its_process_did_before(which: int):
    settings, tasks, potential = list(cases())[which]
    assert len(tasks) >= 2
    alone = {key: value for task in tasks for key, value in outcomes(run([task], settings, potential)).items()}
    shared = Shared()
    # the same process had other settings and other precision before
    other = settings.model_copy(update={"max_steps": 2})
    single = type(potential)(**potential.parameters, dtype=torch.float32)
    run(tasks[:1], other, potential, shared)
    run(tasks[:1], settings, single, shared)
    assert outcomes(run(tasks[::-1], settings, potential, shared)) == alone
    assert {r["status"] for r in alone.values()} <= {"converged", "max_steps", "unproven"}


@pytest.mark.parametrize("which", [0, 1], ids=["relax", "barriers"])
def test_calls_said_are_calls_made(which: int):
    settings, tasks, potential = list(cases())[which]
    counting = Counting(potential)
    found = run(tasks, settings, counting)
    records = [o.record for o in found]
    evaluation = total_calls(records)
    assert evaluation == counting.calls == sum(o.evaluations for o in found)
    assert kind_of(tasks[0].kind).summarise(settings, records)["force_calls"] == evaluation
    # spread over two processes, what is shared is made twice and said once
    counting.calls = 0
    parts = [run(part, settings, counting) for part in (tasks[:1], tasks[1:])]
    assert total_calls([o.record for part in parts for o in part]) == evaluation < counting.calls
    assert sum(o.evaluations for part in parts for o in part) == counting.calls


def test_an_ordering_ends_the_same_from_python_a_campaign_and_a_file(tmp_path: Path):
    settings, tasks = orderings()
    potential = load_potential("lj-test", "cpu")
    found = {o.record.task: o.record for o in run(tasks, settings, potential)}
    how = {"noise_A": 0.05, "check_minimum": False, "seed": 1}
    made = delithiate(bulk("LiO", "rocksalt", a=4.0, cubic=True), "Li", [0.75, 0.5], orderings=1)
    ends = relax([o.atoms for o in made.orderings], potential, **how)
    assert [r.energy for r in ends] == [found[t.id].values["energy_eV"] for t in tasks]
    # exported, read again, relaxed by a campaign and from Python
    step = [record_of(t, "done", structure=t.structure) for t in tasks]
    write_structures(tmp_path / "orderings.extxyz", [Record(**vars(r) | {"kind": "delithiate"}) for r in step])
    filed = relax(read(tmp_path / "orderings.extxyz", ":"), potential, **how)
    assert [r.energy for r in filed] == pytest.approx([r.energy for r in ends], abs=1e-5)
    again = settings.model_copy(update={"structures": ["orderings.extxyz"]})
    from_file = relax_step.expand(again, {}, Context("step", seed=1, base_dir=tmp_path))
    assert [o.record.values["energy_eV"] for o in run(from_file, again, potential)] == [r.energy for r in filed]
    # what has relaxed says no more where ions were: filled up it would be another host
    assert "vacancies" not in ends[0].atoms.info
    stamped = [Record(**vars(r) | {"provenance": {"potential": {"name": "lj-test"}}}) for r in found.values()]
    write_structures(tmp_path / "relaxed.extxyz", stamped)
    assert all("vacancies" not in a.info for a in read(tmp_path / "relaxed.extxyz", ":"))


def test_sites_that_are_taken_or_unreadable_make_no_host():
    potential = load_potential("lj-test", "cpu")
    plain = bulk("LiO", "rocksalt", a=4.0, cubic=True)
    (alone,) = relax(plain, potential, check_minimum=False)
    for sites in ([[0, 0, 0]], "two", 3, [[0.5, 0.5]], [], [[float("nan")] * 3]):
        marked = plain.copy()
        marked.info |= {"ion": "Li", "vacancies": sites}
        assert relax(marked, potential, check_minimum=False)[0].energy == alone.energy


def test_what_tasks_share_is_kept_for_one_that_is_begun_again(tmp_path: Path):
    """The process is killed in its last task: the host's Hessian, computed in the first, need not be made again."""
    settings, tasks, potential = hops()
    first = Counting(potential)
    remembering = Remembering(first, tmp_path, 0.0)
    for task in (*tasks, tasks[1]):  # the later ones leave no trace of the first task's own evaluations
        run([task], settings, remembering)
    again = Counting(potential)
    (found,) = run(tasks[:1], settings, Remembering(again, tmp_path))
    shared = found.record.values["shared_force_calls"]
    assert again.calls <= found.record.values["force_calls"]
    assert shared["hessian"] + sum(shared["ends"].values()) > 0
    assert found.evaluations == again.calls
