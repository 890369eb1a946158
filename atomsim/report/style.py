"""Colours and small words that all charts share."""

from __future__ import annotations

from collections.abc import Sequence

# Okabe & Ito 2008, Color Universal Design: told apart with any colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY, INK = "#8A94A0", "#1B2733"

# Dark to light along charge; both ends stand out from white (Crameri's batlow, shortened).
_ALONG_X = ((0.05, 0.21, 0.42), (0.10, 0.45, 0.46), (0.42, 0.55, 0.25), (0.80, 0.55, 0.18), (0.93, 0.45, 0.40))

_SUBSCRIPTS = str.maketrans("0123456789.", "₀₁₂₃₄₅₆₇₈₉.")


def along(n: int) -> list[str]:
    """Return ``n`` colours in order, for a series of compositions."""
    colors = []
    for k in range(n):
        t = k / max(n - 1, 1) * (len(_ALONG_X) - 1)
        low = min(int(t), len(_ALONG_X) - 2)
        mixed = [a + (b - a) * (t - low) for a, b in zip(_ALONG_X[low], _ALONG_X[low + 1], strict=True)]
        colors.append("#" + "".join(f"{round(255 * c):02x}" for c in mixed))
    return colors


def subscripted(formula: str) -> str:
    """Return a formula with its numbers as subscripts: ``Li2RuO3`` → ``Li₂RuO₃``."""
    return formula.translate(_SUBSCRIPTS)


def host_label(formula: str, ion: str) -> str:
    """Return the formula with x for the amount of the ion: ``Li2RuO3`` → ``LiₓRuO₃``."""
    rest = formula.removeprefix(ion).lstrip("0123456789.")
    return f"{ion}ₓ{subscripted(rest)}"


def span(values: Sequence[float], margin: float = 0.04) -> tuple[float, float]:
    """Return the range of values, widened by a part of it."""
    low, high = min(values), max(values)
    pad = (high - low or 1.0) * margin
    return low - pad, high + pad
