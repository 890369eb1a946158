"""Requirements on a download before it is believed."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from atomsim.errors import AtomsimError, InputError


def require_archive(path: Path) -> None:
    """Refuse what is not a whole archive of ``torch.save``; looks at its list of names only.

    Raises:
        AtomsimError: if it is something else, or cut off.
    """
    names = []
    with contextlib.suppress(zipfile.BadZipFile, OSError):
        names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if not any(name.endswith("/data.pkl") for name in names):
        raise AtomsimError(
            f"what came as {path.name} is no whole file of torch.save: nothing kept; try another --mirror"
        )


def require_private(source: str) -> None:
    """The first download is trusted, so nobody between the server and here may change it."""
    address = urlsplit(source)
    if address.scheme == "http" and address.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InputError(
            f"a first download is not trusted over plain http: found {source}; wanted https:// or a folder"
        )
