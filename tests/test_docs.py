"""What the documentation says exists: commands and their options, public names, keys of campaigns, one version."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

import atomsim
from atomsim.cli import app
from atomsim.tasks import kind_of

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the code blocks of a page that are in one of some languages."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands(page: Path) -> list[list[str]]:
    """Return the words of every atomsim command of a page."""
    lines = [line.strip() for block in blocks(page, "", "sh", "console") for line in block.splitlines()]
    lines += [line.strip() for line in page.read_text().splitlines() if line.startswith("    atomsim ")]
    commands = [line.removeprefix("$ ") for line in lines]
    commands += re.findall(r"`(atomsim [a-z][^`…]*)`", page.read_text())
    return [shlex.split(line, comments=True)[1:] for line in commands if line.startswith("atomsim ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_a_page_exist_with_their_options(page):
    for words in commands(page):
        command = typer.main.get_command(app)
        for number, word in enumerate(words):
            if not hasattr(command, "commands"):
                break
            if word.startswith("-"):
                continue
            assert word in command.commands, " ".join(words[: number + 1])
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        options = {word.split("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
        assert options <= known | {"--help", "-h"}, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_steps_of_a_page_are_valid(page):
    for block in blocks(page, "toml"):
        for step in tomllib.loads(block).get("step", []):
            settings = {key: value for key, value in step.items() if key not in ("name", "kind")}
            kind_of(step["kind"]).Settings.model_validate(settings)


def test_every_public_name_is_in_the_reference():
    missing = [n for n in atomsim.__all__ if n != "__version__" and f"::: atomsim.{n}\n" not in REFERENCE + "\n"]
    assert not missing


def test_every_workflow_is_in_the_gallery():
    shown = (ROOT / "docs" / "gallery.md").read_text()
    assert [p.name for p in (ROOT / "workflows").glob("*.toml") if f"`{p.name}`" not in shown] == []


def test_one_version():
    versions = {
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        atomsim.__version__,
        re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1],
        re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1],
    }
    assert len(versions) == 1, versions


def test_the_package_is_typed():
    assert (Path(atomsim.__file__).parent / "py.typed").is_file()


def test_every_folder_and_module_of_the_package_stands_in_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    tables = text[text.index("## The folders") : text.index("## Central types")]
    named = set(re.findall(r"`([a-z_]+(?:/|\.py))`", "\n".join(re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE))))
    package = ROOT / "atomsim"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert named - {"potentials/", "workflows/"} == folders | modules


FIGURES = sorted((ROOT / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda p: p.name)
def test_tick_labels_of_a_figure_tell_ticks_apart(figure):
    axes = re.split(r'<g id="matplotlib\.axis_\d+">', figure.read_text(encoding="utf-8"))[1:]
    for axis in axes:
        ticks = re.split(r'<g id="[xy]tick_\d+">', axis)[1:]
        found = [re.search(r"<text[^>]*>([^<]*)</text>", tick) for tick in ticks]
        labels = [text[1] for text in found if text]
        assert len(set(labels)) == len(labels), (figure.name, labels)
