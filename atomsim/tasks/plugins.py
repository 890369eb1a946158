"""Step kinds of other packages, found by the entry point group ``atomsim.steps``.

A package names its kind and the module (or object) that defines it::

    [project.entry-points."atomsim.steps"]
    count = "my_package.count"

Nothing is imported until a campaign uses the kind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.tasks.kind import StepKind

GROUP = "atomsim.steps"
NEEDED = ("KIND", "NEEDS_POTENTIAL", "Settings", "expand", "run", "summarise", "cost")
"""Names that a step kind must have."""


@dataclass(frozen=True)
class Plugin:
    """A step kind that an installed package offers."""

    entry: EntryPoint
    package: str
    version: str

    def load(self) -> StepKind:
        """Import the module of the kind.

        Raises:
            InputError: if it cannot be imported or is no step kind.
        """
        try:
            found = self.entry.load()
        except Exception as error:
            raise InputError(
                f"{self} cannot be imported ({type(error).__name__}: {error}); install a {self.package} that fits "
                "this atomsim, or uninstall it"
            ) from error
        missing = [name for name in NEEDED if not hasattr(found, name)]
        if missing or self.entry.name != found.KIND:
            problem = f"has no {', '.join(missing)}" if missing else f"says that its KIND is {found.KIND!r}"
            raise InputError(f"{self} {problem}; wanted {', '.join(NEEDED)} (CONTRIBUTING.md), ask its authors")
        return cast("StepKind", found)

    def __str__(self) -> str:
        return f"step kind {self.entry.name!r} of {self.package} {self.version}"


@cache
def plugins(taken: Collection[str]) -> dict[str, Plugin]:
    """Return the step kinds of installed packages by name, sorted.

    Args:
        taken: kinds that atomsim has itself.

    Raises:
        InputError: if a package offers a kind that atomsim or another package has.
    """
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        assert entry.dist is not None
        plugin = Plugin(entry, entry.dist.name, entry.dist.version)
        other = "atomsim" if entry.name in taken else found[entry.name].package if entry.name in found else ""
        if other and other != plugin.package:
            raise InputError(f"{plugin}: {other} has a kind of that name already; uninstall {plugin.package}")
        found[entry.name] = plugin
    return found
