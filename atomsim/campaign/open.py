"""Starts a run in a folder, or continues with the one that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from atomsim.campaign.changes import anything_paid, changes
from atomsim.campaign.file import Campaign, Step
from atomsim.errors import InputError
from atomsim.io.files import write_atomically
from atomsim.store.provenance import versions
from atomsim.store.run_folder import FORMAT, RunFolder
from atomsim.tasks import packages_of


def open_run(folder: RunFolder, campaign: Campaign, potential: Mapping[str, Any] | None) -> dict[str, Any]:
    """Start a run in a folder, or continue with the same one.

    Raises:
        InputError: if the folder holds another campaign, another potential, or something else.
    """
    path = folder.path
    if (path / "run.json").exists():
        info = folder.read_info()
        changed = _same(folder, info, campaign, potential)
        if (path / "campaign.toml").read_text(encoding="utf-8") == campaign.text and not changed:
            return info
        if changed:
            when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            info["changes"] = [*info.get("changes", []), *({"when": when, "what": text} for text in changed)]
            folder.say(f"the campaign has changed: {'; '.join(changed)}")
    else:
        others = sorted(p.name for p in path.iterdir() if p.name not in {".lock", "campaign.toml", "log.txt", "input"})
        if others := [name for name in others if not name.endswith(".tmp")]:
            raise InputError(
                f"{path} holds other files ({', '.join(others[:3])}) and no run; choose a new folder with --out"
            )
        info = {"created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "versions": versions()}
        # packages whose kinds are used decide results as atomsim does
        info["versions"] |= packages_of(*(step.kind for step in campaign.steps))
    # A changed comment or title is no other campaign: the copy follows it.
    info |= _describe(campaign, potential)
    write_atomically(path / "campaign.toml", campaign.text)
    write_atomically(path / "run.json", json.dumps(info, indent=2) + "\n")
    return info


def _describe(campaign: Campaign, potential: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": campaign.header.name,
        "title": campaign.header.title or campaign.header.name,
        "identity": campaign.identity(),
        "content": campaign.content(),
        "steps": [_describe_step(step) for step in campaign.steps],
        "potential": dict(potential) if potential else None,
    }


def _describe_step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "name": step.name,
        "kind": step.kind,
        "folder": step.folder,
        "needs": list(step.needs),
        "settings": step.settings.model_dump(mode="json"),
    }


def _same(
    folder: RunFolder, before: Mapping[str, Any], campaign: Campaign, potential: Mapping[str, Any] | None
) -> list[str]:
    """Refuse another campaign or potential; return what has changed and may."""
    path = folder.path
    found = changes(folder, before, campaign) if before["identity"] != campaign.identity() else []
    for change in found:
        if not change.allowed:
            raise InputError(
                f"{path} holds another campaign: {change.text}; "
                "choose another folder with --out, or undo the change to continue here"
            )
    texts = [change.text for change in found]
    was, now = before["potential"], potential
    if not was or not now or was["sha256"] == now["sha256"]:
        return texts
    if not anything_paid(folder, campaign):
        return [*texts, f"it was to be made with {was['name']}, now with {now['name']}"]
    raise InputError(
        f"{path} was made with {was['name']} (weights sha256 {was['sha256'][:12]}), this is {now['name']} "
        f"({now['sha256'][:12]}); choose another folder with --out, or use the same weights to continue here"
    )
