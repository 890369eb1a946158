"""The parts of ``dimerize`` and ``oxygen`` steps: profiles, species, vacancies, release and its onset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atomsim.analysis.oxygen import CLASSES
from atomsim.errors import counted
from atomsim.oxygen.opinions import oxygen_opinions
from atomsim.oxygen.summary import LEVELS, Summary, summary_of_step
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.opinions import ranking_block, unchecked
from atomsim.report.oxygen_profiles import profile_charts
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREY, VERMILION, along
from atomsim.store.records import Record

DIMER_LEAD = (
    "Each pair stands for all that symmetry makes of it. It was driven together at an exactly kept length, everything "
    "else relaxed, and let apart again; released next to every minimum of the profile; and put into a void as O2. "
    "Energies count from the intact cell. Pair 3-5(1,0,0): atoms 3 and 5, the latter one cell further along a; atoms "
    "count from 0."
)
OXYGEN_LEAD = (
    "Vacancies are neutral and count from half an O2 of the same potential. Release is the reaction of least energy to "
    "more lithiated hosts, the other phases given, and O2; negative is downhill, how fast is not said. Vacancy V3: "
    "atom 3 is missing, counted from 0."
)
X_LABEL = "x (ions per metal)"


def dimer_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``dimerize`` step."""
    known = [r for r in records if "minima" in r.values]
    blocks: list[Block] = [_pair_table(records), *profile_charts(known)]
    blocks += [c for c in (_species_chart(known),) if c is not None]
    blocks += [_minima_table(known), _profile_table(known)]
    return Part(
        tuple(_dimer_headlines(known)),
        tuple(_dimer_notices(step, records)),
        (Section(step, "Oxygen dimers", blocks, DIMER_LEAD),),
    )


def _dimer_headlines(records: Sequence[Record]) -> list[Number]:
    found = [r for r in records if "dimer_energy_eV" in r.values]
    if not found:
        return [Number("Oxygen dimers", "none", "", f"{counted(len(records), 'pair')} driven")] if records else []
    bonded = [r for r in found if r.values["dimer_length_A"] < CLASSES["peroxide"][1]]
    best = min(bonded or found, key=lambda r: r.values["dimer_energy_eV"])
    v = best.values
    remark = f"{v['outcome']}, {v['dimer_length_A']:.2f} Å, {best.label}; barrier {v['barrier_words']}"
    name = "Lowest dimer" if bonded else "No dimer; lowest short pair"
    return [Number(name, f"{v['dimer_energy_eV']:+.2f}", "eV", remark)]


def _dimer_notices(step: str, records: Sequence[Record]) -> list[Notice]:
    flagged = [f"{r.label}: {'; '.join(r.values['flags'])}" for r in records if r.values.get("flags")]
    found = []
    if flagged:
        found.append(Notice("note", f"{step}: flags on {len(flagged)} of {len(records)} pairs", "", flagged))
    spreads = [(m["spread_eV"], r.label, m) for r in records for m in r.values.get("minima", ()) if "spread_eV" in m]
    if spreads:
        most = sorted(spreads, key=lambda s: -s[0])[:10]
        lines = [
            f"{label}, {m['outcome']}: {m['energy_eV']:+.2f}"
            + "".join(f", {name} {e:+.2f}" for name, e in m["checked_with"].items())
            + f" eV (spread {spread:.2f})"
            for spread, label, m in most
        ]
        text = f"The same geometries by other potentials differ by up to {most[0][0]:.2f} eV."
        found.append(Notice("warning" if most[0][0] > 0.3 else "note", f"{step}: spread", text, lines))
    elif any("minima" in r.values for r in records):
        text = "Nothing says how far another potential would differ: give check_with."
        found.append(Notice("note", f"{step}: one potential alone", text))
    bad = [f"{r.label}: {r.status}: {r.message}" for r in records if not r.good]
    if bad:
        found.append(Notice("warning", f"{step}: {counted(len(bad), 'pair')} could not be computed", "", bad))
    return found


def _pair_table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Structure"), Column("x", "g"), Column("Pair"), Column("Kind"), Column("Per cell", "d"),
        Column("Length (Å)", ".3f"), Column("Status"), Column("Becomes"), Column("Length then (Å)", ".3f"),
        Column("Energy (eV)", "+.3f"), Column("Moment per O (μB)", ".2f"), Column("Barrier (eV)", ".3f"),
        Column("Upper bound (eV)", ".3f"), Column("Force calls", "d"), Column("Flags"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        v, t = r.values, r.tags
        rows.append([
            t.get("host"), t.get("x"), r.label.removeprefix(f"{t.get('host')} "), t.get("pair_kind"),
            t.get("multiplicity"), v.get("length_A", t.get("pair_length_A")), r.status, v.get("outcome"),
            v.get("dimer_length_A"), v.get("dimer_energy_eV"), v.get("dimer_moment_muB"), v.get("barrier_eV"),
            v.get("upper_bound_eV"), v.get("force_calls"), "; ".join(v.get("flags", [])) or None,
        ])  # fmt: skip
    caption = (
        "A barrier stands only where its saddle is proven to be of first order; an upper bound is the highest energy "
        "that the scan passed. Both lead to the lowest dimer that a scan reached, which may lie above the lowest found."
    )
    bad = frozenset(k for k, r in enumerate(records) if not r.good)
    return Table("pairs", "Pairs", columns, rows, caption, flagged=bad)


def _species_chart(records: Sequence[Record]) -> Chart | None:
    """Minima of all pairs against x: length above, energy below."""
    known = [(r.tags["x"], m) for r in records if r.tags.get("x") is not None for m in r.values["minima"]]
    known = [(x, m) for x, m in known if m["length_A"] is not None and m["status"] == "converged"]
    if len({x for x, _ in known}) < 2:
        return None
    names = list(dict.fromkeys(m["outcome"] for _, m in known))
    lengths, energies = [], []
    for name, color in zip(names, along(len(names)), strict=True):
        own = [(x, m) for x, m in known if m["outcome"] == name]
        xs = [x for x, _ in own]
        lengths.append(Series(name, xs, [m["length_A"] for _, m in own], "points", color))
        energies.append(Series("", xs, [m["energy_eV"] for _, m in own], "points", color))
    borders = [Line("y", high, label) for label, (_, high) in CLASSES.items() if label != "lattice"]
    panels = [
        Panel("shortest O–O (Å)", lengths, borders),
        Panel("above the intact cell (eV)", energies, [Line("y", 0.0)]),
    ]
    xs = [x for x, _ in known]
    span = (max(xs) + 0.1, min(xs) - 0.1)
    caption = "All minima of all pairs. Dashed: the longest O–O that is called so."
    return Chart("species", "Species on charge", X_LABEL, panels, caption, x_range=span, height=560)


def _minima_table(records: Sequence[Record]) -> Table:
    keys = {
        "outcome": ("Becomes", ""), "species": ("Species", ""), "length_A": ("O–O (Å)", ".3f"),
        "energy_eV": ("Energy (eV)", "+.3f"), "moment_muB": ("Moment per O (μB)", ".2f"), "status": ("Status", ""),
        "fmax_eV_per_A": ("Largest force (eV/Å)", ".4f"), "spread_eV": ("Spread (eV)", ".2f"),
    }  # fmt: skip
    rows: list[list[Cell]] = [
        [r.label, *(m.get(k) for k in keys), ", ".join(map(str, m["metal_bonds"])), ", ".join(m["reached_from"])]
        for r in records
        for m in r.values["minima"]
    ]
    columns = [Column("Pair"), *(Column(*v) for v in keys.values()), Column("Metals bonded"), Column("Reached from")]
    caption = (
        "Minima that are one are merged; each with all that led there: a release at that length on the way in or out, "
        "or O2 put into the void. Metals bonded: to each of the two oxygens. Spread: between the potentials, at this "
        "geometry."
    )
    return Table("minima", "Minima", columns, rows, caption)


def _profile_table(records: Sequence[Record]) -> Table:
    """Every point of every scan; an export."""
    keys = ("inward", "length_A", "energy_eV", "mean_force_eV_per_A", "shortest_metal_A", "jump_A", "converged")
    rows: list[list[Cell]] = [
        [r.label, *(p.get(k) for k in keys), *(p.get("moments_muB") or [None, None]), *p["metal_bonds"]]
        for r in records
        for p in r.values["profile"]
    ]
    names = ("pair", *keys, "moment_1_muB", "moment_2_muB", "metals_1", "metals_2")
    return Table("profiles", "Profiles", [Column(k) for k in names], rows, shown=False)


def oxygen_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``oxygen`` step."""
    found = summary_of_step(records)
    blocks: list[Block] = [_vacancy_table(found), *_opinions(records)]
    blocks += [c for c in (_vacancy_chart(found), _release_chart(found)) if c is not None]
    blocks += [_release_table(found)] if found.releases else []
    blocks += [_calibration_table(found)] if found.calibration is not None else []
    bad = [f"{r.label}: {r.status}: {r.message}" for r in records if not r.good]
    notices = [Notice("note", f"{step}: what is missing", "", found.notes)] if found.notes else []
    notices += [Notice("warning", f"{step}: {len(bad)} were not computed", "", bad)] if bad else []
    notices += unchecked(step, records)
    return Part(
        tuple(_headlines(found)), tuple(notices), (Section(step, "Oxygen vacancies and release", blocks, OXYGEN_LEAD),)
    )


def _gas(found: Summary) -> str:
    return f"{found.temperature_K:g} K, {found.pressure_bar:g} bar"


def _headlines(found: Summary) -> list[Number]:
    numbers = []
    lowest = min(
        (v for v in found.vacancies if v.relaxed_eV is not None), key=lambda v: v.relaxed_eV or 0.0, default=None
    )
    if lowest is not None:
        remark = f"{lowest.label}; against half an O2, 0 K, uncorrected"
        numbers.append(Number("Lowest O vacancy", f"{lowest.relaxed_eV:+.2f}", "eV", remark))
    known = [level for level in LEVELS if (level, True) in found.releases]
    return numbers + [
        Number(f"O2 release begins, {level}", _onset_words(found, level, gas=True), "", _gas(found)) for level in known
    ]


def _onset_words(found: Summary, level: str, *, gas: bool) -> str:
    return _between(found.onset(level, gas=gas))


def _between(between: tuple[float, float] | None) -> str:
    if between is None:
        return "nowhere"
    high, low = between
    return f"at x ≥ {low:g}" if high == low else f"x = {high:g} … {low:g}"


def _vacancy_table(found: Summary) -> Table:
    columns = [
        Column("Vacancy"), Column("x", "g"), Column("Kind"), Column("Per cell", "d"), Column("Unrelaxed (eV)", "+.3f"),
        Column("Relaxed (eV)", "+.3f"), Column("Images apart (Å)", ".1f"), Column("Status"), Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            v.label,
            v.x,
            v.kind,
            v.multiplicity,
            v.unrelaxed_eV,
            v.relaxed_eV,
            v.image_distance_A,
            v.status,
            v.force_calls,
        ]
        for v in found.vacancies
    ]
    caption = "Per vacancy, all its oxygens together, against half an O2 each at 0 K, uncorrected."
    return Table("vacancies", "Oxygen vacancies", columns, rows, caption)


def _opinions(records: Sequence[Record]) -> list[Block]:
    found = oxygen_opinions(records)
    title = "Vacancies by potential, largest disagreement first: what to compute by DFT"
    words = [f"{o['level']} {name}: {_between(span)}" for o in found["onsets"] for name, span in o["by"].items()]
    caption = "Relaxed, each potential against half its own O2." + (
        f" Onset of release, {'; '.join(words)}." if words else ""
    )
    return ranking_block("disagreement", title, found["potentials"], found["vacancies"], caption)


def _vacancy_chart(found: Summary) -> Chart | None:
    known = [v for v in found.vacancies if v.x is not None and v.relaxed_eV is not None and v.kind == "single"]
    if len({v.x for v in known}) < 2:
        return None
    series = [
        Series(name, [v.x or 0.0 for v in known], [getattr(v, key) for v in known], "points", color, hollow=hollow)
        for name, key, color, hollow in (
            ("unrelaxed", "unrelaxed_eV", GREY, True),
            ("relaxed", "relaxed_eV", BLUE, False),
        )
    ]
    panel = Panel("formation energy (eV)", series, [Line("y", 0.0)])
    xs = [v.x or 0.0 for v in known]
    span = (max(xs) + 0.1, min(xs) - 0.1)
    caption = "Single vacancies, each symmetry-distinct oxygen; against half an O2 at 0 K, uncorrected."
    return Chart("vacancy-x", "Oxygen vacancies on charge", X_LABEL, [panel], caption, x_range=span)


def _release_chart(found: Summary) -> Chart | None:
    """Release energy against x: uncorrected and corrected beside each other, without and with the gas."""
    if not found.releases:
        return None
    colors: Mapping[str, str] = {"uncorrected": BLUE, "corrected": VERMILION}
    series = [
        Series(
            f"{level}, {_gas(found) if gas else '0 K'}",
            [r.x for r in rs], [r.energy_eV for r in rs], "line+points", colors[level], dashed=not gas, hollow=not gas,
            hover=[" + ".join(f"{n:.3g} {name}" for name, n in r.products.items()) for r in rs],
        )
        for (level, gas), rs in found.releases.items()
    ]  # fmt: skip
    panel = Panel("release of O2 (eV per formula unit)", series, [Line("y", 0.0, "downhill below")])
    xs = [r.x for rs in found.releases.values() for r in rs]
    caption = "O2 as the potential has it: no oxide was given to calibrate it with."
    if found.calibration is not None:
        caption = (
            "Two scales that are never mixed: the potential as it is, and O2 shifted by what calibration oxides say."
        )
    span = (max(xs) + 0.1, min(xs) - 0.1)
    return Chart("onset", "Onset of O2 release", X_LABEL, [panel], caption, x_range=span)


def _release_table(found: Summary) -> Table:
    rows: list[list[Cell]] = [
        [level, _gas(found) if gas else "0 K", r.x, r.energy_eV, r.oxygen,
         " + ".join(f"{n:.3g} {name}" for name, n in r.products.items())]
        for (level, gas), rs in found.releases.items()
        for r in rs
    ]  # fmt: skip
    columns = [
        Column("Energies"), Column("O2 at"), Column("x", "g"), Column("Energy (eV per formula unit)", "+.3f"),
        Column("O set free", ".3f"), Column("Products"),
    ]  # fmt: skip
    caption = "Per formula unit: one metal other than the ion. The most lithiated host has no other to go to."
    return Table("release", "Release of O2", columns, rows, caption)


def _calibration_table(found: Summary) -> Table:
    from atomsim.analysis.thermochemistry import measured_enthalpy

    assert found.calibration is not None
    rows: list[list[Cell]] = [
        [formula, error, measured_enthalpy(formula).kJ_per_mol, measured_enthalpy(formula).source]
        for formula, error in found.calibration.errors_eV.items()
    ]
    columns: list[Any] = [
        Column("Oxide"), Column("Computed − measured (eV per O)", "+.3f"), Column("Measured (kJ/mol)", ".1f"),
        Column("Source"),
    ]  # fmt: skip
    caption = f"Corrected numbers count from half an O2 shifted by the mean, {found.calibration.shift:+.3f} eV."
    if len(rows) > 1:
        caption += f" The oxides differ by {found.calibration.spread:.2f} eV: so much one shift cannot cure."
    return Table("calibration", "Calibration", columns, rows, caption)
