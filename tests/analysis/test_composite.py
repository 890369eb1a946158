"""The model of a composite electrode against the numbers printed by Li et al. (2021), and what is refused."""

from __future__ import annotations

import pytest

import atomsim
from atomsim.errors import InputError

SULFUR = {"mass_fraction": 0.325, "capacity_mAh_per_g": 1675.0, "voltage_V": 2.0}
CHEVREL = {"mass_fraction": 0.675, "capacity_mAh_per_g": 128.8, "voltage_V": 2.0}


def test_the_published_sulfur_chevrel_electrode():
    # Li et al., Adv. Mater. 2021, 33, 2008723: 905.5 Wh/kg delivered, 3.068 g/cm³
    found = atomsim.composite({"S8": SULFUR, "Mo6S8": CHEVREL}, energy_Wh_per_kg=905.5, density_g_cm3=3.068)
    assert found.capacity_mAh_per_g == pytest.approx(630, rel=0.005)
    assert found.energy_Wh_per_kg_discharged == pytest.approx(777, rel=0.005)
    assert found.energy_Wh_per_L == pytest.approx(2778, rel=0.005)
    assert found.theoretical_Wh_per_kg == pytest.approx(1260, rel=0.005)
    assert found.theoretical_Wh_per_kg * 3.068 == pytest.approx(3865, rel=0.005)


def test_the_published_thickness():
    # 13.91 mg/cm² at 4.5 g/cm³ are 30.9 µm (same paper)
    found = atomsim.composite({"Mo6S8": {**CHEVREL, "mass_fraction": 1.0}}, density_g_cm3=4.5, loading_mg_per_cm2=13.91)
    assert found.thickness_um == pytest.approx(30.9, rel=0.005)


def test_additives_are_mass_and_filling_is_density():
    dense = {
        "a": {**CHEVREL, "mass_fraction": 0.5, "density_g_cm3": 5.0},
        "b": {"mass_fraction": 0.5, "density_g_cm3": 2.0},
    }
    found = atomsim.composite(dense, filling=0.8)
    assert found.capacity_mAh_per_g == pytest.approx(64.4)
    assert found.density_g_cm3 == pytest.approx(0.8 / (0.5 / 5 + 0.5 / 2))
    assert atomsim.composite(dense, density_g_cm3=found.density_g_cm3).filling == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"mass_fraction": 0.5}, {}, r"add up to 0\.825 .*wanted 1"),
        ({"mass_fraction": -0.1}, {}, "mass_fraction=-0.1"),
        ({"capacity": 1.0}, {}, "unknown key 'capacity'"),
        ({"voltage_V": 0.0}, {}, "a capacity without a voltage"),
        ({}, {"filling": 0.9}, "no density of S8, Mo6S8"),
        ({}, {"ion": "H"}, "ion: found 'H'"),
        ({}, {"loading_mg_per_cm2": 0.0}, "loading_mg_per_cm2"),
    ],
)
def test_what_does_not_add_up_is_refused(change, options, message):
    with pytest.raises(InputError, match=message):
        atomsim.composite({"S8": SULFUR, "Mo6S8": {**CHEVREL, **change}}, **options)


def test_an_electrode_denser_than_its_components_is_refused():
    content = {"Mo6S8": {**CHEVREL, "mass_fraction": 1.0, "density_g_cm3": 5.1}}
    with pytest.raises(InputError, match=r"more than 5\.1 of the components"):
        atomsim.composite(content, density_g_cm3=6.0)
    with pytest.raises(InputError, match="give one of the two"):
        atomsim.composite(content, density_g_cm3=4.0, filling=0.9)


def test_what_goes_in_with_its_ions_gains_no_mass():
    # 1 g of LiCoO2 is charged and discharged again: it weighs 1 g, whatever has left and come back
    full = {"mass_fraction": 1.0, "capacity_mAh_per_g": 274.0, "voltage_V": 3.9, "full": True}
    found = atomsim.composite({"LiCoO2": full})
    assert found.mass_gain == pytest.approx(1.0)
    assert found.energy_Wh_per_kg_discharged == pytest.approx(found.energy_Wh_per_kg)
    both = atomsim.composite({"LiCoO2": {**full, "mass_fraction": 0.5}, "S8": {**SULFUR, "mass_fraction": 0.5}})
    assert both.mass_gain == pytest.approx(1 + 0.5 * 16 * 6.94 / (8 * 32.06), rel=2e-3)  # 16 Li come to S8
