"""Small MACE models as safetensors: weights and architecture in one file that runs nothing when read.

The architecture is JSON in the file's header, so the file's SHA-256 pins it too. Format:
Hugging Face's safetensors.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from atomsim.errors import InputError
from atomsim.models.mace.potential import quiet_mace
from atomsim.models.mace.wall import unwalled, walled

KIND = "atomsim-mace-1"
"""Key of the architecture in the header; one key only, as the order of several is not fixed."""
_SHAPES: dict[str, type] = {
    "r_max": float,
    "num_bessel": int,
    "num_polynomial_cutoff": int,
    "max_ell": int,
    "interaction_first": str,
    "interaction": str,
    "num_interactions": int,
    "hidden_irreps": str,
    "MLP_irreps": str,
    "avg_num_neighbors": float,
    "atomic_numbers": list,
    "correlation": int,
    "radial_MLP": list,
    "pair_repulsion": bool,
    "wall": float,
}
"""Everything that decides the architecture, and its type."""
_RANGES = {
    "r_max": (0.5, 20.0),
    "num_bessel": (1, 100),
    "num_polynomial_cutoff": (1, 50),
    "max_ell": (0, 6),
    "num_interactions": (1, 10),
    "correlation": (1, 5),
    "avg_num_neighbors": (1e-3, 1e4),
    "wall": (0.0, 1.0),
}
"""Limits of the numbers in the header: a cutoff of 1e9 Å would be searched for neighbours without end."""
_MOST_CHANNELS = 4096
_IRREPS = re.compile(r"\s*(\d{1,5})x(\d{1,2})[eo]\s*")
_BLOCK = re.compile(r"RealAgnostic(Density)?(Residual)?InteractionBlock")


def to_safetensors(model: Any, wall: float | None = None) -> bytes:
    """Return a ``ScaleShiftMACE`` as a safetensors file: float32 weights, architecture in the header.

    Args:
        model: what to write.
        wall: part of the covalent sums below which pairs repel (see ``mace_wall``); the model's own if not given.

    Raises:
        InputError: if rebuilding it from what is written would give another model.
    """
    from safetensors.torch import save

    model, own = unwalled(model)
    architecture = describe(model) | {"wall": float(own if wall is None else wall)}
    tensors = _learned(model)
    data: bytes = save(tensors, metadata={KIND: json.dumps(architecture, sort_keys=True)})
    again = from_safetensors(data)
    known = unwalled(again)[0].state_dict()
    for key, value in model.state_dict().items():
        if key not in known or not torch.allclose(known[key].double(), value.cpu().double(), rtol=1e-5, atol=1e-7):
            raise InputError(f"this MACE model has a part that a student's file cannot hold: {key}; use a plain one")
    return data


def from_safetensors(data: bytes, name: str = "student") -> Any:
    """Build the model of a file in evaluation mode: the file's float32 weights, all constants in float64.

    So the same file serves both precisions, each as exactly as its numbers allow.

    Raises:
        InputError: if the bytes are no such file, or hold another architecture than their header says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
        architecture = json.loads(header.get(KIND, "null"))
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{name} is not a safetensors file: {error}; copy or train it again") from error
    if architecture is None:
        found = ", ".join(header) or "nothing"
        raise InputError(f"{name} is not a student's file: found {found} in its header, wanted {KIND}")
    _check(architecture, name)
    return walled(_with_weights(build(architecture), tensors, name), architecture["wall"])


def describe(model: Any) -> dict[str, Any]:
    """Return what ``build`` needs to make a model of this architecture.

    Raises:
        InputError: if it is not a single-headed ``ScaleShiftMACE`` with Bessel functions.
    """
    if type(model).__name__ != "ScaleShiftMACE" or len(getattr(model, "heads", None) or [""]) != 1:
        raise InputError(f"found {type(model).__name__}, wanted a ScaleShiftMACE with one head")
    radial, product = model.radial_embedding, model.products[0]
    blocks = [type(block).__name__ for block in model.interactions]
    if type(radial.bessel_fn).__name__ != "BesselBasis" or hasattr(radial, "distance_transform"):
        raise InputError("a student has Bessel functions of plain distances; train it without --distance_transform")
    first = model.interactions[0]
    return {
        "r_max": float(model.r_max),
        "num_bessel": int(radial.out_dim),
        "num_polynomial_cutoff": int(radial.cutoff_fn.p),
        "max_ell": int(model.spherical_harmonics.irreps_out.lmax),
        "interaction_first": blocks[0],
        "interaction": blocks[-1],
        "num_interactions": len(blocks),
        "hidden_irreps": str(first.hidden_irreps),
        "MLP_irreps": str(model.readouts[-1].hidden_irreps),
        "avg_num_neighbors": float(first.avg_num_neighbors),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "correlation": int(product.symmetric_contractions.contractions[0].correlation),
        "radial_MLP": [int(h) for h in first.conv_tp_weights.hs[1:-1]],
        "pair_repulsion": hasattr(model, "pair_repulsion"),
        "wall": unwalled(model)[1],
    }


def build(architecture: Mapping[str, Any]) -> Any:
    """Return a model of an architecture with weights of no meaning; the caller's globals are kept."""
    shape = {key: value for key, value in architecture.items() if key != "wall"}
    with quiet_mace():
        return copy.deepcopy(_built(json.dumps(shape, sort_keys=True)))


@lru_cache(maxsize=4)
def _built(shape: str) -> Any:
    """The model that ``build`` copies: e3nn compiles for seconds what it then copies in a tenth of one."""
    with quiet_mace():
        from mace import modules  # before e3nn, which loads its constants the old way
        from e3nn import o3  # isort: skip

    a = json.loads(shape)
    n, blocks = len(a["atomic_numbers"]), modules.interaction_classes
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)  # rotations are exact only with exact coefficients
        with quiet_mace(), torch.random.fork_rng(devices=[]):
            model = modules.ScaleShiftMACE(
                **{key: a[key] for key in ("r_max", "num_bessel", "num_polynomial_cutoff", "max_ell", "correlation")},
                **{key: a[key] for key in ("num_interactions", "avg_num_neighbors", "radial_MLP", "pair_repulsion")},
                interaction_cls=blocks[a["interaction"]],
                interaction_cls_first=blocks[a["interaction_first"]],
                num_elements=n,
                hidden_irreps=o3.Irreps(a["hidden_irreps"]),
                MLP_irreps=o3.Irreps(a["MLP_irreps"]),
                gate=torch.nn.functional.silu,
                atomic_energies=torch.zeros(n).numpy(),
                atomic_numbers=a["atomic_numbers"],
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
            )
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


def _learned(model: Any) -> dict[str, Tensor]:
    """All tensors that the architecture alone does not give, as float32."""
    bare = build(describe(model)).state_dict()
    parameters = dict(model.named_parameters())
    return {
        key: value.detach().cpu().to(torch.float32).reshape(bare[key].shape).contiguous()
        for key, value in model.state_dict().items()
        if key in parameters or (key in bare and _differs(bare[key], value))
    }


def _differs(bare: Tensor, value: Tensor) -> bool:
    return bare.shape != value.shape or not torch.allclose(bare.double(), value.cpu().double(), rtol=1e-6, atol=1e-8)


def _with_weights(model: Any, tensors: Mapping[str, Tensor], name: str) -> Any:
    known = model.state_dict()
    strange = sorted(set(tensors) - set(known)) or sorted(set(dict(model.named_parameters())) - set(tensors))
    if strange:
        raise InputError(f"{name}: weights and architecture do not fit: {strange[0]}; copy or train it again")
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{name}: {key} is not finite; copy or train it again")
        if known[key].numel() != value.numel():
            raise InputError(
                f"{name}: {key} has shape {tuple(value.shape)}, its architecture wants {tuple(known[key].shape)}; "
                "copy or train it again"
            )
    shaped = {key: value.reshape(known[key].shape) for key, value in tensors.items()}
    model.load_state_dict({**known, **shaped})
    return model


def _check(architecture: Any, name: str) -> None:
    if not isinstance(architecture, dict) or set(architecture) != set(_SHAPES):
        raise InputError(f"{name}: no complete architecture in its header; copy or train it again")
    for key in _SHAPES:
        wanted = _wanted(key, architecture[key])
        if wanted:
            raise InputError(
                f"{name}: architecture has {key} = {architecture[key]!r}, wanted {wanted}; copy or train it again"
            )
    for key in ("interaction", "interaction_first"):
        if not _BLOCK.fullmatch(architecture[key]):
            raise InputError(f"{name}: unknown block {architecture[key]!r}; a newer atomsim may know it")


def _wanted(key: str, value: Any) -> str:
    """Type that a key of the header wants; empty if it has that."""
    kind: Any = _SHAPES[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"a {kind.__name__}"
    if key in _RANGES and not _RANGES[key][0] <= value <= _RANGES[key][1]:  # nor NaN
        return f"{_RANGES[key][0]} to {_RANGES[key][1]}"
    if key == "atomic_numbers" and (not _whole(value, 118) or sorted(set(value)) != value):
        return "rising atomic numbers"
    if key == "radial_MLP" and (not _whole(value, _MOST_CHANNELS) or len(value) > 10):
        return "a few widths"
    if key in ("hidden_irreps", "MLP_irreps"):
        parts = [_IRREPS.fullmatch(part) for part in value.split("+")]
        if not all(p and 0 < int(p[1]) <= _MOST_CHANNELS and int(p[2]) <= _RANGES["max_ell"][1] for p in parts):
            return "irreps such as 32x0e"
    return ""


def _whole(values: list[Any], most: int) -> bool:
    return bool(values) and all(type(v) is int and 0 < v <= most for v in values)
