"""What rows of ``barriers.py`` amount to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

SAME_A = 0.3
"""Saddles in which no atom is further away from where it is in the other are the same, Å."""
CLOSE_EV = 0.005
Row = dict[str, Any]


def report(rows: Sequence[Row]) -> str:
    """Return tables of all hops and of what they amount to."""
    sides: dict[str, dict[tuple[str, str], Row]] = {}
    for row in rows:
        sides.setdefault(row["side"], {})[row["host"], row["hop"]] = row
    lines = []
    for side in ("atomsim", "atomsim-2"):
        if side in sides:
            lines += [f"## {side}", "", *_table(sides[side], sides.get("ase", {})), ""]
            lines += [*_totals(sides[side], sides), ""]
    return "\n".join(lines)


def reference(row: Row) -> float | None:
    """The lowest barrier over a saddle of first order that ASE reached, at 0.01 eV/Å where it got so far, eV."""
    last = row.get("reference")
    if last and last["status"] == "converged" and last["negative_modes"] == 1:
        return float(last["barrier_eV"])
    proven = [f["barrier_eV"] for f in (*row["ase"], *([last] if last else [])) if f["negative_modes"] == 1]
    return min(proven, default=None)


def _table(mine: dict[tuple[str, str], Row], theirs: dict[tuple[str, str], Row]) -> Iterable[str]:
    yield "| host | hop | atomsim: eV, negative modes, calls | ASE's starts at 0.05 eV/Å: the same | reference, eV |"
    yield "|---|---|---|---|---|"
    for key, row in mine.items():
        found, other = row["found"], theirs.get(key)
        own = f"{_ev(found['barrier_eV'])}, {found['negative_modes']}, {found['force_calls']} ({found['status']})"
        starts, wanted = "–", "–"
        if other:
            starts = "; ".join(
                f"{_ev(f['barrier_eV'])}, {f['negative_modes']}, {f['force_calls']}" for f in other["ase"]
            )
            known = reference(other)
            wanted = "none of first order" if known is None else _ev(known)
        yield f"| {key[0]} | {key[1]} | {own} | {starts} | {wanted} |"


def _ev(value: float) -> str:
    return f"{value:.4f}"


def _totals(mine: dict[tuple[str, str], Row], sides: dict[str, dict[tuple[str, str], Row]]) -> Iterable[str]:
    theirs, calculator = sides.get("ase", {}), sides.get("calculator", {})
    good = {k: r["found"] for k, r in mine.items() if r["found"]["status"] == "converged"}
    wrong = [k for k, f in good.items() if f["negative_modes"] not in (None, 1)]
    yield f"- hops {len(mine)}, converged {len(good)}, of these with other than one negative mode {len(wrong)}"
    bands = [f for r in theirs.values() for f in r["ase"]]
    if bands:
        others = sum(f["negative_modes"] != 1 for f in bands)
        yield f"- ASE's saddles that are not of first order: {others} of {len(bands)}"
    wanted = {k: reference(theirs[k]) for k in good if k in theirs}
    errors = {k: good[k]["barrier_eV"] - w for k, w in wanted.items() if w is not None}
    if errors:
        within = sum(abs(e) <= CLOSE_EV for e in errors.values())
        lower = sum(e < -CLOSE_EV for e in errors.values())
        median = 1000 * np.median(np.abs(list(errors.values())))
        yield (
            f"- against the reference ({len(errors)} hops): within 5 meV {within}, lower {lower}, "
            f"higher {len(errors) - within - lower}; median |ΔE| {median:.1f} meV"
        )
    ratios = [good[k]["force_calls"] / c for k in good if k in theirs for c in _calls_to(theirs[k], good[k])]
    if ratios:
        yield f"- calls over those of FIRE to the same saddle: median {np.median(ratios):.2f} ({len(ratios)} bands)"
    yield from _all_hops(mine, theirs)
    times = [(calculator[k]["found"]["cpu_s"], good[k]["cpu_s"]) for k in good if k in calculator]
    if times:
        own, other = sum(t[1] for t in times), sum(t[0] for t in times)
        yield f"- processor time of {len(times)} hops: {own:.0f} s against {other:.0f} s, {other / own:.1f} ×"


def _calls_to(row: Row, found: Row) -> Iterable[int]:
    """Calls of ASE's bands that converged to the saddle that was found."""
    for f in row["ase"]:
        apart = np.array(f["saddle_A"]) - np.array(found["saddle_A"])
        apart -= apart.mean(axis=0)
        same = float(np.linalg.norm(apart, axis=1).max()) < SAME_A
        if same and f["negative_modes"] == 1 and f["status"] == "converged":
            yield f["force_calls"]


def _all_hops(mine: dict[tuple[str, str], Row], theirs: dict[tuple[str, str], Row]) -> Iterable[str]:
    """For each host: all its hops, what they share counted once, against every copy done alone."""
    for host in dict.fromkeys(k[0] for k in mine):
        keys = [k for k in mine if k[0] == host and k in theirs]
        if not keys:
            continue
        facts = mine[keys[0]]
        own = facts["shared_calls"] + sum(mine[k]["found"]["force_calls"] for k in keys)
        other = sum(
            facts["copies"]
            * mine[k]["multiplicity"]
            * (theirs[k]["ase"][0]["force_calls"] + 2 * facts["ase_end_calls"])
            for k in keys
        )
        yield (
            f"- {host} ({facts['atoms']} atoms, images {facts['image_distance_A']:.1f} Å apart): {len(keys)} hops, "
            f"{own} calls against {other}, {other / own:.0f} ×"
        )
