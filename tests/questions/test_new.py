"""Campaigns written from a question: they are valid, fit the structure, say why, and bad questions end in one line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from ase.spacegroup import crystal
from typer.testing import CliRunner, Result

from atomsim.cli import app
from atomsim.questions import QUESTIONS

LAYERED = crystal(
    ["Na", "Co", "O"],
    [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.2685)],
    spacegroup=166,
    cellpar=[2.889, 2.889, 15.609, 90, 90, 120],
)
OLIVINE = crystal(
    ["Li", "Fe", "P", "O", "O", "O"],
    [(0, 0, 0), (0.28222, 0.25, 0.97472), (0.09486, 0.25, 0.4182), (0.09678, 0.25, 0.74279), (0.4571, 0.25, 0.206),
     (0.16558, 0.04646, 0.2848)],
    spacegroup=62, cellpar=[10.332, 6.010, 4.692, 90, 90, 90],
)  # fmt: skip
PEROVSKITE = crystal(
    ["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.905] * 3 + [90] * 3
)
SALT = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3)
CRYSTALS = {"layered": LAYERED, "olivine": OLIVINE, "perovskite": PEROVSKITE, "salt": SALT}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, atoms in CRYSTALS.items():
        write(f"{name}.cif", atoms)
    return tmp_path


def new(*words: str) -> Result:
    """Ask with a potential that is instant and knows every element."""
    model = [] if "-p" in words else ["-p", "lj-test"]
    return CliRunner().invoke(app, ["new", *words, *model])


def steps(file: str | Path) -> dict[str, dict]:
    return {s["name"]: s for s in tomllib.loads(Path(file).read_text(encoding="utf-8"))["step"]}


def test_questions_are_listed(folder):
    assert all(q.name in new().stdout for q in QUESTIONS)
    assert [q["name"] for q in json.loads(new("--json").stdout)] == [q.name for q in QUESTIONS]


def delithiation(found, text):
    assert found["orderings"]["ion"] == "Na"
    assert found["metal"]["structures"] == "Na"
    assert found["orderings"]["x_per_formula_unit"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert found["electrode"]["layer_reflection"] == [0, 0, 3]  # three layers in the hexagonal cell


def barriers(found, text):
    assert found["barriers"]["ion"] == "Li"
    assert "may be magnetic" in text


def phonons(found, text):
    assert found["relaxed"]["keep_symmetry"]
    assert found["relaxed"]["standard_cell"]  # 2 atoms instead of 8


def oxygen(found, text):
    assert min(found["orderings"]["supercell"]) > 1  # 4 atoms are too few for a defect


def oxygen_without_ion(found, text):
    assert min(found["cell"]["repeat"]) > 1
    assert "No ion" in text


def dopant(found, text):
    assert found["doped"]["sites"] == ["Co", "Na:ion-layer"]


def glass(found, text):
    assert found["glasses"]["n_atoms"] % 8 == 0
    assert found["verdicts"]["crystals"] == ["crystals"] or found["verdicts"]["crystals"] == "crystals"


def partly_known_glass(found, text):
    assert set(found) == {"glasses", "verdicts"}  # a crystal of one part alone is no zero of energy


def interface(found, text):
    assert {"Li", "Li2S", "Li3PO4", "Li3PS4"} <= set(found["phases"]["structures"])
    assert found["interface"]["open_to"] == "Li"
    assert "No shipped phase holds Fe" in text


ASKED = [
    (delithiation, "delithiate", "layered.cif"),
    (barriers, "barriers", "olivine.cif"),
    (phonons, "phonons", "salt.cif"),
    (oxygen_without_ion, "oxygen", "perovskite.cif"),
    (oxygen, "oxygen", "layered.cif"),
    (dopant, "dope", "layered.cif", "--dopant", "Al"),
    (glass, "glass", "Li3PS4"),
    (partly_known_glass, "glass", "Li2S:0.7", "P2S5:0.3"),
    (interface, "interface", "olivine.cif", "Li3PS4"),
]


@pytest.mark.parametrize(("decided", "words"), [(d, w) for d, *w in ASKED], ids=[d.__name__ for d, *_ in ASKED])
def test_what_is_written_passes_check_and_follows_the_structure(folder, decided, words):
    out = "mine.toml" if decided is delithiation else "deep/mine.toml"  # beside the crystal, or in a new folder
    written = new(*words, "-o", out)
    assert written.exit_code == 0, written.stderr
    found = CliRunner().invoke(app, ["check", out, "--json"])
    assert found.exit_code == 0, found.stderr
    text = Path(out).read_text(encoding="utf-8")
    assert text.count("#") > 10  # values say why
    decided(steps(out), text)


def test_a_dopant_of_another_charge_is_paid_for(folder):
    assert new("dope", "salt.cif", "--dopant", "Ca", "--site", "Na", "-o", "x.toml").exit_code == 0
    assert steps("x.toml")["doped"]["compensation"] == "remove_ion"


REFUSED = [
    (("barriers", "perovskite.cif"), "no ion that is known to be mobile"),
    (("barriers", "nothing.cif"), "neither a file nor a prototype"),
    (("barriers", "broken.cif"), "broken.cif"),
    (("barrier", "salt.cif"), "did you mean 'barriers'"),
    (("barriers", "salt.cif", "--ion", "Li"), "no Li in NaCl"),
    (("barriers", "salt.cif", "olivine.cif"), "found 2 structures, wanted one"),
    (("barriers",), "found no structure"),
    (("barriers", "molecule.xyz"), "wanted a crystal"),
    (("barriers", "salt.cif", "-o", "there.toml"), "--force"),
    (("barriers", "salt.cif", "-o", "mine.cif"), "wanted the name of a .toml file"),
    (("delithiate", "silver.cif"), "no crystal of Ag metal"),
    (("oxygen", "salt.cif"), "no oxygen in NaCl"),
    (("dope", "salt.cif"), "--dopant is missing"),
    (("dope", "salt.cif", "--dopant", "Cl"), "is in NaCl already"),
    (("dope", "salt.cif", "--dopant", "Qq"), "is no element"),
    (("dope", "salt.cif", "--dopant", "Ca", "--site", "Mn"), "no Mn in NaCl"),
    (("phonons", "salt.cif", "--dopant", "Ca"), "says nothing to 'phonons'"),
    (("glass", "salt.cif"), "wanted a formula"),
    (("glass", "Li2RuO3:x"), "FORMULA:SHARE"),
    (("interface", "LiCoO2"), "wanted two structures or formulas"),
    (("interface", "LiCoO2", "LiCoO2"), "on both sides"),
    (("interface", "LiCoO2", "LiFePO4"), "no structure of LiFePO4 is shipped"),
    (("barriers", "salt.cif", "-p", "no-such"), "no-such"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=["-".join(w) for w, _ in REFUSED])
def test_bad_questions_end_in_one_line_and_write_nothing(folder, words, says):
    Path("broken.cif").write_text("data_x\nloop_\n_atom_site_label\n", encoding="utf-8")
    Path("there.toml").write_text("mine", encoding="utf-8")
    write("molecule.xyz", Atoms("NaCl", [(0, 0, 0), (0, 0, 2.4)]))
    write(
        "silver.cif",
        crystal(["Ag", "I"], [(0, 0, 0), (0.25, 0.25, 0.25)], spacegroup=216, cellpar=[6.5] * 3 + [90] * 3),
    )
    before = sorted(folder.iterdir())
    found = new(*words)
    assert found.exit_code == 2, found.output
    assert says in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before
    assert Path("there.toml").read_text(encoding="utf-8") == "mine"


def test_a_strange_name_stays_one_and_force_replaces_a_file(folder):
    Path("a.toml").write_text("mine", encoding="utf-8")
    name = "a [1]\n'x\".cif"
    Path(name).write_text(Path("salt.cif").read_text(encoding="utf-8"), encoding="utf-8")
    assert new("phonons", name, "-o", "a.toml", "--force").exit_code == 0
    assert CliRunner().invoke(app, ["check", "a.toml"]).exit_code == 0
