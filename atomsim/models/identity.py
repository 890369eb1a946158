"""The identity of what has no file of weights: a hash of every number that can be reached from an object.

Two calculators of one class with other weights must not be taken for one another, as their energies could then be
mixed. So everything is read: arrays, tensors, modules' states, plain parameters, and whatever objects hold these. What
cannot be read, such as a function that has no importable name or a program outside, makes the whole unidentified;
nothing is guessed.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_properties
from ase.neighborlist import NeighborList, NewPrimitiveNeighborList, PrimitiveNeighborList

from atomsim.errors import AtomsimError

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice, torch.dtype, torch.Size)
FUNCTIONS = (FunctionType, BuiltinFunctionType, np.ufunc, type)
PASSING = (NeighborList, NewPrimitiveNeighborList, PrimitiveNeighborList, torch.device)
"""Attributes that a calculation leaves behind or that say where it runs: they decide no energy."""
SCRATCH = frozenset({
    "atoms", "results", "device", "use_device", "directory", "_directory", "label", "_label", "prefix",
    "get_spin_polarized", "arrays_keys", "info_keys",
})  # fmt: skip
"""Attributes of calculators, some of them set on first use, that decide nothing either; nor do their last results."""
PARAMETERS_SAY_ALL = frozenset(
    {"ase.calculators.emt.EMT", "ase.calculators.lj.LennardJones", "ase.calculators.morse.MorsePotential"}
)
"""Calculators that keep scratch arrays and are decided by their parameters."""
OF_ANY_MODULE = frozenset({"training", *vars(torch.nn.Module())})
"""Attributes of every network: its weights and parts, which are read by their names, and hooks."""
OUTSIDE = ("write_input", "write_inputfiles", "profile", "command", "launch_server")
"""Attributes of calculators that ask another program, which no attribute identifies."""


class UnidentifiedError(AtomsimError):
    """Something that can be reached has no content that could be hashed; the message says what."""


def identity_of(thing: Any) -> str:
    """Return the SHA-256 of all that can be reached from an object.

    Raises:
        UnidentifiedError: if a part of it cannot be read; the message names the part.
    """
    try:
        return _Reader().read(thing, type(thing).__name__).hex()
    except RecursionError as error:
        raise UnidentifiedError(f"{type(thing).__name__} is nested too deeply to be read") from error


def identity_or_name(thing: Any, name: str) -> tuple[str, str]:
    """Return the identity of what may be unidentified, and why it is: then that of the name given, or else none."""
    try:
        return identity_of(thing), ""
    except UnidentifiedError as error:
        return hashlib.sha256(f"named {name}".encode()).hexdigest() if name else "", str(error)


class _Reader:
    """Digests of objects, each read once."""

    def __init__(self) -> None:
        self.known: dict[int, bytes] = {}
        self.held: list[Any] = []  # so that no id is given twice

    def read(self, value: Any, where: str) -> bytes:
        if isinstance(value, PLAIN):
            return _digest(type(value).__name__, repr(value).encode())
        if id(value) not in self.known:
            self.held.append(value)
            self.known[id(value)] = _digest("circle")  # while it is being read
            self.known[id(value)] = self._content(value, where)
        return self.known[id(value)]

    def _content(self, value: Any, where: str) -> bytes:
        if isinstance(value, np.ndarray | np.generic | torch.Tensor):
            return self._numbers(value, where)
        if isinstance(value, Mapping):
            pairs = sorted(self.read(k, where) + self.read(v, f"{where}[{k!r}]") for k, v in value.items())
            return _digest("mapping", *pairs)
        if isinstance(value, list | tuple):
            return _digest("sequence", *(self.read(v, f"{where}[{n}]") for n, v in enumerate(value)))
        if isinstance(value, set | frozenset):
            return _digest("set", *sorted(self.read(v, where) for v in value))
        if isinstance(value, PASSING):
            return _digest("passing")
        if isinstance(value, Enum | ModuleType | Path):
            return _digest(type(value).__name__, str(value).encode())
        if isinstance(value, Atoms):
            arrays = (value.numbers, value.positions, value.cell.array, value.pbc)
            return _digest("Atoms", *(self.read(a, where) for a in arrays))
        if isinstance(value, torch.nn.Module):
            return self._module(value, where)
        return self._object(value, where)

    def _numbers(self, value: Any, where: str) -> bytes:
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu()
            plain = (plain.to_dense() if plain.layout != torch.strided else plain).contiguous()
            data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
            return _digest("tensor", f"{plain.dtype} {tuple(plain.shape)}".encode(), data)
        array = np.asarray(value)
        if array.dtype.hasobject:
            return _digest("objects", *(self.read(v, where) for v in array.ravel().tolist()))
        return _digest("array", f"{array.dtype.str} {array.shape}".encode(), np.ascontiguousarray(array).tobytes())

    def _module(self, module: torch.nn.Module, where: str) -> bytes:
        """Weights, buffers and settings, functions and small objects included, such as an activation by name."""
        parts = [self.read(dict(module.state_dict()), where), self.read(dict(module.named_buffers()), where)]
        for name, part in module.named_modules():
            parts.append(_digest(name, _name(type(part)).encode()))
            own = {k: v for k, v in vars(part).items() if k not in OF_ANY_MODULE}
            plain = {k: v for k, v in own.items() if _is_plain(v)}
            parts.append(self.read(plain, f"{where}.{name}"))
            parts += [self._held(k, v, f"{where}.{name}.{k}") for k, v in sorted(own.items()) if k not in plain]
        return _digest("module", *parts)

    def _held(self, name: str, value: Any, where: str) -> bytes:
        """Contents of a network beside numbers: functions by name or code, small objects; of others, the class."""
        parts = [_name(type(value)).encode()]
        if isinstance(value, functools.partial):
            parts += [self._held("", v, where) for v in (value.func, value.args, value.keywords)]
        elif isinstance(value, FUNCTIONS):
            parts.append(_name(value).encode())
            parts.append(getattr(getattr(value, "__code__", None), "co_code", b""))
        elif _is_plain(value):
            parts.append(self.read(value, where))
        elif _is_plain(getattr(value, "__dict__", None) or [object()]):
            parts.append(self.read(value.__dict__, where))
        return _digest(name, *parts)

    def _object(self, value: Any, where: str) -> bytes:
        if isinstance(value, functools.partial):
            return _digest("partial", *(self.read(v, where) for v in (value.func, value.args, value.keywords)))
        if isinstance(value, MethodType):
            return _digest("method", value.__name__.encode(), self.read(value.__self__, where))
        if isinstance(value, FUNCTIONS):
            return _digest("function", _importable(value, where).encode())
        kind = _importable(type(value), where)
        calculator = isinstance(value, BaseCalculator)
        if calculator and any(hasattr(value, name) for name in OUTSIDE):
            raise UnidentifiedError(f"{where} asks another program")
        if kind in PARAMETERS_SAY_ALL:
            return _digest(kind, self.read(dict(value.parameters), where))
        state = _state(value, where)
        if calculator:
            # a result is one that it gives; ``charges`` of a calculator that gives none are its parameters
            results = set(all_properties) & {"stresses", "energies", *value.implemented_properties}
            state = {k: v for k, v in state.items() if k not in SCRATCH and k not in results}
        return _digest(kind, *(self.read(k, where) + self.read(state[k], f"{where}.{k}") for k in sorted(state)))


def _state(value: Any, where: str) -> dict[str, Any]:
    """Attributes of an object; of one that has none, what pickling would keep."""
    slots = [s for kind in type(value).__mro__ for s in _slots(kind)]
    state = {s: getattr(value, s) for s in slots if hasattr(value, s)} | getattr(value, "__dict__", {})
    if state or hasattr(value, "__dict__") or slots:
        return state
    try:
        _, *parts = value.__reduce_ex__(2)
    except Exception as error:  # whatever a foreign class raises: it cannot be read
        raise UnidentifiedError(f"{where} is a {type(value).__name__}, whose content cannot be read") from error
    return {f"part {n}": part for n, part in enumerate(parts)}


def _slots(kind: type) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ())
    found = (slots,) if isinstance(slots, str) else tuple(slots)
    return (s for s in found if s not in ("__dict__", "__weakref__"))


def _importable(thing: Any, where: str) -> str:
    """Name that stands for a class or function, wherever it is imported."""
    name = _name(thing)
    module = getattr(thing, "__module__", None) or "builtins"
    found: Any = None
    if module != "__main__" and module in sys.modules:
        found = sys.modules[module]
        for part in name.removeprefix(f"{module}.").split("."):
            found = getattr(found, part, None)
    if found is not thing and not isinstance(thing, np.ufunc):
        what = "class" if isinstance(thing, type) else "function"
        raise UnidentifiedError(f"{where} is of a {what} that cannot be imported by name ({name})")
    return name


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None) or 'builtins'}.{getattr(thing, '__qualname__', thing)}"


def _is_plain(value: Any) -> bool:
    """True for a number, a word or a collection of them."""
    if isinstance(value, Mapping):
        return all(_is_plain(v) for v in (*value, *value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_plain(v) for v in value)
    return isinstance(value, (*PLAIN, np.ndarray, np.generic, torch.Tensor))


def _digest(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.sha256(f"{kind}\0".encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
