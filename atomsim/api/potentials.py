"""Potentials in all shapes that users hold, and potentials as ASE calculators."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from atomsim.api.arguments import verb
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from atomsim.execution.job import Engine
    from atomsim.models.interface import Potential

KEPT = 4
"""Loaded potentials that are kept for the next call."""
_kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


@dataclass(frozen=True)
class Loaded:
    """A potential and how other processes would get it."""

    potential: Potential
    word: str = ""
    """Name or path, if it was given by one."""
    dtype: str | None = None
    trust_file: bool = False
    loader: str = ""
    """``module:function`` that makes it in other processes; ``load_potential`` if empty."""
    devices: str = ""
    """Devices for its tasks, where not only its own: ``auto`` or ``cuda`` for all cards."""

    @property
    def name(self) -> str:
        """Name in a campaign file."""
        return self.word or self.potential.name

    def engine(self, processes: int | None) -> Engine:
        """Return what runs tasks with it.

        Raises:
            InputError: if other processes cannot have it.
        """
        device = str(self.potential.device)
        if processes is not None and self.potential.device.type == "cpu":
            if not self.word:
                raise InputError(
                    f"processes={processes} needs a potential by its name or path, as each process loads it; "
                    f"found {type(self.potential).__name__}: leave processes out, or name the potential"
                )
            return self._engine(device, processes)
        if self.potential.device.type == "cpu":
            return self._engine(device, 0)
        return self._engine(self.devices or device, 1)

    def _engine(self, device: str, processes: int) -> Engine:
        from atomsim.execution.job import LOADER, Engine
        from atomsim.models.interface import refuse_unidentified

        potential = self.potential

        class Held(Engine):
            """An engine whose potential is loaded already; other processes load their own."""

            def load(self) -> Potential:
                refuse_unidentified(potential)
                return potential

        name = self.word or potential.name
        return Held(name, device, self.dtype, processes, self.trust_file, self.loader or LOADER)


@verb
def load_potential(
    source: Any,
    *,
    device: str = "auto",
    dtype: str | None = None,
    head: str | None = None,
    name: str | None = None,
    trust_file: bool = False,
) -> Potential:
    """Load a potential, ready to be given to any verb.

    Args:
        source: name of a card (``atomsim potentials list``), path of a MACE ``.model`` file, an ASE calculator, a
            TorchSim model, or a potential.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``; an object stays where it is.
        dtype: ``float32`` or ``float64``; the card's or the file's own if not given.
        head: head of a multi-head MACE model.
        name: of a calculator or model, for records; its identity where its content cannot be read.
        trust_file: open a ``.model`` file that no card pins. Such a file can run any code.

    Returns:
        The potential, with ``name``, ``sha256``, ``elements``, ``cutoff`` (Å), ``device``, ``dtype``. The same weights
        on the same device are loaded once and reused.

    Raises:
        InputError: for an unknown name (with the nearest), missing weights (with the command that fetches them), a hash
            that no card pins, or a device that is not there.

    Examples:
        >>> import atomsim
        >>> potential = atomsim.load_potential("lj-test", device="cpu")
        >>> potential.name, str(potential.device), potential.cutoff
        ('lj-test', 'cpu', 5.0)
    """
    return resolve(source, device, dtype=dtype, head=head, name=name or "", trust_file=trust_file).potential


@verb
def calculator(
    potential: Any = "chgnet-0.3.0",
    *,
    device: str = "auto",
    dtype: str | None = None,
    head: str | None = None,
    trust_file: bool = False,
) -> Calculator:
    """Make an ASE calculator of a potential, for what ASE or pymatgen do with calculators.

    Args:
        potential: as in ``load_potential``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``float32`` or ``float64``.
        head: head of a multi-head MACE model.
        trust_file: open a ``.model`` file that no card pins.

    Returns:
        A calculator with ``energy``, ``forces`` (eV/Å), ``stress`` (eV/Å³) and, where the potential has them,
        ``magmoms`` and ``energies``; name and hash are in its ``parameters``. ``copy()`` shares the weights, so that
        every image of a band can have its own. Given back to a verb it is its potential again.

    Raises:
        InputError: as ``load_potential`` does.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> atoms = bulk("Ar", cubic=True)
        >>> atoms.calc = atomsim.calculator("lj-test", device="cpu")
        >>> round(atoms.get_potential_energy(), 6), atoms.calc.parameters["name"]
        (-0.226464, 'lj-test')
    """
    from atomsim.models.ase import PotentialCalculator

    return PotentialCalculator(resolve(potential, device, dtype=dtype, head=head, trust_file=trust_file).potential)


def resolve(
    potential: Any,
    device: str = "auto",
    *,
    dtype: str | None = None,
    head: str | None = None,
    name: str = "",
    trust_file: bool = False,
) -> Loaded:
    """Return a potential from whatever stands for one.

    Raises:
        InputError: if it is none, or cannot be loaded.
    """
    from ase.calculators.calculator import BaseCalculator

    from atomsim.models.ase import PotentialCalculator
    from atomsim.models.interface import Potential

    if isinstance(potential, str | Path):
        word = f"{potential}#{head}" if head else str(potential)
        loaded = _by_word(potential, device, dtype, head, name, trust_file)
        return Loaded(loaded, _absolute(word), dtype, trust_file)
    if isinstance(potential, Loaded):
        return potential
    if isinstance(potential, PotentialCalculator):
        return resolve(potential.potential)
    if isinstance(potential, type) or potential is None:
        _refuse(potential)
    if isinstance(potential, BaseCalculator) and not isinstance(potential, Potential):
        from atomsim.models.load import load_potential as load

        return Loaded(load(cast("Calculator", potential), dtype=dtype, head=head, name=name))
    if isinstance(potential, Potential) and not _is_torchsim(potential):
        return Loaded(potential)
    if _is_torchsim(potential):
        from atomsim.models.torchsim import TorchSimPotential
        from atomsim.registry.cards import ALL_ELEMENTS

        return Loaded(TorchSimPotential(potential, ALL_ELEMENTS, 6.0, name=name))
    return _refuse(potential)


def _refuse(potential: Any) -> Loaded:
    found = potential.__name__ if isinstance(potential, type) else type(potential).__name__
    hint = f"; make one with {found}(…)" if isinstance(potential, type) else ""
    raise InputError(
        f"potential: found {found}, wanted a name, a path, a Potential, an ASE calculator or a TorchSim model{hint}"
    )


def _is_torchsim(thing: Any) -> bool:
    return callable(thing) and all(hasattr(thing, key) for key in ("device", "dtype", "memory_scales_with"))


def _absolute(word: str) -> str:
    """Return a path of weights from the root, so that it means the same in another folder; a name as it is."""
    file, mark, head = word.partition("#")
    return f"{Path(file).resolve()}{mark}{head}" if Path(file).is_file() else word


def _by_word(
    word: str | Path, device: str, dtype: str | None, head: str | None, name: str, trust_file: bool
) -> Potential:
    """Load by name or path, once."""
    from atomsim.models.load import load_potential as load
    from atomsim.models.load import resolve_device

    where = resolve_device(device)
    key = (str(word), str(where), str(dtype), head, name, trust_file, *_weights(word))
    if key not in _kept:
        _kept[key] = load(word, device=where, dtype=dtype, trust_file=trust_file, head=head, name=name)
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    found: Potential = _kept[key]
    return found


def _weights(word: str | Path) -> tuple[Any, ...]:
    """Return what changes where the weights or the card behind a word do."""
    from atomsim.registry.cards import load_card

    path = Path(str(word).partition("#")[0]).expanduser()
    if not path.is_file():
        try:
            card = load_card(str(word).partition("#")[0])
        except InputError:
            return ()
        path = card.weights_path or card.path or path
        if card.path is not None:
            stat = card.path.stat()
            return (str(path), card.weights.sha256, str(card.path), stat.st_mtime_ns, *_stat(path))
    return (str(path), *_stat(path))


def _stat(path: Path) -> tuple[int, ...]:
    if not path.is_file():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def same_again(result_potential: Any, potential: Any, device: str = "auto") -> Loaded:
    """Return the potential that results came from, to continue with it.

    Args:
        result_potential: ``.potential`` of a result.
        potential: as the user gave it, or None to load what the results name.
        device: where it is loaded.

    Raises:
        InputError: if it is another one.
    """
    if potential is None:
        held = [p for p in _objects.values() if p.sha256 == result_potential.sha256]
        loaded = Loaded(held[-1]) if held else resolve(result_potential.name, device)
    else:
        loaded = resolve(potential, device)
    if loaded.potential.sha256 != result_potential.sha256:
        raise InputError(
            f"found {loaded.potential.name} (sha256 {loaded.potential.sha256[:12]}), the results are of "
            f"{result_potential.name} ({str(result_potential.sha256)[:12]}); give potential= with the same weights"
        )
    return loaded


_objects: OrderedDict[int, Any] = OrderedDict()
"""Potentials that were given as objects, the last few."""


def remember(loaded: Loaded) -> Loaded:
    """Keep an object for verbs that continue from its results."""
    if not loaded.word:
        _objects[id(loaded.potential)] = loaded.potential
        while len(_objects) > KEPT:
            _objects.popitem(last=False)
    return loaded
