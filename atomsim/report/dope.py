"""The part of a ``dope`` step: where the dopant sits, what it does to layers and voltage, states by moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.analysis.published import doping_values
from atomsim.cations.doped import Paired, Preference, paired_layers, preferences, voltage_shifts
from atomsim.cations.opinions import dopant_opinions
from atomsim.cations.states import nearest_states
from atomsim.errors import counted
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.opinions import ranking_block, unchecked
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREEN, VERMILION
from atomsim.store.records import Record

LEAD = (
    "Each doped cell is compared with the same crystal without the dopant. On the first sublattice the dopant "
    "replaces an atom; on the others it is exchanged with what stands there, so that all have one composition."
)
WORDS = {
    "slab_A": "slab S(MO₂)",
    "gap_A": "ion layer I(LiO₂)",
    "spacing_A": "their sum",
    "c_A": "c (three spacings)",
    "across_A": "O–O across the ion layer",
}


def dope_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``dope`` step."""
    found, layers = preferences(records), paired_layers(records)
    blocks: list[Block] = [_preference_table(found), *_opinions(records)]
    blocks += [c for c in (_layer_chart(layers),) if c is not None]
    blocks += [_layer_table(layers), _published(records, layers), _voltages(records), _states(records), _cells(records)]
    bad = [f"{r.label}: {r.status}: {r.message}" for r in records if not r.good]
    notices = [Notice("warning", f"{step}: {counted(len(bad), 'cell')} did not converge", "", bad)] if bad else []
    notices += unchecked(step, records)
    blocks = [b for b in blocks if not (isinstance(b, Table) and not b.rows)]
    return Part(tuple(_headlines(found, layers)), tuple(notices), (Section(step, f"Doping · {step}", blocks, LEAD),))


def _headlines(found: Sequence[Preference], layers: Sequence[Paired]) -> list[Number]:
    numbers = []
    best = next((p for p in found if p.above_eV == 0.0), None)
    others = [p for p in found if best is not None and p.formula == best.formula and p.site != best.site]
    if best is not None and others:
        text = f"{others[0].site} lies next, by so much; {best.formula}"
        numbers.append(Number(f"Dopant on {best.site}", f"{others[0].above_eV:+.2f}", "eV", text))
    sums = [p for p in layers if p.what == "spacing_A" and np.isfinite(p.low)]
    if sums:
        p = max(sums, key=lambda q: q.n)
        words = f"± {p.error:.4f} over {counted(p.n, 'pair')}, on {p.site}, x = {p.x:.3g}"
        numbers.append(Number("Layer spacing with the dopant", f"{p.mean:+.4f}", "Å", words))
    return numbers


def _preference_table(found: Sequence[Preference]) -> Table:
    columns = [
        Column("Composition"), Column("Sublattice"), Column("Above the lowest (eV)", "+.2f"), Column("By host (eV)"),
        Column("Cells", "d"), Column("Not converged", "d"), Column("How"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            p.formula, p.site, p.above_eV, ", ".join(f"{e:+.2f}" for e in sorted(p.paired_eV)) or None, p.cells,
            p.of - p.cells, "exchanged" if p.exchanged else "replaces",
        ]
        for p in found
    ]  # fmt: skip
    caption = (
        "Lowest cell on each sublattice above the lowest of all, per cell. By host: lowest against lowest on the first "
        "sublattice of the same host. Only equal compositions are compared."
    )
    return Table("preference", "Where the dopant sits", columns, rows, caption)


def _opinions(records: Sequence[Record]) -> list[Block]:
    """Preferences by each potential, and the cells on which they differ most."""
    found = dopant_opinions(records)
    names = found["potentials"]
    sites = [{**s, "label": f"{s['site']}, {s['formula']}"} for s in found["sites"]]
    above = "Above the best sublattice of the same composition by the same potential, per cell."
    cells = "Above the cell of the same composition that the first potential puts lowest."
    title = "Cells by potential, largest disagreement first: what to compute by DFT"
    return [
        *ranking_block("preference-by-potential", "Where the dopant sits, by potential", names, sites, above),
        *ranking_block("disagreement", title, names, found["ranking"], cells),
    ]


def _layer_table(layers: Sequence[Paired]) -> Table:
    columns = [
        Column("Sublattice"), Column("x", ".3g"), Column("Length"), Column("Pairs", "d"), Column("Undoped (Å)", ".4f"),
        Column("Change (Å)", "+.4f"), Column("Standard error (Å)", ".4f"), Column("95 % from (Å)", "+.4f"),
        Column("to (Å)", "+.4f"), Column("Resolved"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            p.site, p.x, WORDS[p.what], p.n, p.undoped, p.mean, _finite(p.error), _finite(p.low), _finite(p.high),
            _resolved(p.low, p.high),
        ]
        for p in layers
    ]  # fmt: skip
    caption = (
        "Doped minus undoped, pair by pair; intervals by resampling hosts and their cells. x: ions per two anions."
    )
    return Table("layers", "Layers", columns, rows, caption)


def _layer_chart(layers: Sequence[Paired]) -> Chart | None:
    """Changes of slab, ion layer and sum against the ion content."""
    site = next(iter(dict.fromkeys(p.site for p in layers)), None)
    own = [p for p in layers if p.site == site]
    if len({p.x for p in own}) < 2:
        return None
    series = []
    for what, color in (("slab_A", BLUE), ("gap_A", VERMILION), ("spacing_A", GREEN)):
        points = sorted((p for p in own if p.what == what), key=lambda p: -p.x)
        hover = [f"{p.mean:+.4f} Å, {counted(p.n, 'pair')}, 95 % {p.low:+.4f} to {p.high:+.4f}" for p in points]
        x, y = [p.x for p in points], [p.mean for p in points]
        series.append(Series(WORDS[what], x, y, "line+points", color, hover=hover))
    panel = Panel("doped − undoped (Å)", series, [Line("y", 0.0)])
    xs = [p.x for p in own]
    span = (max(xs) + 0.05, min(xs) - 0.05)
    caption = f"Mean over the pairs at each x, dopant on {site}; how many, and how sure, is in the table."
    return Chart("layers-x", "Layers on charge", "x (ions per two anions)", [panel], caption, x_range=span)


def _published(records: Sequence[Record], layers: Sequence[Paired]) -> Table:
    doped = [r for r in records if r.tags.get("role") == "doped"]
    elements = set(doped[0].atoms.get_chemical_symbols()) if doped else set()
    columns = [
        Column("Length"), Column("Reading"), Column("Computed (Å)", "+.4f"), Column("± (Å)", ".4f"),
        Column("Published (Å)", "+.4f"), Column("Source"), Column("Remark"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    full = max((p.x for p in layers), default=0.0)
    for entry in doping_values(doped[0].tags["dopant"], elements) if doped else []:
        own = [p for p in layers if p.what == entry["quantity"] and p.x == full]
        if own:
            best = max(own, key=lambda p: p.n)
            rows.append([
                WORDS[best.what], entry["reading"], best.mean, _finite(best.error), entry["change"], entry["citation"],
                entry["remark"],
            ])  # fmt: skip
    caption = "Of the sublattice with most pairs, all ions in. Where labels contradict lengths, both readings stand."
    return Table("published-layers", "Change of the layers, computed and published", columns, rows, caption)


def _voltages(records: Sequence[Record]) -> Table:
    columns = [
        Column("From x", ".3g"), Column("to x", ".3g"), Column("Pairs", "d"), Column("Shift (V)", "+.3f"),
        Column("95 % from (V)", "+.3f"), Column("to (V)", "+.3f"), Column("Resolved"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [v.x_high, v.x_low, v.n, v.mean_V, _finite(v.low_V), _finite(v.high_V), _resolved(v.low_V, v.high_V)]
        for v in voltage_shifts(records)
    ]
    caption = (
        "Doped minus undoped with the same arrangements of ions: the metal's energy drops out. No hull is implied. "
        "Pairs: each arrangement at one x with each at the other; an interval wants four arrangements at an end."
    )
    return Table("voltage-shifts", "Voltage with and without the dopant", columns, rows, caption)


def _states(records: Sequence[Record]) -> Table:
    columns = [
        Column("Cell"),
        Column("x", ".3g"),
        Column("Element"),
        Column("Mean moment (μB)", ".2f"),
        Column("Atoms by state"),
    ]
    rows: list[list[Cell]] = [
        [
            r.label,
            r.tags.get("content"),
            element,
            found["mean_moment_muB"],
            _counts(nearest_states(element, found["moments_muB"])),
        ]
        for r in records
        for element, found in r.values.get("states", {}).items()
    ]
    caption = (
        "Nearest spin-only moment, an estimate: the potential predicts moments from surroundings. 4d and 5d metals, W "
        "among them, are not read."
    )
    return Table("states", "States by moments", columns, rows, caption)


def _counts(by_state: dict[int, int]) -> str:
    return ", ".join(f"{n} × {state}+" for state, n in by_state.items())


def _cells(records: Sequence[Record]) -> Table:
    hosts = {r.tags.get("host"): r for r in records if r.tags.get("role") == "host" and r.good}
    columns = [
        Column("Cell"), Column("Role"), Column("x", ".3g"), Column("Sublattice"), Column("Configurations"),
        Column("Paid by"), Column("Status"), Column("Energy (eV)", ".4f"), Column("Slab (Å)", ".4f"),
        Column("Ion layer (Å)", ".4f"), Column("c (Å)", ".3f"), Column("O–O across (Å)", ".3f"),
        Column("Volume change (%)", "+.2f"),
        Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        t, v, layer = r.tags, r.values, r.values.get("layers", {})
        host = hosts.get(t.get("host"))
        change = None
        if host is not None and "volume_A3" in v and host is not r:
            change = 100 * (v["volume_A3"] / host.values["volume_A3"] - 1)
        of = f"{t['configurations']}{' drawn' if t.get('sampled') else ''}" if "configurations" in t else None
        paid = ", ".join(f"{len(t[k])} {k}" for k in ("removed", "swapped") if t.get(k)) or None
        rows.append([
            r.label, t.get("role"), t.get("content"), t.get("site"), of, paid, r.status, v.get("energy_eV"),
            layer.get("slab_A"), layer.get("gap_A"), layer.get("c_A"), layer.get("across_A"), change,
            v.get("force_calls"),
        ])  # fmt: skip
    bad = frozenset(n for n, r in enumerate(records) if not r.good)
    caption = (
        "Configurations: symmetry-distinct ways to dope the sublattice, of which these were computed. Volume change: "
        "against the undoped cell."
    )
    return Table("doped-cells", "Cells", columns, rows, caption, flagged=bad)


def _resolved(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "too few pairs"
    return "yes" if low > 0 or high < 0 else "no difference resolved"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
