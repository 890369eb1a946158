"""Energy drawn along a path: through its images, and never over a saddle that was proven."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from atomsim.report.barriers_charts import profile

PATH = {
    "length_A": [0.0, 1.2, 2.4, 3.6, 4.3, 5.0, 5.7],
    "energy_eV": [-5.0, -4.978, -4.785, -4.783, -4.89, -4.944, -4.974],
    "slope_eV_per_A": [0.0, 0.01, 0.19, 0.0, -0.15, -0.09, 0.0],
}


@pytest.mark.parametrize("proven", [True, False])
def test_no_line_passes_a_proven_saddle(proven: bool) -> None:
    length, energy = profile(SimpleNamespace(values={"path": PATH}, good=proven), points=571)
    assert (energy.max() <= 0.217 + 1e-12) == proven
    images = np.interp(PATH["length_A"], length, energy)
    np.testing.assert_allclose(images, np.array(PATH["energy_eV"]) + 5.0, atol=2e-3)
