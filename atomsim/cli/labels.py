"""Names of structures that came from files, each another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path


def distinct_labels(labels: Sequence[str], files: Sequence[Path | None]) -> list[str]:
    """Return labels made unique by the folders of their files, as ``a-POSCAR`` and ``b-POSCAR``, else by numbers."""
    named = list(labels)
    for label, times in Counter(labels).items():
        if times == 1:
            continue
        same = [n for n, other in enumerate(labels) if other == label]
        folders = [(files[n] or Path()).resolve().parent.parts for n in same]
        for depth in range(1, max(map(len, folders)) + 1):
            tails = ["-".join(parts[-depth:]).replace("/", "") for parts in folders]
            if len(set(tails)) == len(same):
                for n, tail in zip(same, tails, strict=True):
                    named[n] = f"{tail}-{label}"
                break
    repeated = {label for label, times in Counter(named).items() if times > 1}
    taken = set(named) - repeated
    for n, label in enumerate(named):
        if label in repeated:
            named[n] = next(name for k in count(1) if (name := f"{label}-{k}") not in taken)
            taken.add(named[n])
    return named
