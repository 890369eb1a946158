"""Published values beside computed ones."""

import numpy as np
import pytest
from ase.cell import Cell

from atomsim.analysis import published
from atomsim.analysis.hull import formation_hull
from atomsim.analysis.lattice import d_spacing, layers
from atomsim.analysis.published import compare, layer_reflection, recognised
from atomsim.analysis.published_quantities import LATTICE, Electrode, _line_angle
from atomsim.analysis.redox import redox_metals
from atomsim.analysis.voltage import voltage_steps
from atomsim.analysis.xrd import bragg_angle
from atomsim.structures.prototypes import load_prototype, prototype_names

LAYERED = [name for name in prototype_names() if layer_reflection(name)]  # no prototype is built here


def electrode(d_spacings=None, energies=None, metal=-1.9, formula="Li2RuO3", x_max=None):
    energies = energies or {0.0: 0.0, 0.5: -2.95, 1.0: -6.0, 1.5: -8.5, 2.0: -11.0}
    angles = {x: 18.0 + x for x in energies}
    rows = [
        {
            "x": x,
            "layer": {"d_A": (d_spacings or {}).get(x, 4.8), "two_theta_deg": angles[x], "slab_A": None, "gap_A": None},
            "space_group": {"0.1": "C2/c (15)"},
        }
        for x in sorted(energies)
    ]
    hull = formation_hull(list(energies), list(energies.values()))
    steps = voltage_steps(hull.vertex_x, hull.vertex_energy, metal) if metal is not None else []
    return Electrode(formula, x_max or max(energies), 1, rows, hull, steps, metal)


def found(name, **content):
    return next(e for e in compare(electrode(**content), "Li2RuO3") if e["what"].startswith(name))


@pytest.mark.parametrize("name", LAYERED)
def test_every_layer_reflection_steps_by_one_metal_layer(name):
    atoms = load_prototype(name).atoms
    stack = layers(atoms, layer_reflection(name), redox_metals(atoms), "O" if "O" in atoms.symbols else "S")
    assert 4.4 < stack.d_spacing < 6.0
    assert 2.0 < stack.slab < 3.0


def test_the_main_prototypes_have_a_layer_reflection():
    assert {"Li2RuO3", "LRMO", "LiCoO2", "Li2MnO3", "TiS2"} <= set(LAYERED)


def test_deviation_is_computed_minus_published():
    spacing = found("Layer spacing", d_spacings={2.0: 4.90})
    assert spacing["reference"] == 4.84
    assert spacing["deviation"] == pytest.approx(0.06)
    assert "Energy Environ. Sci." in spacing["citation"]


def test_capacity_rounds_to_the_published_one():
    capacity = found("Theoretical capacity")
    assert round(capacity["computed"]) == capacity["reference"] == 164


def test_mean_voltage_lies_on_the_hull():
    # One plateau from x = 2 to 1 of 5.0 − 1.9 V; from 1 to 0 of 6.0 − 1.9 V.
    assert found("Mean voltage, x = 2.0")["computed"] == pytest.approx(3.1)
    assert found("Mean voltage, x = 1.4")["computed"] == pytest.approx((0.4 * 3.1 + 0.1 * 4.1) / 0.5)


def test_a_value_within_a_window_agrees():
    def mean_voltage(metal):
        energies = {1.5: -2.5, 2.0: -5.0, 3.0: -10.0}
        made = electrode(energies=energies, metal=metal, formula="Na3RuO4")
        made.rows[:] = [row | {"oxidation": {"bond_valence": {}, "moments_muB": None}} for row in made.rows]
        rows = compare(made, "Na3RuO4")
        return next(e for e in rows if "window" in e["note"])

    assert mean_voltage(-2.9)["agrees"] is True  # 5.0 − 2.9 V
    assert mean_voltage(-0.5)["agrees"] is False
    assert mean_voltage(None)["agrees"] is None


def test_shift_is_compared_in_words():
    down = found("Shift of (002), x")
    assert (down["computed"], down["agrees"], down["deviation"]) == ("to lower angle", True, None)
    assert "interpolated to x = 1.4" in down["note"]
    assert found("Shift of (002) beyond")["agrees"] is False  # here 2θ continues falling


def test_capacity_below_a_voltage_counts_whole_steps():
    assert found("Capacity up to 4.3 V", energies={0.0: 0.0, 1.0: -7.0, 2.0: -11.0})["computed"] == pytest.approx(
        164.48, abs=0.01
    )


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("Layer spacing", "no structures around x = 2"),
        ("Space group, pristine", "no structure near x = 2"),
        ("Capacity up to 4.3 V", "nothing computed at x = 2"),
    ],
)
def test_without_the_full_structure_nothing_is_called_pristine(what, why):
    without = found(what, energies={0.0: 0.0, 1.0: -6.0, 1.5: -8.5}, x_max=2.0)
    assert without["computed"] is None
    assert why in without["note"]


def test_a_shift_between_compositions_that_nobody_computed_is_none():
    assert found("Shift of (002), x", energies={0.0: 0.0, 2.0: -11.0})["computed"] is None


def test_a_capacity_that_ends_with_the_computed_range_is_a_lower_bound():
    cut = found("Capacity up to 4.3 V", energies={1.0: -6.0, 2.0: -11.0})
    assert cut["computed"] == pytest.approx(164.48, abs=0.01)
    assert cut["note"].startswith("at least")


def test_what_cannot_be_computed_says_why():
    without_metal = found("Mean voltage", metal=None)
    assert without_metal["computed"] is None
    assert without_metal["note"].startswith("no voltages")
    short = found("Mean voltage, x = 1.4", energies={1.0: -6.0, 2.0: -11.0})
    assert short["computed"] is None
    assert "outside the hull" in short["note"]


def test_a_formula_stands_for_what_has_no_crystal_structure_alone():
    assert compare(electrode(formula="Li2Ru0.8S0.2O3.2"), None)[0]["reference"] == 141.0
    assert compare(electrode(formula="Li2TiO3"), None) == []
    assert compare(electrode(), None) == []  # a Li2RuO3 that may be rock salt


@pytest.mark.parametrize(
    ("name", "copies", "left_out"), [("Li2RuO3", (1, 1, 1), 0), ("Li2RuO3", (1, 2, 1), 3), ("TiS2", (2, 2, 1), 0)]
)
def test_a_crystal_is_known_by_its_structure_relaxed_and_partly_emptied_or_not(name, copies, left_out):
    atoms = load_prototype(name).primitive.repeat(copies)
    formula = atoms.get_chemical_formula("reduce")
    del atoms[np.flatnonzero(atoms.symbols == "Li")[:left_out].tolist()]
    atoms.rattle(0.05, seed=3)
    atoms.set_cell(atoms.cell.array @ np.diag([1.02, 1.01, 0.98]), scale_atoms=True)
    assert recognised(atoms, "Li", formula) == name


@pytest.mark.parametrize("name", ["Li2RuO3-rocksalt", "Li2RuO3-R-3", "LiCoO2"])
def test_another_crystal_is_not_taken_for_it(name):
    atoms = load_prototype(name).primitive
    assert recognised(atoms, "Li", atoms.get_chemical_formula("reduce")) in (None, name)


def test_every_entry_names_a_known_quantity_and_source():
    data = published._data()
    entries = [e for parent in data["parents"].values() for e in parent.get("values", [])]
    assert entries
    for entry in entries:
        assert entry["quantity"] in published.QUANTITIES
        assert entry["citation"] in data["citations"]


def charged(bonds, moments, cells, formula="Na3RuO4"):
    """An electrode of two states of charge: bond valence of Ru, moments of Ru and O, cells."""
    rows = [
        {
            "x": x,
            "layer": None,
            "lattice": dict(zip(LATTICE, cell, strict=True)),
            "oxidation": {"bond_valence": {"Ru": bond}, "moments_muB": dict(zip(("Ru", "O"), m, strict=True))},
        }
        for x, bond, m, cell in zip((2.0, 3.0), bonds, moments, cells, strict=True)
    ]
    hull = formation_hull([2.0, 3.0], [0.0, -4.0])
    return Electrode(formula, 3.0, 1, rows, hull, voltage_steps(hull.vertex_x, hull.vertex_energy, -1.5), -1.5)


HEXAGONAL = (9.2, 9.2, 10.88, 90.0, 90.0, 120.0)


def na3ruo4(bonds=(5.4, 5.1), moments=((1.0, 0.2), (1.5, 0.1))):
    entries = compare(charged(bonds, moments, [HEXAGONAL] * 2), "Na3RuO4")
    return {e["what"].split(",")[0]: e for e in entries}


def test_na3ruo4_beside_its_paper():
    found = na3ruo4()
    assert found["Theoretical capacity (1 e⁻)"]["computed"] == pytest.approx(114.5, abs=0.05)
    assert found["Mean voltage"]["computed"] == pytest.approx(2.5)
    assert found["Voltage at the end of charge"]["deviation"] == pytest.approx(-1.5)
    assert found["State of Ru"]["agrees"]
    assert "5.10 to 5.40" in found["State of Ru"]["note"]
    assert found["Moment on O"]["agrees"]
    cycles = found["Oxygen redox that is left after 30 cycles"]
    assert cycles["computed"] is None
    assert "cycling" in cycles["note"]


@pytest.mark.parametrize(
    ("bonds", "says"), [((6.3, 5.1), "rises by 1 or more"), ((5.12, 5.1), "no change"), ((4.9, 5.1), "falls")]
)
def test_a_state_changes_in_words(bonds, says):
    assert na3ruo4(bonds)["State of Ru"]["computed"] == says
    assert na3ruo4(moments=((1.0, 0.105), (1.5, 0.1)))["Moment on O"]["computed"] == "no change"
    assert na3ruo4(moments=((1.0, 0.0), (1.5, 0.1)))["Moment on O"]["computed"] == "shrinks"


def test_a_line_of_a_three_fold_axis_is_the_mean_of_its_reflections():
    electrode = charged((5.0, 5.0), ((1, 0), (1, 0)), [HEXAGONAL, (9.3, 9.1, 10.88, 90.0, 90.0, 119.0)])
    angle, how = _line_angle(electrode, 2.0, [2, 1, -2], "CuKa")
    assert angle == pytest.approx(bragg_angle(d_spacing(Cell.fromcellpar(HEXAGONAL).array, (2, 1, -2))))
    assert how == "split by 0.00°"
    split, how = _line_angle(electrode, 3.0, [2, 1, -2], "CuKa")
    assert abs(split - angle) < 1.0
    assert how != "split by 0.00°"
