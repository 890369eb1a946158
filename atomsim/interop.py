"""Potentials of atomsim in other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atomsim.errors import AtomsimError

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


def torchsim_model(potential: Potential) -> Any:
    """Return a potential as a TorchSim ``ModelInterface``, for its integrators and optimizers.

    Args:
        potential: as ``atomsim.load_potential`` returns it; it stays on its device and in its precision.

    Returns:
        A model that gives ``energy`` (n_systems,), ``forces`` (n_atoms, 3) and ``stress`` (n_systems, 3, 3), in eV,
        eV/Å and eV/Å³.

    Raises:
        AtomsimError: if torch-sim is not installed.
    """
    try:
        from torch_sim.models.interface import ModelInterface
    except ImportError as error:
        raise AtomsimError(
            "a TorchSim model needs the package torch-sim-atomistic, which is not installed; "
            "run: pip install torch-sim-atomistic"
        ) from error
    from atomsim.models.torchsim import as_model

    return as_model(potential, ModelInterface)
