"""O2 as a reservoir, calibration, and release: against tables, and a case that can be done by hand."""

from __future__ import annotations

import math

import pytest

from atomsim.analysis.oxygen import species_of
from atomsim.analysis.release import Phase, onset, release_energy
from atomsim.analysis.thermochemistry import (
    KJ_PER_MOL,
    calibrate,
    formation_enthalpy,
    measured_enthalpy,
    oxygen_potential,
    require_molecule,
)
from atomsim.errors import InputError

# Shomate equations of O2, NIST Chemistry WebBook: A … H, up to 700 K and up to 2000 K
COLD = (31.32234, -20.23531, 57.86644, -36.50624, -0.007374, -8.903471, 246.7945)
HOT = (30.03235, 8.772972, -3.988133, 0.788313, -0.741599, -11.32468, 236.1663)


def shomate(temperature: float) -> float:
    """½[H(T) − H(0) − T S(T)], eV."""
    a, b, c, d, e, f, g = COLD if temperature <= 700 else HOT
    t = temperature / 1000
    enthalpy = a * t + b * t**2 / 2 + c * t**3 / 3 + d * t**4 / 4 - e / t + f  # kJ/mol over 298.15 K
    entropy = a * math.log(t) + b * t + c * t**2 / 2 + d * t**3 / 3 - e / (2 * t**2) + g  # J/(K mol)
    return 0.5 * (enthalpy + 8.683 - temperature * entropy / 1000) / KJ_PER_MOL


@pytest.mark.parametrize("temperature", [150.0, 273.15, 300.0, 325.0, 475.0, 650.0, 850.0, 1250.0, 1480.0])
def test_the_potential_of_oxygen_is_that_of_the_shomate_equations(temperature):
    assert oxygen_potential(temperature) == pytest.approx(shomate(temperature), abs=1.5e-3)


def test_the_potential_at_room_temperature_and_its_pressure():
    assert oxygen_potential(300.0, 1.0) == pytest.approx(-0.27, abs=0.01)
    # an ideal gas: kT/2 ln 10 a decade
    decade = oxygen_potential(300.0, 10.0) - oxygen_potential(300.0, 1.0)
    assert decade == pytest.approx(0.5 * 8.617333e-5 * 300 * math.log(10), rel=1e-6)


@pytest.mark.parametrize(("temperature", "pressure"), [(20.0, 1.0), (3000.0, 1.0), (300.0, 0.0), (300.0, math.nan)])
def test_what_no_table_covers_is_refused(temperature, pressure):
    with pytest.raises(InputError, match="wanted"):
        oxygen_potential(temperature, pressure)


def test_molecules_that_are_none_are_refused():
    require_molecule(1.22, 12.0)
    with pytest.raises(InputError, match=r"bond of 1\.450 Å"):
        require_molecule(1.45, 12.0)
    with pytest.raises(InputError, match="larger box"):
        require_molecule(1.22, 5.0)


def test_a_calibration_makes_the_measured_enthalpy_of_its_oxide():
    """What is shifted is O2, so an oxide's formation energy moves by the shift times its oxygens."""
    half, ru, oxide = -5.0, -9.0, -23.5
    computed = formation_enthalpy(oxide, {"Ru": 1, "O": 2}, {"Ru": ru, "O": half})
    shift = calibrate([("RuO2", computed, 2)]).shift
    again = formation_enthalpy(oxide, {"Ru": 1, "O": 2}, {"Ru": ru, "O": half + shift})
    assert again == pytest.approx(measured_enthalpy("RuO2").kJ_per_mol / KJ_PER_MOL)
    with pytest.raises(InputError, match="no measured enthalpy of formation for 'TiO3'"):
        calibrate([("TiO3", -9.0, 3)])
    with pytest.raises(InputError, match="no energy of elemental Ru"):
        formation_enthalpy(oxide, {"Ru": 1, "O": 2}, {"O": half})


def phases(energies: dict[float, float]) -> list[Phase]:
    """LixMO3 by x, and MO2 at −20 eV."""
    hosts = [Phase(f"x = {x:g}", {"Li": x, "M": 1.0, "O": 3.0}, e, x) for x, e in energies.items()]
    return [*hosts, Phase("MO2", {"M": 1.0, "O": 2.0}, -20.0)]


def test_release_by_hand():
    # ions cost nothing here: E(x) = −28 − 3x + ½x²
    known = phases({x: -28.0 - 3 * x + 0.5 * x**2 for x in (2.0, 1.0, 0.0)})
    half = -6.0
    empty = release_energy(known[2], known, half)
    assert empty.products == pytest.approx({"MO2": 1.0, "O2": 0.5})
    assert empty.energy_eV == pytest.approx(-20.0 + half + 28.0)
    middle = release_energy(known[1], known, half)
    assert middle.products == pytest.approx({"x = 2": 0.5, "MO2": 0.5, "O2": 0.25})
    assert middle.energy_eV == pytest.approx(0.5 * -32.0 + 0.5 * -20.0 + 0.5 * half + 30.5)
    assert middle.oxygen == pytest.approx(0.5)
    assert release_energy(known[0], known, half) is None  # nothing more lithiated to go to
    # the gas at another potential: the same reaction, its oxygens shifted
    assert middle.at(-0.4).energy_eV == pytest.approx(release_energy(known[1], known, half - 0.4).energy_eV)


def test_the_onset_lies_between_two_ion_contents():
    known = phases({x: -28.0 - 3 * x + 0.5 * x**2 for x in (2.0, 1.0, 0.0)})

    def at(half: float):
        found = [release_energy(h, known, half) for h in known[:3]]
        return onset([r for r in found if r is not None])

    assert at(-6.0) is None
    assert at(-8.5) == (1.0, 0.0)
    assert at(-20.0) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("length", "moment", "name", "agrees"),
    [
        (1.21, 0.75, "O2", True),
        (1.21, 0.05, "O2", False),
        (1.34, 0.45, "superoxide", True),
        (1.48, 0.02, "peroxide", True),
        (1.48, 0.8, "peroxide", False),
        (2.1, 0.5, "peroxo-like", None),
        (2.7, 0.1, "lattice", None),
        (4.0, 0.1, "apart", None),
    ],
)
def test_species_by_length_and_moment(length, moment, name, agrees):
    found = species_of(length, (moment, -moment))
    assert (found.name, found.agrees) == (name, agrees)
    assert ("not by moment" in found.words) is (agrees is False)
    assert species_of(length).agrees is None
