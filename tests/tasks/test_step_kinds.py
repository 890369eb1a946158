"""Step kinds: what they make of prototypes and files, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from pydantic import ValidationError

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record
from atomsim.structures.prototypes import load_prototype
from atomsim.tasks import MODULES, delithiate, kind_of, relax, structures
from atomsim.tasks.base import Context, origins
from atomsim.tasks.keys import explain


def expand(module, inputs: dict | None = None, base: Path = Path(), seed: int = 0, elements=None, **settings):
    context = Context("step", seed=seed, base_dir=base, elements=elements, potential_name="the potential")
    return module.expand(module.Settings(**settings), inputs or {}, context)


def record(label: str, atoms: Atoms, status: str = "converged", **tags: object) -> Record:
    return Record(f"id-{label}", "before", "relax", label, status, structure=atoms_to_json(atoms), tags=tags)


@pytest.fixture
def rocksalt() -> Atoms:
    """Four LiF: enough sites for more than one ordering, small enough to count by hand."""
    return bulk("LiF", "rocksalt", 4.03, cubic=True)


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'delithiate'"):
        kind_of("delithiat")
    assert all(kind == kind_of(kind).KIND for kind in MODULES)


def test_structures_takes_prototypes_files_and_patterns(tmp_path: Path, rocksalt: Atoms) -> None:
    write(tmp_path / "b.cif", rocksalt)
    write(tmp_path / "a.extxyz", [rocksalt, rocksalt.repeat(2)])
    tasks = expand(structures, base=tmp_path, structures=["Li", "*.*"])
    assert [t.label for t in tasks] == ["Li", "a-1", "a-2", "b"]
    assert [len(t.structure["numbers"]) for t in tasks[1:]] == [8, 64, 8]
    assert len({t.id for t in tasks}) == 4


def test_structures_can_be_repeated(tmp_path: Path, rocksalt: Atoms) -> None:
    write(tmp_path / "a.extxyz", rocksalt)
    (task,) = expand(structures, base=tmp_path, structures="a.extxyz", repeat=[2, 1, 1])
    assert len(task.structure["numbers"]) == 16
    np.testing.assert_allclose(task.structure["cell"][0], 2 * rocksalt.cell[0])
    with pytest.raises(InputError, match="repeat is"):
        expand(structures, base=tmp_path, structures="a.extxyz", repeat=[0, 1, 1])


def test_equal_labels_are_told_apart(tmp_path: Path, rocksalt: Atoms) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "POSCAR.vasp", rocksalt)
    tasks = expand(structures, base=tmp_path, structures=["one/POSCAR.vasp", "two/POSCAR.vasp"])
    assert [t.label for t in tasks] == ["POSCAR-1", "POSCAR-2"]
    assert tasks[0].id != tasks[1].id


def test_labels_differ_whatever_names_meet(tmp_path: Path, rocksalt: Atoms) -> None:
    for name in ("a/x.vasp", "b/x.vasp", "x-1.vasp", "c/x-1.vasp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, rocksalt)
    words = ["a/x.vasp", "b/x.vasp", "x-1.vasp"]
    labels = [t.label for t in expand(structures, base=tmp_path, structures=words)]
    assert labels == ["x-2", "x-3", "x-1"]  # the one that is named so keeps its name
    labels = [t.label for t in expand(structures, base=tmp_path, structures=[*words, "c/x-1.vasp"])]
    assert len(set(labels)) == 4


def test_ids_are_of_content(tmp_path: Path, rocksalt: Atoms) -> None:
    write(tmp_path / "a.extxyz", rocksalt)
    first = expand(relax, base=tmp_path, structures="a.extxyz")[0].id
    assert expand(relax, base=tmp_path, structures="a.extxyz")[0].id == first
    assert expand(relax, base=tmp_path, structures="a.extxyz", cell=False)[0].id != first
    assert expand(relax, base=tmp_path, structures="a.extxyz", seed=1)[0].id != first
    rocksalt.positions[0, 0] += 1e-6
    write(tmp_path / "a.extxyz", rocksalt)
    assert expand(relax, base=tmp_path, structures="a.extxyz")[0].id != first


def test_relax_takes_only_good_records(rocksalt: Atoms) -> None:
    inputs = {"before": [record("a", rocksalt, x=1.0), record("b", rocksalt, "max_steps"), record("c", rocksalt)]}
    tasks = expand(relax, inputs, structures="before")
    assert [t.label for t in tasks] == ["a", "c"]
    assert tasks[0].tags == {"x": 1.0}
    assert tasks[0].parents == ("id-a",)


def test_several_starts_are_refused_where_symmetry_is_kept() -> None:
    with pytest.raises(ValidationError, match="leave one of the two out") as caught:
        relax.Settings(structures="before", starts=3, keep_symmetry=True)
    (line,) = explain(caught.value, relax.Settings, "[[step]] 1")
    assert line.startswith("[[step]] 1: found starts = 3")
    relax.Settings(structures="before", starts=3)


def test_relax_refuses_elements_that_the_potential_does_not_know(rocksalt: Atoms) -> None:
    with pytest.raises(InputError, match="a holds F, which the potential was not made for"):
        expand(relax, {"before": [record("a", rocksalt)]}, elements=frozenset({3, 8}), structures="before")


def test_words_that_name_nothing(tmp_path: Path) -> None:
    for word, wanted in (("Li2RuO", "did you mean 'Li2RuO3"), ("no.cif", "file"), ("*.cif", "neither")):
        with pytest.raises(InputError, match=wanted):
            origins([word], {}, Context("step", base_dir=tmp_path))


def delithiated(host: Atoms, **settings: object):
    inputs = {"host": [record("LiF", host)]}
    return expand(delithiate, inputs, **{"parent": "host", "host_unit": "F", "primitive": False} | settings)


def test_delithiate_removes_what_x_says(rocksalt: Atoms) -> None:
    tasks = delithiated(rocksalt, x_per_formula_unit=[1.0, 0.5, 0.0], orderings=3, max_atoms=8)
    for task in tasks:
        numbers = task.structure["numbers"]
        assert numbers.count(9) == 4
        assert numbers.count(3) == round(task.tags["x"] * 4)
        assert task.tags["parent"] == "LiF"
        assert task.tags["host_units"] == 4
        assert task.tags["x_max"] == 1.0
    # two of the four sites of a cubic cell: all six pairs are alike
    half = [t for t in tasks if t.tags["x"] == 0.5]
    assert [t.tags["multiplicity"] for t in half] == [6]
    counts = half[0].tags["counts"]
    assert {key: counts[key] for key in ("total", "distinct", "chosen", "enumerated")} == {
        "total": 6, "distinct": 1, "chosen": 1, "enumerated": True,
    }  # fmt: skip
    assert counts["cells"] == [1]
    assert len({t.label for t in tasks}) == len(tasks)


def test_delithiate_summary_counts_before_and_after(rocksalt: Atoms) -> None:
    tasks = delithiated(rocksalt, x_per_formula_unit=[0.5], orderings=2, supercell=[2, 1, 1])
    settings = delithiate.Settings(parent="host", x_per_formula_unit=[0.5], orderings=2)
    records = list(delithiate.run(tasks, settings, {}, Context("step")))
    assert all(r.good and r.structure == t.structure for r, t in zip(records, tasks, strict=True))
    (counts,) = delithiate.summarise(settings, records)["orderings"]
    assert counts["total"] == 70  # 8 sites, 4 ions
    assert counts["total"] > counts["distinct"] >= counts["chosen"] == len(tasks) == 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"x_per_formula_unit": [1.5]}, "x = 1.5"),
        ({"x_per_formula_unit": [-0.5]}, "x = -0.5"),
        ({"x_per_formula_unit": [0.37], "max_atoms": 8}, "cannot be reached"),
        ({"x_per_formula_unit": [0.5, 0.5], "max_atoms": 8}, "names a composition twice"),
        ({"x_per_formula_unit": [0.5], "ion": "Na"}, "no Na"),
    ],
)
def test_delithiate_refuses(rocksalt: Atoms, settings: dict, wanted: str) -> None:
    with pytest.raises(InputError, match=wanted) as caught:
        delithiated(rocksalt, **settings)
    assert "step 'step'" in str(caught.value)


def test_delithiate_wants_one_parent(rocksalt: Atoms) -> None:
    inputs = {"host": [record("a", rocksalt), record("b", rocksalt)]}
    with pytest.raises(InputError, match="gives 2 structures, wanted one"):
        expand(delithiate, inputs, parent="host", x_per_formula_unit=[0.5])


def test_delithiate_starts_from_the_primitive_cell(rocksalt: Atoms) -> None:
    (task,) = delithiated(rocksalt, x_per_formula_unit=[1.0], primitive=True)
    assert task.tags["host_units"] == 1
    assert len(task.structure["numbers"]) == 2
    # the supercell is told in exact fractions of the parent's own vectors, in the same orientation
    supercell = np.array(task.tags["supercell"])
    np.testing.assert_array_equal(supercell * 2, np.round(supercell * 2))
    assert abs(np.linalg.det(supercell)) == pytest.approx(1 / 4)
    np.testing.assert_allclose(supercell @ rocksalt.cell.array, task.structure["cell"], atol=1e-9)


def test_a_relaxed_parent_is_traced_back_to_its_prototype() -> None:
    published = load_prototype("LiCoO2").atoms
    relaxed = published.copy()
    relaxed.set_cell(relaxed.cell * 1.01, scale_atoms=True)
    found = []
    for atoms in (published, relaxed):
        inputs = {"host": [record("host", atoms, prototype="LiCoO2")]}
        (task,) = expand(delithiate, inputs, parent="host", x_per_formula_unit=[1.0])
        assert len(task.structure["numbers"]) == 4
        assert task.tags["parent"] == "LiCoO2"
        found.append(task.tags["supercell"])
    assert found[0] == found[1]
    assert abs(np.linalg.det(found[0])) == pytest.approx(1 / 3)


def test_a_host_of_one_element_counts_atoms() -> None:
    tasks = expand(delithiate, parent="Li2O", x_per_formula_unit=[2.0, 1.0], orderings=1, max_atoms=6)
    assert [t.tags["x"] for t in tasks] == [2.0, 1.0]
    assert tasks[0].tags["x_max"] == 2.0
