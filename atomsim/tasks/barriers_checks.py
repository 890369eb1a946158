"""Further potentials that the images of a path are evaluated with (``check_with``)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

from atomsim.errors import AtomsimError, InputError
from atomsim.registry.cards import MODEL_FILES, from_folder, load_card

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.mep.path import ReactionPath
    from atomsim.models.interface import EnergyModel, Potential
    from atomsim.tasks.base import Context


SAME = "{} is the potential that is to be checked, and agrees with itself; name another one"


def known_elements(name: str, context: Context) -> frozenset[int]:
    """Return the atomic numbers that a further potential knows; of a card without loading its weights.

    Raises:
        InputError: if there is no such potential or head, it is the step's own, is not on this machine, or must not be
            loaded.
    """
    word = from_folder(name, context.base_dir)
    if word == context.potential_name:
        raise InputError(SAME.format(name))
    if "#" in word or "/" in word or word.endswith(MODEL_FILES):
        found = further_potential(word, "cpu", context.trust_file)
        if found.sha256 == context.potential_sha256:
            raise InputError(SAME.format(name))
        return frozenset(found.elements)
    card = load_card(word)
    if card.state not in ("analytic", "verified"):
        raise InputError(
            f"the weights of {name} are {card.state} on this machine; 'atomsim potentials fetch {name}', "
            "or leave it out"
        )
    return card.numbers


def further_elements(settings: Any, context: Context) -> dict[str, frozenset[int]]:
    """Atomic numbers that each further potential of a step knows, without a force call.

    Raises:
        InputError: naming step and key, if one is not at hand, or none is named that would relax again.
    """
    names = getattr(settings, "check_with", ())
    if getattr(settings, "check_relax", False) and not names:
        raise InputError(
            f"step {context.step!r}: found check_relax without check_with; name potentials that relax again"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"step {context.step!r}: check_with: {twice[0]} is named twice; leave one out")
    try:
        return {name: known_elements(name, context) for name in names}
    except InputError as error:
        raise InputError(f"step {context.step!r}: check_with: {error}") from error


def require_further(settings: Any, context: Context, numbers: Collection[int]) -> None:
    """Refuse further potentials that are not at hand, or do not know the elements of what is computed first.

    Raises:
        InputError: naming them.
    """
    for name, known in further_elements(settings, context).items():
        if unknown := ", ".join(chemical_symbols[z] for z in sorted(set(numbers) - known)):
            raise InputError(
                f"step {context.step!r}: {unknown} is not known to {name} (check_with); "
                "choose another ('atomsim potentials list')"
            )


def checked(path: ReactionPath, check_with: Sequence[str], potential: EnergyModel, context: Context) -> dict[str, Any]:
    """The barrier along the same images by other potentials, and how much all of them differ."""
    return checked_images(path.images, path.barrier, check_with, potential, context)


def checked_images(
    images: Sequence[Atoms], barrier: float, check_with: Sequence[str], potential: EnergyModel, context: Context
) -> dict[str, Any]:
    """The same for the images of any path, whose barrier by the first potential is known.

    A check that fails is reported as such: it must not cost the path that it was to check.
    """
    from atomsim.batching.capacity import evaluate_all
    from atomsim.models.interface import device_of

    device = str(device_of(potential))
    found, failed = {}, {}
    for name in check_with:
        try:
            other = further_potential(from_folder(name, context.base_dir), device, context.trust_file)
            energy = np.concatenate([evaluation.energy.numpy() for _, evaluation in evaluate_all(images, other)])
        except AtomsimError as error:
            failed[name] = str(error)
            continue
        found[name] = {"barrier_eV": float(energy.max() - energy[0]), "highest_image": int(energy.argmax())}
    barriers = [barrier, *(entry["barrier_eV"] for entry in found.values())]
    spread = {"barrier_spread_eV": float(np.ptp(barriers))} if found else {}
    return {"checked_with": found} | spread | ({"checks_failed": failed} if failed else {})


@cache
def further_potential(name: str, device: str, trust_file: bool) -> Potential:
    """Load a potential that others are compared with, once in a process."""
    from atomsim.models.load import load_potential

    return load_potential(name, device=device, trust_file=trust_file)
