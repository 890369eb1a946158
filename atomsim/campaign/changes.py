"""Changes allowed in the campaign of a run that has begun: none on which a result with force calls depends.

* settings of a step that has no record yet, and the potential while no step that calls forces has one;
* settings of a step without force calls, unless what calls forces took from it: its records are made anew;
* a limit of effort, if it is raised (``LIMITS`` of the kind's module): tasks that it ended are run again from
  their start, all others keep their records;
* steps that are appended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign, Step
    from atomsim.store.run_folder import RunFolder


@dataclass(frozen=True)
class Change:
    """A difference between the campaign that a run was made from and the one given now."""

    text: str
    """Found and wanted, for a person: ``in step 'relaxed' max_steps was 5, now 50``."""
    allowed: bool


def changes(folder: RunFolder, before: Mapping[str, Any], campaign: Campaign) -> list[Change]:
    """Return every difference that decides results, in the campaign's order.

    Args:
        folder: of the run.
        before: what its ``run.json`` says.
        campaign: as it is now.
    """
    old, new = before["content"], json.loads(json.dumps(campaign.content()))
    found = []
    if before["name"] != campaign.header.name:
        found.append(Change(f"{before['name']!r}, not {campaign.header.name!r}", False))
    found += [
        Change(f"{key} was {old[key]!r}, now {new[key]!r}", False) for key in ("dtype", "seed") if old[key] != new[key]
    ]
    kinds = [[(s["name"], s["kind"]) for s in content["steps"]] for content in (old, new)]
    if kinds[1][: len(kinds[0])] != kinds[0]:
        names = [[name for name, _ in each] for each in kinds]
        same = names[1][: len(names[0])] == names[0]
        text = "the kind of a step has changed" if same else f"its steps were {', '.join(names[0])}"
        return [*found, Change(text, False)]
    for step, was, now in zip(campaign.steps, old["steps"], new["steps"], strict=False):
        found += _of_step(folder, campaign, step, was, now)
    found += [Change(f"step {name!r} is appended", True) for name, _ in kinds[1][len(kinds[0]) :]]
    return [Change(c.text, False) for c in found] if folder.on_cluster else found


def limits(step: Step) -> tuple[str, ...]:
    """Return the settings of a step that only end tasks, and change nothing in those that end before."""
    found: tuple[str, ...] = getattr(step.module, "LIMITS", ())
    return found


def _of_step(
    folder: RunFolder, campaign: Campaign, step: Step, was: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[Change]:
    if was == now:
        return
    free = _nothing_paid(folder, campaign, step)
    for key in sorted(was["settings"].keys() | now["settings"].keys()):
        before, after = was["settings"].get(key), now["settings"].get(key)
        if before != after:
            raised = key in limits(step) and before is not None and after is not None and after > before
            yield Change(f"in step {step.name!r} {key} was {before!r}, now {after!r}", free or raised)
    if was["files"] != now["files"]:
        yield Change(f"a file that step {step.name!r} reads has changed", free)


def anything_paid(folder: RunFolder, campaign: Campaign) -> bool:
    """True if force calls were spent on any step: only then does their potential bind."""
    return any(step.module.NEEDS_POTENTIAL and folder.done(step.folder) for step in campaign.steps)


def _nothing_paid(folder: RunFolder, campaign: Campaign, step: Step) -> bool:
    """True if no force call was spent on a step, nor on steps that take from it, directly or not."""
    if step.module.NEEDS_POTENTIAL and folder.done(step.folder):
        return False
    return all(_nothing_paid(folder, campaign, later) for later in campaign.steps if step.name in later.needs)
