"""Files that users name: whole or not at all, links followed, devices and pipes written to.

An ordinary file is written beside its place and moved there, so that a reader sees the old one or the new
one. A link stays a link: what it leads to is replaced. A pipe or a character device is written to as it is.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atomsim.errors import AtomsimError, InputError

OPEN_FILES = ("/dev/fd/", "/dev/std", "/proc/")
"""Names of what a process has open already; replacing the file behind it would go unseen."""


@contextmanager
def replacing(path: Path, *, make_folders: bool = False) -> Iterator[Path]:
    """Give an unfinished file to write; when the block ends well, it takes the place of ``path``.

    Args:
        path: file, link, pipe or character device to be written.
        make_folders: make the folders above it too.

    Raises:
        InputError: if ``path`` is a folder or a disk, or its folder is missing.
        AtomsimError: if it cannot be written; an old file is untouched.
    """
    unfinished: Path | None = None
    try:
        target = place_of(path)
        if make_folders:
            make_folder(target.parent)
        elif not target.parent.is_dir():
            raise InputError(f"no folder {target.parent} to write {path.name} in; make it first")
        if target == path and is_special(path):
            with tempfile.TemporaryDirectory() as folder:
                unfinished = Path(folder) / "unfinished"
                yield unfinished
                with unfinished.open("rb") as written, path.open("wb") as out:
                    shutil.copyfileobj(written, out)
            return
        unfinished = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
        yield unfinished
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        if target.exists():
            unfinished.chmod(stat.S_IMODE(target.stat().st_mode))
        unfinished.replace(target)
    except OSError as error:
        raise AtomsimError(
            f"cannot write {path}: {error.strerror or error}; an earlier file of that name is untouched"
        ) from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a file, and the folders above it, so that a reader sees the old one or the new one, never a part.

    Raises:
        AtomsimError: if it cannot be written; the old file is untouched.
    """
    with replacing(path, make_folders=True) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if it is not there.

    Raises:
        InputError: if something else has its name.
        AtomsimError: if it cannot be made.
    """
    require_folder_name(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtomsimError(f"cannot make the folder {path}: {error.strerror}; choose another with -o") from error


def make_folder_in(run: Path, folder: Path) -> None:
    """Make a folder within that of a run.

    Raises:
        AtomsimError: if the run's folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtomsimError(
            f"cannot write in {run}: {error.strerror}; 'atomsim status' reads it, for reports and tables copy it to "
            "where you may write"
        ) from error


def require_folder_name(path: Path) -> None:
    """Refuse the name of a file, a pipe or a device where a folder is wanted.

    Raises:
        InputError: naming it.
    """
    taken = next((p for p in (path, *path.absolute().parents) if p.exists() or p.is_symlink()), path)
    if taken.exists() and not taken.is_dir():
        below = "" if taken == path.absolute() or taken == path else f" to make {path.name} in"
        raise InputError(f"{taken} is a file, wanted a folder{below}; choose another name with -o")


def place_of(path: Path) -> Path:
    """Return the file that ``path`` leads to, links followed; ``path`` itself where it is to be written as it is.

    Raises:
        InputError: if it is a folder, a disk, write-protected, or a circle of links.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # a new file, or a link to one
        return path.resolve()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another name") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder, wanted a file to write; try {path / 'relaxed.extxyz'}")
    if stat.S_ISBLK(mode):
        raise InputError(f"{path} is a disk, wanted a file to write; choose another name")
    if not os.access(path, os.W_OK):
        raise InputError(f"{path} is write-protected; choose another name, or allow writing with chmod u+w")
    return path if is_special(path) else path.resolve()


def is_special(path: Path) -> bool:
    """True for a pipe, a device or something that is open already, which must not be replaced."""
    try:
        ordinary = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        ordinary = True
    return not ordinary or str(path.absolute()).startswith(OPEN_FILES)


def require_other_file(out: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Refuse to write over an input, by whatever name or link, unless that is what is wanted.

    Raises:
        InputError: naming the input.
    """
    if force or not out.exists():
        return
    for given in inputs:
        if given.exists() and out.samefile(given):
            raise InputError(f"{out} is the input {given}; name another file with -o, or say --force to overwrite it")


def publish(path: Path, text: str) -> bool:
    """Create a file whole and once; False if it is there already.

    Raises:
        AtomsimError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            # Over NFS a link may be made and its answer lost: then the file has two names.
            if temporary.stat().st_nlink != 2:
                return False
        sync_folder(path.parent)
    except OSError as error:
        raise AtomsimError(f"cannot write {path.name}: {error.strerror}; make room, then 'atomsim resume'") from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
