"""Effects of a dopant: which events are compared, paired differences of a known potential, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

import atomsim
from atomsim.cations.effects import barriers_by_surroundings, event_differences, event_pairs
from atomsim.cations.events import CrystalPair, EventSettings, ends_of, find_events, moving_atom
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones
from atomsim.store.records import Record
from atomsim.structures.prototypes import load_prototype


def with_dopant(host: Atoms, n: int, element: str = "W") -> CrystalPair:
    doped = host.copy()
    doped.symbols[n] = element
    return CrystalPair(host, doped)


@pytest.fixture(scope="module")
def lrmo() -> CrystalPair:
    host = load_prototype("LRMO").atoms
    return with_dopant(host, list(host.symbols).index("Mn"))


def test_half_of_the_events_are_near_the_dopant(lrmo):
    found = find_events(lrmo, EventSettings(hops=8, vacancies=6, migrations=4))
    for kind, number in (("hop", 8), ("vacancy", 6), ("migration", 4)):
        own = [e for e in found if e.kind == kind]
        assert len(own) == number
        assert sum(e.near for e in own) == number / 2
        assert max(e.distance_A for e in own if e.near) < min(e.distance_A for e in own if not e.near)
    assert all(e.around.get("W", 0) == 1 for e in found if e.kind == "hop" and e.near)
    assert all("W" not in e.around_undoped for e in found)


def test_a_hop_ends_where_the_other_ion_stood(lrmo):
    how = EventSettings(hops=4, vacancies=0)
    for event in find_events(lrmo, how):
        start, end = ends_of(lrmo.undoped, event, how)
        assert len(start) == len(end) == len(lrmo.undoped) - 1
        alone = Atoms("He", [end.positions[moving_atom(event)]], cell=end.cell, pbc=True)
        alone += Atoms("He", [lrmo.undoped.positions[event.removed[0]]])
        assert alone.get_distance(0, 1, mic=True) == pytest.approx(0, abs=1e-9)
        assert start.symbols[moving_atom(event)] == "Li"


def test_a_metal_goes_to_the_middle_of_a_tetrahedron_without_ions_beside_it(lrmo):
    how = EventSettings(hops=0, vacancies=0, migrations=4)
    for event in find_events(lrmo, how):
        _, end = ends_of(lrmo.undoped, event, how)
        metal = moving_atom(event)
        away = end.get_distances(metal, range(len(end)), mic=True)
        nearest = np.argsort(away)[1:6]
        assert [end.symbols[int(n)] for n in nearest[:4]] == ["O"] * 4
        assert np.ptp(away[nearest[:4]]) < 0.05  # equally far from all four
        assert away[nearest[4]] > 2.3
        assert len(event.removed) == 3  # full of ions: those that share a face leave


def records(gain: float, n: int = 8, spread: float = 0.02) -> list[Record]:
    """Hops whose barriers differ by a known gain, in two hosts."""
    generator = np.random.default_rng(3)
    found = []
    for k in range(n):
        barrier = 0.4 + 0.1 * generator.random()
        for side, change in (("undoped", 0.0), ("doped", gain + spread * generator.standard_normal())):
            tags = {
                "pair": f"p{k}", "side": side, "event": "hop", "name": f"h{k}", "host": f"host {k % 2}", "dopant": "W",
                "content": 1.2, "near": True, "distance_A": 2.5, "around": {"Mn": 3},
            }  # fmt: skip
            values = {"resolved_eV": barrier + change, "barrier_eV": barrier + change}
            found.append(Record(f"{k}{side}", "effects", "effects", f"h{k}", "converged", tags=tags, values=values))
    return found


def test_a_difference_is_that_of_pairs_and_its_interval_decides():
    (known,) = [p for p in event_differences(records(-0.1)) if p.what == "hop resolved_eV"]
    assert known.n == 8
    assert known.mean == pytest.approx(-0.1, abs=0.03)
    assert known.low < known.mean < known.high < 0
    assert known.resolved  # though barriers themselves scatter by as much
    (unknown,) = [p for p in event_differences(records(0.0)) if p.what == "hop resolved_eV"]
    assert not unknown.resolved
    (few,) = [p for p in event_differences(records(-0.1, n=3)) if p.what == "hop resolved_eV"]
    assert not few.resolved
    assert np.isnan(few.low)


def test_a_pair_with_one_unproven_side_is_not_compared():
    some = records(-0.1)
    some[1] = Record(**{**vars(some[1]), "status": "unproven", "message": "two negative modes"})
    pairs = event_pairs(some)
    assert [p.complete for p in pairs] == [False] + [True] * 7
    assert "two negative modes" in pairs[0].problem
    assert all(p.n == 7 for p in event_differences(some))
    assert sum(b.n for b in barriers_by_surroundings(some)) == 15


def test_a_dopant_of_the_same_size_changes_nothing():
    """An isotope: every pair is equal, and the mean is zero."""
    atoms = make_supercell(bulk("Ar", "fcc", a=5.26, cubic=True), np.diag([2, 2, 2]))
    atoms.symbols[0] = "Kr"
    lj = LennardJones(onset_A=4.5, cutoff_A=5.2)
    doped = atomsim.dope(atoms, "Xe", lj, sites=["Kr"], ion="Ar", cell=False, per_site=1, fmax_eV_per_A=0.005)
    found = atomsim.dopant_effects(
        doped, lj, ion="Ar", hops=2, vacancies=0, max_length_A=4.0, near_A=4.5, images=3, fmax_eV_per_A=0.005,
        end_fmax_eV_per_A=0.002,
    )  # fmt: skip
    assert [p.complete for p in found.pairs] == [True, True]
    assert {r.record.values["negative_modes"] for r in found} == {1}
    for one in found.differences:
        assert one.mean == pytest.approx(0, abs=1e-4)
        assert one.undoped > 0.01
        assert not one.resolved


def test_what_cannot_be_compared_is_refused(lrmo):
    short = lrmo.doped.copy()
    del short[3]
    with pytest.raises(InputError, match="wanted the same atoms"):
        CrystalPair(lrmo.undoped, short)
    with pytest.raises(InputError, match="no atom that differs"):
        CrystalPair(lrmo.undoped, lrmo.undoped)
    with pytest.raises(InputError, match=r"no hop of Na.*choose another ion"):
        find_events(lrmo, EventSettings(ion="Na", vacancies=0))
    with pytest.raises(InputError, match="no Fe in the metal layer"):
        find_events(lrmo, EventSettings(hops=0, vacancies=0, migrations=2, migrating=("Fe",)))
    salt = with_dopant(make_supercell(bulk("MgO", "rocksalt", a=4.2, cubic=True), np.diag([2, 2, 2])), 0)
    with pytest.raises(InputError, match="do not lie in layers"):
        find_events(salt, EventSettings(ion="Mg", hops=0, vacancies=0, migrations=2, migrating=("Mg",)))
