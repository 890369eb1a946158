"""Lines that a GPU takes and a CPU does not, and how many of them the cases on the pretended card reach.

Counted are statements under ``device.type != "cpu"`` (what follows a ``return`` under ``== "cpu"`` among them), and the
functions and classes that only such statements use. What asks for CUDA by name is left out: no other device takes it.

    python -m benchmarks.card_lines
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "helpers" / "card_cases.py"
ONLY_THERE = {
    "atomsim/models/neighbors.py": ("SkinList",),
    "atomsim/models/chgnet/graph.py": ("KeptGraph",),
    "atomsim/batching/memory.py": ("calibrate", "device_peak", "device_free", "probe_batches"),
}
"""Functions and classes that only devices use."""
ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def side(test: ast.expr) -> str:
    """Return which side of a test a device takes: ``body``, ``orelse``, or nothing where it asks something else."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not ast.unparse(test.left).endswith(".type"):
        return ""
    if ast.unparse(test.comparators[0]) != "'cpu'":
        return ""
    return "body" if isinstance(test.ops[0], ast.NotEq) else "orelse"


def device_statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements that only a device reaches, outermost first."""
    for node in ast.walk(tree):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield from _of_block(block)


def _of_block(block: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for n, statement in enumerate(block):
        if not isinstance(statement, ast.If):
            continue
        several = isinstance(statement.test, ast.BoolOp)
        either = several and isinstance(statement.test.op, ast.Or)
        sides = {side(test) for test in (statement.test.values if several else [statement.test])}
        if "body" in sides and not either:
            yield from statement.body
        elif "orelse" in sides and (either or not several):  # whoever passes by is no CPU
            yield from statement.orelse
            if isinstance(statement.body[-1], ENDS):
                yield from block[n + 1 :]


def lines_of(path: str) -> set[int]:
    """Return the first lines of the statements of a file that only a device reaches."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = list(device_statements(tree))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in ONLY_THERE.get(path, ()):
            functions = [f for f in ast.walk(node) if isinstance(f, ast.FunctionDef)]
            found += [statement for function in functions for statement in function.body]
    inner = [s for one in found for s in ast.walk(one) if isinstance(s, ast.stmt)]
    return {s.lineno for s in inner if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))}


def main() -> int:
    """Run the cases and print a table: reached, of how many, and which lines are missing."""
    sources = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "atomsim").rglob("*.py"))]
    wanted = {str(ROOT / path): lines for path in sources if (lines := lines_of(path))}
    reached: dict[str, set[int]] = defaultdict(set)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in wanted:
            return None
        if event == "line":
            reached[name].add(frame.f_lineno)
        return trace

    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]
    sys.settrace(trace)
    failed = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CASES)])
    sys.settrace(None)
    total = met = 0
    for name, lines in wanted.items():
        seen = lines & reached[name]
        total, met = total + len(lines), met + len(seen)
        missing = ", ".join(map(str, sorted(lines - seen)))
        print(f"{Path(name).relative_to(ROOT)!s:38} {len(seen):3d} of {len(lines):3d}  {missing}")
    print(f"reached {met} of {total} lines, {100 * met / total:.1f} %")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
