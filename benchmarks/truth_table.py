"""Tables of ``truth.py``: which hop is compared with which, errors, ranks, bias."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

Row = dict[str, Any]
MEASURED_V = {"LiCoO2": 4.2, "LiMn2O4": 4.1, "TiS2": 2.1}
"""Average voltage against the metal. LiCoO2 to CoO2: Amatucci, Tarascon, Klein, J. Electrochem. Soc. 143, 1114
(1996), on charge; LiMn2O4 to λ-MnO2: Ohzuku, Kitagawa, Hirai, J. Electrochem. Soc. 137, 769 (1990); LiTiS2:
Whittingham, Science 192, 1126 (1976)."""


def literature() -> list[Row]:
    """Rows of ``data/literature_barriers.csv``."""
    lines = (Path(__file__).parent / "data" / "literature_barriers.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def compared(row: Row, rule: str) -> float | None:
    """Barrier of the hop that a rule names, in the computed hops of a host; None where there is none."""
    proven = [h for h in row.get("hops", ()) if h["status"] == "converged"]
    if rule == "through":
        found = row.get("thresholds_eV", {})
        known = [found[d] for d in ("1", "2", "3") if found.get(d) is not None]
        return min(known, default=None)
    if rule in ("vacancy", "divacancy"):
        return min((_highest(h) for h in proven if h["mechanism"] == rule), default=None)
    ends, _, rank = rule.partition(" ")
    names = wyckoff(row.get("kinds", {}))
    wanted = Counter(ends.split("-"))
    alike = [h for h in row.get("hops", ()) if Counter(names.get(h[k], "") for k in ("from", "to")) == wanted]
    alike = sorted((h for h in alike if h["mechanism"] == "vacancy"), key=lambda h: h["length_A"])
    place = int(rank or 1) - 1
    if place >= len(alike) or alike[place]["status"] != "converged":
        return None
    return _highest(alike[place])


def _highest(hop: Row) -> float:
    """The larger of both directions: a barrier over the lower of its ends."""
    return float(max(hop["barrier_eV"], hop["reverse_barrier_eV"]))


def wyckoff(kinds: Row) -> dict[str, str]:
    """Wyckoff sites by name of the hosts that a rule speaks of: of the mobile ions of Li2MnO3, Li3PO4 and Li3PS4."""
    sites = {name: k["sites"] for name, k in kinds.items()}
    if sorted(sites.values()) == [1, 1, 2]:  # Li2MnO3: 2b has six Mn around it in its own layer
        names = {name: "4h" for name, n in sites.items() if n == 2}
        single = sorted((name for name, n in sites.items() if n == 1), key=lambda name: -kinds[name]["metals"])
        return names | dict(zip(single, ("2b", "2c"), strict=True))
    if sorted(sites.values()) == [4, 8]:
        return {name: "8d" if n == 8 else "4c" for name, n in sites.items()}
    if sorted(sites.values()) == [2, 4]:
        return {name: "4b" if n == 4 else "2a" for name, n in sites.items()}
    return {}


def tables(rows: list[Row]) -> str:
    """Return all tables as markdown."""
    names = list(dict.fromkeys(r["potential"] for r in rows))
    parts = [_barriers(rows, names), _errors(rows, names), _lattices(rows, names), _voltages(rows, names)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _found(rows: list[Row], part: str, host: str, ion: str, name: str) -> Row:
    mine = [r for r in rows if (r["part"], r["host"], r["ion"], r["potential"]) == (part, host, ion, name)]
    return mine[-1] if mine else {}


def _barriers(rows: list[Row], names: list[str]) -> Iterable[str]:
    yield f"| host, ion, hop | literature, eV | collectors' MACE | {' | '.join(names)} |"
    yield "|---|---|---|" + "---|" * len(names)
    for entry in literature():
        found = [compared(_found(rows, "barriers", entry["host"], entry["ion"], n), entry["rule"]) for n in names]
        cells = " | ".join("–" if f is None else f"{f:.2f}" for f in found)
        label = f"{entry['host']} {entry['ion']} {entry['path']}"
        yield f"| {label} | {float(entry['barrier_eV']):.2f} | {float(entry['mace_relaxed_eV']):.2f} | {cells} |"


def _errors(rows: list[Row], names: list[str]) -> Iterable[str]:
    yield "| barriers | hops | mean absolute error, eV | bias, eV | largest, eV | rank correlation |"
    yield "|---|---|---|---|---|---|"
    entries = literature()
    theirs = [(float(e["mace_relaxed_eV"]), float(e["barrier_eV"])) for e in entries]
    yield _line("the collectors' MACE", theirs)
    for name in names:
        pairs = [
            (found, float(e["barrier_eV"]))
            for e in entries
            if (found := compared(_found(rows, "barriers", e["host"], e["ion"], name), e["rule"])) is not None
        ]
        if len(pairs) > 2:
            yield _line(name, pairs)


def _line(name: str, pairs: list[tuple[float, float]]) -> str:
    mine, reference = np.array(pairs).T
    off = mine - reference
    rank = float(spearmanr(mine, reference).statistic)
    errors = f"{np.abs(off).mean():.2f} | {off.mean():+.2f} | {np.abs(off).max():.2f}"
    return f"| {name} | {len(pairs)} | {errors} | {rank:.2f} |"


def _lattices(rows: list[Row], names: list[str]) -> Iterable[str]:
    hosts = list(dict.fromkeys(r["host"] for r in rows if r["part"] == "lattice"))
    if not hosts:
        return
    yield f"| volume against the measured one, % | {' | '.join(names)} |"
    yield "|---|" + "---|" * len(names)
    table = {n: {h: _found(rows, "lattice", h, "", n) for h in hosts} for n in names}
    for host in hosts:
        yield f"| {host} | {' | '.join(_percent(table[n][host]) for n in names)} |"
    mean = [np.mean([abs(r["volume"]) for r in table[n].values() if "volume" in r] or [np.nan]) for n in names]
    yield f"| mean of absolute values | {' | '.join(f'{100 * m:.1f}' for m in mean)} |"
    axes = [
        np.mean([np.abs(r["lengths"]).mean() for r in table[n].values() if "lengths" in r] or [np.nan]) for n in names
    ]
    yield f"| the same of axes | {' | '.join(f'{100 * a:.1f}' for a in axes)} |"


def _percent(row: Row) -> str:
    if "volume" not in row:
        return "–"
    return f"{100 * row['volume']:+.1f}" + ("" if row["status"] == "converged" else f" ({row['status']})")


def _voltages(rows: list[Row], names: list[str]) -> Iterable[str]:
    hosts = list(dict.fromkeys((r["host"], r["ion"]) for r in rows if r["part"] == "voltage"))
    if not hosts:
        return
    yield f"| average voltage, V | measured | {' | '.join(names)} |"
    yield "|---|---|" + "---|" * len(names)
    for host, ion in hosts:
        found = [_found(rows, "voltage", host, ion, n).get("voltage_V") for n in names]
        cells = " | ".join("–" if f is None else f"{f:.2f}" for f in found)
        yield f"| {host} | {MEASURED_V[host]:.1f} | {cells} |"
