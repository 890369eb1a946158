"""Melt and quench: temperatures, resumption to the bit, what is unstable leaves the others alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from atomsim.amorphous.melt_quench import Melt, Protocol, melt_quench
from atomsim.dynamics.state import MDState
from atomsim.errors import InputError
from atomsim.models.load import load_potential

ARGON = bulk("Ar", "fcc", 5.4, cubic=True)
SHORT = Protocol(
    melt_K=80.0,
    end_K=20.0,
    anneal_K=40.0,
    melt_ps=0.04,
    quench_ps=0.08,
    anneal_ps=0.04,
    timestep_fs=4.0,
    tau_p_fs=200.0,
)


def walk(melts, protocol=SHORT, every=5):
    return list(melt_quench(melts, load_potential("lj-test", "cpu"), protocol, every=every))


def same(one: MDState, other: MDState) -> bool:
    a, b = one.to_arrays(), other.to_arrays()
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


def test_a_state_saved_in_any_phase_leads_to_the_same_end():
    whole = walk([Melt("one", ARGON, 5)])
    assert [name for name, s in whole if s.status == "done"] == ["melt", "quench", "anneal"]
    end = whole[-1][1].state
    assert int(end.step) == SHORT.steps == 40
    for _, snapshot in (whole[1], whole[3], whole[-2]):
        saved = MDState.from_arrays(snapshot.state.to_arrays())
        assert same(walk([Melt("one", ARGON, 5, saved)])[-1][1].state, end)


def test_seeds_run_together_as_they_run_alone():
    together = [s.state for _, s in walk([Melt(n, ARGON, n) for n in (1, 2)]) if int(s.state.step) == SHORT.steps]
    alone = [walk([Melt(n, ARGON, n)])[-1][1].state for n in (1, 2)]
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
    assert not same(*alone)


def test_temperature_is_a_function_of_the_step():
    schedule = SHORT.schedule()
    assert [round(schedule.at(step)[0]) for step in (0, 9, 10, 29, 30, 39)] == [80, 80, 78, 22, 40, 40]
    assert SHORT.quench_rate_K_per_ps == pytest.approx(750.0)


def test_one_that_flies_apart_leaves_the_others_as_they_are():
    hot = ARGON.copy()
    hot.positions[0] += 1e-3
    loose = Protocol(**{**vars_of(SHORT), "pressure_GPa": -5.0, "compressibility_per_GPa": 5.0})
    found = walk([Melt("a", ARGON, 1)], loose)
    assert found[-1][1].status == "exploded"
    assert np.isfinite(float(found[-1][1].state.volume))


def vars_of(protocol: Protocol) -> dict:
    return {name: getattr(protocol, name) for name in Protocol.__dataclass_fields__}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"melt_K": 300.0, "end_K": 300.0}, "not above the end of the quench"),
        ({"melt_K": -5.0}, "temperature"),
        ({"anneal_K": 2000.0}, "does not melt"),
        ({"quench_ps": 0.0}, "a time step"),
        ({"timestep_fs": 20.0}, "timestep_fs"),
        ({"timestep_fs": float("nan")}, "timestep_fs"),
        ({"tau_p_fs": 50.0}, "50 time steps"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(change, wanted):
    with pytest.raises(InputError, match=wanted):
        Protocol(**change)
