"""Sums over neighbours and the symmetric contraction as compiled loops (``loops.c``), for single precision on a CPU.

A sum over neighbours as a matrix product writes an array of neighbours × channels for every path, a dozen times
in forward and backward; a loop touches each bond once. The contraction as a matrix product multiplies by all n³
coefficients of each channel, nearly all of them zero or equal by symmetry: of 4096 for n = 16 and a scalar some
hundred are left.
Both give the same as torch's products to rounding; a test holds them together.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atomsim.models.chgnet.kernels import library
from atomsim.models.mace.neighbor_table import Table
from atomsim.models.mace.weights import CouplingPath, Forms

SOURCE = Path(__file__).with_name("loops.c")
MOST_CHANNELS = 512
"""As in ``loops.c``."""
NEGLIGIBLE = 1e-7
"""Coefficients below this part of the largest of their order are the rounding of zeros."""


def loops(device: torch.device, dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the compiled loops where they can be used."""
    return library(SOURCE) if device.type == "cpu" and dtype == torch.float32 else None


class _Pieces(ctypes.Structure):
    """``Paths`` of ``loops.c``."""

    _fields_ = (
        ("groups", ctypes.c_int64),
        ("path", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("harmonic", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
        ("coupling", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Convolution:
    """Paths of a convolution, laid out for the loops."""

    radial: Tensor
    """Last layers of the radial network side by side, (hidden, paths × channels)."""
    targets: tuple[slice, ...]
    """Components of the result that belong to each path."""
    channels: int
    sources: tuple[int, ...]
    """Blocks of features that are read."""
    arrays: tuple[Tensor, ...]
    """Columns of ``Paths``: path, source, first, harmonic, target, coupling."""

    @cached_property
    def pieces(self) -> _Pieces:
        """The same for ``loops.c``."""
        return _Pieces(len(self.arrays[0]), *(a.data_ptr() for a in self.arrays))


def convolution_loops(paths: list[CouplingPath]) -> Convolution | None:
    """Lay out paths for the loops; None where their channels differ or are too many."""
    channels = {p.radial.shape[1] for p in paths}
    if len(channels) != 1 or max(channels) > MOST_CHANNELS or paths[0].radial.dtype != torch.float32:
        return None
    sizes = {p.source: p.coupling.shape[1] for p in paths}
    path, source, first, harmonic, target, coupling, targets, at = [], [], [0], [], [], [], [], 0
    for n, p in enumerate(paths):
        targets.append(slice(at, at + p.coupling.shape[2]))
        for s in range(p.coupling.shape[1]):
            path.append(n)
            source.append(sum(size for block, size in sizes.items() if block < p.source) + s)
            for m, t in p.coupling[:, s].nonzero().tolist():
                harmonic.append(p.harmonics.start + m)
                target.append(at + t)
                coupling.append(float(p.coupling[m, s, t]))
            first.append(len(harmonic))
        at += p.coupling.shape[2]
    whole = [torch.tensor(a, dtype=torch.int32) for a in (path, source, first, harmonic, target)]
    arrays = (*whole, torch.tensor(coupling, dtype=torch.float32))
    radial = torch.cat([p.radial for p in paths], dim=1).contiguous()
    return Convolution(radial, tuple(targets), channels.pop(), tuple(sorted(sizes)), arrays)


def convolve(how: Convolution, t: Table, features: list[Tensor], weights: Tensor, harmonics: Tensor) -> Tensor:
    """Sum over neighbours, (n_atoms, components of all paths, channels).

    Args:
        how: the paths.
        t: neighbours.
        features: blocks of the atoms, (n_atoms, 2l + 1, channels) each.
        weights: radial network's result for each bond, (n_bonds, paths × channels).
        harmonics: of each slot, (n_atoms, n_slots, n_harmonics).
    """
    read = torch.cat([features[k] for k in how.sources], dim=1)
    result: Tensor = _Message.apply(how, t, read, weights, harmonics)
    return result


class _Message(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, how: Convolution, t: Table, features: Tensor, weights: Tensor, harmonics: Tensor) -> Tensor:
        values = tuple(v.contiguous() for v in (harmonics, weights, features))
        out = features.new_zeros(len(features), how.targets[-1].stop, how.channels)
        _call("message_forward", _sizes(how, values, out), _where(t), how, (*values, out))
        ctx.save_for_backward(*values)
        ctx.how, ctx.table = how, t
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, out = ctx.saved_tensors, gradients[0].contiguous()
        found = tuple(torch.zeros_like(v) for v in values)
        _call("message_backward", _sizes(ctx.how, values, out), _where(ctx.table), ctx.how, (*values, out, *found))
        return None, None, found[2], found[1], found[0]


def _sizes(how: Convolution, values: tuple[Tensor, ...], out: Tensor) -> tuple[int, ...]:
    harmonics, weights, features = values
    n_paths = weights.shape[1] // how.channels
    return (*harmonics.shape, n_paths, features.shape[1], out.shape[1], how.channels)


def _where(t: Table) -> tuple[Tensor, ...]:
    return t.degree, t.neighbor, t.bond


def gather_elements(t: Table, hidden: Tensor, harmonics: Tensor) -> Tensor:
    """Sum harmonics × radial features over neighbours of each element, (n_atoms, n_harmonics, elements × hidden)."""
    result: Tensor = _Elements.apply(t, hidden, harmonics)
    return result


class _Elements(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Table, hidden: Tensor, harmonics: Tensor) -> Tensor:
        hidden, harmonics = hidden.contiguous(), harmonics.contiguous()
        sizes = (*harmonics.shape, len(t.numbers), hidden.shape[1])
        out = hidden.new_zeros(len(harmonics), harmonics.shape[2], len(t.numbers) * hidden.shape[1])
        _call("element_forward", sizes, (*_where(t), t.kind), None, (harmonics, hidden, out))
        ctx.save_for_backward(hidden, harmonics)
        ctx.table, ctx.sizes = t, sizes
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (hidden, harmonics), t, out = ctx.saved_tensors, ctx.table, gradients[0].contiguous()
        found = torch.zeros_like(harmonics), torch.zeros_like(hidden)
        _call("element_backward", ctx.sizes, (*_where(t), t.kind), None, (harmonics, hidden, out, *found))
        return None, found[1], found[0]


@dataclass(frozen=True)
class Monomials:
    """Polynomials of ``Forms`` as their monomials that are not zero."""

    terms: tuple[Tensor, ...]
    """Result, and the components multiplied, −1 where there are fewer than three; (n_terms,) int32 each."""
    weights: Tensor
    """By element, (elements, n_terms, channels)."""


def monomials(forms: Forms) -> Monomials | None:
    """Collect the monomials of polynomials; None where they are of another precision or have too many channels."""
    first, second, third = forms.first, forms.second, forms.third
    n, channels = second.shape[2], first.shape[1]
    if first.dtype != torch.float32 or channels > MOST_CHANNELS:
        return None
    dense = [
        first.unflatten(3, (-1, n))[:, :, 0],
        second.unflatten(3, (-1, n)).permute(0, 1, 3, 4, 2),
        third.unflatten(2, (n, n)).unflatten(4, (-1, n)).permute(0, 1, 4, 5, 2, 3),
    ]
    terms, weights = [], []
    for order, coefficients in enumerate(dense, start=1):
        size = coefficients.abs().amax(dim=(0, 1))
        for place in (size > NEGLIGIBLE * size.max()).nonzero().tolist():
            out, factors = place[0], place[1:]
            if factors == sorted(factors):
                copies = len(set(permutations(factors)))
                terms.append([out, *factors, *[-1] * (3 - order)])
                weights.append(copies * coefficients[(slice(None), slice(None), *place)])
    columns = torch.tensor(terms, dtype=torch.int32).reshape(-1, 4).T.contiguous()
    return Monomials(tuple(columns), torch.stack(weights, dim=1).contiguous())


def contract_monomials(of: Monomials, sizes: tuple[int, ...], spans: tuple[slice, ...], x: Tensor) -> list[Tensor]:
    """Evaluate the polynomials of every atom and channel; see ``contraction.contract``."""
    result: Tensor = _Contraction.apply(of, sum(sizes), spans, x)
    return list(result.split(list(sizes), dim=1))


class _Contraction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, of: Monomials, outs: int, spans: tuple[slice, ...], x: Tensor) -> Tensor:
        x = x.contiguous()
        value = x.new_zeros(len(x), outs, x.shape[2])
        slope = x.new_zeros(len(x), outs, *x.shape[1:])
        for weights, span in zip(of.weights, spans, strict=True):
            rows = x[span]
            sizes = (len(rows), x.shape[1], outs, x.shape[2], weights.shape[0])
            _call("polynomial", sizes, of.terms, None, (weights, rows, value[span], slope[span]))
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return None, None, None, (gradients[0][:, :, None] * slope).sum(dim=1)


def _call(
    name: str, sizes: tuple[int, ...], integers: tuple[Tensor, ...], how: Convolution | None, values: tuple[Tensor, ...]
) -> None:
    """Call a loop; every tensor is contiguous."""
    code = library(SOURCE)
    assert code is not None
    extra = () if how is None else (ctypes.byref(how.pieces),)
    pointers = [ctypes.c_void_p(v.data_ptr()) for v in integers]
    numbers = [ctypes.c_int64(n) for n in sizes]
    getattr(code, name)(*numbers, *pointers, *extra, *(ctypes.c_void_p(v.data_ptr()) for v in values))
