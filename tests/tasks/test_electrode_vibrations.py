"""Voltages with vibrations: E + F_vib(T) in place of E, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.units import kB

import atomsim
from atomsim.analysis.vibrational_voltage import VibratingPhase, voltages_with_vibrations
from atomsim.errors import InputError

CPU = {"device": "cpu", "progress": False}


def test_classical_oscillators_shift_a_voltage_by_their_frequencies():
    """At high temperature F → kT ln(ħω/kT) a mode: of a shift, the temperature and the frequencies' ratio are left."""
    t, ratio = 900.0, 1.7  # an ion of three modes, stiffer in the metal by this factor
    host = kB * t * np.log(0.3)
    ion = 3 * kB * t * np.log(0.2)
    phases = [VibratingPhase("full", 1.0, -7.0, host + ion, 0.0), VibratingPhase("empty", 0.0, -3.0, host, 0.0)]
    found = voltages_with_vibrations(phases, -1.0, ion + 3 * kB * t * np.log(ratio))
    (step,) = found["voltage"]
    assert step["at_rest_V"] == pytest.approx(3.0)
    assert step["voltage_V"] - 3.0 == pytest.approx(3 * kB * t * np.log(ratio))


def test_vibrations_choose_the_phase():
    """Two structures of one x: the softer one is on the hull where its free energy makes up for its energy."""
    phases = [
        VibratingPhase("full", 1.0, -7.0, 0.0, 0.0),
        VibratingPhase("stiff", 0.0, -3.0, 0.2, 0.0),
        VibratingPhase("soft", 0.0, -2.9, 0.0, 0.0),
    ]
    found = voltages_with_vibrations(phases, -1.0, 0.0)
    assert {v["label"] for v in found["hull"]} == {"full", "soft"}
    assert found["voltage"][0]["at_rest_V"] == pytest.approx(3.1)  # of the same two phases


def crystals():
    """Copper with and without aluminium in it, by a model potential: an ion that leaves, and its metal."""
    full = bulk("Cu", cubic=True)
    full.symbols[0] = "Al"
    empty = bulk("Cu", cubic=True)[1:]
    return [full, empty]


@pytest.fixture(scope="module")
def charged():
    keys = {"fmax_eV_per_A": 1e-3, **CPU}
    relaxed = atomsim.relax(crystals(), "lj-test", keep_symmetry=True, **keys)
    metal = atomsim.relax(bulk("Al"), "lj-test", **keys)
    how = {"supercell_min_A": 5.0, "t_max_K": 600.0, "mesh_A": 20.0, **CPU}
    return relaxed, metal, [atomsim.phonons(r, "lj-test", **how) for r in (*relaxed, metal)]


def test_an_electrode_takes_phonons_of_its_structures_and_of_the_metal(charged):
    relaxed, metal, modes = charged
    found = atomsim.electrode(relaxed, reference=metal, vibrations=modes, temperature_K=400.0)
    alone = atomsim.electrode(relaxed, reference=metal)
    (step,) = found.vibrational["voltage"]
    assert step["at_rest_V"] == pytest.approx(alone.voltages[0].voltage_V)
    f_full, f_empty, f_metal = (m.thermal.at(400.0)[0] for m in modes)
    expected = -(4 * f_full - 3 * f_empty - f_metal) / 3  # e of the ion
    assert step["voltage_V"] - step["at_rest_V"] == pytest.approx(expected)
    assert alone.vibrational == {}


def test_what_is_missing_is_said(charged):
    relaxed, metal, modes = charged
    assert any("without phonons" in n for n in atomsim.electrode(relaxed, reference=metal, vibrations=modes[1:]).notes)
    found = atomsim.electrode(relaxed, reference=metal, vibrations=modes[:2])
    assert found.vibrational == {}
    assert any("no phonons of the metal" in n for n in found.notes)
    with pytest.raises(InputError, match="wanted phonons"):
        atomsim.electrode(relaxed, reference=metal, vibrations=[metal])
    hot = atomsim.electrode(relaxed, reference=metal, vibrations=modes, temperature_K=900.0)
    assert "up to 600 K; raise t_max_K" in hot.message


def test_only_a_phonons_step_is_taken_for_vibrations():
    steps = [
        {"name": "orderings", "kind": "delithiate", "parent": "LiCoO2", "x_per_formula_unit": [1.0, 0.0]},
        {"name": "relaxed", "kind": "relax", "structures": "orderings"},
        {"name": "metal", "kind": "relax", "structures": ["Li"]},
        {
            "name": "electrode", "kind": "electrode", "structures": "relaxed", "reference": "metal",
            "vibrations": "relaxed",
        },
    ]  # fmt: skip
    with pytest.raises(InputError, match="a relax step; wanted phonons"):
        atomsim.run_campaign({"campaign": {"name": "v", "potential": "lj-test"}, "step": steps}, **CPU)
