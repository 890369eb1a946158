"""Cut a MACE model down to some of its elements, exactly.

A foundation model knows 89 elements; a structure has three. Every product with the one-hot
element vector runs over all 89. Rows of absent elements are multiplied by zero, so dropping
them changes no energy, only memory (most weights belong to an element) and some time. e3nn
divides such products by the square root of the number of elements, which the kept weights
have to make up for.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from atomsim.errors import InputError


def keep_elements(model: torch.nn.Module, rows: list[int]) -> torch.nn.Module:
    """Return a copy of a MACE model that knows only the elements of these rows, in this order.

    Args:
        model: a ``MACE`` or ``ScaleShiftMACE`` on e3nn's kernels; not changed.
        rows: indices into ``model.atomic_numbers``.

    Raises:
        InputError: if the model was converted to other kernels (cuEquivariance, OpenEquivariance).
    """
    pruned: Any = copy.deepcopy(model)
    n_before = len(pruned.atomic_numbers)
    pruned.atomic_numbers = pruned.atomic_numbers[rows]
    energies = pruned.atomic_energies_fn.atomic_energies
    pruned.atomic_energies_fn.atomic_energies = energies[..., rows].clone()
    # e3nn draws random initial weights in constructors; the caller's random state must not notice
    with torch.random.fork_rng(devices=[]):
        pruned.node_embedding.linear = _linear(pruned.node_embedding.linear, rows)
        for interaction in pruned.interactions:
            for name in ("source_embedding", "target_embedding"):
                if hasattr(interaction, name):
                    setattr(interaction, name, _linear(getattr(interaction, name), rows))
            if hasattr(interaction.skip_tp, "irreps_in2"):
                interaction.skip_tp = _tensor_product(interaction.skip_tp, rows)
    for product in pruned.products:
        for contraction in _e3nn(product.symmetric_contractions, "contractions"):
            _contraction(contraction, rows, n_before)
    result: torch.nn.Module = pruned.eval().requires_grad_(False)
    return result


def _e3nn(module: Any, attribute: str) -> Any:
    if not hasattr(module, attribute):
        raise InputError(
            f"found {type(module).__module__} kernels in this MACE model, wanted e3nn's; prune before converting it"
        )
    return getattr(module, attribute)


def _linear(old: Any, rows: list[int]) -> torch.nn.Module:
    """Keep input scalars of ``o3.Linear``; its output is x W / √n_inputs."""
    from e3nn import o3

    n_before = _e3nn(old, "irreps_in").dim
    weight = old.weight.detach().reshape(n_before, -1)[rows]
    new = o3.Linear(o3.Irreps(f"{len(rows)}x0e"), old.irreps_out)
    return _with_weight(new, weight.flatten() * (len(rows) / n_before) ** 0.5)


def _tensor_product(old: Any, rows: list[int]) -> torch.nn.Module:
    """Keep second-input scalars of ``o3.FullyConnectedTensorProduct``, path by path."""
    from e3nn import o3

    n_before = old.irreps_in2.dim
    paths, start = [], 0
    for instruction in old.instructions:
        n_in, n_elements, n_out = instruction.path_shape
        size = n_in * n_elements * n_out
        path = old.weight.detach()[start : start + size].reshape(n_in, n_elements, n_out)
        paths.append(path[:, rows].flatten())
        start += size
    new = o3.FullyConnectedTensorProduct(old.irreps_in1, o3.Irreps(f"{len(rows)}x0e"), old.irreps_out)
    return _with_weight(new, torch.cat(paths) * (len(rows) / n_before) ** 0.5)


def _with_weight(module: Any, weight: Tensor) -> torch.nn.Module:
    there: torch.nn.Module = module.to(device=weight.device, dtype=weight.dtype)
    there.weight = torch.nn.Parameter(weight, requires_grad=False)
    return there


def _contraction(contraction: Any, rows: list[int], n_before: int) -> None:
    """Keep rows of the product basis' weights; an element-agnostic product has a single row."""

    def kept(weight: Tensor) -> torch.nn.Parameter:
        chosen = weight.detach()[rows] if weight.shape[0] == n_before else weight.detach()
        return torch.nn.Parameter(chosen.clone(), requires_grad=False)

    if contraction.weights_max.shape[0] == 1 and n_before != 1:
        return
    contraction.weights_max = kept(contraction.weights_max)
    contraction.weights = torch.nn.ParameterList([kept(w) for w in contraction.weights])
