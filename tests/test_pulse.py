"""Long work without force calls says how far it is, to whoever watches."""

from __future__ import annotations

from pathlib import Path

import pytest
from electrode_records import electrode_step

from atomsim import pulse
from atomsim.campaign.file import load_campaign
from atomsim.campaign.observer import Silent
from atomsim.campaign.run import run_campaign
from atomsim.cli.show import LiveProgress
from atomsim.execution.job import Engine
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype

CAMPAIGN = """
[campaign]
name = "orderings"

[[step]]
name = "orderings"
kind = "delithiate"
parent = "LiCoO2"
x_per_formula_unit = [0.5]
max_atoms = 24
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.0)


def test_a_search_for_orderings_tells_how_far_it_is() -> None:
    reports: list[tuple[str, int, int]] = []
    with pulse.watched(lambda *sign: reports.append(sign)):
        delithiate(load_prototype("LiCoO2").primitive, "Li", [0.5], max_atoms=24)
    assert len(reports) > 3
    assert all(0 < done <= total for _, done, total in reports)
    assert "x = 0.5" in reports[0][0]
    before = len(reports)
    delithiate(load_prototype("LiCoO2").primitive, "Li", [0.5], max_atoms=16)
    assert len(reports) == before  # nobody watches


def test_an_analysis_tells_how_far_it_is() -> None:
    reports: list[tuple[str, int, int]] = []
    with pulse.watched(lambda *sign: reports.append(sign)):
        electrode_step()
    by_what: dict[str, list[int]] = {}
    for what, done, _ in reports:
        by_what.setdefault(what, []).append(done)
    assert {"structures analysed", "powder patterns"} <= set(by_what)
    assert all(done == sorted(done) for done in by_what.values())


def test_runs_pass_signs_on_to_their_display(tmp_path: Path) -> None:
    class Watching(Silent):
        def __init__(self) -> None:
            self.signs = 0

        def at_work(self, what: str, done: int, total: int) -> None:
            self.signs += 1

    (tmp_path / "c.toml").write_text(CAMPAIGN)
    watching = Watching()
    run_campaign(
        load_campaign(tmp_path / "c.toml"), tmp_path / "run", Engine("lj-test", processes=0), progress=watching
    )
    assert watching.signs > 3
    with LiveProgress() as live:
        live.at_work("orderings", 3, 9)
        (task,) = live.bar.tasks
        assert (task.completed, task.total, task.description) == (3, 9, "orderings")
    assert not live.bar.tasks
