"""The word list of ``make lint``: words of this code's former dialect, long files and functions, loose modules.

Run in the root of the repository; prints ``file:line: what`` for each finding and ends with 1 if there is any.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("atomsim", "tests", "benchmarks")
PROSE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs")

NAMES = {
    "said": "evaluation, output, message",
    "told": "text, message, report",
    "_told": "_in_words",
    "tell": "report",
    "begun": "started, restarts",
    "surface": "potential, model",
    "Surface": "EnergyModel",
    "desk": "plan",
    "outlook": "report",
    "legs": "segments",
    "mirrors": "swaps",
    "kicked": "force_is_stale",
    "shaken": "rattled",
    "go_on": "advance, resume",
    "goes_on": "has_jobs",
    "hand_in": "submit",
    "_unheard": "_ignore",
}
"""Identifiers, and the field's words in their place."""
ALLOWED = {
    ("atomsim/api/migrated.py", "told"),
    ("tests/test_api_numbers.py", "told"),
    ("tests/io/test_metadata.py", "surface"),
}
"""Names that are public, here or in other packages."""

PHRASES = {
    r"waiting for a person|waits? for a person": "needs a manual resume",
    r"died without a word|ended without a word": "exited without a final report",
    r"\bgo(es)? on\b|\bgoing on\b|\bwent on\b": "continues, resumes",
    r"\bhand(s|ed|ing)? in\b": "submit",
    r"what (was|is) said of": "evaluation of",
}
"""Words of messages, docstrings, comments and documentation."""

FIRST = re.compile(r"(What|Of|How|Whether|Who|Why)\b")
"""Beginnings of docstrings that leave out their subject."""
LONGEST_FILE, LONGEST_FUNCTION, LONG_FUNCTIONS = 320, 60, 2
"""Lines of a file; lines of a function without its docstring; functions that may be longer."""
LOOSE_MODULES = 6
"""Modules at the package's root."""


def main() -> int:
    """Print all findings; return 1 if there is any."""
    found = [f for path in files() for f in findings(path)]
    lengthy = [f for path in sorted(Path("atomsim").rglob("*.py")) for f in functions(path)]
    if len(lengthy) > LONG_FUNCTIONS:
        found += lengthy
    loose = [p.name for p in sorted(Path("atomsim").glob("*.py")) if p.name != "__init__.py"]
    if len(loose) > LOOSE_MODULES:
        found.append(f"atomsim: {len(loose)} modules beside folders, at most {LOOSE_MODULES}: {', '.join(loose)}")
    for line in found:
        print(line)
    return int(bool(found))


def files() -> list[Path]:
    """List the files that are looked at."""
    pages = [p for root in map(Path, PROSE) for p in ([root] if root.is_file() else root.rglob("*.md"))]
    return sorted([p for root in ROOTS for p in Path(root).rglob("*.py") if ".peers" not in p.parts] + pages)


def findings(path: Path) -> Iterator[str]:
    """Yield what is wrong with one file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from phrases(path, 1, text)
        return
    if path.parts[0] == "atomsim":
        length = text.count("\n")
        if length > LONGEST_FILE:
            yield f"{path}:1: {length} lines, at most {LONGEST_FILE}: split the file"
        yield from subjects(path, ast.parse(text))
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        number, column = token.start
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield from phrases(path, number, token.string)
        elif token.type == tokenize.NAME and token.string in NAMES and not allowed(path, token.string):
            if token.string == "tell" and lines[number - 1][:column].endswith("."):
                continue  # of a file
            yield f"{path}:{number}: name {token.string!r}, better: {NAMES[token.string]}"


def allowed(path: Path, name: str) -> bool:
    """Return True for a public name in its place."""
    return (path.as_posix(), name) in ALLOWED


def phrases(path: Path, first: int, text: str) -> Iterator[str]:
    """Yield phrases of the list in a text that begins on line ``first``."""
    for number, line in enumerate(text.splitlines(), first):
        for pattern, better in PHRASES.items():
            if match := re.search(pattern, line):
                yield f"{path}:{number}: {match[0]!r}, better: {better}"


def subjects(path: Path, tree: ast.AST) -> Iterator[str]:
    """Yield docstrings, those of fields and constants among them, that begin without their subject."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if match := FIRST.match(str(node.value.value).lstrip()):
            yield f"{path}:{node.lineno}: docstring begins with {match[0]!r}, wanted a noun phrase or an imperative"


def functions(path: Path) -> Iterator[str]:
    """Yield functions that are too long."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {LONGEST_FUNCTION}"


if __name__ == "__main__":
    sys.exit(main())
