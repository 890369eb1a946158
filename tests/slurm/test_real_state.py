"""A walk that is longer than a walltime, on the test cluster: continued from its state, equal to one machine's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest_slurm import outcomes
from real_site import Site, expected
from walks import CAMPAIGN, installed

from atomsim.store.artifacts import problems_of
from atomsim.store.run_folder import read_run

pytestmark = [pytest.mark.slurm, pytest.mark.soak, pytest.mark.xdist_group("slurm")]


def test_a_task_longer_than_a_walltime(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk of 150 steps of 0.5 s each; a worker has less than half a minute."""
    with installed(monkeypatch):
        here = site(2, element="Ne", text=CAMPAIGN.replace("steps = 40", "steps = 150"))  # slow
        wanted = expected(here)
        monkeypatch.setenv("FAULTY_DELAY_S", "0.5")
        here.profile(walltime="00:01:00", stop_before=35, chunk=1000)
        here.submit()
        here.finish()
        assert outcomes(here.run) == wanted
        assert set(here.ends()) == {"walltime", "done"}
        records = read_run(here.run)[1]["walked"]
        assert all(record.run["continued"] >= 1 for record in records)
        assert [line for record in records for line in problems_of(here.run, record)] == []
