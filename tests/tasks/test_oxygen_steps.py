"""Steps ``dimerize`` and ``oxygen``: tasks, records, summaries, reports, and bad input in one line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomsim.analysis import thermochemistry
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_to_json
from atomsim.oxygen.summary import ion_content, summary_of
from atomsim.store.records import Record
from atomsim.structures.pairs import KINDS
from atomsim.tasks import dimerize, oxygen
from atomsim.tasks.base import Context

HERE = Context(step="o", potential_name="here", potential_sha256="a" * 64)


def record(atoms: Atoms, energy: float, status: str = "converged", **tags) -> Record:
    """A relaxed crystal, or one of an ``oxygen`` step."""
    label = str(tags.get("label", tags.get("role", "crystal")))
    return Record(
        task=f"{label}-{energy}", step="s", kind="oxygen", label=label, status=status,
        tags={k: v for k, v in tags.items() if k != "label"},
        values={"energy_eV": energy, "pressure_GPa": tags.get("pressure", 0.0), "bond_A": 1.22},
        structure=atoms_to_json(atoms), provenance={"potential": {"name": "other", "sha256": "b" * 64}},
    )  # fmt: skip


def salt() -> Atoms:
    return bulk("MgO", "rocksalt", a=4.2, cubic=True)


def dimers(atoms: Atoms, **keys):
    inputs = {"before": [record(atoms, -1.0, keys.pop("status", "converged"), pressure=keys.pop("pressure", 0.0))]}
    return dimerize.expand(dimerize.Settings(structures=["before"], **keys), inputs, HERE)


def test_a_task_is_a_pair_and_says_which():
    (task,) = dimers(salt())
    assert task.tags["pair_kind"] in KINDS
    assert dimerize.Settings(structures=["a"]).kinds == list(KINDS)
    assert task.tags["multiplicity"] == 24
    assert dimerize._pair_of(task).length_A == pytest.approx(4.2 / 2**0.5, abs=1e-5)
    assert dimerize.cost(task, dimerize.Settings(structures=["x"])) == pytest.approx(8 * 12)


def with_a_bond() -> Atoms:
    crystal = salt()
    i, j = (int(n) for n in np.flatnonzero(crystal.symbols == "O")[:2])
    middle = crystal.get_distance(i, j, mic=True, vector=True) / 2
    crystal.positions[j] = crystal.positions[i] + middle * 1.45 / np.linalg.norm(middle)
    return crystal


@pytest.mark.parametrize(
    ("atoms", "keys", "message"),
    [
        (bulk("Cu", "fcc", a=3.6, cubic=True), {}, "has no O"),
        (with_a_bond(), {}, "bond already"),
        (salt(), {"target_A": 2.99}, "lower target_A"),
        (salt(), {"pressure": 40.0}, "under 40.0 GPa"),
        (salt(), {"kinds": ["edge of one octahedron"]}, "no pair of the kinds wanted"),
        (salt(), {"check_with": ["no-such-potential"]}, "no-such-potential"),
    ],
)
def test_dimerize_refuses_in_one_line(atoms, keys, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as error:
        dimers(atoms, **keys)
    assert len(str(error.value).splitlines()) == 1


def test_what_did_not_converge_is_left_out():
    assert dimers(salt(), status="max_steps") == []


def expanded(**keys):
    return oxygen.expand(oxygen.Settings(structures=["Li2MnO3"], **keys), keys.pop("inputs", {}), HERE)


def test_tasks_of_an_oxygen_step():
    tasks = expanded(phases=["MnO2"], calibrate=["RuO2"])
    roles = [t.tags["role"] for t in tasks]
    assert roles.count("vacancy") == 2
    assert {"host", "phase", "calibration", "oxygen"} <= set(roles)
    assert [t.label for t in tasks if t.tags["role"] == "element"] == ["element Ru"]
    assert len({t.id for t in tasks}) == len(tasks)
    assert tasks[0].tags["x"] == pytest.approx(2.0)
    wide = expanded(supercell_min_A=8.0, max_atoms=120)
    assert all(t.tags["image_distance_A"] >= 8.0 for t in wide if t.tags["role"] == "vacancy")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"calibrate": ["Mo6S8"]}, "no measured enthalpy of formation"),
        ({"oxygen": ["Li2O"]}, "wanted one O2"),
        ({"phases": ["no-such-oxide"]}, "neither an earlier step"),
    ],
)
def test_oxygen_refuses_in_one_line(keys, message):
    with pytest.raises(InputError, match=message) as error:
        expanded(**keys)
    assert len(str(error.value).splitlines()) == 1


def test_calibration_needs_crystals_of_the_elements(monkeypatch):
    monkeypatch.setitem(thermochemistry.MEASURED, "MnO2", thermochemistry.Formation(-520.0, "CRC Handbook"))
    with pytest.raises(InputError, match="no crystal of elemental Mn"):
        expanded(calibrate=["MnO2"])


def test_o2_of_another_potential_is_refused():
    molecule = Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.21]], cell=[12.0] * 3, pbc=True)
    settings = oxygen.Settings(structures=["Li2MnO3"], oxygen=["gas"])
    with pytest.raises(InputError, match="never mixed"):
        oxygen.expand(settings, {"gas": [record(molecule, -10.0)]}, HERE)


def test_x_counts_ions_per_other_metal():
    assert ion_content(Atoms("Li2MnO3"), "Li") == pytest.approx(2.0)
    assert ion_content(Atoms("MnO2"), "Li") == 0.0
    assert ion_content(Atoms("Li2O"), "Li") is None
    with pytest.raises(InputError, match="no O"):
        ion_content(Atoms("LiF"), "Li")


def ruthenates() -> list[Record]:
    """Records of a made-up potential: numbers by hand, eV."""
    molecule = Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.21]], cell=[12.0] * 3, pbc=True)
    energies = {2: -34.0, 1: -30.5, 0: -26.6}
    hosts = [
        record(Atoms(f"Li{x}RuO3" if x else "RuO3", cell=[5] * 3, pbc=True), e, role="host", host="h", x=float(x))
        for x, e in energies.items()
    ]
    return [
        *hosts,
        record(Atoms("RuO2", cell=[5] * 3, pbc=True), -21.5, role="phase", label="phase RuO2"),
        record(Atoms("RuO2", cell=[5] * 3, pbc=True), -21.5, role="calibration", prototype="RuO2"),
        record(Atoms("Ru", cell=[5] * 3, pbc=True), -9.0, role="element"),
        record(molecule, -9.0, role="oxygen"),
    ]


def test_release_uncorrected_and_corrected_side_by_side():
    found = summary_of(ruthenates(), "Li", 300.0, 1.0)
    plain, shifted = (found.releases[level, False] for level in ("uncorrected", "corrected"))
    # RuO3 → RuO2 + ½ O2; LiRuO3 → ½ Li2RuO3 + ½ RuO2 + ¼ O2
    assert [r.x for r in plain] == [1.0, 0.0]
    assert plain[1].energy_eV == pytest.approx(-21.5 - 4.5 + 26.6)
    assert plain[0].energy_eV == pytest.approx(0.5 * -34.0 + 0.5 * -21.5 + 0.25 * -9.0 + 30.5)
    measured = -305.0 / 96.485332
    shift = (-21.5 + 9.0 + 9.0 - measured) / 2
    assert found.calibration.shift == pytest.approx(shift)
    assert shifted[1].energy_eV == pytest.approx(plain[1].energy_eV + shift)
    assert shifted[0].energy_eV == pytest.approx(plain[0].energy_eV + 0.5 * shift)
    with_gas = found.releases["uncorrected", True]
    assert with_gas[1].energy_eV == pytest.approx(plain[1].energy_eV + found.gas_eV)


def test_without_o2_nothing_is_counted_and_it_is_said():
    records = [r for r in ruthenates() if r.tags["role"] != "oxygen"]
    found = summary_of(records)
    assert found.oxygen_eV is None
    assert not found.releases
    assert "no O2" in found.notes[0]


def test_the_command_of_a_bad_structure_is_one_line(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from atomsim.cli import app

    monkeypatch.chdir(tmp_path)
    bulk("Cu", "fcc", a=3.6, cubic=True).write("copper.cif")
    shown = CliRunner().invoke(
        app, ["dimerize", "copper.cif", "--no-relax", "--potential", "lj-test", "--device", "cpu"]
    )
    assert shown.exit_code == 2
    assert "has no O" in shown.output
    assert not Path("runs").exists() or not list(Path("runs").glob("*.toml"))


def test_a_run_from_command_to_report(tmp_path, monkeypatch):
    """Vacancies of one oxide with a pair potential that has no O2: told, with a report all the same."""
    from typer.testing import CliRunner

    from atomsim.cli import app

    monkeypatch.chdir(tmp_path)
    salt().write("salt.cif")
    arguments = ["oxygen", "salt.cif", "--no-relax", "--potential", "lj-test", "--device", "cpu", "--processes", "0"]
    shown = CliRunner().invoke(app, [*arguments, "--ion", "Mg"])
    assert shown.exit_code in (0, 1)
    assert "no O2 to count from" in shown.output
    assert list(tmp_path.glob("runs/*/report.html"))
