"""Small MACE models with seeded random weights: no pretrained one can be had in a test."""

from __future__ import annotations

import copy

import numpy as np
import torch

from atomsim.models.mace.potential import quiet_mace

_BUILT: dict[str, torch.nn.Module] = {}


def random_mace(elements: list[int], **options) -> torch.nn.Module:
    """A copy of what ``new_random_mace`` gives: e3nn compiles a model for seconds, and copies it in a tenth of one."""
    key = repr((elements, sorted(options.items())))
    if key not in _BUILT:
        _BUILT[key] = new_random_mace(elements, **options)
    with quiet_mace():
        return copy.deepcopy(_BUILT[key])


def new_random_mace(
    elements: list[int],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    heads: list[str] | None = None,
    residual_first: bool = False,
    scale_shift: bool = True,
    **changes,
) -> torch.nn.Module:
    """A ScaleShiftMACE with all the parts of a foundation model, small. The caller's globals are kept."""
    before = torch.get_default_dtype()
    with quiet_mace():
        from mace import modules  # before e3nn, which loads its constants the old way
        from e3nn import o3  # isort: skip

    blocks = modules.interaction_classes
    rng = np.random.default_rng(seed)
    n_heads = len(heads or ["Default"])
    arguments = {
        "r_max": 5.0,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": blocks["RealAgnosticResidualInteractionBlock"],
        "interaction_cls_first": blocks[
            "RealAgnosticResidualInteractionBlock" if residual_first else "RealAgnosticInteractionBlock"
        ],
        "num_interactions": 2,
        "num_elements": len(elements),
        "hidden_irreps": o3.Irreps("16x0e + 16x1o"),
        "MLP_irreps": o3.Irreps("8x0e"),
        "gate": torch.nn.functional.silu,
        "atomic_energies": rng.uniform(-8.0, -1.0, (n_heads, len(elements))),
        "avg_num_neighbors": 20.0,
        "atomic_numbers": elements,
        "correlation": 3,
        "radial_type": "bessel",
        "radial_MLP": [16, 16],
        "heads": heads,
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
    }
    if scale_shift:
        arguments["atomic_inter_scale"] = [0.8] * n_heads
        arguments["atomic_inter_shift"] = list(np.linspace(0.1, 0.3, n_heads))
    kind = modules.ScaleShiftMACE if scale_shift else modules.MACE
    try:
        torch.set_default_dtype(dtype)
        with quiet_mace(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(**{**arguments, **changes})
    finally:
        torch.set_default_dtype(before)
