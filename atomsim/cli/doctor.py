"""``atomsim doctor``: what this machine has, for a bug report or a first look."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from typing import Any

import typer

from atomsim.cli import show
from atomsim.cli.show import Json


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Show device, driver, torch build, threads, potentials and Slurm client.

    Exit code 1 if a potential's weights are not what its card pins.
    """
    from atomsim.registry.cards import survey_cards
    from atomsim.store.provenance import versions

    cards, notes = survey_cards()
    show.tell_of_cards(cards, notes)
    potentials = {card.name: card.state for card in cards}
    content = {
        "versions": versions(),
        "platform": platform.platform(),
        "torch": _torch(),
        "cores": _cores(),
        "slurm": _slurm(),
        "potentials": potentials,
    }
    if as_json:
        show.print_json(content)
    else:
        rows = [(f"{section}.{key}", str(value)) for section, facts in _nested(content) for key, value in facts.items()]
        show.print_table(("", ""), rows)
    if "changed" in potentials.values():
        sys.stderr.write("error: weights differ from what a card pins; reinstall the package that holds them\n")
        raise typer.Exit(1)


def _nested(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, value if isinstance(value, dict) else {"name": value}) for name, value in content.items()]


def _torch() -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {
        "build": torch.__version__,
        "cuda_build": torch.version.cuda or "none: this torch runs on CPUs only",
        "cuda_devices": [],
        "driver": _driver(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        for n in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(n)
            facts["cuda_devices"].append(f"cuda:{n} {device.name}, {device.total_memory / 2**30:.0f} GiB")
    return facts


def _driver() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none found (no nvidia-smi)"
    question = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi fails: {type(error).__name__}"
    return answer.stdout.split("\n")[0].strip() or "no GPU"


def _cores() -> dict[str, Any]:
    from atomsim.execution.pool import available_cores

    return {"usable": available_cores(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set")}


def _slurm() -> str:
    return shutil.which("sbatch") or "no client found (no sbatch)"
