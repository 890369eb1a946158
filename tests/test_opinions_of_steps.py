"""Second opinions in ``order``, ``dope`` and ``oxygen`` steps: what another potential says when it is asked alone."""

from __future__ import annotations

import pytest
from ase.build import bulk, make_supercell

import atomsim
from atomsim.analysis.opinions import relative_opinions
from atomsim.errors import InputError
from atomsim.oxygen.opinions import oxygen_opinions
from atomsim.store.opinions import by_another, judged_by_all, judges
from atomsim.store.records import Record
from atomsim.structures.prototypes import load_prototype

CPU = {"device": "cpu", "progress": False}
STUDENT, TEACHER = "mace-li-mn-co-ni-w-o", "chgnet-0.3.0"


def test_a_shift_of_energies_is_no_disagreement_on_structures_of_one_composition():
    rows = relative_opinions("abc", {"one": [-3.0, -2.5, -2.0], "two": [7.0, 7.5, 8.4]})
    assert [row["label"] for row in rows] == ["c", "a", "b"]
    assert rows[0]["by"] == pytest.approx({"one": 1.0, "two": 1.4})
    assert [row["spread_eV"] for row in rows] == pytest.approx([0.4, 0.0, 0.0])


def record(label: str, checked: dict, status: str = "converged", **tags) -> Record:
    values = {"energy_eV": -1.0, "unrelaxed_eV": -0.5, "checked_with": checked}
    about = {"potential": {"name": "first", "sha256": "a" * 64}}
    return Record(label, "s", "oxygen", label, status, tags=tags, values=values, provenance=about)


def test_one_that_could_not_judge_all_is_told_apart():
    whole, part = {"energy_eV": -2.0}, {"energy_eV": -3.0}
    records = [record("a", {"two": whole, "three": part}), record("b", {"two": whole}), record("c", {}, "exploded")]
    assert judges(records) == ["two", "three"]
    assert judged_by_all(records) == ["two"]
    (only,) = by_another(records, "three")
    assert (only.label, only.values["energy_eV"]) == ("a", -3.0)
    assert "unrelaxed_eV" not in only.values  # nobody asked the other for it
    assert oxygen_opinions([record("a", {})])["vacancies"] == []


def test_preferences_by_another_are_those_of_its_energies():
    how = {"sites": ["Mn", "Li:ion-layer"], "count": 1, "per_site": 1, "fmax_eV_per_A": 0.2, "cell": False, **CPU}
    found = atomsim.dope(load_prototype("Li2MnO3").primitive, "Co", STUDENT, **how, check_with=[TEACHER])
    energies = {r.record.tags["site"]: atomsim.evaluate(r.atoms, TEACHER, **CPU).energy_eV for r in found[1:]}
    above = {site: e - min(energies.values()) for site, e in energies.items()}
    by = {s["site"]: s["by"][TEACHER] for s in found.opinions["sites"]}
    assert by == pytest.approx(above, abs=1e-4)
    assert max(by.values()) > 0.1
    assert found.opinions["potentials"] == [STUDENT, TEACHER]
    assert found.opinions["ranking"][-1]["spread_eV"] == pytest.approx(0.0)


def test_arrangements_are_judged_by_another():
    salt = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    salt.symbols[salt.symbols == "Mg"] = ["Li", "Li", "Co", "Co"]
    cell = make_supercell(salt, [[1, 0, 0], [0, 1, 0], [0, 0, 2]])
    how = {
        "sublattices": ["Li+Co"],
        "relaxations": 3,
        "batch": 3,
        "lowest": 2,
        "final_fmax_eV_per_A": 0.2,
        "cell": False,
    }
    found = atomsim.order(cell, STUDENT, **how, check_with=[TEACHER], **CPU)
    first, second = (o["checked_with"][TEACHER]["energy_eV"] for o in found.record.values["orderings"])
    again = atomsim.evaluate(found.lowest, TEACHER, **CPU)
    assert [first, second] == pytest.approx([r.energy_eV for r in again], abs=1e-4)
    by = {row["label"]: row["by"] for row in found.opinions}
    assert by["arrangement 2"][TEACHER] == pytest.approx(second - first)
    assert by["arrangement 1"] == {STUDENT: 0.0, TEACHER: 0.0}


def test_vacancies_by_another_count_from_its_own_oxygen():
    names = [STUDENT, "mace-na-ru-o"]  # the second lacks Li: named, and the rest continues
    found = atomsim.vacancies("Li2O", "mace-li-ru-s-o", check_with=names, check_relax=True, **CPU)
    (row,) = found.opinions["vacancies"]
    alone = atomsim.vacancies("Li2O", names[0], **CPU).summary.vacancies[0].relaxed_eV
    assert row["by"][names[0]] == pytest.approx(alone, abs=0.02)
    assert row["spread_eV"] == pytest.approx(abs(row["by"][names[0]] - row["by"]["mace-li-ru-s-o"]))
    assert "Li" in found[0].record.values["checks_failed"]["mace-na-ru-o"]


@pytest.mark.parametrize("verb", [atomsim.order, atomsim.vacancies, lambda s, p, **k: atomsim.dope(s, "Ti", p, **k)])
def test_the_same_potential_and_one_that_is_not_there_are_refused(verb):
    for name, why in (("lj-test", "agrees with itself"), ("no-such", "unknown potential")):
        with pytest.raises(InputError, match=why) as error:
            verb("Li2MnO3", "lj-test", check_with=[name], **CPU)
        assert len(str(error.value).splitlines()) == 1
