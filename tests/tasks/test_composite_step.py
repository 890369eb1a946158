"""The composite step: a published electrode from its numbers, components from electrode steps, mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from atomsim.campaign.file import load_campaign
from atomsim.errors import InputError
from atomsim.report.composite import composite_part
from atomsim.store.records import Record
from atomsim.tasks import composite
from atomsim.tasks.base import Context

SULFUR = {"mass_fraction": 0.325, "capacity_mAh_per_g": 1675.0, "voltage_V": 2.0}
CHEVREL = {"mass_fraction": 0.675, "capacity_mAh_per_g": 128.8, "voltage_V": 2.0}
STEP = '[campaign]\nname = "c"\n[[step]]\nname = "whole"\nkind = "composite"\n'


def records(**keys):
    settings = composite.Settings(**keys)
    tasks = composite.expand(settings, {}, Context("whole"))
    return list(composite.run(tasks, settings, {}, Context("whole")))


def electrode(**changes):
    values = {
        "ion": "Li",
        "capacity": {"whole_range_mAh_per_g": 125.0, "molar_mass_g_per_mol": 860.0},
        "voltage": {
            "hull": [{"x_high": 4.0, "x_low": 1.0, "voltage_V": 2.0}, {"x_high": 1.0, "x_low": 0.0, "voltage_V": 2.4}]
        },
    }
    return Record("t", "chevrel", "electrode", "Li4Mo6S8", "done", values={**values, **changes})


def test_the_published_electrode_from_its_numbers():
    (found,) = records(
        components={"S8": SULFUR, "Mo6S8": CHEVREL}, energy_Wh_per_kg=905.5, density_g_cm3=3.068,
        measured={"energy_Wh_per_L": 2778.0, "capacity_mAh_per_g": 630.0}, source="Li et al.",
    )  # fmt: skip
    assert found.values["energy_Wh_per_L"] == pytest.approx(2778, rel=5e-3)
    assert found.values["energy_Wh_per_kg_discharged"] == pytest.approx(777, rel=5e-3)
    part = composite_part("whole", [found])
    rows = {row[0]: row for row in part.sections[0].blocks[0].rows}
    assert rows["Capacity"][2] == 630.0
    assert abs(rows["Capacity"][3]) < 0.5  # per cent


def test_a_component_from_an_electrode_step_by_the_mass_it_is_made_with():
    both = {}
    for made in ("full", "empty"):
        settings = composite.Settings(
            components={"Mo6S8": {"mass_fraction": 1.0, "electrode": "chevrel", "made": made}}
        )
        assert settings.electrodes == ["chevrel"]
        inputs = {"chevrel": [electrode()]}
        tasks = composite.expand(settings, inputs, Context("whole"))
        (both[made],) = composite.run(tasks, settings, inputs, Context("whole"))
    assert both["full"].values["capacity_mAh_per_g"] == pytest.approx(125.0)
    assert both["full"].values["voltage_V"] == pytest.approx(2.1)
    assert both["empty"].values["capacity_mAh_per_g"] == pytest.approx(125.0 * 860 / (860 - 4 * 6.94), rel=1e-4)
    assert both["full"].values["mass_gain"] == pytest.approx(1.0)  # its ions are in its mass already
    assert both["empty"].values["mass_gain"] > 1.03


def test_an_electrode_without_voltages_is_invalid_not_a_number():
    settings = composite.Settings(components={"Mo6S8": {"mass_fraction": 1.0, "electrode": "chevrel"}})
    inputs = {"chevrel": [electrode(voltage={"hull": []})]}
    (found,) = composite.run(composite.expand(settings, inputs, Context("whole")), settings, inputs, Context("whole"))
    assert found.status == "invalid"
    assert "no voltages" in found.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("components = { A = { mass_fraction = 0.5, capacity_mAh_per_g = 100, voltage_V = 2 } }", "add up to 0.5"),
        ("components = { A = { mass_fraction = 1, capacty_mAh_per_g = 1 } }", "capacity_mAh_per_g"),
        ("components = { A = { mass_fraction = 1, electrode = 'none' } }", "none"),
        ("components = { A = { mass_fraction = 1, capacity_mAh_per_g = 100 } }", "capacity without a voltage"),
        (
            "components = { A = { mass_fraction = 1, capacity_mAh_per_g = 1, voltage_V = 1 } }\nmeasured = { x = 1 }",
            "'x'",
        ),
    ],
)
def test_mistakes_are_found_before_anything_runs(tmp_path: Path, text: str, says: str):
    file = tmp_path / "c.toml"
    file.write_text(STEP + text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        load_campaign(file)
