"""Any TorchSim model as a potential.

TorchSim (Cohen et al., AI Sci. (2025), doi:10.1088/3050-287X/ae1799) has adapters for many models behind one
``ModelInterface``: a callable from a ``SimState`` to a dictionary with ``energy``, ``forces`` and
``stress``. atomsim does not depend on it; it is imported when the first batch is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from ase import Atoms
from ase.data import atomic_masses
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError, InputError
from atomsim.models.identity import identity_or_name
from atomsim.models.interface import Potential, refuse_unknown_elements


class TorchSimModel(Protocol):
    """The part of ``torch_sim.models.interface.ModelInterface`` that is used."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of its input and output."""

    def __call__(self, state: Any, /) -> Mapping[str, Tensor]:
        """Return ``energy`` (n_systems,), ``forces`` (n_atoms, 3) and ``stress`` (n_systems, 3, 3)."""


class TorchSimPotential:
    """A TorchSim model behind the ``Potential`` protocol.

    A TorchSim state has one ``pbc`` for all its systems, so a batch of mixed periodicity is
    evaluated in one call per kind. Where the model computes no stress, it is zero.
    """

    def __init__(
        self,
        model: TorchSimModel,
        elements: Iterable[int],
        cutoff: float,
        *,
        name: str = "",
        sha256: str = "",
    ) -> None:
        """Wrap a model that is already on its device.

        Args:
            model: an instance of a TorchSim ``ModelInterface``, made with forces switched on.
            elements: atomic numbers that it was made for.
            cutoff: its interaction range, Å.
            name: for records; the model's class name if not given.
            sha256: hash of its weights; of all numbers that can be reached from it if not given.

        Raises:
            InputError: if its forces are switched off.
        """
        # Early releases say compute_force, later ones compute_forces.
        if not getattr(model, "compute_forces", getattr(model, "compute_force", True)):
            raise InputError(f"{type(model).__name__} has its forces switched off; make it with compute_forces=True")
        self.model = model
        self.name = name or f"torchsim-{type(model).__name__}"
        self.sha256, self.why_unidentified = (sha256, "") if sha256 else identity_or_name(model, name)
        self.device = torch.device(model.device)
        self.dtype = model.dtype
        self.cutoff = cutoff
        self.elements = frozenset(elements)

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate all systems, those of equal periodicity together.

        Raises:
            InputError: if an element is not in ``elements``.
            AtomsimError: if torch-sim is not installed.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        make_state = _state_class()
        kinds, kind_of = torch.unique(batch.pbc, dim=0, return_inverse=True)
        if len(kinds) == 1:
            return self._evaluate(batch, make_state)
        groups = [torch.nonzero(kind_of == k).flatten() for k in range(len(kinds))]
        parts = [batch.take(g) for g in groups]
        joined = Evaluation.join([self._evaluate(part, make_state) for part in parts])
        return joined.take(Batch.join(parts), torch.argsort(torch.cat(groups)))

    def _evaluate(self, batch: Batch, make_state: Callable[..., Any]) -> Evaluation:
        masses = torch.as_tensor(atomic_masses, dtype=self.dtype, device=batch.device)[batch.numbers]
        # A model may write to its state: it gets copies.
        state = make_state(
            positions=batch.positions.detach().to(self.dtype, copy=True),
            masses=masses,
            cell=batch.cell.mT.to(self.dtype, copy=True).contiguous(),  # TorchSim: lattice vectors as columns
            pbc=_periodicity(batch),
            atomic_numbers=batch.numbers.clone(),
            system_idx=batch.system.clone(),
        )
        result = self.model(state)
        stress = result.get("stress")
        energies = result.get("energies")
        return Evaluation(
            energy=_plain(result["energy"]).reshape(batch.n_systems),
            forces=_plain(result["forces"]),
            stress=torch.zeros_like(batch.cell) if stress is None else _symmetric(_plain(stress), batch),
            energies=None if energies is None else _plain(energies),
        )


def _periodicity(batch: Batch) -> bool | Tensor:
    # A plain bool where it says everything: all releases take it, tensors are newer.
    along = batch.pbc[0]
    return bool(along[0]) if bool((along == along[0]).all()) else along.clone()


def _plain(values: Tensor) -> Tensor:
    return values.detach().to(torch.float64)


def _symmetric(stress: Tensor, batch: Batch) -> Tensor:
    symmetric = 0.5 * (stress + stress.mT)
    return torch.where(batch.volume[:, None, None] > 0.0, symmetric, torch.zeros_like(symmetric))


def _state_class() -> Callable[..., Any]:
    try:
        import torch_sim
    except ImportError as error:
        raise AtomsimError(
            "potentials of TorchSim need the package torch-sim-atomistic, which is not installed; "
            "run: pip install torch-sim-atomistic"
        ) from error
    result: Callable[..., Any] = torch_sim.SimState
    return result


def as_model(potential: Potential, interface: type[Any]) -> Any:
    """Return a potential as a TorchSim model.

    Args:
        potential: that is asked.
        interface: TorchSim's ``ModelInterface``.
    """
    module = torch.nn.Module
    bases: Any = interface if issubclass(interface, module) else type("Base", (module, interface), {})

    class Model(bases):  # type: ignore[misc] # the interface is TorchSim's own class, whichever release it is
        """A potential of atomsim; its device and precision are fixed."""

        def __init__(self) -> None:
            super().__init__()
            self._device, self._dtype = potential.device, potential.dtype
            self._compute_force = self._compute_forces = self._compute_stress = True  # names by release
            self._memory_scales_with = "n_atoms_x_density"
            self.potential = potential

        def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
            """Evaluate a state."""
            evaluation = potential(_batch_of(state))
            return {
                "energy": evaluation.energy.to(self._dtype),
                "forces": evaluation.forces.to(self._dtype),
                "stress": evaluation.stress.to(self._dtype),
            }

    return Model()


def _batch_of(state: Any) -> Batch:
    """Return the systems of a TorchSim state."""
    systems = []
    for n in range(int(state.system_idx.max()) + 1):
        mine = state.system_idx == n
        pbc = state.pbc.tolist() if isinstance(state.pbc, Tensor) else state.pbc
        systems.append(
            Atoms(
                numbers=state.atomic_numbers[mine].cpu().numpy(),
                positions=state.positions[mine].detach().cpu().to(torch.float64).numpy(),
                cell=state.cell[n].mT.detach().cpu().to(torch.float64).numpy(),  # TorchSim: lattice vectors as columns
                pbc=pbc,
            )
        )
    return Batch.pack(systems, state.positions.device)
