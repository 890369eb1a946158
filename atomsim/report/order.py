"""The part of an ``order`` step: lowest arrangements, ranking by the model, short-range order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.opinions import ranking_block
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREEN, GREY, PURPLE, VERMILION, along
from atomsim.store.records import Record

LEAD = (
    "Arrangements of the cations on the sublattices, composition kept. A model of point charges and pairs is fitted "
    "to relaxed energies; replica exchange samples it, and what it ranks low or knows least is relaxed next."
)
NAMES = {
    "model_left_out": "model, each arrangement left out of its own fit",
    "point_charges": "point charges alone, unrelaxed",
    "unrelaxed_potential": "this potential, unrelaxed",
}


def order_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``order`` step."""
    known = [r for r in records if r.values.get("relaxed")]
    blocks: list[Block] = [_searches(records)]
    for record in known:
        blocks += [c for c in (_fit_chart(record), _order_chart(record)) if c is not None]
    for record in known:
        blocks += _opinions(record)
    blocks += [_rank_table(known), _arrangements(known), _temperatures(known)]
    notices = [
        Notice("note", f"{step}: {r.label}", "", list(r.values["flags"])) for r in known if r.values.get("flags")
    ]
    bad = [f"{r.label}: {r.status}: {r.message}" for r in records if not r.good]
    if bad:
        notices.append(Notice("warning", f"{step}: {len(bad)} searches failed", "", bad))
    return Part(tuple(_headlines(known)), tuple(notices), (Section(step, f"Cation order · {step}", blocks, LEAD),))


def _headlines(records: Sequence[Record]) -> list[Number]:
    found = []
    for r in records:
        v = r.values
        if "leave_one_out_meV_per_site" in v:
            rank = v["rank_correlations"].get("model_left_out")
            remark = f"{r.label}: leave-one-out, {v['relaxations']} of {v.get('distinct', v['arrangements']):,} relaxed"
            remark += "" if rank is None else f"; rank correlation {rank:.2f}"
            found.append(Number("Model of the order", f"{v['leave_one_out_meV_per_site']:.1f}", "meV/site", remark))
    return found


def _searches(records: Sequence[Record]) -> Table:
    columns = [
        Column("Structure"), Column("Status"), Column("Sites", "d"), Column("Arrangements", "d"),
        Column("Distinct", "d"), Column("Relaxed", "d"), Column("Force calls", "d"),
        Column("Leave-one-out (meV/site)", ".1f"), Column("Penalty", ".1g"), Column("Flags"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            r.label, r.status, r.values.get("n_sites"), r.values.get("arrangements"), r.values.get("distinct"),
            r.values.get("relaxations"), r.values.get("force_calls"), r.values.get("leave_one_out_meV_per_site"),
            r.values.get("penalty"), "; ".join(r.values.get("flags", [])) or None,
        ]
        for r in records
    ]  # fmt: skip
    bad = frozenset(n for n, r in enumerate(records) if not r.good)
    caption = (
        "Distinct by symmetry, where all were enumerated; else replica exchange proposes what is relaxed. Penalty: of "
        "the ridge regression, the one of least leave-one-out error."
    )
    return Table("searches", "Searches", columns, rows, caption, flagged=bad)


def _fit_chart(record: Record) -> Chart | None:
    """Predicted without itself against relaxed."""
    v = record.values
    if "left_out_eV" not in v:
        return None
    by_number = sorted(v["relaxed"], key=lambda a: a["relaxed_as"])
    x = [a["above_lowest_eV"] for a in by_number]
    y = [e - v["energy_eV"] for e in v["left_out_eV"]]
    line = [min(x), max(x)]
    panel = Panel(
        "model, without it (eV)",
        [Series("", line, line, "line", GREY, dashed=True), Series("arrangements", x, y, "points", BLUE)],
    )
    caption = "Energies above the lowest, per cell. Each arrangement is predicted by a fit that has not seen it."
    return Chart(f"fit-{record.label}", f"Model against relaxation, {record.label}", "relaxed (eV)", [panel], caption)


def _order_chart(record: Record) -> Chart | None:
    """Warren–Cowley parameters of unlike pairs in the first shell against temperature."""
    v = record.values
    if len(v["temperatures"]) < 2:
        return None
    species = v["species"]
    pairs = list(combinations(range(len(species)), 2))
    at = [t["temperature_K"] for t in v["temperatures"]]
    panels = []
    for shell, distance in enumerate(v["shells_A"][:2]):
        series = [
            Series(
                f"{species[a]}–{species[b]}" if shell == 0 else "",
                at,
                [t["warren_cowley"][shell][a][b] for t in v["temperatures"]],
                "line+points",
                color,
            )
            for (a, b), color in zip(pairs, _colors(len(pairs)), strict=True)
        ]
        panels.append(Panel(f"α at {distance:.2f} Å", series, [Line("y", 0.0)]))
    caption = (
        "Warren–Cowley α = 1 − P(b around a)/c(b): 0 is random, negative prefers the pair, positive avoids it. The two "
        "nearest shells; the table has all."
    )
    name = f"Short-range order, {record.label}"
    return Chart(f"sro-{record.label}", name, "temperature (K)", panels, caption, wide=True, height=560)


def _colors(n: int) -> Sequence[str]:
    base = (BLUE, VERMILION, GREEN, PURPLE, GREY)
    return base[:n] if n <= len(base) else along(n)


def _rank_table(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [
        [r.label, words, r.values["rank_correlations"].get(key)]
        for r in records
        for key, words in NAMES.items()
        if key in r.values.get("rank_correlations", {})
    ]
    columns = [Column("Structure"), Column("Ranked by"), Column("Rank correlation", ".3f")]
    caption = "Spearman's, with the relaxed energies of those that were relaxed, most of them chosen for a low energy."
    return Table("ranks", "What ranks arrangements", columns, rows, caption)


def _arrangements(records: Sequence[Record]) -> Table:
    wanted = sorted({t for r in records for a in r.values["relaxed"] for t in a["weights"]}, key=float)
    columns = [
        Column("Structure"), Column("Number", "d"), Column("Above the lowest (eV)", "+.3f"),
        Column("Alike by symmetry", "d"), Column("Relaxed as", "d"), Column("Sites"),
        *(Column(f"Weight at {t} K", ".3f") for t in wanted),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            r.label, a["number"] + 1, a["above_lowest_eV"], a["multiplicity"], a["relaxed_as"] + 1,
            " ".join(r.values["species"][s] for s in a["species"]), *(a["weights"].get(t) for t in wanted),
        ]
        for r in records
        for a in r.values["relaxed"]
    ]  # fmt: skip
    caption = "Weights are among the relaxed ones alone; short-range order counts all that the model ranks."
    return Table("arrangements", "Relaxed arrangements", columns, rows, caption)


def _opinions(record: Record) -> list[Block]:
    """Energies of the lowest arrangements by each potential that was asked, largest disagreement first."""
    rows = record.values.get("opinions", [])
    title = f"{record.label} by potential, largest disagreement first: what to compute by DFT"
    caption = "Above the arrangement that the first potential puts lowest, per cell."
    return ranking_block(f"disagreement-{record.label}", title, list(rows[0]["by"]) if rows else [], rows, caption)


def _temperatures(records: Sequence[Record]) -> Table:
    columns = [
        Column("Structure"), Column("Temperature (K)", "g"), Column("Mean energy (eV)", ".3f"),
        Column("± (eV)", ".3f"), Column("R̂", ".2f"), Column("Accepted", ".2f"), Column("Shell (Å)", ".2f"),
        Column("Pair"), Column("α", "+.3f"), Column("± ", ".3f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        species = r.values["species"]
        for t in r.values["temperatures"]:
            for shell, distance in enumerate(r.values["shells_A"]):
                for a, b in combinations(range(len(species)), 2):
                    alpha, error = (t[key][shell][a][b] for key in ("warren_cowley", "warren_cowley_error"))
                    rows.append([
                        r.label, t["temperature_K"], t["mean_energy_eV"], t["energy_error_eV"], t["scale_reduction"],
                        t.get("acceptance"), distance, f"{species[a]}–{species[b]}", alpha, error,
                    ])  # fmt: skip
    caption = "Energies above the lowest that the model knows. R̂ compares the chains: above 1.1 they have not met."
    return Table("short-range-order", "Short-range order", columns, rows, caption)
