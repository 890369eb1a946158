"""Pseudo-binary reactions against pymatgen's InterfacialReactivity, and against chemistry that is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.interface_reactions import GrandPotentialInterfacialReactivity, InterfacialReactivity
from pymatgen.analysis.phase_diagram import GrandPotentialPhaseDiagram, PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from atomsim.analysis.voltage import average_voltage
from atomsim.errors import InputError
from atomsim.interfaces.hull import Hull, Phase
from atomsim.interfaces.pseudo_binary import PseudoBinary, Reactant, pseudo_binary
from atomsim.interfaces.record import conditions

SETS = [20, pytest.param(260, marks=pytest.mark.soak)]
"""Random sets, closed and open each."""


def phase(formula: str, per_atom: float) -> Phase:
    composition = Composition(formula)
    return Phase(composition.reduced_formula, composition.get_el_amt_dict(), per_atom * composition.num_atoms)


def random_set(seed: int) -> tuple[list[Phase], Reactant, Reactant]:
    """Elements, binaries to quaternaries, polymorphs, exact duplicates; a third with energies that are tied."""
    rng = np.random.default_rng(seed)
    elements = ["Li", "O", "P", "S", "Co"][: int(rng.integers(3, 6))]
    phases = [phase(e, 0.0) for e in elements]
    for _ in range(int(rng.integers(4, 14))):
        chosen = rng.choice(elements, int(rng.integers(2, len(elements) + 1)), replace=False)
        formula = "".join(f"{e}{rng.integers(1, 5)}" for e in sorted(chosen))
        energy = -float(rng.choice([0.1, 0.2, 0.5, 1.0])) if seed % 3 == 0 else -float(rng.uniform(0.0, 2.0))
        phases += [phase(formula, energy)] * int(rng.integers(1, 3))
        if rng.random() < 0.3:
            phases.append(phase(formula, energy + 0.1))
    compounds = [p for p in phases if len(p.composition) > 1]
    first, second = (compounds[int(k)] for k in rng.choice(len(compounds), 2))
    return phases, *(Reactant(p.name, p.composition, p.energy_eV) for p in (first, second))


def entries(phases: list[Phase]) -> list[PDEntry]:
    return [PDEntry(Composition(p.composition), p.energy_eV) for p in phases]


def check_against(theirs, mine: PseudoBinary, hull: Hull) -> None:
    """Energies at all of their kinks and mine, and products where the equilibrium is unique."""
    kinks = theirs.get_kinks()
    x, energy = np.array([k[1] for k in kinks]), np.array([k[2] for k in kinks])
    order = np.argsort(x)
    mine_x = np.array([k.x for k in mine.kinks])
    mine_energy = np.array([k.mutual_eV_per_atom for k in mine.kinks])
    assert mine.minimum.mutual_eV_per_atom == pytest.approx(energy.min(), abs=1e-6)
    for k in mine.kinks:  # each of mine is one of theirs
        near = int(np.argmin(np.abs(x - k.x)))
        assert x[near] == pytest.approx(k.x, abs=1e-6)
        assert energy[near] == pytest.approx(k.mutual_eV_per_atom, abs=1e-6)
        formed = {p.reduced_formula for p in kinks[near][3].products}
        own = {Composition(n).reduced_formula for n in k.products}
        ignored = set(mine.reservoir)
        if unique(hull, mine, k):
            assert own - ignored == {
                f for f in formed if f not in ignored and set(Composition(f)) - set(map(Element, ignored))
            }
    if not mine.reservoir:  # the energy is linear in x between kinks: theirs lie on mine
        assert np.interp(x[order], mine_x, mine_energy) == pytest.approx(energy[order], abs=1e-6)


def unique(hull: Hull, found: PseudoBinary, kink) -> bool:
    """Whether no other phase lies on the facet: equilibria with ties have several sets of products."""
    amounts = {Composition(n).reduced_formula for n in kink.products}
    total = sum((np.array(hull.vector(Composition(n).get_el_amt_dict())) * a for n, a in kink.products.items()), 0.0)
    state = hull.at(total / total.sum())
    above = hull.energies - state.potentials @ hull.columns
    tied = {p.name for p, a in zip(hull.phases, above / hull.columns.sum(axis=0), strict=True) if a < 1e-7}
    return tied == amounts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sets", SETS)
def test_it_agrees_with_pymatgen_on_random_closed_systems(sets):
    compared = 0
    for seed in range(sets):
        phases, first, second = random_set(seed)
        mine = pseudo_binary(first, second, phases)
        diagram = PhaseDiagram(entries(phases))
        theirs = InterfacialReactivity(
            Composition(first.composition), Composition(second.composition), diagram, norm=True, use_hull_energy=True
        )
        check_against(theirs, mine, Hull(phases))
        compared += len(mine.kinks)
    assert compared > 2 * sets


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sets", SETS)
def test_it_agrees_with_pymatgen_on_random_systems_open_to_an_element(sets):
    compared = 0
    for seed in range(1000, 1000 + sets):
        phases, first, second = random_set(seed)
        element = ("Li", "O")[seed % 2]
        mu = -float(np.random.default_rng(seed).uniform(0.1, 4.0))
        if any(set(r.composition) == {element} for r in (first, second)):
            continue
        mine = pseudo_binary(first, second, phases, {element: mu})
        given = entries(phases)
        try:
            diagram = GrandPotentialPhaseDiagram(given, {Element(element): mu})
        except Exception:  # pymatgen makes no diagram of one element
            continue
        theirs = GrandPotentialInterfacialReactivity(
            Composition(first.composition), Composition(second.composition), diagram, PhaseDiagram(given), norm=True
        )
        check_against(theirs, mine, Hull(phases, {element: mu}))
        compared += 1
    assert compared > 0.8 * sets


LI2S, LI2O, LI, S, O2 = phase("Li2S", -1.5), phase("Li2O", -2.0), phase("Li", 0.0), phase("S", 0.0), phase("O2", 0.0)


def reactant(p: Phase) -> Reactant:
    return Reactant(p.name, p.composition, p.energy_eV)


def test_a_reaction_between_elements_is_their_compound():
    found = pseudo_binary(reactant(LI), reactant(S), [LI, S, LI2S])
    assert [round(k.x, 6) for k in found.kinks] == [0.0, round(2 / 3, 6), 1.0]
    assert found.minimum.mutual_eV_per_atom == pytest.approx(-1.5)
    assert found.minimum.equation == "2 Li + S → Li2S"
    assert found.minimum.ratio == pytest.approx(2 / 3)


def test_every_kink_is_balanced():
    for seed in (3, 4, 5, 1003, 1004):
        phases, first, second = random_set(seed)
        mu = {"Li": -1.0} if seed > 1000 else {}
        found = pseudo_binary(first, second, phases, mu)
        by_name = {p.name: p.composition for p in phases}
        for k in found.kinks:
            for element in {e for p in phases for e in p.composition}:
                before = k.ratio * first.composition.get(element, 0) + (1 - k.ratio) * second.composition.get(
                    element, 0
                )
                after = sum(n * by_name[name].get(element, 0) for name, n in k.products.items())
                assert before == pytest.approx(after + k.exchanged.get(element, 0.0), abs=1e-7)


def test_the_mutual_energy_leaves_out_what_a_phase_does_by_itself():
    """A metastable phase: the total energy is lower than the mutual one by its own decomposition."""
    high = phase("Li2O2", -1.0)
    phases = [LI, S, O2, LI2S, LI2O, high]
    found = pseudo_binary(reactant(high), reactant(LI2S), phases)
    assert found.own_first.energy_eV_per_atom == pytest.approx(0.75 * -2.0 + 1.0)
    assert found.own_first.products == pytest.approx({"Li2O": 1.0, "O2": 0.5})
    assert any("Li2O2 lies 500 meV/atom above its own decomposition into" in n for n in found.notes)
    end = found.kinks[-1]
    assert end.mutual_eV_per_atom == pytest.approx(0.0)
    assert end.total_eV_per_atom == pytest.approx(-0.5)


def test_phases_of_one_composition_do_not_react_and_say_so():
    found = pseudo_binary(reactant(LI2S), Reactant("Li4S2", {"Li": 4, "S": 2}, -8.0), [LI, S, LI2S])
    assert not found.reacts
    assert "of one composition" in found.notes[0]


def test_an_open_system_gives_what_the_voltage_asks_for():
    """Li2S against sulfur: below its voltage of 2.25 V lithium turns all to Li2S, above all to sulfur."""
    low = pseudo_binary(reactant(LI2S), reactant(S), [LI, S, LI2S], {"Li": -2.0})
    high = pseudo_binary(reactant(LI2S), reactant(S), [LI, S, LI2S], {"Li": -2.5})
    assert {n for k in low.kinks for n in k.products} == {"Li2S"}
    assert {n for k in high.kinks for n in k.products} == {"S"}
    assert low.kinks[0].exchanged == pytest.approx({"Li": -2.0})
    assert high.kinks[-1].equation == "Li2S → S + 2 Li"


def test_what_is_exchanged_alone_and_what_no_phase_holds_are_refused():
    with pytest.raises(InputError, match="consists of Li alone"):
        pseudo_binary(reactant(LI), reactant(S), [LI, S, LI2S], {"Li": -1.0})
    with pytest.raises(InputError, match="no phase holds Cl"):
        pseudo_binary(Reactant("LiCl", {"Li": 1, "Cl": 1}), reactant(S), [LI, S, LI2S])
    with pytest.raises(InputError, match="finite"):
        pseudo_binary(reactant(LI), reactant(S), [LI, S, Phase("Li2S", {"Li": 2, "S": 1}, float("nan"))])


def test_an_ion_of_charge_two_carries_two_electrons():
    """MgS of −4 eV is made at 2 V against magnesium: below all sulfur turns to it, above it gives its magnesium up."""
    mg, mgs = phase("Mg", 0.0), phase("MgS", -2.0)
    assert average_voltage(1.0, mgs.energy_eV, 0.0, S.energy_eV, mg.energy_eV, charge=2) == pytest.approx(2.0)
    _, low, high = conditions(reactant(mgs), reactant(S), [mg, S, mgs], "Mg", [1.9, 2.1], {}, 0.5)
    assert {n for k in low.found.kinks for n in k.products} == {"MgS"}
    assert {n for k in high.found.kinks for n in k.products} == {"S"}
    _, oxygen = conditions(reactant(LI2O), reactant(LI), [LI, O2, LI2O], "O", [1.5], {}, 0.5)
    assert oxygen.found.reservoir == pytest.approx({"O": -1.5})
