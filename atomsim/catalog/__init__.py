"""Where the TOML files that ship with atomsim are: in the wheel, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["potentials", "workflows", "slurm"]


def folder(kind: Kind) -> Path:
    """Return the folder of the shipped potentials, workflows or Slurm profiles.

    Raises:
        FileNotFoundError: if this installation lacks it.
    """
    installed = Path(__file__).parent / kind
    checkout = Path(__file__).parents[2] / kind
    for candidate in (installed, checkout):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"atomsim is incomplete: found no {kind!r} folder; pip install --force-reinstall atomsim")
