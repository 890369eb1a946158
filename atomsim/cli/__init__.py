"""The ``atomsim`` command.

Exit codes: 0 all good; 1 something failed or did not converge; 2 bad input; 130 interrupted
(the same command resumes from there). Results go to standard output, progress and errors to
standard error. Heavy packages are imported when a command needs them, so help is immediate.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup

from atomsim.cli import (
    barriers,
    catalogue,
    cations,
    coherent,
    composite,
    diffusion,
    distill,
    doctor,
    effects,
    glass,
    interface,
    md,
    neb,
    new,
    opinions,
    oxygen,
    phonons,
    relax,
    run,
    slurm,
)
from atomsim.errors import AtomsimError, InputError, Interrupted

INTERRUPTED = 130


class Commands(TyperGroup):
    """All commands; every failure of a user's becomes one clear line."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            SystemExit: with the exit code of what went wrong.
        """
        try:
            return super().invoke(ctx)
        except AtomsimError as error:
            for line in str(error).splitlines():
                sys.stderr.write(f"error: {line}\n")
            raise SystemExit(error.exit_code) from error
        except PermissionError as error:
            what = error.filename if error.filename is not None else error
            sys.stderr.write(f"error: {what}: you may not read or write it; ask its owner for access, or use a copy\n")
            raise SystemExit(InputError.exit_code) from error
        except KeyboardInterrupt as error:
            message = "" if isinstance(error, Interrupted) else str(error)  # a verb's own speaks to Python
            sys.stderr.write(f"interrupted; {message or 'run the same command again to continue'}\n")
            raise SystemExit(INTERRUPTED) from error
        except ImportError as error:
            if not _interrupted(error):
                raise
            sys.stderr.write("interrupted; run the same command again to continue\n")
            raise SystemExit(INTERRUPTED) from error


def _interrupted(error: BaseException | None) -> bool:
    """True where Ctrl-C came while an extension module was imported, which makes another error of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


app = typer.Typer(
    name="atomsim",
    cls=Commands,
    help="Batched atomistic simulation of battery materials with machine-learned potentials.\n\n"
    "Start with: atomsim run workflows/li2ruo3-delithiation.toml\n\n"
    "Ctrl-C, a crash or a kill at any moment loses nothing: run the same command again to continue.\n\n"
    "Exit codes: 0 all good, 1 something failed or did not converge, 2 bad input, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.add_to(app)
new.add_to(app)
relax.add_to(app)
barriers.add_to(app)
neb.add_to(app)
opinions.add_to(app)
oxygen.add_to(app)
phonons.add_to(app)
cations.add_to(app)
effects.add_to(app)
md.add_to(app)
glass.add_to(app)
diffusion.add_to(app)
composite.add_to(app)
interface.add_to(app)
coherent.add_to(app)
catalogue.add_to(app)
slurm.add_to(app)
distill.add_to(app)
doctor.add_to(app)


def _read_annotations(commands: typer.Typer) -> None:
    """Evaluate the annotations of all commands, which are text: typer does so four times for each."""
    for info in commands.registered_commands:
        assert info.callback is not None
        function: Any = inspect.unwrap(info.callback)
        function.__annotations__ = info.callback.__annotations__ = get_type_hints(function, include_extras=True)
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        _read_annotations(group.typer_instance)


_read_annotations(app)


def main() -> None:
    """Run the command line."""
    app()
