"""Cluster profiles: ``clusters check``, ``clusters keys``, ``clusters list``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from atomsim.cli import show
from atomsim.cli.show import Json

clusters = typer.Typer(help="Cluster profiles.", no_args_is_help=True)


@clusters.command("check")
def check_profile(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A .toml file, or a shipped profile's name.")],
    as_json: Json = False,
) -> None:
    """Ask Slurm whether a profile's partitions, limits and options are so. Submits nothing.

    \b
    Example:
      atomsim clusters check my-cluster.toml
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.slurm.check import check_cluster
    from atomsim.slurm.profile import read_profile

    findings = check_cluster(read_profile(profile))
    if as_json:
        show.print_json([asdict(f) for f in findings])
    else:
        for f in findings:  # lines, as a table would break what is to be copied
            sys.stdout.write(f"{'good' if f.good else 'BAD '}  {f.what}: {f.found}\n")
    if not all(f.good for f in findings):
        raise typer.Exit(1)


@clusters.command("keys")
def list_keys(as_json: Json = False) -> None:
    """List every key of a profile: table, type, default and meaning."""
    from atomsim.slurm.profile import described_keys

    rows = described_keys()
    if as_json:
        show.print_json(rows)
        return
    for row in rows:
        sys.stdout.write(f"[{row['table']}] {row['key']}: {row['type']}, {row['default']}\n    {row['description']}\n")


@clusters.command("list")
def list_profiles(as_json: Json = False) -> None:
    """List the shipped profiles, to copy and edit."""
    from atomsim import catalog

    rows = [(path.stem, str(path)) for path in sorted(catalog.folder("slurm").glob("*.toml"))]
    if as_json:
        show.print_json([{"name": name, "path": path} for name, path in rows])
    else:
        show.print_table(("profile", "file"), rows)
