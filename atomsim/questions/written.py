"""Text of a campaign file: steps whose keys each say why they have their value."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 118
"""Longest line of a comment."""


@dataclass(frozen=True)
class Key:
    """One key of a step."""

    name: str
    value: Any
    why: str = ""
    """Reason for the value; empty where it is plain."""


@dataclass(frozen=True)
class StepText:
    """One step of a campaign file, with the reason for it."""

    name: str
    kind: str
    keys: Sequence[Key]
    why: str


@dataclass(frozen=True)
class CampaignText:
    """Content of a campaign file."""

    title: str
    answers: str
    """Result in one sentence."""
    read: Sequence[str]
    """Facts of the structures that defaults follow from, and remarks on them."""
    steps: Sequence[StepText]
    docs: str
    """Page of the documentation on what may be concluded."""


def written(content: CampaignText, *, file: str, potential: str, command: str) -> str:
    """Return the file.

    Args:
        content: title, remarks and steps.
        file: name of the file, for the commands in its head.
        potential: as the user named it.
        command: the words that it was made by.
    """
    head = [*comment(f"{content.title}: {content.answers}"), "#"]
    uses = {
        f"atomsim check {shown(file)}": "what would be done, without doing it",
        f"atomsim run   {shown(file)}": "do it; the same command resumes after an interruption",
        "atomsim check --keys": "every key that a step knows",
    }
    width = max(map(len, uses))
    head += [*(f"#   {use:<{width}}   {what}" for use, what in uses.items()), "#"]
    head += comment(f"Written by '{command}'; edit it as you like. {content.docs} says what may be concluded from it.")
    for line in content.read:
        head += comment(f"* {line}", hang="  ")
    lines = [*head, "", "[campaign]", f"name = {toml(campaign_name(content.title))}", f"title = {toml(content.title)}"]
    lines += [f"potential = {toml(potential)} # 'atomsim potentials show NAME' says what one can do and cannot"]
    lines += ["seed = 1 # of everything random: the same seed, the same numbers", ""]
    for number, step in enumerate(content.steps, 1):
        lines += [*comment(f"{number}. {step.why}", hang="   "), *_step(step), ""]
    return "\n".join(lines[:-1]) + "\n"


def _step(step: StepText) -> list[str]:
    lines = ["[[step]]", f"name = {toml(step.name)}", f"kind = {toml(step.kind)}"]
    for key in step.keys:
        line = f"{key.name} = {toml(key.value)}"
        if key.why and len(line) + len(key.why) + 3 > WIDTH:
            lines += comment(key.why)
        elif key.why:
            line += f" # {key.why}"
        lines.append(line)
    return lines


def comment(text: str, hang: str = "") -> list[str]:
    """Return a text as lines of comment."""
    return textwrap.wrap(
        shown(text), WIDTH, initial_indent="# ", subsequent_indent=f"# {hang}", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def shown(text: str) -> str:
    """Return a text without line breaks and other characters that end a comment or cannot be printed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def campaign_name(title: str) -> str:
    """Return a title as the short name of a campaign."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-").lower()[:60] or "campaign"


def toml(value: Any) -> str:
    """Return a value as TOML has it: JSON, but for tables, whose keys stand bare where they may."""
    if isinstance(value, Mapping):
        pairs = (f"{k if re.fullmatch(r'[A-Za-z0-9_-]+', k) else json.dumps(k)} = {toml(v)}" for k, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
