"""Imports as a graph, read without importing anything: no module needs, at its import, a module that needs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import atomsim

ROOT = Path(atomsim.__file__).parent


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def at_import(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run with the module: not those inside functions, nor those for type checkers alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
        else:
            for part in ("body", "orelse", "finalbody"):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from at_import(getattr(node, part, []))


def needs(path: Path, known: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in at_import(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in whole}
    return found & set(known)


def test_no_import_runs_in_a_circle() -> None:
    known = modules()
    assert len(known) > 300
    graph = {name: needs(path, known) - {name} for name, path in known.items()}
    assert "atomsim.errors" in graph["atomsim.campaign.run"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' → '.join(error.args[1])}")


HEAVY = (
    "ase.constraints",
    "ase.io",
    "gemmi",
    "matplotlib",
    "pandas",
    "phonopy",
    "pymatgen",
    "scipy",
    "spglib",
    "torch",
)
"""Packages that take longer to import than a command may take to say what its keys are."""


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("import atomsim", ("ase", "numpy", "pydantic")),
        ("import atomsim.cli", ("ase", "numpy", "pydantic", "rich.console")),
        ("from atomsim.tasks import kind_of, kinds; [kind_of(name).Settings for name in kinds()]", ()),
    ],
)
def test_what_must_start_fast_imports_nothing_heavy(what: str, more: tuple[str, ...]) -> None:
    code = f"import sys; {what}; print(*(name for name in {(*HEAVY, *more)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
