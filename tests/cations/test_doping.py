"""Dopants: sites, exchanges, charge compensation, pairs, published readings, bad input."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from atomsim.analysis.published import doping_values
from atomsim.analysis.stacking import find_stacking, layer_statistics
from atomsim.cations.doped import paired_layers, paired_of, preferences, voltage_shifts
from atomsim.cations.doping import dopings
from atomsim.cations.settings import DopingSettings
from atomsim.cations.states import metal_moments, nearest_states
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_to_json
from atomsim.report.dope import dope_part
from atomsim.store.records import Record
from atomsim.structures.charges import formal_charges
from atomsim.structures.prototypes import load_prototype
from atomsim.tasks import dope
from atomsim.tasks.base import Context

HERE = Context(step="d", potential_name="here", potential_sha256="a" * 64)
LRMO = load_prototype("LRMO").atoms
LAYERS = ("Mn", "Co", "Ni", "Li:metal-layer", "Li:ion-layer")


def test_all_sublattices_share_one_composition():
    found = dopings(LRMO, DopingSettings("W", LAYERS, count=1, per_site=3))
    assert {c.atoms.get_chemical_formula() for c in found} == {"Co2Li18Mn7Ni2O30W"}
    for c in found:
        (place,) = c.dopants
        assert c.atoms.symbols[place] == "W"
        if c.site == "Mn":
            assert not c.donors
        else:  # what the dopant displaced stands where Mn was
            assert LRMO.symbols[c.donors[0]] == "Mn"
            assert c.atoms.symbols[c.donors[0]] == LRMO.symbols[place] == c.site.split(":")[0]
    assert Counter(c.site for c in found) == dict.fromkeys(LAYERS, 3)


def test_configurations_are_distinct_by_symmetry():
    cell = load_prototype("Li2MnO3").atoms  # all Mn are alike
    found = dopings(cell, DopingSettings("W", ("Mn",), count=1, per_site=50))
    assert len(found) == found[0].of == 1
    two = dopings(cell, DopingSettings("W", ("Mn",), count=2, per_site=50))
    assert 1 < len(two) < 6


@pytest.mark.parametrize(
    ("compensation", "formula"),
    [("none", "Co2Li18Mn7Ni2O30W"), ("remove_ion", "Co2Li16Mn7Ni2O30W"), ("swap", "CoLi19Mn7Ni2O30W")],
)
def test_charge_is_paid(compensation, formula):
    (found,) = dopings(LRMO, DopingSettings("W", ("Mn",), count=1, per_site=1, compensation=compensation))
    assert found.atoms.get_chemical_formula() == formula
    charges = {"Li": 1, "Mn": 4, "Co": 3, "Ni": 2, "O": -2, "W": 6}
    total = sum(charges[s] for s in found.atoms.get_chemical_symbols())
    assert total == (2 if compensation == "none" else 0)
    if compensation != "none":
        assert formal_charges(found.atoms) is not None


def test_fractions_are_rounded_to_atoms():
    found = dopings(LRMO, DopingSettings("W", ("Mn",), fraction=0.25, per_site=1))
    assert list(found[0].atoms.symbols).count("W") == 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dopant": "Co", "count": 1}, "holds it already"),
        ({"dopant": "W", "fraction": 0.05}, "less than one W a cell"),
        ({"dopant": "W", "count": 9}, "found 8 atoms there"),
        ({"dopant": "W", "count": 3, "sites": ("Mn", "Co")}, "found 2 atoms there"),
        ({"dopant": "W", "count": 1, "sites": ("Mm",)}, "did you mean 'Mn'"),
        ({"dopant": "W", "count": 1, "sites": ("metal-layer",)}, "wanted one element"),
        ({"dopant": "W"}, "neither of count and fraction"),
        ({"dopant": "Al", "count": 1, "compensation": "remove_ion"}, "cannot balance"),
        ({"dopant": "Al", "count": 1, "compensation": "swap"}, "no host cation"),
        ({"dopant": "Fe", "count": 1, "compensation": "swap"}, "are not known"),
    ],
)
def test_bad_dopants_are_one_line(keys, message):
    with pytest.raises(InputError, match=message) as error:
        dopings(LRMO, DopingSettings(**keys))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("dopant", "message"), [("Wo", "is no element"), ("W", "is unknown to here")])
def test_a_dopant_that_the_potential_does_not_know_is_refused(dopant, message):
    here = Context(step="d", potential_name="here", elements=frozenset({3, 8, 25, 27, 28}))
    with pytest.raises(InputError, match=message):
        dope.expand(dope.Settings(structures=["LRMO"], dopant=dopant, count=1), {}, here)


def record(label, energy, role, host, content, layers=None, atoms=LRMO, **tags):
    own = {"role": role, "host": host, "content": content, "n_ions": round(15 * content), **tags}
    if role == "doped":
        own |= {"donors": [], "removed": [], "swapped": [], "dopant": "W", "formula": "f", "site": "Mn"} | tags
    values = {"energy_eV": energy} | ({"layers": layers} if layers else {})
    return Record(
        task=label, step="s", kind="dope", label=label, status="converged", tags=own, values=values,
        structure=atoms_to_json(atoms),
    )  # fmt: skip


def test_preferences_are_of_one_composition():
    records = [
        record("a", -10.0, "doped", "h", 1.2),
        record("b", -9.6, "doped", "h", 1.2, site="Co", donors=[3]),
        record("c", -50.0, "doped", "h", 1.1, formula="g"),
    ]
    found = {(p.formula, p.site): p for p in preferences(records)}
    assert found["f", "Co"].above_eV == pytest.approx(0.4)
    assert found["f", "Co"].exchanged
    assert found["f", "Mn"].above_eV == 0
    assert found["g", "Mn"].above_eV == 0


def test_layers_are_compared_pair_by_pair():
    generator = np.random.default_rng(0)
    records = []
    for host in "abcd":
        slab = 2.1 + 0.1 * generator.random()
        records.append(record(host, 0.0, "host", host, 1.2, {"slab_A": slab, "gap_A": 2.6}))
        for n in range(4):
            change = 0.03 + 0.005 * generator.normal()
            gap = 2.6 + 0.01 * generator.normal()
            records.append(record(f"{host}{n}", 0.0, "doped", host, 1.2, {"slab_A": slab + change, "gap_A": gap}))
    found = {p.what: p for p in paired_layers(records)}
    assert found["slab_A"].mean == pytest.approx(0.03, abs=0.005)  # the hosts' own spread drops out
    assert found["slab_A"].resolved
    assert found["slab_A"].n == 16
    assert found["slab_A"].low < found["slab_A"].mean < found["slab_A"].high
    assert not found["gap_A"].resolved


def test_cells_of_one_host_are_no_independent_values():
    records = []
    changes = (0.01, 0.02, 0.03)
    for host, change in zip("abc", changes, strict=True):
        records.append(record(host, 0.0, "host", host, 1.2, {"slab_A": 2.1}))
        records += [record(f"{host}{n}", 0.0, "doped", host, 1.2, {"slab_A": 2.1 + change}) for n in range(6)]
    (found,) = paired_layers(records)
    assert (found.n, found.mean) == (18, pytest.approx(0.02))
    assert found.error == pytest.approx(np.std(changes, ddof=1) / np.sqrt(3), rel=0.1)  # hosts, not cells
    assert (found.high - found.low) / 2 == pytest.approx(4.303 * found.error, rel=0.2)  # Student's of two degrees


def test_intervals_of_few_pairs_hold_as_often_as_they_say():
    generator = np.random.default_rng(3)
    found = [paired_of("w", "s", 1.0, 0.0, generator.normal(size=4), ["h"] * 4) for _ in range(150)]
    assert np.mean([p.low < 0 < p.high for p in found]) > 0.88  # plain percentiles: 0.8


def test_intervals_of_few_hosts_hold_as_often_as_they_say():
    generator = np.random.default_rng(5)
    held = []
    for _ in range(150):
        values = np.repeat(generator.normal(size=3), 4) + 0.3 * generator.normal(size=12)
        found = paired_of("w", "s", 1.0, 0.0, values, np.repeat(["a", "b", "c"], 4).tolist())
        held.append(found.low < 0 < found.high)
    assert np.mean(held) > 0.88


def test_headlines_compare_what_can_be_compared():
    full, half = ({"slab_A": 2.1 + d, "gap_A": 2.6, "spacing_A": 4.7 + d} for d in (0.0, 0.1))
    lone = [record("h", 0.0, "host", "h", 0.6, full), record("d", -1.0, "doped", "h", 0.6, half)]
    lone += [record("g", 0.0, "host", "g", 0.3, full), record("e", -2.0, "doped", "g", 0.3, half, formula="g")]
    assert dope_part("lone", lone).headlines == ()  # one sublattice, one pair at each x
    other = record("c", -0.6, "doped", "h", 0.6, site="Co", donors=[3])
    (headline,) = dope_part("two", [*lone, other]).headlines
    assert (headline.label, headline.value) == ("Dopant on Mn", "+0.40")


def test_voltage_shifts_need_no_reference():
    # E(doped) − E(undoped) is −1 eV at 18 ions and −0.5 eV at 9: each of 9 ions leaves at 55.6 mV less
    records = [
        record("h1", -100.0, "host", "1", 1.2), record("d1", -101.0, "doped", "1", 1.2),
        record("h2", -70.0, "host", "2", 0.6), record("d2", -70.5, "doped", "2", 0.6),
    ]  # fmt: skip
    (found,) = voltage_shifts(records)
    assert found.mean_V == pytest.approx((1.0 - 0.5) / 9)


def shifted_by(energies, ion="Li"):
    """One full arrangement and several half empty ones, whose doped cells lie lower by some energies."""
    records = [record("h", 0.0, "host", "h", 1.2), record("d", 0.0, "doped", "h", 1.2)]
    for n, energy in enumerate(energies):
        records += [record(f"h{n}", 0.0, "host", f"{n}", 0.6), record(f"d{n}", energy, "doped", f"{n}", 0.6)]
    return [replace(r, provenance={"settings": {"ion": ion}}) for r in records]


def test_voltages_are_of_the_charge_of_the_ion():
    shifts = {ion: voltage_shifts(shifted_by([-0.5], ion))[0].mean_V for ion in ("Li", "Mg", "Al")}
    assert shifts["Li"] == pytest.approx(-0.5 / 9)  # 9 ions leave
    assert shifts["Mg"] == pytest.approx(shifts["Li"] / 2)
    assert shifts["Al"] == pytest.approx(shifts["Li"] / 3)
    assert voltage_shifts(shifted_by([-0.5], "Mn")) == []  # several states: no charge is known


def test_intervals_of_voltages_hold_as_often_as_they_say():
    generator = np.random.default_rng(7)
    found = [voltage_shifts(shifted_by(generator.normal(size=4)))[0] for _ in range(150)]
    assert np.mean([v.low_V < 0 < v.high_V for v in found]) > 0.88


def test_layers_of_an_ideal_cell():
    found = layer_statistics(LRMO)
    a, c, z = 2.85, 14.24, 0.2415
    assert found.spacing == pytest.approx(c / 3, abs=1e-6)
    assert found.slab == pytest.approx(2 * c * (z - 1 / 6), abs=1e-6)  # O stands c (z − 1/6) from M at c/6
    across = np.sqrt(found.gap**2 + a**2 / 3)
    assert found.across == pytest.approx(across, abs=1e-6)
    assert found.slab_spread == pytest.approx(0, abs=1e-6)
    assert find_stacking(load_prototype("LiCoO2").atoms).spacing == pytest.approx(14.05 / 3, abs=0.03)
    for name in ("Li2O", "RuO2"):
        assert layer_statistics(load_prototype(name).atoms) is None


def test_both_readings_of_the_published_labels():
    values = doping_values("W", {"Li", "Mn", "Co", "Ni", "O", "W"})
    by_reading = {(v["reading"], v["quantity"]): v["change"] for v in values}
    printed = by_reading["as printed", "slab_A"] + by_reading["as printed", "gap_A"]
    assert printed == pytest.approx(by_reading["either", "spacing_A"])
    assert by_reading["labels exchanged", "slab_A"] == by_reading["as printed", "gap_A"]
    assert doping_values("W", {"Li", "Co", "O", "W"}) == []


def test_tungsten_is_never_read():
    atoms = LRMO.copy()
    atoms.symbols[int(np.flatnonzero(atoms.symbols == "Mn")[0])] = "W"
    moments = np.where(atoms.symbols == "Mn", 3.1, np.where(atoms.symbols == "W", 1.0, 0.0))
    found = metal_moments(atoms, moments)
    assert set(found) == {"Mn", "Co", "Ni"}
    assert nearest_states("Mn", found["Mn"]["moments_muB"]) == {4: 7}
    assert nearest_states("Co", [0.3, -2.8]) == {2: 1, 3: 1}  # two electrons of W6+ may go to Co


def test_hosts_of_an_order_step_are_its_lowest_arrangements():
    entries = [
        {"structure": atoms_to_json(LRMO), "number": n, "above_lowest_eV": 0.1 * n, "energy_eV": 0.0} for n in range(3)
    ]
    before = Record(
        task="t", step="o", kind="order", label="LRMO", status="converged", values={"orderings": entries},
        structure=atoms_to_json(LRMO),
    )  # fmt: skip
    settings = dope.Settings(structures=["o"], dopant="W", count=1, per_site=2, arrangements=2)
    tasks = dope.expand(settings, {"o": [before]}, HERE)
    assert [t.tags["role"] for t in tasks] == ["host", "doped", "doped"] * 2
    assert {t.tags["host"] for t in tasks} == {"LRMO 1", "LRMO 2"}
    assert len({t.id for t in tasks}) == len(tasks)
    done = [record("x", -1.0, "doped", "LRMO 1", 1.2, dopants_at=tasks[1].tags["dopants_at"])]
    like = dope.Settings(structures=["LRMO"], dopant="W", count=1, like="before")
    (_, doped) = dope.expand(like, {"before": done}, HERE)
    assert doped.tags["dopants"] == tasks[1].tags["dopants"]
