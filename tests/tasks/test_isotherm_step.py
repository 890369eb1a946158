"""The isotherm step: the curve that the function gives, from records of relaxed orderings, as a campaign runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.report import write_report
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "isotherm"
potential = "lj-test"
seed = 3
[[step]]
name = "orderings"
kind = "delithiate"
parent = "LiCoO2"
x_per_formula_unit = [1.0, 0.75, 0.5, 0.25, 0.0]
orderings = 4
max_atoms = 16
[[step]]
name = "relaxed"
kind = "relax"
structures = "orderings"
cell = false
fmax_eV_per_A = 1.0
check_minimum = false
[[step]]
name = "metal"
kind = "relax"
structures = "Li"
check_minimum = false
[[step]]
name = "curve"
kind = "isotherm"
structures = "relaxed"
reference = "metal"
temperature_K = [300, 1000]
max_sites = 4
sweeps = 20
"""


def test_a_campaign_has_curves_of_two_temperatures_and_a_page(tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text(CAMPAIGN, encoding="utf-8")
    run_campaign(load_campaign(file), tmp_path / "run", Engine("lj-test", processes=0))
    info, records = read_run(tmp_path / "run")
    curves = {r.label: r for r in records["curve"]}
    assert set(curves) == {"300 K", "1000 K"}
    for record in curves.values():
        assert record.status == "done", record.message
        v = record.values
        assert len(v["x"]) == len(v["voltage_V"]) == len(v["error_V"]) == v["sites"]
        assert np.all(np.diff(v["voltage_V"]) < 1e-9), "the voltage falls with the content"
        assert v["hull"][0]["x_high"] == 1.0
    wide, narrow = (np.ptp(curves[t].values["voltage_V"]) for t in ("1000 K", "300 K"))
    assert wide > narrow - 0.05  # entropy spreads a curve
    page = write_report(tmp_path / "run", info, records).read_text(encoding="utf-8")
    assert "Voltage at temperature" in page
