"""Small files that are whole or not there, whatever happens to the process or the machine."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from atomsim.errors import StorageError

_number = itertools.count()


def write_durably(path: Path, data: bytes, *, what: str) -> None:
    """Write a file and the folders above it; when this returns it is on disk, else it is not there.

    Args:
        path: where to.
        data: its content.
        what: words for a person: what is being written.

    Raises:
        StorageError: if it cannot be written; an earlier file of that name is untouched.
    """
    unfinished = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{next(_number)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StorageError(
            f"cannot write {what} ({path.name}): {error.strerror or error}; what was saved before is safe, make room "
            "and run the same command again"
        ) from error
