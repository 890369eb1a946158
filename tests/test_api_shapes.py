"""Arguments of a wrong shape are one line that names them, whatever the verb; temperatures are those that were run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk

import atomsim
from atomsim.api.arguments import made
from atomsim.interfaces.record import reduced
from atomsim.io.trajectories import Frames
from atomsim.models.load import load_potential
from atomsim.tasks.electrode import Settings
from atomsim.vibrations.phonons import analysed, phonons
from atomsim.vibrations.record import to_values
from atomsim.vibrations.settings import PhononSettings
from atomsim.vibrations.thermal import thermal

CPU: dict[str, Any] = {"potential": "lj-test", "device": "cpu"}
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("amorphize", ("LiF", 8), {**CPU, "seeds": None}, "found seeds=None"),
    ("amorphize", ("LiF", 8), {**CPU, "seeds": 2.5}, "found seeds=2.5"),
    ("amorphize", ("LiF", 8), {**CPU, "seeds": 0}, "found seeds=0, wanted one glass or more"),
    ("amorphize", ({"LiF": "half"}, 8), CPU, "formula"),
    ("amorphize", ("LiF", 8), {**CPU, "units": 4}, "found units=4"),
    ("amorphize", (["LiF", "LiF"], 8), CPU, "twice"),
    ("amorphize", ("LiF", 8), {**CPU, "units": ["SO4"], "start": "atoms"}, "with start='atoms'"),
    ("vacancies", ("LiCoO2",), {**CPU, "check_relax": True}, "found check_relax without check_with"),
    ("order", ("LiCoO2",), {**CPU, "temperature_K": None}, "found temperature_K=None"),
    ("order", ("LiCoO2",), {**CPU, "charges": "Ni"}, "found charges='Ni'"),
    ("order", ("LiCoO2",), {**CPU, "sublattices": None}, "found sublattices=None"),
    ("dope", ("LiCoO2", "W"), {**CPU, "sites": 5}, "found sites=5"),
    ("dope", ("LiCoO2", "W"), {**CPU, "check_with": None}, "found check_with=None"),
    ("vacancies", ("LiCoO2",), {**CPU, "check_with": None}, "found check_with=None"),
    ("migration", ("LiCoO2",), {**CPU, "check_with": None}, "found check_with=None"),
    ("interface", (None, "Li", "O"), {}, "found phases=None"),
    ("interface", (["Li"], "Li", "O"), {}, "phases: found str"),
    ("coherent_interface", ("LiCoO2", "Li2O"), {**CPU, "film_hkl": (0, 0, 1.5)}, "film_hkl"),
    ("coherent_interface", ("LiCoO2", "Li2O"), {**CPU, "film_hkl": None}, "found film_hkl=None"),
    ("delithiate", ("LiCoO2", [1.0]), {"formal_charges": "Co"}, "found formal_charges='Co'"),
    ("delithiate", ("LiCoO2", None), {}, "x_per_formula_unit"),
    ("opinions", ("Li", "lj-test"), {}, "potentials: found lj-test"),
    ("opinions", ("Li", None), {}, "found potentials=None"),
    ("opinions", ("Li", ["lj-test", "lennard-jones"]), {"quantities": ()}, "quantities: found none"),
    ("opinions", ("Li", ["lj-test", "lennard-jones"]), {"quantities": "volume"}, "quantities: found volume"),
    ("opinions", ("Li", ["lj-test", "lennard-jones"]), {"fmax_eV_per_A": "x"}, "found fmax_eV_per_A='x'"),
    ("opinions", ("Li", ["lj-test", "lennard-jones"]), {"max_atoms": 2.5}, "found max_atoms=2.5"),
    ("diffusion", ([],), {"framework": 5}, "found framework=5"),
    ("diffusion", ([],), {"charge": float("nan")}, "found charge=nan"),
    ("composite", ({"A": {"mass_fraction": 1.0, "capacity_mAh_per_g": 100, "voltage_V": 2}},),
     {"energy_Wh_per_kg": 201.0}, "more than the 200"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "args", "kwargs", "wanted"), WRONG, ids=[f"{w[0]}-{w[3]}" for w in WRONG])
def test_a_wrong_shape_is_one_line(verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: str) -> None:
    with pytest.raises(atomsim.InputError) as found:
        getattr(atomsim, verb)(*args, **kwargs)
    assert wanted in str(found.value)
    assert len(str(found.value).splitlines()) == 1


def walk(temperature_K: float | None) -> Frames:
    """Lithium that walks in LiF, as a run at this temperature leaves it."""
    crystal, rng = bulk("LiF", "rocksalt", 4.0, cubic=True), np.random.default_rng(1)
    steps = rng.normal(scale=0.1, size=(20, len(crystal), 3)) * (crystal.symbols == "Li")[None, :, None]
    positions = crystal.positions + np.cumsum(steps, axis=0)
    cells = np.broadcast_to(crystal.cell.array, (20, 3, 3))
    return Frames("walk", crystal.numbers, positions, cells, (True,) * 3, 50.0, temperature_K, True)


def test_a_run_keeps_the_temperature_that_it_ran_at() -> None:
    with pytest.raises(atomsim.InputError, match=r"found temperature_K=900, but it ran at 600 K"):
        atomsim.diffusion([walk(600.0)], temperature_K=900)
    (own,), (same,), (given,) = (
        atomsim.diffusion([walk(known)], temperature_K=t).rows
        for known, t in ((600.0, None), (600.0, 600), (None, 600))
    )
    assert own.temperature_K == same.temperature_K == given.temperature_K == 600.0


def test_a_run_at_constant_energy_has_no_temperature_that_it_did_not_keep(tmp_path) -> None:
    loose = bulk("Ar", cubic=True, a=5.26)  # what it is strained by becomes heat
    how: Any = {"ensemble": "nve", "temperature_K": 40, "duration_ps": 0.4, "every_fs": 20.0}
    (moved,) = atomsim.md([loose], "lj-test", **how, run=tmp_path / "run", device="cpu")
    assert abs(moved.value("temperature_mean_K") - 40) > 4
    assert "at constant energy" in " ".join(moved.flags)
    with pytest.raises(atomsim.InputError, match="give temperature_K"):
        atomsim.diffusion(moved, "Ar", framework="all")
    (row,) = atomsim.diffusion(moved, "Ar", framework="all", temperature_K=20).rows
    assert row.temperature_K == 20


def test_glasses_of_one_formula_in_two_sizes_are_two_glasses() -> None:
    how: Any = {"start": "atoms", "density_g_per_cm3": 1.6, "melt_K": 60, "end_K": 20, "anneal_ps": 0, "seeds": 1}
    how |= {"melt_ps": 0.008, "quench_ps": 0.008, "every_fs": 4, "tau_p_fs": 100, "max_steps": 2}
    found = atomsim.amorphize(["ArKr", "ArKr"], [8, 10], **CPU, **how)
    assert [len(r.atoms) for r in found] == [8, 10]
    assert len({r.label for r in found}) == 2


def test_free_energies_stop_where_they_were_computed() -> None:
    frequencies, weights = np.array([[5.0, 6.0, 7.0]]), np.array([1.0])
    heat = thermal(frequencies, weights, np.arange(0.0, 201.0, 10.0), 1)
    assert heat.at(200.0)[0] < heat.at(0.0)[0]
    for beyond in (300.0, -1.0, float("nan")):
        with pytest.raises(atomsim.InputError, match="from 0 to 200 K"):
            heat.at(beyond)


def test_room_temperature_is_room_temperature_whatever_the_grid() -> None:
    argon = bulk("Ar", a=3.63)
    how: Any = {"supercell_min_A": 5.0, "fmax_eV_per_A": 1.0, "mesh_A": 10.0}
    found = phonons(argon, load_potential("lj-test", device="cpu"), PhononSettings(**how))
    fine, cold, coarse = (
        to_values(analysed(found.constants, "", PhononSettings(**how, t_max_K=t_max, t_step_K=step)))
        for t_max, step in ((400.0, 10.0), (100.0, 10.0), (1000.0, 1000.0))
    )
    for key in ("free_energy_300K_eV_per_atom", "entropy_300K_eV_per_K_per_atom"):
        assert cold[key] == pytest.approx(fine[key], rel=1e-9)
        assert coarse[key] == pytest.approx(fine[key], rel=1e-9)


def test_an_electrode_refuses_what_says_nothing_in_one_clear_line() -> None:
    for key, value, wanted in (
        ("temperature_K", 500, "temperature_K = 500 without vibrations"),
        ("layer_reflection", (0, 0, 0), r"^layer_reflection: found \[0, 0, 0\], wanted the indices"),
        ("layer_reflection", (0, 0), r"found layer_reflection=\[0, 0\], wanted 3 or more"),
    ):
        with pytest.raises(atomsim.InputError, match=wanted):
            made(Settings, {"structures": "relaxed", "reference": "metal", key: value})


def test_a_structure_without_a_verdict_has_no_figure() -> None:
    (found,) = atomsim.glass(bulk("Ar", cubic=True, a=5.26))
    with pytest.raises(atomsim.InputError, match="two or more elements"):
        found.plot()


def test_a_formula_with_an_element_that_is_none_is_none() -> None:
    with pytest.raises(atomsim.InputError, match="wanted a chemical formula"):
        reduced("LiX")
