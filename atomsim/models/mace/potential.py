"""MACE on batches: any ``.model`` file.

The batch's tensors go to the model as they are; no per-structure graph objects. Pair vectors
are made in float64 and only then cast to the model's precision, so single precision does not
suffer from large coordinates, and forces and stress come from one derivative with respect to
those vectors. The model runs in evaluation mode with frozen parameters; ``mace_fast`` computes
the standard kinds with far fewer operations, the others by their own forward.

Batatia et al., NeurIPS 35 (2022), arXiv:2206.07697.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError, InputError, nearest
from atomsim.models.chgnet.graph import one_direction
from atomsim.models.familiarity import Familiarity
from atomsim.models.interface import refuse_unknown_elements
from atomsim.models.mace.fast import FastMace
from atomsim.models.mace.kernels import AGREE, choose, evaluate_kernel, probe
from atomsim.models.mace.on_device import OnDevice
from atomsim.models.mace.prune import keep_elements
from atomsim.models.neighbors import Neighbors, neighbor_list

SUPPORTED = ("MACE", "ScaleShiftMACE")
"""Classes of MACE models with an energy and nothing but geometry as input."""

ATOMS_ON_A_CPU = 32
"""Atoms evaluated at once on a CPU. Per cell, eight together cost 20 %, 39 % and 54 % of one by one at 1, 4
and 8 atoms, and 96 % at 24 (MACE-MP-0 small's shape, one thread)."""


class MacePotential:
    """A MACE model behind the ``Potential`` protocol.

    ``kernel`` says how it is computed (see ``mace_kernels``), ``kernel_note`` why not faster.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str = "mace",
        sha256: str = "",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        head: str | None = None,
        kernel: str = "auto",
        elements: Iterable[int] | None = None,
    ) -> None:
        """Take a copy of a model.

        Args:
            model: a ``MACE`` or ``ScaleShiftMACE``; not changed.
            name: for records; the head's name is added where there are several.
            sha256: hash of the weights' file; of the parameters if not given. The potential's own is
                made of it and the head's name where there are several.
            device: where batches will live.
            dtype: float32 or float64; the model's own if not given.
            head: which head of a multi-head model; needed if none is called "default".
            kernel: ``auto``, ``fast``, ``reference``, ``compiled`` or ``cueq``. All but ``reference``
                are compared with it before they are used.
            elements: atomic numbers that it may be used for, of those that the model has; all if not given.

        Raises:
            InputError: if the model is of another kind, has none of the elements, or no such head or kernel.
            AtomsimError: if a kernel asked for by name cannot be had or does not agree with the reference.
        """
        _require_supported(model)
        self.device = torch.device(device)
        self.dtype = dtype or next(model.parameters()).dtype
        self.cutoff = float(model.r_max)
        self.heads: tuple[str, ...] = tuple(getattr(model, "heads", None) or ("Default",))
        self.head = _choose_head(self.heads, head, name)
        self._allowed = frozenset(int(z) for z in (model.atomic_numbers if elements is None else elements))
        if not self._allowed & {int(z) for z in model.atomic_numbers}:
            raise InputError(f"{name} has none of the elements that its card names; correct the card")
        self.file_sha256 = sha256 or fingerprint(model)
        self.name, self.sha256 = name, self.file_sha256
        if len(self.heads) > 1:
            # each head is a potential of its own: records of two must not be taken for one another's
            chosen = self.heads[self.head]
            self.name = name if name.endswith(f"/{chosen}") else f"{name}/{chosen}"
            self.sha256 = hashlib.sha256(f"{self.file_sha256} head {chosen}".encode()).hexdigest()
        # weights that were given in double precision are kept for ``double``: rounding is not undone by a cast
        rounded = self.dtype == torch.float32 and next(model.parameters()).dtype == torch.float64
        self._unrounded = copy.deepcopy(model).cpu() if rounded else None
        own = copy.deepcopy(model).to(device=self.device, dtype=self.dtype).eval().requires_grad_(False)
        self._use(own, kernel)

    familiarity: Familiarity | None = None
    """Summary of the training, where the card has one."""

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses and atomic energies: in one pass on a GPU, piece by piece on a CPU.

        What a CPU gains from batches is overhead shared by small cells; intermediate results of
        a large batch no longer fit into its cache.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        if self._on_device is not None:
            return self._on_device(batch)
        return evaluate_kernel(self._kernel, batch, neighbor_list(batch, self.cutoff), _pieces(batch.sizes))

    def features(self, batch: Batch) -> torch.Tensor:
        """Return what the readouts see of each atom that does not turn with it, (n_atoms, layers × channels).

        Raises:
            InputError: if the model is computed by its own forward, which does not show them.
        """
        if not isinstance(self._kernel, FastMace):
            raise InputError(f"{self.name} runs on the kernel {self.kernel!r}, which shows no features of atoms")
        bonds = one_direction(found := neighbor_list(batch, self.cutoff))
        pairs = Neighbors(found.i[bonds], found.j[bonds], found.shift[bonds])
        with torch.no_grad():
            return self._kernel.atom_features(batch, pairs, pairs.vectors(batch))

    @cached_property
    def double(self) -> MacePotential:
        """The same potential in float64."""
        head = self.heads[self.head] if len(self.heads) > 1 else None
        model = self.model if self._unrounded is None else self._unrounded
        return MacePotential(
            model,
            name=self.name,
            sha256=self.file_sha256,
            device=self.device,
            dtype=torch.float64,
            head=head,
            elements=self._allowed,
        )

    def prune(self, elements: Iterable[int]) -> MacePotential:
        """Return the same potential for some of its elements only: equal, and smaller.

        Weights that belong to one element are dropped for the others; nothing is refitted.
        Name and sha256 stay: it is the same potential. It saves memory, and time where the
        kernel is the model's own; the fast kernel only ever touches the elements present.

        Args:
            elements: atomic numbers to keep.

        Raises:
            InputError: if an element is not in ``elements``.
            AtomsimError: if the model has a part that cannot be cut, so energies would differ.
        """
        wanted = sorted(set(elements))
        known = [int(z) for z in self.model.atomic_numbers]
        trial = probe(wanted, self.device)
        refuse_unknown_elements(trial, self.elements, self.name)
        pruned = copy.copy(self)
        with quiet_mace():
            pruned._use(keep_elements(self.model, [known.index(z) for z in wanted]), self.kernel)
        off = (self(trial).energy - pruned(trial).energy).abs().item()
        if not off < AGREE[self.dtype] * trial.n_atoms:
            raise AtomsimError(f"{self.name} has parts that cannot be cut down to some elements; use it whole")
        return pruned

    def _use(self, model: Any, kernel: str) -> None:
        self.model = model
        self.elements = frozenset(int(z) for z in model.atomic_numbers) & self._allowed
        self.kernel, self._kernel, self.kernel_note = choose(kernel, model, self.head, self.name)
        # on a CPU a search is one per cent of an evaluation: a skin would only add state
        self._on_device = OnDevice(self._kernel, self.cutoff) if self.device.type != "cpu" else None


@contextmanager
def quiet_mace() -> Iterator[None]:
    """Import or unpickle MACE without its side effects.

    Importing mace sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD, which would make every later
    ``torch.load`` of the process unsafe, and prints; e3nn's TorchScript warns once per block.

    Raises:
        InputError: if the e3nn that is here has other signs than the one that MACE's weights count on.
    """
    found = version("e3nn")
    if tuple(int(part) for part in found.split(".")[:2] if part.isdecimal()) >= (0, 5):
        raise InputError(
            f"MACE's weights count on the signs of e3nn 0.4.4: found e3nn {found}, which SevenNet wants; "
            "ask MACE in an environment without SevenNet (docs/how-to/potentials.md)"
        )
    key = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.pop(key, None)
        if before is not None:
            os.environ[key] = before


def fingerprint(model: torch.nn.Module) -> str:
    """Return a SHA-256 over names, types and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _pieces(sizes: list[int]) -> list[range]:
    """Consecutive systems, as many as fit into ``ATOMS_ON_A_CPU``."""
    starts, atoms = [0], 0
    for n, size in enumerate(sizes):
        atoms += size
        if atoms > ATOMS_ON_A_CPU and n > starts[-1]:
            starts, atoms = [*starts, n], size
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(sizes)], strict=True)]


def _require_supported(model: torch.nn.Module) -> None:
    kind = type(model).__name__
    if kind not in SUPPORTED:
        raise InputError(f"found a model of class {kind}, wanted {' or '.join(SUPPORTED)}; use one with plain energies")
    if hasattr(model, "joint_embedding"):
        names = ", ".join(getattr(model, "embedding_specs", {})) or "unknown"
        raise InputError(f"this MACE model needs more than a geometry (inputs: {names}); use one without them")


def _choose_head(heads: tuple[str, ...], wanted: str | None, name: str) -> int:
    if wanted is None and len(heads) == 1:
        return 0
    if wanted is None:
        default = [k for k, head in enumerate(heads) if head.lower() == "default"]
        if default:
            return default[0]
        raise InputError(f"{name} has several heads and none is called 'default'; name one of {', '.join(heads)}")
    if wanted not in heads:
        raise InputError(f"{name} has no head {wanted!r};{nearest(wanted, heads)} heads: {', '.join(heads)}")
    return heads.index(wanted)
