"""Percolation and diffusivity from hand-made records: several mechanisms, cages, unequal sites, missing hops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from atomsim.hopping.summary import format_threshold, hop_edges, jumps, site_energies, summary
from atomsim.report import write_report
from atomsim.report.barriers import barriers_part
from atomsim.store.records import Record

CUBE = [8.0, 8.0, 8.0]
TRIANGLE = [(0.1, 0.1, 0.1), (0.4, 0.1, 0.1), (0.25, 0.4, 0.1)]
RING = [[0, 1, 0, 0, 0], [1, 2, 0, 0, 0], [0, 2, 0, 0, 0]]
CUBIC = [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


def hop(name, copies, barrier, *, start=0.0, change=0.0, mechanism="vacancy", places=((0, 0, 0),), **tags) -> Record:
    values = {
        "barrier_eV": barrier,
        "reverse_barrier_eV": barrier - change,
        "reaction_energy_eV": change,
        "start_energy_eV": start,
        "force_calls": 1,
    }
    sites = [{"name": f"Li-{n}", "fractional": list(place)} for n, place in enumerate(places)]
    known = {"host": "host", "ion": "Li", "hop": name, "mechanism": mechanism, "copies": copies, "sites": sites,
             "cell_A": np.diag(CUBE).tolist(), "multiplicity": len(copies), "length_A": 3.0, "bottleneck_A": 0.1,
             "reversible": False, "from": "Li-a", "to": "Li-b"} | tags  # fmt: skip
    return Record(task=name, step="hops", kind="barriers", status="converged", label=name, tags=known,
                  values=values)  # fmt: skip


def test_vacancies_and_interstitials_do_not_share_a_graph():
    # total energies of N - 1, N + 1 and N atoms: only those of one mechanism may be compared
    records = [
        hop("vacancy", CUBIC, 0.288, start=-115.0),
        hop("interstitial", CUBIC[:1], 0.2, start=-119.3, mechanism="interstitial"),
        hop("pair", CUBIC, 0.1, start=-117.0, mechanism="vacant-site"),
    ]
    found = summary("host", records)
    alone = [[n[f"threshold_{d}D_eV"] for d in (1, 2, 3)] for n in found["networks"]]
    np.testing.assert_allclose(alone[0], 0.288)
    assert alone[1] == [pytest.approx(0.2), None, None]
    assert found["threshold_1D_eV"] == pytest.approx(0.2)
    assert found["threshold_3D_eV"] == pytest.approx(0.288)
    assert found["dimensions"] == 3
    assert [n["diffusion_of"] for n in found["networks"]] == ["vacancy", "interstitial", None]
    assert found["diffusion_of"] == "interstitial"  # along its one direction faster than the vacancy


def test_a_network_that_does_not_percolate_has_no_diffusivity():
    found = summary("host", [hop("ring", RING, 0.3, places=TRIANGLE)])
    assert found["dimensions"] == 0
    assert found["diffusivity_300K_cm2_per_s"] == 0.0
    assert "does not percolate" in found["why_no_diffusivity"]
    assert not {"kmc_300K_cm2_per_s", "activation_energy_eV"} & set(found)


def test_walkers_that_stay_in_a_cage_give_no_diffusivity(tmp_path):
    leak = hop("leak", [[1, 0, 1, 0, 0]], 0.8, places=TRIANGLE)
    records = [hop("ring", RING, 0.3, places=TRIANGLE), leak]
    found = summary("host", records)
    assert found["dimensions"] == 1
    assert 0 < found["diffusivity_300K_cm2_per_s"] < 1e-13
    assert found["activation_energy_eV"] == pytest.approx(0.8, abs=0.01)
    assert found["why_no_kmc"] == "walkers stay trapped"
    assert "kmc_300K_cm2_per_s" not in found
    page = write_report(tmp_path, {}, {"hops": records}).read_text()
    assert "walkers stay trapped" in page
    table = (tmp_path / "exports" / "hops-percolation.csv").read_text()
    assert "walkers stay trapped" in table


def test_two_chains_are_weighted_by_their_energies():
    places = ((0, 0, 0), (0.5, 0.5, 0.5))
    low, high = (
        hop("low", [[0, 0, 1, 0, 0]], 0.6, places=places),
        hop("high", [[1, 1, 1, 0, 0]], 0.2, start=0.5, places=places),
    )
    both, alone = summary("host", [low, high]), summary("host", [low])
    assert both["diffusivity_300K_cm2_per_s"] == pytest.approx(alone["diffusivity_300K_cm2_per_s"], rel=0.05)
    assert both["activation_energy_eV"] == pytest.approx(0.6, abs=0.01)


def test_the_energy_of_a_vacancy_is_that_without_the_ion_there():
    # the ion goes from 0 to 1, which is empty at the start: the start's energy is that of a vacancy on 1
    record = hop("up", [[0, 1, 0, 0, 0]], 0.5, change=0.2, places=TRIANGLE[:2])
    assert site_energies([record], 2) == pytest.approx([0.2, 0.0])
    moved = replace(record, tags=record.tags | {"mechanism": "interstitial"})
    assert site_energies([moved], 2) == pytest.approx([0.0, 0.2])
    there, back = jumps([record], site_energies([record], 2))
    assert (there.start, there.end) == (1, 0)
    assert (there.barrier, back.barrier) == pytest.approx((0.5, 0.3))


@pytest.mark.parametrize("tags", [{"reversible": True}, {"to": "Li-a"}])
def test_equivalent_ends_have_one_energy_whatever_the_supercell_makes_of_them(tags):
    record = hop("across", CUBIC, 0.35, change=0.1, **tags)
    assert [e.barrier for e in hop_edges([record])] == pytest.approx([0.3] * 3)
    assert [j.barrier for j in jumps([record], site_energies([record], 1))] == pytest.approx([0.3] * 6)
    assert summary("host", [record])["threshold_3D_eV"] == pytest.approx(0.3)


def test_hops_without_a_barrier_make_thresholds_upper_bounds_or_unknown():
    good, failed = hop("good", CUBIC[:1], 0.3), replace(hop("failed", CUBIC[1:], 0.1), status="max_steps")
    found = summary("host", [good, failed])
    assert format_threshold(found, 1) == "0.300 eV (upper bound: 1 of 2 hops has no barrier)"
    assert format_threshold(found, 2) == "unknown: 1 of 2 hops has no barrier"
    assert format_threshold(summary("host", [good]), 2) == "not reached"
    assert format_threshold(summary("host", [failed]), 1) == "unknown: 1 of 1 hops has no barrier"
    for records, words in (([good, failed], "upper bound"), ([failed, hop("ring", [], 0.3)], None)):
        part = barriers_part("hops", records)
        (table,) = [b for b in part.sections[0].blocks if getattr(b, "key", "") == "percolation"][:1]
        assert "1 of" in table.caption
        assert words is None or words in part.headlines[1].remark


def test_hops_that_were_left_out_count_as_unknown_and_what_was_looked_for_is_said():
    blocked = ["long", "the straight line runs into Li1", "vacancy"]
    tags = {"max_length_A": 4.0, "most_dimensions": {"vacancy": 2}}
    whole, part = (summary("host", [hop("good", CUBIC[:1], 0.3, left_out=left, **tags)]) for left in ([], [blocked]))
    assert format_threshold(whole["networks"][0], 1) == "0.300 eV"
    assert format_threshold(whole["networks"][0], 2) == "not reached with hops up to 4 Å"
    assert format_threshold(part["networks"][0], 1) == "0.300 eV (upper bound: 1 further hop was not computed)"
    assert format_threshold(part["networks"][0], 2) == "unknown: 1 further hop was not computed"
    # all hops together connect no more than two dimensions: no barrier can change that
    assert format_threshold(part["networks"][0], 3) == format_threshold(part, 3) == "not reached with hops up to 4 Å"
    other = [[*blocked[:2], "divacancy"]]
    assert summary("host", [hop("good", CUBIC[:1], 0.3, left_out=other, **tags)])["left_out"] == 0


def test_a_cage_beside_a_failed_hop_has_an_unknown_diffusivity():
    failed = replace(hop("failed", [[1, 0, 1, 0, 0]], 0.1, places=TRIANGLE), status="drifted")
    records = [hop("ring", RING, 0.3, places=TRIANGLE), failed]
    found = summary("host", records)
    assert "diffusivity_300K_cm2_per_s" not in found
    assert found["why_no_diffusivity"] == "1 of 2 hops has no barrier"
    assert barriers_part("hops", records).headlines[1].value == "unknown"
