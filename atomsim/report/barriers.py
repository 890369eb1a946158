"""The part of a ``barriers`` step: hops, profiles, percolation, and what to be careful with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atomsim.errors import counted
from atomsim.hopping.distribution import barrier_distribution
from atomsim.hopping.summary import changed_symmetry, host_summaries, missing_hops, state_energies
from atomsim.report.barriers_charts import histogram_chart, profile_charts, threshold_chart, x_chart
from atomsim.report.blocks import Block, Cell, Column, Notice, Number, Section, Table
from atomsim.report.diffusivity_order import order_of_hops
from atomsim.report.parts import Part
from atomsim.store.records import Record

Summary = Mapping[str, Any]

LEAD = (
    "Each hop stands for all that symmetry makes of it. Barriers are those of a lone carrier in an otherwise perfect "
    "crystal, at a saddle that joins the two ends; negative modes are counted there."
)


def barriers_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``barriers`` step."""
    hosts = host_summaries(records)
    several = len(hosts) > 1
    blocks: list[Block] = [hop_table(records, several=several), *profile_charts(records), host_table(hosts)]
    elements = {r.tags["host"]: set(r.atoms.symbols) for r in records if "host" in r.tags and r.structure is not None}
    if (table := order_of_hops(hosts, elements)) is not None:
        blocks.append(table)
    blocks += [c for c in (threshold_chart(hosts), x_chart(hosts), histogram_chart(records)) if c is not None]
    blocks += [*distribution_tables(records), site_table(records), jump_table(records)]
    title = f"Hops of {records[0].tags['ion']}" if records and "ion" in records[0].tags else "Hops"
    return Part(tuple(_headlines(hosts)), tuple(_notices(step, records)), (Section(step, title, blocks, LEAD),))


def _headlines(hosts: Sequence[Summary]) -> list[Number]:
    known = [h for h in hosts if "lowest_barrier_eV" in h]
    if len(hosts) != 1 or not known:
        return []
    host = known[0]
    found = [
        Number(
            "Lowest barrier",
            f"{host['lowest_barrier_eV']:.2f}",
            "eV",
            f"{host['good']} of {host['hops']} distinct hops, up to {host['highest_barrier_eV']:.2f} eV",
        )
    ]
    dimensions, missing = host.get("dimensions", 0), missing_hops(host)
    if dimensions:
        remark = f"saddles over the lowest end that must be passed in {dimensions} dimension{'s' * (dimensions > 1)}"
        remark += f"; an upper bound, as {missing}" if missing else ""
        found.append(Number("Percolating barrier", f"{host[f'threshold_{dimensions}D_eV']:.2f}", "eV", remark))
    elif missing:
        found.append(Number("Percolating barrier", "unknown", "", missing))
    return found


def _notices(step: str, records: Sequence[Record]) -> list[Notice]:
    flagged = [f"{r.label}: {', '.join(r.values['flags'])}" for r in records if r.values.get("flags")]
    found = []
    if flagged:
        text = "Read these barriers with the profile beside them."
        found.append(Notice("note", f"{step}: flags on {len(flagged)} of {len(records)} hops", text, flagged))
    apart = [r for r in records if r.values.get("barrier_spread_eV", 0.0) > 0.05]
    if apart:
        ranked = sorted(apart, key=lambda r: -r.values["barrier_spread_eV"])
        lines = [f"{r.label}: {r.values['barrier_spread_eV']:.3f} eV between potentials" for r in ranked]
        text = "Worth a density-functional calculation first, the most in need at the top."
        found.append(Notice("warning", f"{step}: potentials disagree on {counted(len(apart), 'barrier')}", text, lines))
    left_out = {(r.tags["host"], *entry[:2]) for r in records for entry in r.tags.get("left_out", [])}
    if left_out:
        lines = [f"{host}, {name}: {why}" for host, name, why in sorted(left_out)]
        found.append(Notice("note", f"{step}: not computed: {counted(len(left_out), 'hop')}", "", lines))
    changed = {r.tags["host"]: changed_symmetry(r.tags) for r in records if "space_group_before" in r.tags}
    if changed:
        lines = [f"{host}: {text}" for host, text in changed.items()]
        found.append(Notice("note", f"{step}: relaxation changed the space group of {len(changed)} hosts", "", lines))
    return found


def distribution_tables(records: Sequence[Record]) -> list[Table]:
    """One line for each host whose hops were drawn at random; none for others."""
    hosts = dict.fromkeys(r.tags["host"] for r in records if r.tags.get("drawn_at_random"))
    found = {h: barrier_distribution([r for r in records if r.tags["host"] == h]) for h in hosts}
    columns = [
        Column("Host"), Column("hops drawn", "d"), Column("of", "d"), Column("with a path", "d"),
        Column("mean barrier (eV)", ".2f"), Column("deviation (eV)", ".2f"), Column("lowest", ".2f"),
        Column("quartile", ".2f"), Column("median", ".2f"), Column("quartile", ".2f"), Column("highest", ".2f"),
        Column("rms ΔE of ends (eV)", ".2f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [h, d.drawn, d.of, d.good, d.mean_eV, d.deviation_eV, *d.quantiles_eV, d.site_deviation_eV]
        for h, d in found.items()
        if d is not None
    ]
    caption = "Hops drawn at random; barriers of both directions. A sample says nothing of percolation."
    return [Table("distribution", "Distribution of barriers", columns, rows, caption)] if rows else []


def hop_table(records: Sequence[Record], *, several: bool) -> Table:
    """One line for each distinct hop."""
    columns = [
        *([Column("Host")] if several else []),
        Column("Hop"),
        Column("Mechanism"),
        Column("Per cell", "d"),
        Column("Length (Å)", ".3f"),
        Column("Bottleneck (Å)", ".2f"),
        Column("Status"),
        Column("Barrier (eV)", ".3f"),
        Column("Reverse (eV)", ".3f"),
        Column("ΔE (eV)", "+.3f"),
        Column("Negative modes", "d"),
        Column("Overlap", ".2f"),
        Column("ν (THz)", ".1f"),
        Column("Spread (eV)", ".3f"),
        Column("Force calls", "d"),
        Column("Flags"),
    ]
    rows: list[list[Cell]] = []
    for r in records:
        v = r.values
        attempt = v.get("prefactor_Hz")
        rows.append([
            *([r.tags.get("host")] if several else []),
            r.tags.get("hop"), r.tags.get("mechanism"), r.tags.get("multiplicity"), r.tags.get("length_A"),
            r.tags.get("bottleneck_A"), r.status, v.get("barrier_eV"), v.get("reverse_barrier_eV"),
            v.get("reaction_energy_eV"), v.get("negative_modes"), v.get("overlap_with_path"),
            None if attempt is None else attempt / 1e12, v.get("barrier_spread_eV"), v.get("force_calls"),
            "; ".join(v.get("flags", [])) or None,
        ])  # fmt: skip
    bad = frozenset(k for k, r in enumerate(records) if not r.good)
    assumed = any(r.values.get("prefactor_from") == "assumed" for r in records)
    caption = "Attempt frequencies ν of 10 THz are assumed, not computed. " if assumed else ""
    caption += "Marked: not to be used." if bad else ""
    return Table("hops", "Hops", columns, rows, caption, flagged=bad)


def host_table(hosts: Sequence[Summary]) -> Table:
    """One line for each host and mechanism: percolation and diffusivity."""
    keys = {
        "host": ("Host", ""),
        "x": ("x", "g"),
        "space_group": ("Space group", ""),
        "image_distance_A": ("Images apart (Å)", ".2f"),
        "mechanism": ("Mechanism", ""),
        "network_hops": ("Hops", "d"),
        "good": ("Good", "d"),
        "lowest_barrier_eV": ("Lowest (eV)", ".3f"),
        "dimensions": ("Dimensions", "d"),
        "threshold_1D_eV": ("1D (eV)", ".3f"),
        "threshold_2D_eV": ("2D (eV)", ".3f"),
        "threshold_3D_eV": ("3D (eV)", ".3f"),
        "diffusivity_300K_cm2_per_s": ("D, 300 K (cm²/s)", ".3g"),
        "kmc_300K_cm2_per_s": ("D, kinetic Monte Carlo", ".3g"),
        "kmc_error_cm2_per_s": ("± (standard error)", ".2g"),
        "activation_energy_eV": ("Activation energy (eV)", ".3f"),
        "force_calls": ("Force calls", "d"),
        "remark": ("Remark", ""),
    }
    lines = [line for host in hosts for line in _network_lines(host)]
    shown = [key for key in keys if any(line.get(key) is not None for line in lines)]
    rows: list[list[Cell]] = [[line.get(key) for key in shown] for line in lines]
    caption = (
        "1D, 2D, 3D: the highest saddle, over the lowest end of all, on the easiest network that spans so many "
        "dimensions. D is that of one vacancy (or interstitial); times its concentration it is that of the ions."
    )
    for host in hosts:
        if missing := missing_hops(host):
            caption += f" {host['host']}: thresholds are upper bounds, blank ones unknown: {missing}."
        elif "max_length_A" in host:
            caption += f" {host['host']}: blank thresholds are not reached with hops up to {host['max_length_A']:g} Å."
    return Table("percolation", "Percolation and diffusion", [Column(*keys[key]) for key in shown], rows, caption)


def _network_lines(host: Summary) -> list[dict[str, Any]]:
    lines = []
    for number, network in enumerate(host["networks"]):
        notes = [changed_symmetry(host), missing_hops(network)]
        notes += [network.get(why) for why in ("why_no_diffusivity", "why_no_kmc")]
        known = {key: host.get(key) for key in ("host", "x", "space_group", "image_distance_A")}
        line = known | {"good": network["network_hops"] - network["missing"]}
        line |= {"remark": "; ".join(dict.fromkeys(note for note in notes if note)) or None}
        if number == 0:  # all mechanisms' together
            line["force_calls"] = host["force_calls"]
        lines.append(line | network)
    return lines


def site_table(records: Sequence[Record]) -> Table:
    """Sites of each host, for kinetic Monte Carlo codes; an export."""
    hosts = {r.tags["host"]: r.tags for r in records if "sites" in r.tags}
    rows: list[list[Cell]] = [
        [name, n, site["name"], *site["fractional"]] for name, t in hosts.items() for n, site in enumerate(t["sites"])
    ]
    columns = [Column(c) for c in ("host", "site", "kind", "a", "b", "c")]
    return Table("sites", "Sites", columns, rows, shown=False)


def jump_table(records: Sequence[Record]) -> Table:
    """Every copy of every hop with barriers and attempt frequency, for kinetic Monte Carlo codes; an export."""
    rows: list[list[Cell]] = []
    for r in records:
        if not r.good:
            continue
        start, saddle, end = state_energies(r)
        barriers = [saddle - start, saddle - end, r.values.get("prefactor_Hz")]
        rows += [[r.tags["host"], r.tags["hop"], *copy, *barriers] for copy in r.tags.get("copies", [])]
    names = "host hop from_site to_site cell_a cell_b cell_c barrier_eV reverse_barrier_eV attempt_Hz"
    return Table("jumps", "Jumps", [Column(c) for c in names.split()], rows, shown=False)
