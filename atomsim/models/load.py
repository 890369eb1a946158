"""Load a potential by its card's name, or a MACE model by its path.

A ``.model`` file is a pickle, and unpickling runs whatever the file says. So a file is opened
only if a card pins its SHA-256, or the user says that it is trusted; the bytes that were hashed
are the bytes that are read. A ``.safetensors`` file holds numbers only and needs no trust.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ase.calculators.calculator import BaseCalculator, Calculator

from atomsim.errors import InputError, nearest, note_once
from atomsim.models.interface import EnergyModel, Potential
from atomsim.registry.cards import MODEL_FILES, PotentialCard, card_names, list_cards, load_card
from atomsim.registry.plugins import families, family_loader

if TYPE_CHECKING:
    from atomsim.models.mace.potential import MacePotential

STUDENT = ".safetensors"
"""Suffix of weights that were distilled here."""
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load_potential(
    name_or_path: str | Path | Calculator,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    trust_file: bool = False,
    head: str | None = None,
    name: str = "",
) -> Potential:
    """Load a potential, ready to evaluate batches on ``device``.

    Args:
        name_or_path: name of a card ('atomsim potentials list'), path to a MACE ``.model`` file, either with
            ``#head`` behind it, or an ASE calculator, which stays on its device and in its precision.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``, N counting the
            visible devices.
        dtype: ``float32`` or ``float64``; the card's, or the file's own, if not given.
        trust_file: allow a path whose SHA-256 no card pins. Such a file can run any code.
        head: head of a multi-head MACE model.
        name: of a calculator, for records; its identity where its content cannot be read.

    Raises:
        InputError: if the name is unknown, the device is not there, the weights are missing or
            not those that the card pins, or the file is not trusted.
    """
    if isinstance(name_or_path, Calculator):
        return _calculator(name_or_path, name, {"dtype": dtype, "head": head})
    if name:
        raise InputError(f"found name={name!r} for {name_or_path}, which has a name; leave it out")
    name_or_path, head = _without_head(name_or_path, head)
    where = resolve_device(device)
    precision = _resolve_dtype(dtype)
    if _looks_like_path(name_or_path):
        return _load_file(Path(name_or_path).expanduser(), where, precision, trust_file=trust_file, head=head)
    card = load_card(str(name_or_path))
    note_once(card.rivals_note)
    if head is not None and card.family not in ("mace", "sevennet"):
        raise InputError(f"{card.name} has no heads: found head={head!r}, wanted none; leave it out")
    if card.weights.origin == "none":
        return _analytic(card, where, precision or DTYPES[card.dtype])
    return _from_weights(card, _pinned_weights(card), where, precision or DTYPES[card.dtype], head)


def _calculator(calculator: Calculator, name: str, others: dict[str, Any]) -> Potential:
    from atomsim.models.ase import AsePotential

    for key, value in others.items():
        if value is not None:
            raise InputError(f"found {key}={value!r} for an ASE calculator, which has its own; leave it out")
    return AsePotential(calculator, name=name)


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` stands for.

    Raises:
        InputError: if it is none of these, or no such GPU is visible.
    """
    word = str(device)
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == "auto":
        return torch.device("cuda:0") if visible else torch.device("cpu")
    if word == "cpu":
        return torch.device("cpu")
    kind, _, index = word.partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        hint = nearest(word, ["auto", "cpu", "cuda"])
        raise InputError(f"unknown device {word!r};{hint} wanted auto, cpu, cuda or cuda:N")
    if int(index or 0) >= visible:
        raise InputError(
            f"device {word!r} is not there: found {visible} visible GPUs "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')}); use cpu or see 'atomsim doctor'"
        )
    return torch.device(f"cuda:{index or 0}")


def _resolve_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or dtype in DTYPES.values():
        return dtype  # type: ignore[return-value]
    if str(dtype) not in DTYPES:
        hint = nearest(str(dtype), DTYPES)
        raise InputError(f"unknown precision {str(dtype)!r};{hint} wanted {' or '.join(DTYPES)}")
    return DTYPES[str(dtype)]


def _without_head(name_or_path: str | Path, head: str | None) -> tuple[str | Path, str | None]:
    """Split ``file.model#head``, unless a file has that very name."""
    text = str(name_or_path)
    if "#" not in text or Path(text).expanduser().exists():
        return name_or_path, head
    rest, _, named = text.rpartition("#")
    if not rest or not named or head not in (None, named):
        raise InputError(f"found {text!r}{f' and head={head!r}' if head else ''}; wanted NAME#HEAD with one head")
    return type(name_or_path)(rest), named


def _looks_like_path(name_or_path: str | Path) -> bool:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or os.sep in text or text.endswith(MODEL_FILES):
        return True
    return text not in card_names() and Path(text).is_file()


def _pinned_weights(card: PotentialCard) -> bytes:
    """Read the weights of a card and check that they are the ones it pins."""
    path, pin = card.weights_path, card.weights.sha256
    fetch = f"run 'atomsim potentials fetch {card.name}{'' if pin else ' --pin'}'"
    if path is None or not path.is_file():
        if card.weights.origin == "url":
            copied = f"'atomsim potentials import FILE --as {card.name}{'' if pin else ' --pin'}'"
            raise InputError(
                f"weights of {card.name} are not on this machine: no {card.weights.file}; {fetch}, "
                f"or with a copy {copied}"
            )
        if card.weights.origin == "file":
            raise InputError(
                f"weights of {card.name} are missing: no {card.weights.file}; copy it beside its card {card.path}"
            )
        source = f"package {card.weights.package!r}"
        raise InputError(f"weights of {card.name} are missing: no {card.weights.file} in the {source}; reinstall it")
    if not pin:
        raise InputError(
            f"{path.name} is not opened: no card pins its sha256 and a .model file can run any code; {fetch}"
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != pin:
        repairs = {"url": fetch, "file": f"copy the card's own {card.weights.file} beside {card.path}"}
        repair = repairs.get(card.weights.origin, "reinstall the package")
        raise InputError(
            f"weights of {card.name} are not the published ones: found sha256 {found[:12]}…, "
            f"wanted {pin[:12]}…; {repair}, or give the file by path to use it as it is"
        )
    return data


def _load_file(
    path: Path, device: torch.device, dtype: torch.dtype | None, *, trust_file: bool, head: str | None
) -> Potential:
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = nearest(path.name, card_names())
        raise InputError(f"cannot read the model file {path}: {error.strerror};{hint} check the path") from error
    digest = hashlib.sha256(data).hexdigest()
    card = _card_of(path, digest, head)
    if card is not None:
        return _from_weights(card, data, device, dtype or DTYPES[card.dtype], head)
    if path.suffix == STUDENT:
        return _student(data, path.stem, digest, device, dtype)
    if not trust_file:
        raise InputError(
            f"{path.name} is not opened: no card pins its sha256 ({digest[:12]}…) and a .model file can run any code; "
            "if you trust where it comes from, say so with --trust-file (trust_file=True)"
        )
    return _mace(data, path.stem, digest, device, dtype, head)


def _card_of(path: Path, digest: str, head: str | None) -> PotentialCard | None:
    """Find the card of a file; of several heads of one file each can have its own card.

    Raises:
        InputError: if it could be one of several.
    """
    cards = [card for card in list_cards() if card.weights.sha256 == digest]
    heads = sorted({card.head for card in cards})
    if len(heads) > 1 and head is None:
        names = ", ".join(f"{card.name} (head {card.head or 'default'})" for card in cards)
        raise InputError(f"{path.name} is the file of several cards: {names}; name one of them, or {path.name}#HEAD")
    return next((card for card in cards if head == card.head), cards[0] if cards else None)


def _from_weights(
    card: PotentialCard, data: bytes, device: torch.device, dtype: torch.dtype, head: str | None
) -> Potential:
    if card.weights.file.endswith(STUDENT):
        student = _student(data, card.name, card.weights.sha256, device, dtype, card.numbers)
        summary = card.familiar_bytes()
        if summary is not None and student.kernel != "reference":  # which shows no features of atoms
            from atomsim.models.familiarity import from_safetensors

            student.familiarity = from_safetensors(summary, card.name)
        return student
    if card.family == "mace":
        return _mace(data, card.name, card.weights.sha256, device, dtype, head or card.head or None, card.numbers)
    if card.family == "sevennet":
        from atomsim.models.sevennet import from_checkpoint

        modality = head or card.head or None
        return from_checkpoint(data, card.name, card.weights.sha256, device, dtype, modality, card.numbers)
    if card.family != "chgnet":
        return _of_package(card, data, device, dtype, ("chgnet", "mace", "sevennet"), "with weights in a file")
    from atomsim.models.chgnet.potential import Chgnet

    weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)["model"]["state_dict"]
    return Chgnet(weights, card.name, card.weights.sha256, device, dtype, elements=card.numbers)


def _of_package(
    card: PotentialCard, data: bytes | None, device: torch.device, dtype: torch.dtype, own: tuple[str, ...], what: str
) -> Potential:
    """Load a card of a family that another package brings (``registry.plugins``)."""
    load = family_loader(card.family)
    if load is None:
        raise _wrong_family(card, (*own, *families()), what)
    potential = load(data, card, device, dtype)
    if not isinstance(potential, Potential):
        raise InputError(
            f"family {card.family!r}: its load gave {type(potential).__name__}, wanted a Potential; ask its authors"
        )
    return potential


def _wrong_family(card: PotentialCard, known: Iterable[str], what: str) -> InputError:
    return InputError(
        f"the card {card.name} is of family {card.family!r}, {what}; those known are {', '.join(known)}: mend the card"
    )


def _analytic(card: PotentialCard, device: torch.device, dtype: torch.dtype) -> Potential:
    from atomsim.models.pair import LennardJones, Morse

    forms: dict[str, Callable[..., Potential]] = {"lennard-jones": LennardJones, "morse": Morse}
    if card.family not in forms:
        return _of_package(card, None, device, dtype, tuple(forms), "without weights")
    return forms[card.family](**card.parameters, name=card.name, device=device, dtype=dtype, elements=card.numbers)


def _student(
    data: bytes,
    name: str,
    sha256: str,
    device: torch.device,
    dtype: torch.dtype | None,
    elements: frozenset[int] | None = None,
) -> MacePotential:
    from atomsim.models.mace.potential import MacePotential
    from atomsim.models.mace.safetensors import from_safetensors

    model = from_safetensors(data, name)
    precision = dtype or torch.float32
    return MacePotential(model, name=name, sha256=sha256, device=device, dtype=precision, elements=elements)


def _mace(
    data: bytes,
    name: str,
    sha256: str,
    device: torch.device,
    dtype: torch.dtype | None,
    head: str | None,
    elements: frozenset[int] | None = None,
) -> Potential:
    from atomsim.models.mace.potential import MacePotential, quiet_mace

    with quiet_mace():
        model = _unpickle(data, name)
    return MacePotential(model, name=name, sha256=sha256, device=device, dtype=dtype, head=head, elements=elements)


def _unpickle(data: bytes, name: str) -> Any:
    import mace.modules  # noqa: F401  before e3nn, which loads its constants the old way

    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name} is not a readable MACE model: {reason}; give a file saved by torch.save") from error


def as_energy_model(potential: Any, device: str = "auto") -> EnergyModel:
    """Return a potential by its name or path, from an ASE calculator, or as it is.

    Raises:
        InputError: if it is none of these, or cannot be loaded.
    """
    if isinstance(potential, str | Path):
        return load_potential(potential, device=device)
    if isinstance(potential, BaseCalculator) and not isinstance(potential, Potential):
        from atomsim.models.ase import AsePotential

        return AsePotential(potential)
    if callable(potential) and not isinstance(potential, type):
        model: EnergyModel = potential
        return model
    found = potential.__name__ if isinstance(potential, type) else type(potential).__name__
    hint = f"; make one with {found}(…)" if isinstance(potential, type) else ""
    raise InputError(f"potential: found {found}, wanted a name, a path, a Potential or an ASE calculator{hint}")
