"""What users name as output: links stay links, pipes are written to, inputs are kept, refusals are one line."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from typer.testing import CliRunner, Result

from atomsim.cli import app
from atomsim.errors import AtomsimError, InputError
from atomsim.io import write_extxyz
from atomsim.io.files import replacing, write_atomically


def neon(a: float = 3.2):
    return bulk("Ne", "fcc", a, cubic=True)


def relax(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["relax", *map(str, arguments), "-p", "lj-test", "-n", "0"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("one.extxyz", neon())
    return tmp_path


def through_pipe(pipe: Path, work) -> str:
    os.mkfifo(pipe)
    heard: list[str] = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    listener.start()
    work()
    listener.join(60)
    assert pipe.is_fifo()
    return heard[0]


def test_a_pipe_is_written_to_and_stays(folder):
    heard = through_pipe(folder / "pipe.extxyz", lambda: relax("one.extxyz", "-o", "pipe.extxyz"))
    assert heard.startswith("4\nLattice=")
    heard = through_pipe(folder / "pipe", lambda: write_extxyz(folder / "pipe", [neon()]))
    assert heard.startswith("4\nLattice=")
    assert through_pipe(folder / "text", lambda: write_atomically(folder / "text", "a word")) == "a word"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(folder, there):
    (folder / "far").mkdir()
    target = folder / "far" / "real.extxyz"
    if there:
        target.write_text("old")
        target.chmod(0o640)
    (folder / "link.extxyz").symlink_to(Path("far") / "real.extxyz")
    assert relax("one.extxyz", "-o", "link.extxyz").exit_code == 0
    assert (folder / "link.extxyz").is_symlink()
    assert len(read(target)) == 4
    assert [p.name for p in (folder / "far").iterdir()] == ["real.extxyz"]
    if there:
        assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("way", ["name", "link", "hard link", "other word"])
def test_an_input_is_never_overwritten_without_force(folder, way):
    before = Path("one.extxyz").read_bytes()
    out = Path("out.extxyz")
    if way == "link":
        out.symlink_to("one.extxyz")
    elif way == "hard link":
        out.hardlink_to("one.extxyz")
    else:
        out = Path("one.extxyz") if way == "name" else folder / "." / "one.extxyz"
    refused = relax("one.extxyz", "-o", out)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert Path("one.extxyz").read_bytes() == before
    assert relax("one.extxyz", "-o", out, "--force").exit_code == 0
    assert out.read_bytes() != before


def test_an_end_of_a_path_is_not_overwritten(folder):
    shown = CliRunner().invoke(app, ["neb", "one.extxyz", "one.extxyz", "-p", "lj-test", "-o", "one.extxyz"])
    assert (shown.exit_code, "--force" in shown.stderr) == (2, True)


def test_the_default_name_is_one_that_readers_open(folder):
    write("POSCAR", neon())
    assert relax("POSCAR").exit_code == 0
    (made,) = set(folder.iterdir()) - {folder / "one.extxyz", folder / "POSCAR"}
    assert len(read(made)) == 4  # format guessed by ASE


@pytest.mark.parametrize(
    "name", ["out.cif", "out.vasp", "POSCAR", "out.traj", "out.json", "out.db", "out.xsf", "x.XYZ"]
)
def test_the_suffix_says_the_format(folder, name):
    from atomsim.io import read_structures

    done = relax("one.extxyz", "-o", name)
    assert done.exit_code == 0, done.stderr
    for found in (read(name), *read_structures(Path(name))):
        assert found.get_chemical_formula() == "Ne4"
        assert found.cell.volume < neon().cell.volume * 1.2
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_what_a_format_cannot_hold_is_refused_before_the_work(folder):
    loader = ["--loader", "no_such_module:load"]
    write("two.extxyz", [neon(), neon(3.3)])
    assert "holds one structure" in relax("two.extxyz", "-o", "out.vasp").stderr
    assert "cannot tell" in relax("two.extxyz", "-o", "out.pdf", *loader).stderr
    write("atom.extxyz", neon()[:2], plain=True)
    assert "no full cell" in relax("atom.extxyz", "-o", "out.cif").stderr


def test_what_cannot_be_written_is_one_line_and_leaves_the_old_file(folder):
    for wrong, words in [(".", "is a folder"), ("one.extxyz/x", "Not a directory"), ("no/x", "no folder")]:
        with pytest.raises((InputError, AtomsimError), match=words), replacing(Path(wrong)):
            pytest.fail("nothing should be written")
    Path("loop").symlink_to("loop")
    with pytest.raises(AtomsimError, match="cannot write loop"), replacing(Path("loop")):
        pytest.fail("nothing should be written")
    with pytest.raises(TypeError), replacing(Path("one.extxyz")) as unfinished:
        unfinished.write_text("half" + 0)
    assert len(read("one.extxyz")) == 4
    assert sorted(p.name for p in folder.iterdir()) == ["loop", "one.extxyz"]


CAMPAIGN = """
[campaign]
name = "test"

[[step]]
name = "start"
kind = "structures"
structures = ["one.extxyz"]
"""


@pytest.mark.parametrize("name", ["pipe", "one.extxyz", "one.extxyz/deep", "dangling/deep"])
@pytest.mark.parametrize(
    "command",
    [
        ["run", "mine.toml", "-n", "0", "-o"],
        ["barriers", "Li", "-p", "lj-test", "-o"],
        ["potentials", "compare", "lj-test", "morse", "--on", "Li", "-o"],
    ],
    ids=["run", "barriers", "compare"],
)
def test_what_is_no_folder_is_not_taken_for_one(folder, command, name):
    Path("mine.toml").write_text(CAMPAIGN)
    os.mkfifo("pipe")
    Path("dangling").symlink_to("one.extxyz")
    before = Path("one.extxyz").read_bytes()
    shown = CliRunner().invoke(app, [*command, name])
    assert shown.exit_code == 2
    assert "is a file, wanted a folder" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert Path("pipe").is_fifo()
    assert Path("one.extxyz").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_write_protection_is_respected(folder):
    Path("one.extxyz").chmod(0o444)
    with pytest.raises(InputError, match="write-protected"):
        write_atomically(Path("one.extxyz"), "new")
    folder.chmod(0o555)
    with pytest.raises(AtomsimError, match="Permission denied"):
        write_atomically(Path("new"), "new")
    folder.chmod(0o755)


def test_long_names_can_be_written(folder):
    write_atomically(folder / ("x" * 250), "text")
    assert (folder / ("x" * 250)).read_text() == "text"


def test_bad_files_are_all_named_and_may_be_skipped(folder):
    write("close.extxyz", neon(0.5))
    Path("empty.cif").write_text("")
    words = ("one.extxyz", "close.extxyz", "empty.cif", "gone.cif", "-o", "out.extxyz")
    refused = relax(*words)
    assert refused.exit_code == 2
    lines = refused.stderr.splitlines()
    assert [any(name in line for line in lines) for name in ("close", "empty.cif", "gone.cif", "--skip-bad")] == [
        True
    ] * 4
    assert "one.extxyz" not in refused.stderr
    assert not Path("out.extxyz").exists()
    done = relax(*words, "--skip-bad")
    assert done.exit_code == 1
    assert len(read("out.extxyz", ":")) == 1
    assert done.stderr.count("left out:") == 3
    assert relax("gone.cif", "--skip-bad").exit_code == 2


def test_equal_names_are_told_apart_by_folder(folder):
    for name in ("a", "b"):
        Path(name).mkdir()
        write(f"{name}/POSCAR", neon())
    shown = relax("a/POSCAR", "b/POSCAR", "-o", "out.extxyz", "--json")
    assert [label in shown.stdout for label in ('"a-POSCAR"', '"b-POSCAR"')] == [True, True]
    assert [atoms.info["label"] for atoms in read("out.extxyz", ":")] == ["a-POSCAR", "b-POSCAR"]


SLAB = Atoms("Ne2", [[0, 0, 5], [1.6, 1.6, 7.4]], cell=[3.2, 3.2, 0], pbc=[True, True, False])
MIRRORED = Atoms(
    "NeAr", scaled_positions=[[0, 0, 0], [0.2, 0.3, 0.4]], cell=[[0, 5, 0], [5, 0, 0], [0, 0, 6]], pbc=True
)


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("x.con", neon()),
        ("x.xtd", neon()),
        ("x.res", SLAB[[0]]),
        ("x.res", Atoms("Ne2", [[0, 0, 0], [0, 0, 3]])),
        ("x.pdb", SLAB),
        ("x.gen", SLAB),
        ("x.pdb", MIRRORED),
    ],
)
def test_a_format_that_gives_another_structure_back_is_refused(folder, name, atoms):
    from atomsim.io.write import check_target

    with pytest.raises(InputError, match=r"write to \.extxyz"):
        check_target(Path(name), [atoms])
    assert [p.name for p in folder.iterdir()] == ["one.extxyz"]


@pytest.mark.parametrize("name", ["x.cif", "x.vasp", "CONTCAR", "x.traj", "x.json", "x.db", "x.xsf", "x.pdb", "x.xyz"])
def test_formats_that_give_it_back_are_not(folder, name):
    from atomsim.io.write import check_target

    turned = Atoms("NeArNe", scaled_positions=[[0, 0, 0], [0.3, 0.4, 1.6], [0.7, 0.6, 0.3]], cell=[5, 6, 7], pbc=True)
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    in_box = SLAB.copy()
    in_box.center(6, axis=2)
    for atoms in (turned, in_box):
        check_target(Path(name), [atoms])


def test_a_file_with_the_name_of_a_prototype_is_not_passed_over(folder):
    from atomsim.relaxation import relax as relax_in_python

    write("LiCoO2", neon(), format="vasp")
    refused = relax("LiCoO2", "-o", "out.extxyz")
    assert (refused.exit_code, "'./LiCoO2'" in refused.stderr) == (2, True)
    assert "./LiCoO2" in relax_in_python("LiCoO2", "lj-test", device="cpu")[0].message


def test_labels_differ_whatever_names_meet(folder):
    write("x.extxyz", [neon(), neon()])
    write("x.vasp", neon())
    write("x-1.vasp", neon())
    assert relax("x.vasp", "x.extxyz", "x.vasp", "x-1.vasp", "-o", "out.extxyz").exit_code == 0
    labels = [atoms.info["label"] for atoms in read("out.extxyz", ":")]
    assert len(set(labels)) == 5
