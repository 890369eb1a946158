"""Charts of the scans of a ``dimerize`` step: in, out, minima after release, the same points by other potentials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atomsim.analysis.oxygen import CLASSES
from atomsim.report.blocks import Chart, Line, Panel, Series
from atomsim.report.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from atomsim.store.records import Record

COLORS = (BLUE, VERMILION, GREEN, PURPLE, GREY)
PER_CHART = 4


def profile_charts(records: Sequence[Record]) -> list[Chart]:
    """Energy against the length of each pair, a few pairs of one structure to a chart."""
    charts: list[Chart] = []
    for host, chosen in _chunks(records):
        series: list[Series] = []
        for record, color in zip(chosen, COLORS, strict=False):
            for inward in (True, False):
                part = [p for p in record.values["profile"] if p["inward"] is inward]
                x, y = [p["length_A"] for p in part], [p["energy_eV"] for p in part]
                name = record.label if inward else ""
                series.append(Series(name, x, y, "line+points", color, dashed=not inward, hollow=not inward))
            series += _second_opinions(record, color)
            ends = [m for m in record.values["minima"] if m["length_A"] is not None and m["length_A"] < 2.4]
            lengths, energies = [m["length_A"] for m in ends], [m["energy_eV"] for m in ends]
            hover = [f"{m['species']}, {m['energy_eV']:+.2f} eV, from {', '.join(m['reached_from'])}" for m in ends]
            series.append(Series("", lengths, energies, "points", color, width=4.0, hover=hover))
        borders = [Line("x", high, name) for name, (_, high) in CLASSES.items() if name != "lattice"]
        panel = Panel("energy above the intact cell (eV)", series, [*borders, Line("y", 0.0)])
        number = len(charts) + 1
        caption = (
            "Lines: in (full) and out again (dashed), everything else relaxed. Single points: minima after release. "
            "Vertical lines part the species by length. Thin: the same points, on the way in, by other potentials."
        )
        title = f"Driving pairs together, {host}"
        charts.append(Chart(f"profile-{number}", title, "O–O length (Å)", [panel], caption, wide=True))
    return charts


def _chunks(records: Sequence[Record]) -> Iterator[tuple[str, Sequence[Record]]]:
    """Pairs of one structure, at most as many as a chart has colors for."""
    for host in dict.fromkeys(str(r.tags.get("host", "")) for r in records):
        own = [r for r in records if str(r.tags.get("host", "")) == host]
        for first in range(0, len(own), PER_CHART):
            yield host, own[first : first + PER_CHART]


def _second_opinions(record: Record, color: str) -> list[Series]:
    """Energies of the way in by the potentials of ``check_with``, at the same geometries."""
    part = [p for p in record.values["profile"] if p["inward"] and p.get("checked_with")]
    names = part[0]["checked_with"] if part else ()
    found = []
    for name in names:
        hover = [f"{record.label}, {name}: {p['checked_with'][name]:+.2f} eV" for p in part]
        x, y = [p["length_A"] for p in part], [p["checked_with"][name] for p in part]
        found.append(Series("", x, y, "line", color, width=1.0, hover=hover))
    return found
