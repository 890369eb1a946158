"""Sentences of pages that must not be untrue: signs, cells that came apart, calibrations that were not asked for."""

from ase import Atoms
from ase.build import bulk

from atomsim.io.atoms_json import atoms_to_json
from atomsim.report import write_report
from atomsim.report.html import signed
from atomsim.store.records import Record


def test_minus_signs_are_of_numbers_and_not_of_names():
    assert signed("-2.70 eV, x=0.50-00 2-4(-1,0,0): -0.1 to -10") == "−2.70 eV, x=0.50-00 2-4(-1,0,0): −0.1 to −10"
    assert signed("Li +1, O -2; --x -v 3-fold") == "Li +1, O −2; --x -v 3-fold"


def relaxation(label: str, atoms: Atoms, parent: str) -> Record:
    return Record(
        f"r{label}", "relaxed", "relax", label, "converged", structure=atoms_to_json(atoms), parents=(parent,)
    )


def test_a_cell_that_came_apart_is_warned_of(tmp_path):
    dense = bulk("NiO", "rocksalt", 4.2)
    apart, breathed = dense.copy(), dense.copy()
    apart.set_cell(dense.cell * 1.15, scale_atoms=True)
    breathed.set_cell(dense.cell * 1.05, scale_atoms=True)
    start = Record("s", "start", "structures", "start", "done", structure=atoms_to_json(dense))
    grown, same = relaxation("grown", apart, "s"), relaxation("same", breathed, "s")
    text = write_report(tmp_path / "a", {}, {"start": [start], "relaxed": [grown, same]}).read_text(encoding="utf-8")
    assert "relaxed: cells that came apart" in text
    assert "grown: 19 to 28 Å³" in text
    text = write_report(tmp_path / "b", {}, {"start": [start], "relaxed": [same]}).read_text(encoding="utf-8")
    assert "came apart" not in text
