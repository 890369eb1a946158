"""Voltages against hand calculation, capacities against published numbers."""

import pytest

from atomsim.analysis.hull import formation_hull
from atomsim.analysis.voltage import average_voltage, hull_voltage, ions_below, specific_capacity, voltage_steps
from atomsim.errors import InputError


def test_a_lithium_that_binds_4_ev_stronger_than_in_metal_gives_4_v():
    assert average_voltage(1.0, -20.0 - 1.9 - 4.0, 0.0, -20.0, ion_energy_eV=-1.9) == pytest.approx(4.0)


def test_a_doubly_charged_ion_halves_the_voltage():
    single = average_voltage(1.0, -26.0, 0.0, -20.0, -1.9)
    assert average_voltage(1.0, -26.0, 0.0, -20.0, -1.9, charge=2) == pytest.approx(single / 2)


def test_steps_run_from_the_ion_rich_end_and_sum_to_the_whole():
    x, energy, ion = [0.0, 0.5, 2.0, 1.0], [0.0, -3.0, -9.0, -5.5], -1.0
    steps = voltage_steps(x, energy, ion)
    assert [(s.x_high, s.x_low) for s in steps] == [(2.0, 1.0), (1.0, 0.5), (0.5, 0.0)]
    work = sum(s.voltage * (s.x_high - s.x_low) for s in steps)
    assert work == pytest.approx(2.0 * average_voltage(2.0, -9.0, 0.0, 0.0, ion))


def test_voltage_along_a_hull_never_falls_on_charge():
    hull = formation_hull([0, 0.5, 1, 1.5, 2], [0.0, -4.1, -8.6, -12.2, -16.0])
    voltages = [s.voltage for s in voltage_steps(hull.vertex_x, hull.vertex_energy, -1.9)]
    assert voltages == sorted(voltages)


def test_hull_voltage_between_two_points_of_one_plateau_is_the_plateau():
    hull = formation_hull([0.0, 1.0, 2.0], [0.0, -6.0, -11.0])
    assert hull_voltage(hull, 1.8, 1.2, -1.9) == pytest.approx(5.0 - 1.9)
    assert hull_voltage(hull, 1.5, 0.5, -1.9) == pytest.approx(5.5 - 1.9)


def test_only_whole_steps_below_the_cutoff_count():
    steps = voltage_steps([2.0, 1.0, 0.0], [-11.0, -6.0, 0.0], -1.9)
    assert ions_below(steps, 3.0) == 0.0
    assert ions_below(steps, 3.5) == 1.0
    assert ions_below(steps, 4.3) == 2.0


@pytest.mark.parametrize(
    ("electrons", "formula", "published"),
    [
        (1.0, "Li2RuO3", 164),  # Wu et al. 2022, Energy Environ. Sci. 15
        (0.8, "Li2Ru0.8S0.2O3.2", 141),  # Nagao et al. 2020, Sci. Adv. 6, eaax7236
        (1.0, "LiCoO2", 274),  # the textbook value
    ],
)
def test_capacity_is_the_published_one(electrons, formula, published):
    assert round(specific_capacity(electrons, formula)) == published


def test_capacity_of_na3ruo4_is_what_its_mass_gives():
    # Hu et al. print 118.8 mAh/g; F/M with M = 234.04 g/mol is 114.5.
    assert specific_capacity(1.0, "Na3RuO4") == pytest.approx(114.5, abs=0.1)


@pytest.mark.parametrize("formula", ["Li2Ruo3", "not a formula", ""])
def test_an_unreadable_formula_is_refused(formula):
    with pytest.raises(InputError):
        specific_capacity(1.0, formula)


def test_equal_compositions_have_no_voltage():
    with pytest.raises(InputError, match="x_high > x_low"):
        average_voltage(1.0, 0.0, 1.0, 0.0, 0.0)
