"""The electrode step: what enters, what is refused, what comes out."""

import json
from dataclasses import replace

import pytest
from ase.build import bulk
from ase.io import write
from electrode_records import (
    HOST_UNITS,
    POTENTIAL,
    electrode_step,
    energy_per_unit,
    metal,
    relaxed,
    structures,
    voltage,
)
from pydantic import ValidationError

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.report.electrode_charts import voltage_chart
from atomsim.store.records import from_line, to_line
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype
from atomsim.tasks import delithiate as delithiate_step
from atomsim.tasks import electrode
from atomsim.tasks.base import Context


@pytest.fixture(scope="module")
def made():
    return electrode_step()


def values_of(inputs=None, **settings):
    return electrode_step(inputs, **settings).records[0].values


def test_one_task_gives_one_record_that_survives_the_ledger(made):
    assert len(made.tasks) == len(made.records) == 1
    record = made.records[0]
    assert record.status == "done"
    assert from_line(to_line(record)) == record


def test_voltages_are_those_that_the_energies_were_made_from(made):
    for curve in ("hull", "neighbours"):
        for step in made.records[0].values["voltage"][curve]:
            middle = (step["x_high"] + step["x_low"]) / 2
            assert step["voltage_V"] == pytest.approx(voltage(middle))  # a straight curve: its mean is its middle


def test_rows_say_how_far_above_the_hull(made):
    rows = {r["label"]: r for r in made.records[0].values["structures"]}
    first, second = rows["x=1.00-00"], rows["x=1.00-01"]
    assert first["on_hull"]
    assert first["lowest_at_x"]
    assert not second["on_hull"]
    assert second["above_hull_eV_per_fu"] == pytest.approx(0.03)
    assert second["above_hull_meV_per_atom"] == pytest.approx(30 * HOST_UNITS / second["n_atoms"])


def test_an_unconverged_structure_takes_no_part_and_is_named(made):
    values = made.records[0].values
    assert [e["label"] for e in values["excluded"]] == ["x=1.00-02"]
    assert "max_steps" in values["excluded"][0]["reason"]
    assert "x=1.00-02" not in {r["label"] for r in values["structures"]}
    assert values["notes"][0]["topic"] == "excluded"


def test_a_lower_energy_that_did_not_converge_does_not_bend_the_hull(made):
    inputs = {"relaxed": structures(), "metal": [metal()]}
    bad = next(k for k, r in enumerate(inputs["relaxed"]) if not r.good)
    record = inputs["relaxed"][bad]
    inputs["relaxed"][bad] = replace(record, values=record.values | {"energy_eV": record.values["energy_eV"] - 50})
    assert values_of(inputs)["hull"] == made.records[0].values["hull"]


def test_capacity_is_that_of_the_full_host(made):
    capacity = made.records[0].values["capacity"]
    assert capacity["formula"] == "Li2RuO3"
    assert round(capacity["one_electron_mAh_per_g"]) == 164
    assert capacity["whole_range_mAh_per_g"] == pytest.approx(2 * capacity["one_electron_mAh_per_g"])


def test_oxygen_pairs_are_found_where_they_were_put(made):
    rows = {r["label"]: r for r in made.records[0].values["structures"]}
    assert rows["x=0.00-00"]["OO_counts"]["peroxide"] == 1
    assert rows["x=0.00-00"]["shortest_OO_A"] == pytest.approx(1.45, abs=1e-6)
    assert rows["x=2.00-00"]["shortest_OO_A"] > 2.4


def test_oxidation_states_come_with_their_doubt(made):
    values = made.records[0].values
    rows = {r["label"]: r for r in values["structures"]}
    assert [rows[f"x={x:.2f}-00"]["oxidation"]["charge_balance"] for x in (2, 1, 0)] == pytest.approx([4, 5, 6])
    assert rows["x=2.00-00"]["oxidation"]["from_moments"]["Ru"]["state"] is None
    assert any(note["topic"] == "moments" for note in values["notes"])


def test_energy_policy_names_potential_and_reference(made):
    policy = " ".join(made.records[0].values["energy_policy"])
    assert "chgnet-0.3.0" in policy
    assert "Li metal relaxed with this same potential" in policy
    assert "MaterialsProject2020" in policy


def test_energies_of_two_potentials_are_never_mixed():
    other = metal(provenance={"potential": POTENTIAL | {"sha256": "beef" * 16}})
    with pytest.raises(InputError, match="different potentials"):
        electrode_step({"relaxed": structures(), "metal": [other]})


def test_energies_of_an_unnamed_potential_are_refused():
    with pytest.raises(InputError, match="sha256"):
        electrode_step({"relaxed": [replace(r, provenance={}) for r in structures()], "metal": [metal(provenance={})]})


def test_the_reference_must_be_the_ions_metal():
    salt = relaxed("metal", "LiF", bulk("LiF", "rocksalt", a=4.0), -9.0)
    with pytest.raises(InputError, match="wanted Li metal"):
        electrode_step({"relaxed": structures(), "metal": [salt]})


def test_without_a_converged_reference_there_is_a_hull_but_no_voltage():
    values = values_of({"relaxed": structures(), "metal": [metal(status="max_steps")]})
    assert values["voltage"] == {"hull": [], "neighbours": []}
    assert len(values["hull"]) == 5
    assert any("did not converge" in note["text"] for note in values["notes"])


def test_no_usable_structure_gives_a_record_that_says_so():
    bad = [replace(r, status="exploded") for r in structures()]
    record = electrode_step({"relaxed": bad, "metal": [metal()]}).records[0]
    assert record.status == "invalid"
    assert "exploded" in record.message


def test_structures_that_no_delithiation_made_are_left_out_with_the_reason():
    stray = relaxed("relaxed", "stray", bulk("MgO", "rocksalt", a=4.2), -12.0)
    values = values_of({"relaxed": [*structures(), stray], "metal": [metal()]})
    assert {"stray"} < {e["label"] for e in values["excluded"]}
    assert "host_units" in next(e["reason"] for e in values["excluded"] if e["label"] == "stray")


def test_another_host_is_left_out():
    records = structures()
    atoms = records[0].atoms
    atoms.symbols[atoms.numbers == 44] = "Mn"
    manganate = relaxed("relaxed", "Li2MnO3", atoms, -160.0, tags=records[0].tags)
    excluded = values_of({"relaxed": [*records, manganate], "metal": [metal()]})["excluded"]
    assert any(e["label"] == "Li2MnO3" and "another host" in e["reason"] for e in excluded)


def test_order_of_the_records_changes_nothing(made):
    inputs = {"relaxed": structures()[::-1], "metal": [metal()]}
    values = values_of(inputs)
    assert values["structures"] == made.records[0].values["structures"]
    assert values["voltage"] == made.records[0].values["voltage"]


@pytest.mark.parametrize("supercell", [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]])
def test_a_prototypes_lattice_and_layers_are_found_in_its_supercells(supercell):
    # Unrelaxed children: whatever the supercell, the parent's lattice and d(002) must come back exactly.
    parent = load_prototype("Li2RuO3").atoms
    made = delithiate(parent, "Li", [2.0, 1.0], orderings=1, supercell=supercell, max_atoms=200)
    records = [
        relaxed(
            "relaxed",
            f"x={o.x}",
            o.atoms,
            o.host_units * energy_per_unit(o.x),
            tags=made.tags(o, "Li2RuO3") | {"prototype": "Li2RuO3"},
        )
        for o in made.orderings
    ]
    for row in values_of({"relaxed": records, "metal": [metal()]}, layer_reflection=None)["structures"]:
        lengths = [row["lattice"][key] for key in ("a_A", "b_A", "c_A", "beta_deg")]
        assert lengths == pytest.approx([*parent.cell.lengths(), parent.cell.angles()[1]])
        assert row["layer"]["d_A"] == pytest.approx(4.84, abs=0.05)  # Wu et al. 2022: 0.484 nm
        assert row["volume_per_fu_A3"] == pytest.approx(parent.cell.volume / 8)


def test_a_delithiate_step_of_the_primitive_cell_leads_back_to_the_conventional_one():
    settings = delithiate_step.Settings(parent="Li2RuO3", x_per_formula_unit=[2.0, 1.0], orderings=1, max_atoms=48)
    context = Context(step="orderings")
    tasks = delithiate_step.expand(settings, {}, context)
    assert {len(t.structure["numbers"]) for t in tasks} == {24, 20}
    records = [
        relaxed("relaxed", t.label, atoms_from_json(t.structure), energy_per_unit(t.tags["x"]), tags=t.tags)
        for t in tasks
    ]
    parent = load_prototype("Li2RuO3").atoms
    for row in values_of({"relaxed": records, "metal": [metal()]}, layer_reflection=None)["structures"]:
        lengths = [row["lattice"][key] for key in ("a_A", "b_A", "c_A", "beta_deg")]
        assert lengths == pytest.approx([*parent.cell.lengths(), parent.cell.angles()[1]])
        assert row["layer"]["d_A"] == pytest.approx(4.84, abs=0.05)


def test_a_supercell_of_another_cell_gets_no_lattice_instead_of_a_wrong_one():
    # 24 atoms; the prototype has 48
    records = [replace(r, tags=r.tags | {"prototype": "Li2RuO3"}) for r in structures()]
    values = values_of({"relaxed": records, "metal": [metal()]})
    assert all(r["lattice"] is None for r in values["structures"])
    assert any(note["topic"] == "lattice" for note in values["notes"])


def delithiated(parent: str, context: Context, **settings):
    tasks = delithiate_step.expand(delithiate_step.Settings(parent=parent, orderings=1, **settings), {}, context)
    return [
        relaxed("relaxed", t.label, atoms_from_json(t.structure), energy_per_unit(t.tags["x"]), tags=t.tags)
        for t in tasks
    ]


@pytest.mark.parametrize("repeat", [(5, 1, 1), (1, 7, 1), (1, 1, 5)])
def test_the_lattice_of_a_file_is_its_own_whatever_its_size(repeat, tmp_path):
    """The primitive cell is one fifth or one seventh of it: lattice and spacing must come back all the same."""
    parent = load_prototype("LiCoO2").atoms.repeat(repeat)
    write(tmp_path / "mine.cif", parent)
    context = Context(step="orderings", base_dir=tmp_path)
    records = delithiated("mine.cif", context, x_per_formula_unit=[1.0], max_atoms=400)
    (row,) = values_of({"relaxed": records, "metal": [metal()]}, layer_reflection=[0, 0, 3 * repeat[2]])["structures"]
    assert [row["lattice"][key] for key in ("a_A", "b_A", "c_A")] == pytest.approx(parent.cell.lengths(), rel=1e-4)
    assert row["layer"]["d_A"] == pytest.approx(load_prototype("LiCoO2").atoms.cell.lengths()[2] / 3, rel=1e-4)


def test_a_file_with_a_prototypes_name_has_its_own_setting(tmp_path):
    """Axes permuted, as another program writes them: no layer reflection of the prototype's may be taken for it."""
    parent = load_prototype("Li2RuO3").atoms
    turned = parent.copy()
    turned.set_cell(parent.cell.array[[2, 0, 1]])
    write(tmp_path / "Li2RuO3.cif", turned)
    context = Context(step="orderings", base_dir=tmp_path)
    records = delithiated("Li2RuO3.cif", context, x_per_formula_unit=[2.0], max_atoms=100)
    (row,) = values_of({"relaxed": records, "metal": [metal()]}, layer_reflection=None)["structures"]
    assert row["lattice"]["a_A"] == pytest.approx(parent.cell.lengths()[2], rel=1e-4)
    assert row["layer"] is None


def test_what_was_relaxed_under_pressure_gives_no_voltages():
    pressed = {"potential": POTENTIAL, "settings": {"pressure_GPa": 20.0}}
    records = [replace(r, provenance=pressed) if r.good else r for r in structures()]
    with pytest.raises(InputError, match="was relaxed at 20 GPa"):
        electrode_step({"relaxed": records, "metal": [metal()]})


@pytest.mark.parametrize("wrong", [{"radiation": "CuKalpha"}, {"layer_reflection": [0, 0, 0]}])
def test_settings_that_can_only_fail_at_the_end_are_refused_at_the_start(wrong):
    with pytest.raises(ValidationError):
        electrode.Settings(structures="relaxed", reference="metal", **wrong)


def test_a_divalent_ion_gives_two_electrons_and_half_the_voltage():
    """MgTiO2 whose magnesium leaves at the cost of 3 eV: 1.5 V for two electrons, not 3 V for one."""
    full = load_prototype("LiCoO2").atoms
    full.numbers[full.numbers == 3], full.numbers[full.numbers == 27] = 12, 22
    made = delithiate(full, "Mg", [1.0, 0.0], orderings=1, max_atoms=100)
    cost, of_metal = {1.0: -20.0, 0.0: -15.5}, -1.5  # eV: (−20) − (−15.5) − (−1.5) = −3
    records = [
        relaxed("relaxed", f"x={o.x}", o.atoms, o.host_units * cost[o.x], tags=made.tags(o, "mine"))
        for o in made.orderings
    ]
    magnesium = relaxed("metal", "Mg", bulk("Mg"), 2 * of_metal)
    values = values_of({"relaxed": records, "metal": [magnesium]}, layer_reflection=None)
    assert [s["voltage_V"] for s in values["voltage"]["hull"]] == pytest.approx([1.5])
    capacity = values["capacity"]
    assert capacity["whole_range_mAh_per_g"] == pytest.approx(2 * capacity["one_electron_mAh_per_g"])
    assert "Mg²⁺/Mg" in voltage_chart(values).panels[0].y_label


def test_an_ion_of_unknown_charge_gives_no_voltages_but_one_line():
    full = load_prototype("LiCoO2").atoms
    full.numbers[full.numbers == 3] = 47
    made = delithiate(full, "Ag", [1.0, 0.0], orderings=1, max_atoms=100)
    records = [
        relaxed("relaxed", f"x={o.x}", o.atoms, -o.host_units, tags=made.tags(o, "mine")) for o in made.orderings
    ]
    with pytest.raises(InputError, match="its charge is not known here"):
        electrode_step({"relaxed": records, "metal": [relaxed("metal", "Ag", bulk("Ag"), -2.0)]})


def test_summary_is_plain_json(made):
    summary = json.loads(json.dumps(electrode.summarise(made.settings, made.records)))
    assert summary["hull_x"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert summary["excluded"] == 1


def check_reflection(reflection, **settings):
    """What ``atomsim check`` does of the electrode step, for LiCoO2."""
    records = delithiated("LiCoO2", Context(step="orderings"), x_per_formula_unit=[0.5], max_atoms=8)
    chosen = electrode.Settings(structures="relaxed", reference="metal", layer_reflection=reflection, **settings)
    electrode.check_inputs(chosen, {"relaxed": records, "metal": [metal()]})


@pytest.mark.parametrize(
    ("reflection", "radiation", "why"),
    [([0, 0, 24], "CuKa", "shorter wavelength"), ([0, 0, 4], "CuKa", "extinguished"), ([1, 0, 0], "MoKa", "R-3m")],
)
def test_a_layer_reflection_that_cannot_be_is_refused_before_anything_is_relaxed(reflection, radiation, why):
    with pytest.raises(InputError, match=why):
        check_reflection(reflection, radiation=radiation)


@pytest.mark.parametrize("reflection", [[0, 0, 3], [0, 0, -6], [1, 0, 4], None])
def test_a_layer_reflection_that_can_be_passes_the_check(reflection):
    check_reflection(reflection)


def test_a_reflection_without_an_angle_costs_its_columns_and_no_more():
    values = values_of(layer_reflection=[0, 0, 24])
    assert {r["layer"] for r in values["structures"]} == {None}
    assert any("(0 0 24)" in note["text"] for note in values["notes"])
    assert values["hull"] == values_of()["hull"]


def test_a_file_is_compared_for_what_it_holds_whatever_its_name(tmp_path):
    write(tmp_path / "Li2RuO3.cif", load_prototype("LiCoO2").atoms)
    write(tmp_path / "mine.cif", load_prototype("Li2RuO3").primitive)
    write(tmp_path / "rock.cif", load_prototype("Li2RuO3-rocksalt").atoms)
    context, compared = Context(step="orderings", base_dir=tmp_path), {}
    for name, x in (("Li2RuO3", 1.0), ("mine", 2.0), ("rock", 2.0)):
        records = delithiated(f"{name}.cif", context, x_per_formula_unit=[x], max_atoms=48)
        compared[name] = values_of({"relaxed": records, "metal": [metal()]}, layer_reflection=None)["comparison"]
    assert compared["Li2RuO3"] == compared["rock"] == []
    assert len(compared["mine"]) > 5
