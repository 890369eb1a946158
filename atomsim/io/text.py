"""Text of structure files whatever their compression, encoding and line ends, and what format it is in."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atomsim.errors import InputError

PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
"""First bytes of compressed files, and what unpacks them."""
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte-order marks and their encodings; the longer ones first, as they begin with the shorter."""
SUFFIXES = {".gz", ".bz2", ".xz"}
OTHER_FORMATS = (".extxyz", ".xyz", ".traj", ".json", ".db")
HEAD = 65536
"""Bytes in which a CIF of any name shows itself."""
CIF_START = re.compile(r"\s*(#[^\n]*\n\s*)*data_\S*\s", re.IGNORECASE)


def plain_name(path: Path) -> str:
    """Return the name of a file without the suffix of its compression."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def is_cif(path: Path) -> bool:
    """True if a file is a CIF, by its name or, for names that say nothing, by how it begins."""
    if plain_name(path).lower().endswith((".cif", ".mcif", ".mmcif")):
        return True
    with path.open("rb") as file:
        head = file.read(HEAD)
    return CIF_START.match(_decode(head)) is not None


def is_poscar(path: Path) -> bool:
    """True if ASE or pymatgen would take a file for a POSCAR by its name."""
    name = plain_name(path)
    if name.lower().endswith((".vasp", ".poscar")):
        return True
    return bool(re.search("POSCAR|CONTCAR|CENTCAR", name)) and not name.lower().endswith(OTHER_FORMATS)


def read_text(path: Path) -> str:
    """Return the text of a file, unpacked, decoded, lines ended by a line feed.

    Raises:
        InputError: if the file cannot be read or unpacked.
    """
    try:
        content = path.read_bytes()
        for start, unpack in PACKED.items():
            if content.startswith(start):
                content = unpack(content)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {reason}; unpack it by hand or copy it again") from error
    return _decode(content).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def decoded(path: Path) -> Iterator[Path]:
    """Give a file for readers of plain text: the same one, or a copy without its byte-order mark."""
    with path.open("rb") as file:
        marked = file.read(4).startswith(tuple(MARKS))
    if not marked:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(read_text(path), encoding="utf-8")
        yield copy


def _decode(content: bytes) -> str:
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:  # whatever else is meant, Latin 1 keeps tags and numbers
        return content.decode("latin-1")
