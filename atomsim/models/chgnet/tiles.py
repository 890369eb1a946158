"""Triton kernels of CHGNet's messages: rows in tiles that stay in registers, sums in a fixed order.

A tile has some rows (edges or angles) by 64 features; core and gate are two tiles. What a message is made of is
gathered from small tables of atoms and bonds, and only the message, or its derivative, is written. Sums over rows
read consecutive runs, or what their reverses hold, so that no addition is atomic and results do not depend on chance.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

PRECISION = "tf32x3"
"""Products of tiles: three of the tensor cores' short ones make one to float32 rounding; ``ieee`` uses none."""
ROWS, WARPS = 32, 4
"""Rows of a tile and its warps: on an H100 123 ms for 512 cells of 24 atoms, with 8 warps 159, with twice both 240."""
RUN_ROWS, PAIR_ROWS = 16, 16
"""Rows read at once in a sum over a run; sums of pairs in one program."""


def forward_rows(
    index: tuple[Tensor, ...], double: Tensor, single: Tensor, third: Tensor | None,
    weights: tuple[Tensor | None, ...], weight: Tensor | None, *, in_order: bool,
) -> Tensor:  # fmt: skip
    """Messages, (n, 64).

    Args:
        index: rows of ``double`` as left and as right, of ``single`` and of ``third``, (n,) int64 each.
        double: products of what is read in two roles, (·, 256).
        single: products of what is read once, (·, 128).
        third: features of angles, (·, 64); None for none.
        weights: their weights (64, 128), those of the second layer (2, 64, 64) and its bias, scale and shift.
        weight: of each message: a table by the third index, or, of angles, by the first times by the second.
        in_order: angles' features lie in the order of the rows; ``index[3]`` is not read.
    """
    n = len(index[0])
    out = double.new_empty(n, 64)
    if n:
        _forward[(triton.cdiv(n, ROWS),)](
            *index, double, single, third, *weights, weight, out, n,
            **_kind(third, weights, weight, in_order),
        )  # fmt: skip
    return out


def backward_rows(
    index: tuple[Tensor, ...], double: Tensor, single: Tensor, third: Tensor | None,
    weights: tuple[Tensor | None, ...], turned: tuple[Tensor | None, ...], weight: Tensor | None, g: Tensor,
    *, in_order: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Derivatives by the rows' first layer and weight, (n, 128 or 192), and by the angles' features, (n, 64).

    Args:
        index: as in ``forward_rows``, and so on.
        double: likewise.
        single: likewise.
        third: likewise.
        weights: likewise.
        turned: weights of angles (128, 64) and of the second layer (2, 64, 64), turned.
        weight: likewise.
        g: by the sums that rows go to, (·, 64), by the first index; by the messages where there is no second layer.
        in_order: likewise.
    """
    n = len(index[0])
    of_row = double.new_empty(n, 128 if weight is None else 192)
    of_third = None if third is None else double.new_empty(n, 64)
    if n:
        _backward[(triton.cdiv(n, ROWS),)](
            *index, double, single, third, *weights, *turned, weight, g, of_row, of_third, n,
            **_kind(third, weights, weight, in_order),
        )  # fmt: skip
    return of_row, of_third


def sum_runs(
    rows: Tensor, start: Tensor, reverse: Tensor | None = None, factor: Tensor | None = None,
    factor_row: Tensor | None = None, *, pieces: int,
) -> Tensor:  # fmt: skip
    """Sums over consecutive rows, (n_runs, 64 × pieces).

    Args:
        rows: (n, ≥ 64).
        start: first row of each run and the end of the last, (n_runs + 1,) int64.
        reverse: of each row, (n,) int64.
        factor: table, (·, 64).
        factor_row: its row for each row, (n,).
        pieces: two are columns 0 to 127; the next two those of the reverses; the fifth columns 128 to 191 of both,
            times ``factor``. Fewer: the first of these.
    """
    n = len(start) - 1
    out = rows.new_empty(n, 64 * pieces)
    if n:
        _sum_runs[(n, pieces)](
            rows, start, reverse, factor, factor_row, out, rows.stride(0), out.stride(0),
            turned=reverse is not None, factored=factor is not None, block=RUN_ROWS, num_warps=2,
        )  # fmt: skip
    return out


def sum_pairs(rows: Tensor, twins: Tensor) -> Tensor:
    """Sums of two rows each: (n, 64 k) and (n / 2, 2) int64 to (n / 2, 64 k)."""
    n, width = len(twins), rows.shape[1]
    out = rows.new_empty(n, width)
    if n:
        grid = (triton.cdiv(n, PAIR_ROWS), width // 64)
        _sum_pairs[grid](rows, twins, out, n, width, block=PAIR_ROWS, num_warps=4)
    return out


def _kind(third: Tensor | None, weights: tuple[Tensor | None, ...], weight: Tensor | None, in_order: bool) -> Any:
    return {
        "angles": third is not None, "in_order": in_order, "second": weights[1] is not None,
        "weighted": weight is not None, "precision": PRECISION, "block": ROWS, "num_warps": WARPS,
    }  # fmt: skip


@triton.jit
def _first(left, right, alone, double, single, third, w3, row3, inside, angles: tl.constexpr, precision: tl.constexpr):
    """First layer, core and gate, and the angles' features."""
    f = tl.arange(0, 64)[None, :]
    of_left, of_right = double + left[:, None] * 256 + f, double + right[:, None] * 256 + 128 + f
    of_alone = single + alone[:, None] * 128 + f
    core = tl.load(of_left, mask=inside, other=0.0) + tl.load(of_right, mask=inside, other=0.0)
    core += tl.load(of_alone, mask=inside, other=0.0)
    gate = tl.load(of_left + 64, mask=inside, other=0.0) + tl.load(of_right + 64, mask=inside, other=0.0)
    gate += tl.load(of_alone + 64, mask=inside, other=0.0)
    angle = core
    if angles:
        angle = tl.load(third + row3[:, None] * 64 + f, mask=inside, other=0.0)
        k = tl.arange(0, 64)[:, None]
        core += tl.dot(angle, tl.load(w3 + k * 128 + f), input_precision=precision)
        gate += tl.dot(angle, tl.load(w3 + k * 128 + 64 + f), input_precision=precision)
    return core, gate, angle


@triton.jit
def _second(x, w2, b2, second: tl.constexpr, precision: tl.constexpr):
    """Second layer and norm (the mean is zero by the weights): the normed tile and 1/σ."""
    f = tl.arange(0, 64)
    if second:
        product = w2 + f[:, None] * 64 + f[None, :]
        x = tl.dot(x * tl.sigmoid(x), tl.load(product), input_precision=precision) + tl.load(b2 + f)[None, :]
    inverse = tl.rsqrt(tl.sum(x * x, axis=1) * (1.0 / 64) + 1e-5)[:, None]
    return x * inverse, inverse


@triton.jit
def _factors(weight, left, right, alone, inside, angles: tl.constexpr):
    """Weight of each message."""
    f = tl.arange(0, 64)[None, :]
    if angles:
        found = tl.load(weight + left[:, None] * 64 + f, mask=inside, other=0.0)
        found *= tl.load(weight + right[:, None] * 64 + f, mask=inside, other=0.0)
    else:
        found = tl.load(weight + alone[:, None] * 64 + f, mask=inside, other=0.0)
    return found


@triton.jit(do_not_specialize=["n"])
def _forward(
    lefts, rights, alones, thirds, double, single, third, w3, w2, b2, scale, shift, weight, out, n,
    angles: tl.constexpr, in_order: tl.constexpr, second: tl.constexpr, weighted: tl.constexpr,
    precision: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = at < n
    inside, f = mask[:, None], tl.arange(0, 64)
    left, right = tl.load(lefts + at, mask=mask, other=0), tl.load(rights + at, mask=mask, other=0)
    alone = tl.load(alones + at, mask=mask, other=0)
    row3 = at
    if angles and not in_order:
        row3 = tl.load(thirds + at, mask=mask, other=0)
    core, gate, angle = _first(left, right, alone, double, single, third, w3, row3, inside, angles, precision)
    core, _ = _second(core, w2, b2, second, precision)
    core = core * tl.load(scale + f)[None, :] + tl.load(shift + f)[None, :]
    gate, _ = _second(gate, w2 + 4096 if second else w2, b2 + 64 if second else b2, second, precision)
    gate = gate * tl.load(scale + 64 + f)[None, :] + tl.load(shift + 64 + f)[None, :]
    message = core * tl.sigmoid(core) * tl.sigmoid(gate)
    if weighted:
        message *= _factors(weight, left, right, alone, inside, angles)
    else:
        message += angle  # an update of angles
    tl.store(out + at[:, None] * 64 + f[None, :], message, mask=inside)


@triton.jit
def _through(g, normed, inverse, first, scale, w2_turned, second: tl.constexpr, precision: tl.constexpr):
    """Derivative by the first layer from that by the scaled norm."""
    f = tl.arange(0, 64)
    g *= tl.load(scale + f)[None, :]
    along = tl.sum(g * normed, axis=1)[:, None] * (1.0 / 64)
    g = (g - normed * along) * inverse  # the mean of g: the weights, centred, take no notice of it
    if second:
        g = tl.dot(g, tl.load(w2_turned + f[:, None] * 64 + f[None, :]), input_precision=precision)
        s = tl.sigmoid(first)
        g *= s * (1 + first * (1 - s))
    return g


@triton.jit(do_not_specialize=["n"])
def _backward(
    lefts, rights, alones, thirds, double, single, third, w3, w2, b2, scale, shift, w3_turned, w2_turned, weight,
    given, of_row, of_third, n,
    angles: tl.constexpr, in_order: tl.constexpr, second: tl.constexpr, weighted: tl.constexpr,
    precision: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = at < n
    inside, f = mask[:, None], tl.arange(0, 64)
    left, right = tl.load(lefts + at, mask=mask, other=0), tl.load(rights + at, mask=mask, other=0)
    alone = tl.load(alones + at, mask=mask, other=0)
    row3 = at
    if angles and not in_order:
        row3 = tl.load(thirds + at, mask=mask, other=0)
    core1, gate1, _ = _first(left, right, alone, double, single, third, w3, row3, inside, angles, precision)
    core, core_inverse = _second(core1, w2, b2, second, precision)
    gate, gate_inverse = _second(gate1, w2 + 4096 if second else w2, b2 + 64 if second else b2, second, precision)
    x = core * tl.load(scale + f)[None, :] + tl.load(shift + f)[None, :]
    s = tl.sigmoid(x)
    opened = tl.sigmoid(gate * tl.load(scale + 64 + f)[None, :] + tl.load(shift + 64 + f)[None, :])
    if weighted:
        out = of_row + at[:, None] * 192 + f[None, :]
        g = tl.load(given + left[:, None] * 64 + f[None, :], mask=inside, other=0.0)
        tl.store(out + 128, g * x * s * opened, mask=inside)
        g *= _factors(weight, left, right, alone, inside, angles)
    else:
        out = of_row + at[:, None] * 128 + f[None, :]
        g = tl.load(given + at[:, None] * 64 + f[None, :], mask=inside, other=0.0)
    # d(x σ)/dx = σ + xσ(1 − σ); dσ/dx = σ(1 − σ)
    of_core = _through(
        g * opened * s * (1 + x * (1 - s)), core, core_inverse, core1, scale, w2_turned, second, precision
    )
    tl.store(out, of_core, mask=inside)
    of_gate = g * x * s * opened * (1 - opened)
    turned = w2_turned + 4096 if second else w2_turned
    of_gate = _through(of_gate, gate, gate_inverse, gate1, scale + 64, turned, second, precision)
    tl.store(out + 64, of_gate, mask=inside)
    if angles:
        w = w3_turned + f[:, None] * 64 + f[None, :]
        of_angle = tl.dot(of_core, tl.load(w), input_precision=precision)
        of_angle += tl.dot(of_gate, tl.load(w + 4096), input_precision=precision)
        if not weighted:
            of_angle += g
        tl.store(of_third + at[:, None] * 64 + f[None, :], of_angle, mask=inside)


@triton.jit
def _sum_runs(
    rows, starts, reverse, factor, factor_row, out, width, out_width,
    turned: tl.constexpr, factored: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    run, piece, f = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, 64)
    first, end = tl.load(starts + run), tl.load(starts + run + 1)
    column = tl.where(piece == 4, 128, (piece % 2) * 64)
    total = tl.zeros((block, 64), tl.float32)
    while first < end:
        at = first + tl.arange(0, block)
        mask = at < end
        row = at
        if turned:
            row = tl.where(piece >= 2, tl.load(reverse + at, mask=mask & (piece >= 2), other=0), at)
        inside = mask[:, None]
        x = tl.load(rows + row[:, None] * width + column + f[None, :], mask=inside, other=0.0)
        if factored:
            also = inside & (piece == 4)
            x += tl.load(rows + at[:, None] * width + column + f[None, :], mask=also, other=0.0)
            by = tl.load(factor_row + at, mask=mask & (piece == 4), other=0)
            x *= tl.load(factor + by[:, None] * 64 + f[None, :], mask=also, other=1.0)
        total += x
        first += block
    tl.store(out + run * out_width + piece * 64 + f, tl.sum(total, axis=0))


@triton.jit(do_not_specialize=["n"])
def _sum_pairs(rows, twins, out, n, width, block: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    mask = at < n
    inside, column = mask[:, None], tl.program_id(1) * 64 + tl.arange(0, 64)[None, :]
    one, other = tl.load(twins + 2 * at, mask=mask, other=0), tl.load(twins + 2 * at + 1, mask=mask, other=0)
    x = tl.load(rows + one[:, None] * width + column, mask=inside, other=0.0)
    x += tl.load(rows + other[:, None] * width + column, mask=inside, other=0.0)
    tl.store(out + at[:, None] * width + column, x, mask=inside)
