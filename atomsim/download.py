"""Bring one file over HTTP or from a folder, and go on where an earlier attempt stopped.

A downloader for pooch with what pooch's own lacks: an unfinished file is kept and continued (HTTP
ranges, RFC 9110, sections 13.1.5 and 14), a web page sent in place of a file is refused, and sizes
are checked while the bytes come.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from atomsim.errors import AtomsimError, InputError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that there will be, None if not known."""

CHUNK = 1 << 16
MAX_BYTES = 4 << 30
"""Most that is written for a file of unknown size."""


@dataclass(frozen=True)
class Patience:
    """How long a download waits for a server."""

    connect_s: float = 10.0
    read_s: float = 30.0
    """Longest silence."""
    attempts: int = 5
    pause_s: float = 2.0
    """Between two attempts."""


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


class _CutOffError(Exception):
    """The connection ended before the file did; another attempt may go on."""


class Part:
    """A downloader for pooch that keeps an unfinished file and goes on with it."""

    def __init__(self, path: Path, sha256: str, size_bytes: int, patience: Patience, progress: Progress) -> None:
        """Prepare.

        Args:
            path: of the unfinished file.
            sha256: that is wanted; empty if not known.
            size_bytes: that is wanted; 0 if not known.
            patience: of the download.
            progress: told how far it is.
        """
        self.path, self.pin, self.size_bytes, self.patience, self.progress = (
            path,
            sha256,
            size_bytes,
            patience,
            progress,
        )
        self._tag = path.with_name(path.name + ".etag")
        self.continued = False
        """Whether the last file began with what an earlier run had left."""
        self.sha256 = ""
        """Of the last file that was complete."""

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:  # noqa: ARG002 - as pooch calls it
        """Complete the file and hand it over.

        Raises:
            AtomsimError: if it cannot be had.
        """
        with self._opened() as file:
            self.continued = file.seek(0, os.SEEK_END) > 0
            if "://" in url:
                self._download(url, file)
            else:
                self._copy(Path(url), file)
            file.flush()
            os.fsync(file.fileno())
            if not self.pin:
                self._require_archive()
            with self.path.open("rb") as whole:
                self.sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
            self.path.replace(output_file)
            self._tag.unlink(missing_ok=True)

    def _require_archive(self) -> None:
        try:
            require_archive(self.path)
        except AtomsimError:
            self._forget()
            raise

    def _forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with self.path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AtomsimError(f"another process is writing {self.path}; wait for it") from error
            except OSError:  # a file system without locks
                pass
            yield file

    def _copy(self, source: Path, file: IO[bytes]) -> None:
        if not source.is_file():
            raise AtomsimError(f"no {source.name} in {source.parent}; wanted a folder that holds it")
        self._require_size(source.stat().st_size, str(source))
        file.truncate(0)
        self.continued = False
        with source.open("rb") as original:
            shutil.copyfileobj(original, file, CHUNK)

    def _download(self, url: str, file: IO[bytes]) -> None:
        if self.size_bytes and file.tell() > self.size_bytes:
            self._drop(file)
        if self.size_bytes and file.tell() == self.size_bytes:  # ended between the last byte and the rename
            return
        for attempts_left in reversed(range(self.patience.attempts)):
            try:
                self._attempt(url, file)
            except _CutOffError as error:
                if not attempts_left:
                    here = file.seek(0, os.SEEK_END)
                    other = "use another --mirror, or 'atomsim potentials import' where there is no internet"
                    again = f"run the same command again to go on from there, or {other}" if here else other
                    raise AtomsimError(f"download of {url} stopped at {here:,} bytes: {error}; {again}") from error
                time.sleep(self.patience.pause_s)
            else:
                return

    def _attempt(self, url: str, file: IO[bytes]) -> None:
        import requests

        offset = file.seek(0, os.SEEK_END)
        waits = (self.patience.connect_s, self.patience.read_s)
        try:
            with requests.get(url, stream=True, timeout=waits, headers=self._headers(offset)) as response:
                total = self._begin(response, file, offset)
                self._receive(response, file, total)
        except requests.Timeout as error:
            raise _CutOffError(f"no byte for {self.patience.read_s:g} s") from error
        except requests.RequestException as error:
            reason = "silence" if "timed out" in str(error) else "the connection broke or could not be made"
            raise _CutOffError(reason) from error

    def _headers(self, offset: int) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # a range counts bytes of the file, not of its compressed form
        tag = self._tag.read_text(encoding="utf-8") if self._tag.is_file() else ""
        if not offset or not (tag or self.pin):
            return plain
        return plain | {"Range": f"bytes={offset}-"} | ({"If-Range": tag} if tag else {})

    def _begin(self, response: Any, file: IO[bytes], offset: int) -> int | None:
        """Judge the answer before its body is read; return the size of the whole file, if it is told."""
        if not self.pin:
            for hop in (*response.history, response):  # whoever sits at one of them may have chosen the next
                require_private(hop.url)
        if response.status_code == 416:  # what is here is longer than the file: not a beginning of it
            self._drop(file)
            raise _CutOffError("the server has no bytes beyond these")
        if response.status_code in (408, 429) or response.status_code >= 500:
            raise _CutOffError(f"the server answers {response.status_code}")
        if response.status_code not in (200, 206):
            self._drop(file)
            raise AtomsimError(f"{response.url} answers {response.status_code} {response.reason}; try another --mirror")
        if "html" in response.headers.get("Content-Type", ""):
            self._refuse_page(response.url, file)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if response.status_code == 206 and not goes_on:
            self._drop(file)
            raise _CutOffError("the server sent another range")
        start = offset if response.status_code == 206 else 0
        self._start_at(start, file, response.headers.get("ETag", ""))
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else None
        if total is not None:
            self._require_size(total, response.url)
        return total

    def _start_at(self, start: int, file: IO[bytes], tag: str) -> None:
        if start:
            return
        self._drop(file)
        if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
            self._tag.write_text(tag, encoding="utf-8")

    def _drop(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self.continued = False
        self._tag.unlink(missing_ok=True)

    def _receive(self, response: Any, file: IO[bytes], total: int | None) -> None:
        done = file.seek(0, os.SEEK_END)
        most = self.size_bytes or total or MAX_BYTES
        for chunk in response.iter_content(CHUNK):
            if done == 0 and chunk.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                self._refuse_page(response.url, file)
            done += len(chunk)
            if done > most:
                self._drop(file)
                raise AtomsimError(f"{response.url} sends more than {most:,} bytes; nothing kept; try another --mirror")
            file.write(chunk)
            self.progress(done, total)
        if done < (total or self.size_bytes):
            raise _CutOffError(f"{done:,} of {total or self.size_bytes:,} bytes came")
        self._require_size(done, response.url)

    def _require_size(self, size: int, source: str) -> None:
        wanted = self.size_bytes
        if wanted and size != wanted:
            self._forget()
            raise AtomsimError(
                f"{source} is not the file that the card pins: found {size:,} bytes, wanted {wanted:,}; "
                "nothing kept; try another --mirror"
            )

    def _refuse_page(self, url: str, file: IO[bytes]) -> None:
        self._drop(file)
        raise AtomsimError(f"{url} answers with a web page, not with the file; nothing kept; try another --mirror")
