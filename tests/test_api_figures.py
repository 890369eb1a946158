"""An electrode's figures in Python are those of its report."""

from __future__ import annotations

import pytest
from electrode_records import electrode_step
from matplotlib.figure import Figure

import atomsim
from atomsim.report.electrode_charts import charts


@pytest.fixture(scope="module")
def found() -> atomsim.Electrode:
    (record,) = electrode_step().records
    return atomsim.Electrode(record)


def test_every_chart_of_the_report_can_be_drawn_with_its_content(found):
    for chart in charts(found.record.values):
        axes = found.plot(kind=chart.key)
        panels = axes.figure.axes
        assert [axis.get_ylabel() for axis in panels] == [panel.y_label for panel in chart.panels]
        assert panels[-1].get_xlabel() == chart.x_label
        drawn = {tuple(line.get_ydata()) for axis in panels for line in axis.lines}
        for series in (s for panel in chart.panels for s in panel.series if s.style != "area"):
            assert tuple(series.y) in drawn


def test_voltages_are_plateaus_with_published_ones_beside_them(found):
    axes = found.plot()
    lines = {line.get_label(): line for line in axes.lines}
    step = found.voltages[0]
    assert list(lines["along the hull"].get_xydata()[0]) == [step.x_high, step.voltage_V]
    assert list(lines["along the hull"].get_xydata()[1]) == [step.x_low, step.voltage_V]
    published = [e["reference"] for e in found.comparison if e["quantity"] == "mean_voltage"]
    assert published
    assert lines["measured"].get_ydata()[0] == published[0]
    left, right = axes.get_xlim()
    assert left > right  # charge runs to the right


def test_axes_that_are_given_are_drawn_on(found):
    axes = Figure().add_subplot()
    assert found.plot(axes, kind="lattice") is axes
    assert axes.figure.axes == [axes]
    assert axes.get_ylabel().startswith("V")
