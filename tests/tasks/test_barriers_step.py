"""The step kind ``barriers``: a vacancy in copper, from campaign to records, percolation and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from ase.optimize import BFGS

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.catalog import folder as catalog_folder
from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.hopping.summary import host_summaries
from atomsim.report import write_report
from atomsim.report.paths import path_images
from atomsim.store.records import Record
from atomsim.store.run_folder import read_run
from atomsim.tasks import barriers
from atomsim.tasks.barriers_record import path_record
from atomsim.tasks.base import Context

A = 3.59
ENGINE = Engine("emt", "cpu", processes=0, loader="emt_potential:load")
CAMPAIGN = """
[campaign]
name = "copper"
potential = "chgnet-0.3.0" # the tests load another
seed = 1

[[step]]
name = "hops"
kind = "barriers"
structures = "copper.extxyz"
ion = "Cu"
max_length_A = 2.8
supercell_min_A = 5.0
max_atoms = 8
images = 3
fmax_eV_per_A = 0.02
end_fmax_eV_per_A = 0.005
"""


def prepared(folder: Path) -> Path:
    write(folder / "copper.extxyz", bulk("Cu", "fcc", a=A))
    (folder / "copper.toml").write_text(CAMPAIGN)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the campaign has run, for tests that only read."""
    folder = prepared(tmp_path_factory.mktemp("done"))
    run(folder)
    return folder


@pytest.fixture(scope="module")
def record(done: Path) -> Record:
    (found,) = read_run(done / "run")[1]["hops"]
    return found


def run(folder: Path) -> list[Record]:
    summary = run_campaign(load_campaign(folder / "copper.toml"), folder / "run", ENGINE)
    assert summary.ok, summary
    return read_run(folder / "run")[1]["hops"]


def symmetric_saddle(*, start: bool = False) -> float:
    """Energy of the vacancy, or with an atom held halfway into it, where symmetry puts the saddle; ASE alone."""
    cell = bulk("Cu", "fcc", a=A).repeat(2)
    step = cell.get_distance(1, 0, mic=True, vector=True)
    atoms = cell[1:]
    if not start:
        atoms.positions[0] += step / 2
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.005)
    return float(atoms.get_potential_energy())


def test_a_vacancy_in_copper_has_one_hop_that_percolates_in_three_dimensions(record):
    assert record.status == "converged"
    assert record.tags["mechanism"] == "vacancy"
    assert record.tags["multiplicity"] == 6
    assert record.values["negative_modes"] == 1
    assert record.values["barrier_eV"] == pytest.approx(record.values["reverse_barrier_eV"], abs=1e-3)
    assert record.values["barrier_eV"] == pytest.approx(symmetric_saddle() - symmetric_saddle(start=True), abs=2e-3)
    (host,) = host_summaries([record])
    assert host["dimensions"] == 3
    assert host["threshold_3D_eV"] == pytest.approx(record.values["barrier_eV"], abs=1e-9)
    # one rate in an fcc lattice: D = a²Γ exactly, with the 12 neighbours at a/√2
    rate = record.values["rate_300K_per_s"]
    assert host["diffusivity_300K_cm2_per_s"] == pytest.approx(A**2 * rate * 1e-16, rel=1e-2)
    assert host["kmc_300K_cm2_per_s"] == pytest.approx(
        host["diffusivity_300K_cm2_per_s"], abs=4 * host["kmc_error_cm2_per_s"]
    )


def test_the_path_is_in_the_record_with_its_ends_a_hop_apart(record):
    images = path_images(record)
    assert len(images) == 5
    travelled = np.linalg.norm(images[-1].positions - images[0].positions, axis=1)
    assert travelled.max() == pytest.approx(record.tags["length_A"], abs=0.1)
    assert (np.sort(travelled)[:-1] < 0.5).all()
    energies = [image.get_potential_energy() for image in images]
    assert max(energies) - energies[0] == pytest.approx(record.values["barrier_eV"])


def test_a_run_that_was_cut_short_ends_with_the_same_records(folder):
    whole = run(folder)
    (ledger,) = (folder / "run").glob("steps/*/records.jsonl")
    ledger.write_text(ledger.read_text()[:-40])  # a torn line: the task is done again
    assert [r.outcome() for r in run(folder)] == [r.outcome() for r in whole]


def test_what_hops_share_does_not_depend_on_which_were_computed_together(folder):
    campaign = load_campaign(folder / "copper.toml")
    step = campaign.steps[0]
    settings = step.settings.model_copy(update={"max_length_A": 3.7, "max_steps": 8})  # how far they get matters not
    context = Context("hops", base_dir=folder)
    tasks = barriers.expand(settings, {}, context)
    assert len(tasks) == 2

    from emt_potential import load

    def by_label(chosen, potential):
        return {r.label: r.outcome() for r in barriers.run(chosen, settings, {}, context, potential)}

    together = by_label(tasks, load("emt"))
    for task in tasks:
        assert by_label([task], load("emt")) == {task.label: together[task.label]}


def test_an_end_that_leaves_its_site_is_reported_and_not_used(folder, monkeypatch):
    from atomsim.hopping import endpoints as ends

    monkeypatch.setattr(ends, "DRIFT_A", -1.0)
    campaign = load_campaign(folder / "copper.toml")
    run_campaign(campaign, folder / "run", ENGINE)
    (record,) = read_run(folder / "run")[1]["hops"]
    assert record.status == "drifted"
    assert "another basin" in record.message
    assert "barrier_eV" not in record.values


def test_the_report_shows_hops_profiles_and_percolation(done):
    info, records = read_run(done / "run")
    page = write_report(done / "run", info, records).read_text()
    assert "Percolating barrier" in page
    exports = {p.name for p in (done / "run" / "exports").iterdir()}
    assert {"hops-hops.csv", "hops-percolation.csv", "hops-jumps.csv", "hops-sites.csv"} <= exports
    jumps = (done / "run" / "exports" / "hops-jumps.csv").read_text().splitlines()
    assert len(jumps) == 1 + 6
    assert any("profiles" in p.name for p in (done / "run" / "figures").iterdir())


@pytest.mark.parametrize("search", ["follow", "band"])
def test_a_raised_limit_goes_on_with_the_hops_that_it_ended(folder, search):
    def limited(steps: int, out: str) -> Record:
        (folder / "copper.toml").write_text(f'{CAMPAIGN}search = "{search}"\nmax_steps = {steps}\n')
        run_campaign(load_campaign(folder / "copper.toml"), folder / out, ENGINE)
        (record,) = read_run(folder / out)[1]["hops"]
        return record

    short = limited(1, "run")
    assert short.status == "max_steps"
    longer = limited(200, "run")
    assert longer.status == "converged"
    assert longer.provenance["instead_of"] == short.task
    whole = limited(200, "whole")  # as if the limit had been so high from the beginning
    assert (longer.task, longer.values) == (whole.task, whole.values)
    assert limited(300, "run") == longer  # no limit ended it


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ion": "Li"}, "no Li in Cu"),
        ({"max_length_A": 1.0}, "raise max_length_A"),
        ({"check_with": ["chgnet-0.3"]}, "did you mean"),
        ({"check_with": ["mace-li-ru-s-o"]}, "Cu is not known to mace-li-ru-s-o"),
        ({"check_with": ["not-here"]}, "missing on this machine; 'atomsim potentials fetch not-here'"),
        ({"ion": "Li", "interstitials": True}, "Li is not known to the potential"),
        ({"ion": "Xx", "interstitials": True}, "wanted the symbol of an element"),
        ({"supercell_min_A": 3.0, "max_atoms": 1}, "images of each other"),
    ],
)
def test_bad_input_is_refused_before_any_force_call(folder, changes, words, monkeypatch):
    card = (catalog_folder("potentials") / "mace-mp-0-small.toml").read_text()
    (folder / "not-here.toml").write_text(
        card.replace('"mace-mp-0-small"', '"not-here"').replace('file = "', 'file = "not-here-')
    )
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(folder))
    settings = load_campaign(folder / "copper.toml").steps[0].settings.model_copy(update=changes)
    elements = frozenset({29}) if "interstitials" in changes else None
    with pytest.raises(InputError, match=words) as error:
        barriers.expand(settings, {}, Context("hops", base_dir=folder, elements=elements))
    assert "\n" not in str(error.value)


def test_unconverged_hops_are_counted_and_kept_out_of_the_network(record):
    failed = replace(record, status="max_steps", tags=record.tags | {"hop": "other"})
    (host,) = host_summaries([record, failed])
    assert (host["hops"], host["good"]) == (2, 1)
    assert host["without_barrier"] == ["other"]
    assert host["threshold_3D_eV"] == pytest.approx(record.values["barrier_eV"])


def test_hosts_of_several_x_give_barriers_against_x(record, tmp_path):
    other = replace(
        record,
        label="x=0.5 other",
        tags=record.tags | {"host": "x=0.5", "x": 0.5},
        values=record.values | {"barrier_eV": 2 * record.values["barrier_eV"]},
    )
    full = replace(record, tags=record.tags | {"host": "x=1", "x": 1.0})
    hosts = host_summaries([full, other])
    assert [(h["x"], h["good"]) for h in hosts] == [(1.0, 1), (0.5, 1)]
    assert hosts[1]["lowest_barrier_eV"] == pytest.approx(2 * hosts[0]["lowest_barrier_eV"])
    page = write_report(tmp_path, {}, {"hops": [full, other]}).read_text()
    assert "Barriers on charge" in page


def found_path(folder: Path):
    """A hop of copper as the engine gives it, with the task it belongs to and its surface."""
    from emt_potential import load

    from atomsim.hopping.compute import HopRequest, compute
    from atomsim.io.atoms_json import atoms_from_json
    from atomsim.store.records import task_id

    settings = load_campaign(folder / "copper.toml").steps[0].settings
    (task,) = barriers.expand(settings, {}, Context("hops", base_dir=folder))
    request = HopRequest(0, task_id(task.structure), atoms_from_json(task.structure or {}), task.tags["hop"])
    potential = load("emt")
    (result,) = compute([request], "Cu", barriers.survey_settings(settings, 1), potential)
    return task, result, potential


def test_a_check_that_fails_costs_no_hop_and_unequal_equivalent_ends_are_flagged(folder):
    task, result, potential = found_path(folder)
    checked = path_record(task, result, ["mace-li-ru-s-o", "morse"], potential, Context("hops"))
    assert checked.good
    assert set(checked.values["checked_with"]) == {"morse"}
    assert "mace-li-ru-s-o" in checked.values["checks_failed"]
    assert any(f.startswith("not checked with mace-li-ru-s-o") for f in checked.values["flags"])
    assert "barrier_spread_eV" not in path_record(task, result, ["mace-li-ru-s-o"], potential, Context("hops")).values

    assert path_record(task, result, [], potential, Context("hops")).values["flags"] == []
    energies = result.path.energies + np.linspace(0, 0.02, len(result.path.energies))
    broken = replace(result, path=replace(result.path, energies=energies))
    (flag,) = path_record(task, broken, [], potential, Context("hops")).values["flags"]
    assert "equivalent ends differ by 0.020 eV" in flag
    wide = replace(task, tags=task.tags | {"supercell_min_A": 9.0})
    (flag,) = path_record(wide, result, [], potential, Context("hops")).values["flags"]
    assert flag == f"images {task.tags['image_distance_A']:.2f} Å apart, 9 Å were asked for: raise max_atoms"


@pytest.mark.parametrize("kind", ["relax", "barriers"])
def test_every_description_of_a_host_makes_the_same_tasks(tmp_path, kind):
    from atomsim.structures.prototypes import load_prototype
    from atomsim.tasks import relax

    host = load_prototype("LiCoO2").atoms
    turned = host.repeat((1, 2, 1))[::-1]
    turned.rotate(25, (1, 2, 3), rotate_cell=True)
    made = []
    for folder, atoms in (("one", host), ("two", turned), ("three", load_prototype("LiCoO2").primitive)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "host.json", atoms)
        context = Context("step", base_dir=tmp_path / folder)
        settings = {
            "relax": relax.Settings(structures=["host.json"], standard_cell=True),
            "barriers": barriers.Settings(structures=["host.json"], supercell_min_A=5.0, max_atoms=16),
        }[kind]
        made.append({"relax": relax, "barriers": barriers}[kind].expand(settings, {}, context))
    assert made[0] == made[1] == made[2]
    assert len(made[0][0].structure["numbers"]) == 4


def test_a_host_with_fixed_atoms_is_relaxed_as_it_is(tmp_path):
    from atomsim.tasks import relax

    host = bulk("Cu", "fcc", a=A, cubic=True)
    host.set_constraint(FixAtoms([0]))
    write(tmp_path / "host.traj", host)
    settings = relax.Settings(structures=["host.traj"], standard_cell=True)
    (task,) = relax.expand(settings, {}, Context("host", base_dir=tmp_path))
    assert task.structure["fixed"] == [0]
    assert len(task.structure["numbers"]) == 4


def test_a_host_that_relaxes_into_another_space_group_is_said_to(tmp_path):
    from emt_potential import load

    from atomsim.tasks import relax

    stretched = bulk("Cu", "fcc", a=A, cubic=True)
    stretched.set_cell(stretched.cell.array * [1, 1, 1.03], scale_atoms=True)
    write(tmp_path / "host.extxyz", stretched)
    context = Context("host", base_dir=tmp_path)
    settings = relax.Settings(structures=["host.extxyz"], fmax_eV_per_A=1e-3)
    (relaxed,) = relax.run(relax.expand(settings, {}, context), settings, {}, context, load("emt"))
    assert (relaxed.values["space_group_before"], relaxed.values["space_group"]) == ("I4/mmm", "Fm-3m")
    of_hops = barriers.Settings(structures=["host"], ion="Cu", max_length_A=2.8, supercell_min_A=5.0, max_atoms=8)
    tasks = barriers.expand(of_hops, {"host": [relaxed]}, replace(context, step="hops"))
    assert {(t.tags["space_group_before"], t.tags["space_group"]) for t in tasks} == {("I4/mmm", "Fm-3m")}
    records = [Record(t.id, t.step, t.kind, t.label, "invalid", tags=t.tags) for t in tasks]
    page = write_report(tmp_path / "page", {}, {"hops": records}).read_text()
    assert "relaxed from I4/mmm to Fm-3m" in page
    assert "I4/mmm" not in str(barriers.expand(of_hops, {"host": [replace(relaxed, values={})]}, context)[0].tags)
