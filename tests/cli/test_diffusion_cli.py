"""``atomsim diffusion`` and ``atomsim.diffusion``: a number with its error, a refusal, one line for what is bad."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

import atomsim
from atomsim.analysis.framework import framework_species
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.structures.prototypes import load_prototype

SIGMA, EDGE, EVERY_FS = 0.15, 12.0, 50.0
TRUE_D = SIGMA**2 / 2 / EVERY_FS * 0.1
"""Of a walk of Gaussian steps, cm²/s."""


def walk(frames: int = 200, scale: float = 1.0, seed: int = 1, symbols: str = "Li24O24") -> list[Atoms]:
    """Li that walks among oxygens that vibrate; positions wrapped into the cell."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, cell=[EDGE] * 3, pbc=True)
    mobile = atoms.numbers == 3
    path = np.repeat(rng.random((1, len(atoms), 3)) * EDGE, frames, axis=0)
    path[1:, mobile] += rng.normal(scale=SIGMA * scale, size=(frames - 1, int(mobile.sum()), 3)).cumsum(axis=0)
    path[:, ~mobile] += rng.normal(scale=0.05, size=(frames, int((~mobile).sum()), 3))
    found = []
    for positions in path:
        atoms.positions = positions
        found.append(atoms.copy())
        found[-1].wrap()
    return found


def call(*arguments: object):
    return CliRunner().invoke(app, ["diffusion", *map(str, arguments)])


def lammps(frames: list[Atoms], path, steps: list[int] | None = None) -> None:
    """Write a dump whose types have no names, atoms in another order in each frame."""
    lines = []
    for n, atoms in enumerate(frames):
        lines += ["ITEM: TIMESTEP", str(steps[n] if steps else 25 * n), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS pp pp pp"] + [f"0.0 {EDGE}"] * 3 + ["ITEM: ATOMS id type x y z"]
        places = (" ".join(map(str, p)) for p in atoms.positions)
        types = ("1" if z == 3 else "2" for z in atoms.numbers)
        rows = [f"{i} {kind} {place}" for i, (kind, place) in enumerate(zip(types, places, strict=True), 1)]
        lines += rows[n % 7 :] + rows[: n % 7]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["md.extxyz", "md.traj", "XDATCAR", "md.dump"])
def test_files_of_other_programs_give_the_same_diffusivity(tmp_path, name):
    """Wrapped frames in every format: the truth within three errors, and one number for all formats."""
    frames, path = walk(), tmp_path / name
    species = ("--species", "Li,O") if name.endswith("dump") else ()
    if species:
        lammps(frames, path)
    else:
        write(path, frames, **({"format": "vasp-xdatcar"} if name == "XDATCAR" else {}))
    found = call(path, "--ion", "Li", "--temperature", 600, "--every", "50fs", "--json", *species)
    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)["temperatures"]
    assert row["temperature_K"] == 600.0
    assert row["refused"] is None
    assert row["upper_bound_cm2_per_s"] is None
    assert row["D_cm2_per_s"] == pytest.approx(TRUE_D, abs=3 * row["error_cm2_per_s"])
    exact = atomsim.diffusion([frames], temperature_K=600, time_between_frames_fs=EVERY_FS).rows[0]
    assert row["D_cm2_per_s"] == pytest.approx(exact.D_cm2_per_s, rel=1e-3)


def test_several_temperatures_give_arrhenius_law_and_a_figure(tmp_path):
    for t, scale in ((600, 0.5), (800, 0.8), (1000, 1.0)):
        write(tmp_path / f"{t}.traj", walk(scale=scale, seed=t))
    files = [tmp_path / f"{t}.traj" for t in (1000, 600, 800)]
    arguments = (*files, "--every", "0.05ps", "--temperature", 1000, 600, 800)
    found = call(*arguments, "--plot", tmp_path / "msd.png", "--json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert [row["temperature_K"] for row in content["temperatures"]] == [600, 800, 1000]
    wanted = 8.617e-5 * np.log(4) / (1 / 600 - 1 / 1000)
    law = content["arrhenius"]
    assert law["refused"] is None
    assert law["activation_energy_eV"] == pytest.approx(wanted, abs=4 * law["activation_energy_error_eV"])
    room = content["room_temperature"]
    assert room["D_low_cm2_per_s"] < room["D_cm2_per_s"] < room["D_high_cm2_per_s"]
    assert room["conductivity_S_per_cm"] > 0
    assert (tmp_path / "msd.png").read_bytes().startswith(b"\x89PNG")
    text = call(*arguments).stdout
    assert re.search(r"activation energy 0\.\d+ ± 0\.\d+ eV", text)
    assert "extrapolated to 298 K" in text


def test_a_caged_ion_is_refused_with_a_bound(tmp_path):
    write(tmp_path / "caged.traj", walk(scale=0.01))
    found = call(tmp_path / "caged.traj", "-T", 300, "--every", "50fs", "--json")
    assert found.exit_code == 1
    content = json.loads(found.stdout)
    (row,) = content["temperatures"]
    assert row["D_cm2_per_s"] is row["error_cm2_per_s"] is None
    assert "caged" in row["refused"]
    assert row["upper_bound_cm2_per_s"] > 0
    assert "300 K of 1" in content["arrhenius"]["refused"] or "none of 1" in content["arrhenius"]["refused"]
    assert re.search(r"refused:\s+caged", call(tmp_path / "caged.traj", "-T", 300, "--every", "50fs").stdout)


BAD = {
    "two frames": ({"frames": 2}, (), "2 frames, wanted 3"),
    "no time": ({}, ("--every", None), "time between frames is not known; give --every"),
    "a time without unit": ({}, ("--every", "50"), "50fs or 0.05ps"),
    "a time of nothing": ({}, ("--every", "0fs"), "found --every=0.0"),
    "no temperature": ({}, ("-T", None), "temperature is not known"),
    "below zero": ({}, ("-T", "-5"), "wanted a temperature in K"),
    "not a number": ({}, ("-T", "nan"), "wanted a temperature in K"),
    "no such ion": ({}, ("--ion", "Na"), "no Na in the trajectory"),
    "no framework": ({"symbols": "Li24"}, (), "no framework is left"),
    "the ion as framework": ({}, ("--framework", "Li"), "which is the mobile ion"),
    "two temperatures of one": ({}, ("-T", "600,800"), "2 temperatures for 1"),
    "too long a jump": ({"scale": 30.0}, (), "write frames more often"),
    "all skipped": ({}, ("--skip", "1ps"), "leaves 0 of 20"),
    "another figure": ({}, ("--plot", "msd.bmp"), "wanted a name that ends in"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(tmp_path, case):
    made, options, wanted = BAD[case]
    write(tmp_path / "md.traj", walk(**{"frames": 20, **made}))
    given = {"-T": "600", "--every": "50fs"} | dict(zip(options[::2], options[1::2], strict=True))
    found = call(tmp_path / "md.traj", *(w for k, v in given.items() if v is not None for w in (k, v)))
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.strip().splitlines()
    assert wanted in line.replace("time_between_frames_fs", "--every")


def changed(frames: list[Atoms], what: str) -> list[Atoms]:
    if what == "fewer atoms":
        del frames[4][0]
    elif what == "another order":
        frames[4] = frames[4][::-1]
    elif what == "no cell":
        frames[4].cell[:] = 0
    elif what == "nan":
        frames[4].positions[0, 0] = np.nan
    else:
        for n, atoms in enumerate(frames):
            atoms.info["time_ps"] = 0.1 * (n + 3 * (n > 5 and what == "a gap"))
    return frames


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("fewer atoms", "frame 4 has 47 atoms and the first 48"),
        ("another order", "atom 0 is Li in the first frame and O in frame 4"),
        ("no cell", "frame 4 has 0 periodic directions"),
        ("nan", "frame 4 are not all finite"),
        ("a gap", "irregular times: frames 5 and 6 are 0.4 apart"),
        ("other times", "its frames are 100 fs apart"),
    ],
)
def test_trajectories_that_change_are_refused(what, wanted):
    with pytest.raises(InputError, match=wanted) as error:
        atomsim.diffusion([changed(walk(20), what)], temperature_K=600, time_between_frames_fs=EVERY_FS)
    assert "\n" not in str(error.value)


def test_a_dump_without_names_or_with_a_gap_is_refused(tmp_path):
    lammps(walk(20), tmp_path / "md.dump", [*range(0, 250, 25), *range(500, 750, 25)])
    for species, wanted in ((None, "wanted species"), (["Li", "O"], "irregular times: frames 9 and 10")):
        with pytest.raises(InputError, match=wanted):
            atomsim.diffusion(tmp_path / "md.dump", temperature_K=600, time_between_frames_fs=50.0, species=species)
    (tmp_path / "empty.traj").write_bytes(b"")
    (tmp_path / "words.traj").write_text("no trajectory")
    for name, wanted in (("empty.traj", "empty"), ("words.traj", "cannot be read"), ("none.traj", "does not exist")):
        with pytest.raises(InputError, match=wanted):
            atomsim.diffusion(tmp_path / name, temperature_K=600, time_between_frames_fs=50.0)


def test_frames_that_know_their_time_need_none():
    frames = walk()
    for n, atoms in enumerate(frames):
        atoms.info["time_ps"] = 0.05 * n
    (known,) = atomsim.diffusion([frames], temperature_K=600).rows
    (given,) = atomsim.diffusion([walk()], temperature_K=600, time_between_frames_fs=EVERY_FS).rows
    assert known.D_cm2_per_s == pytest.approx(given.D_cm2_per_s, rel=1e-9)


def test_replicas_of_one_temperature_are_one_row():
    found = atomsim.diffusion([walk(seed=s) for s in (1, 2)], temperature_K=600, time_between_frames_fs=50.0)
    (row,) = found.rows
    assert row.replicas == 2
    assert "replicas" in row.errors_cm2_per_s
    with pytest.raises(InputError, match="one composition"):
        atomsim.diffusion([walk(9), walk(9, symbols="Li12O24")], temperature_K=600, time_between_frames_fs=50.0)


def test_oxygens_of_polyanions_are_no_framework():
    assert framework_species(load_prototype("Li2SO4").atoms, "Li") == ["S"]
    assert framework_species(load_prototype("Li2RuO3").atoms, "Li") == ["O", "Ru"]
    assert framework_species(load_prototype("Li2O").atoms, "Li") == ["O"]
