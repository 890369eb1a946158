"""A pretended accelerator: real numbers on a device of its own, no GPU, and a count of what one would be asked.

Tensors on ``card:0`` compute on the CPU behind torch's PrivateUse1 backend, autograd included. One that meets a CPU
tensor of one dimension or more raises, ``.numpy()`` raises, and nothing moves but by ``.to`` and ``.cpu``: what a CUDA
device would refuse, this refuses. Every operation that is dispatched to it is counted, and every time that the host
would have to wait for a GPU: together they are the floor under the time that a step of small systems takes on one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import finalize

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
    "unique_dim",
    "equal",
    "bincount",
    "_linalg_check_errors",
    "_linalg_eigh",
    "_linalg_svd",
    "linalg_eig",
    "linalg_qr",
    "linalg_lstsq",
    "linalg_matrix_exp",
}
"""Operations after which CUDA's implementation makes the host wait: for a number, a shape, or an error code."""
OWN_KERNELS = ("silu_backward",)
"""Operations that CUDA has kernels for, where torch would compose them of others on a device that it does not know."""
MOVES = {"_to_copy", "copy_"}
MEMORY = 2**30
"""Bytes that it says it has."""


@dataclass
class Counts:
    """What was asked of the card since it was last reset."""

    operations: Counter[str] = field(default_factory=Counter)
    """Operations dispatched to it, by name."""
    views: Counter[str] = field(default_factory=Counter)
    """Those among them that only look at a tensor in another way: host time, and no kernel."""
    waits: Counter[str] = field(default_factory=Counter)
    """Times that the host waits for the card, by what it asks for."""

    def reset(self) -> None:
        """Begin anew."""
        for counter in (self.operations, self.views, self.waits):
            counter.clear()

    @property
    def n_operations(self) -> int:
        """Number of operations."""
        return self.operations.total()

    @property
    def n_kernels(self) -> int:
        """Number of operations that are no views."""
        return self.operations.total() - self.views.total()

    @property
    def n_waits(self) -> int:
        """Number of times that the host waits."""
        return self.waits.total()


COUNTS = Counts()


class _Memory:
    """Bytes of all storages on the card, now and at most."""

    def __init__(self) -> None:
        self.users: Counter[int] = Counter()
        self.now = self.most = 0

    def hold(self, tensor: torch.Tensor, owner: Any) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        self.users[key] += 1
        if self.users[key] == 1:
            self.now += size
            self.most = max(self.most, self.now)
        finalize(owner, self.release, key, size)

    def release(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key]
            self.now -= size


_memory = _Memory()


class Card(torch.Tensor):
    """A tensor that says it lives on ``card:0``; its numbers are in ``held``."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Card:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, device=device(), strides=held.stride(), storage_offset=0
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held
        _memory.hold(held, self)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        COUNTS.waits["tolist"] += 1
        return self.held.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert card:0 device type tensor to numpy: use Tensor.cpu() first")

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
        made = torch.tensor(data, dtype=dtype or self.dtype)
        return made if device is not None and torch.device(device).type != "card" else Card(made)


def _compute(func: Any, args: tuple, kwargs: dict) -> Any:
    """Refuse mixed devices, count, compute on the CPU and wrap what comes out."""
    kwargs = dict(kwargs)
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    name, asked = func._schema.name.removeprefix("aten::"), kwargs.get("device")
    strangers = [t for t in tensors if not isinstance(t, Card) and t.dim() > 0]
    if strangers and len(strangers) < len(tensors) and name not in MOVES:
        raise RuntimeError(f"{name}: expected all tensors on one device, found card:0 and cpu")
    _count(func, name, args, tensors, asked, kwargs.get("output_size"))
    if name == "_to_copy":
        kwargs.pop("device", None)
        out = func(*tree_map(_bare, args), **kwargs)
        return Card(out) if torch.device(asked or tensors[0].device).type == "card" else out
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    out = func(*tree_map(_bare, args), **tree_map(_bare, kwargs))
    if name.endswith("_") and isinstance(out, torch.Tensor):
        return args[0]  # in place
    return tree_map(lambda t: Card(t) if isinstance(t, torch.Tensor) else t, out)


def _bare(value: Any) -> Any:
    return value.held if isinstance(value, Card) else value


def _count(func: Any, name: str, args: tuple, tensors: list[torch.Tensor], asked: Any, size: int | None) -> None:
    moved_back = name == "_to_copy" and asked is not None and torch.device(asked).type == "cpu"
    moved_back = moved_back or (name == "copy_" and isinstance(tensors[-1], Card) and not isinstance(tensors[0], Card))
    if moved_back:
        COUNTS.waits["copy to the host"] += 1
        return
    COUNTS.operations[name] += 1
    if getattr(func, "is_view", False):
        COUNTS.views[name] += 1
    if name in WAITING or (name == "repeat_interleave" and size is None):
        COUNTS.waits[name] += 1
    elif name in ("index", "index_put_", "_index_put_impl_"):
        masks = sum(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        one_value = name != "index" and args[2].numel() == 1  # fills, without a look at the mask
        if masks and not one_value:
            COUNTS.waits["boolean mask"] += masks


class _Factories(TorchFunctionMode):
    """Make tensors on the card where torch would resize them behind a wrapper's back."""

    made_here = frozenset((torch.arange, torch.eye, torch.linspace, torch.tensor, torch.as_tensor))

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        where = kwargs.get("device")
        if func not in self.made_here or where is None or torch.device(where).type != "card":
            return func(*args, **kwargs)
        if func is torch.as_tensor and isinstance(args[0], torch.Tensor):
            return args[0].to(**kwargs)
        made = func(*args, **{k: v for k, v in kwargs.items() if k != "device"})
        COUNTS.operations[func.__name__] += 1
        return Card(made)


@cache
def device() -> torch.device:
    """The card, known to torch from the first call on; it cannot be forgotten again."""
    backend_registration._setup_privateuseone_for_python_backend("card")
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: _compute(func, args, kwargs), dispatch_key="PrivateUse1")
    own = torch.library.Library("aten", "IMPL")
    for name in OWN_KERNELS:
        operation = getattr(torch.ops.aten, name).default
        own.impl(name, lambda *args, operation=operation: _compute(operation, args, {}), "PrivateUse1")
    _kept.extend((library, own))
    module = torch.get_device_module("card")
    module.synchronize = lambda *_: None
    module.empty_cache = lambda: None
    module.memory_allocated = module.memory_reserved = lambda *_: _memory.now
    module.max_memory_allocated = lambda *_: _memory.most
    module.reset_peak_memory_stats = lambda *_: setattr(_memory, "most", _memory.now)
    module.mem_get_info = lambda *_: (MEMORY - _memory.now, MEMORY)
    return torch.device("card:0")


_kept: list[Any] = []


@contextmanager
def pretended_card() -> Iterator[Counts]:
    """Let tensors be made on the card; gives what is counted from here on."""
    device()
    COUNTS.reset()
    with _Factories():
        yield COUNTS
