"""Bring one file over HTTP or from a folder, and continue where an earlier attempt stopped.

An unfinished file is kept and continued (HTTP ranges, RFC 9110, sections 13.1.5 and 14) if the server
says that it is still the same one, a web page sent in place of a file is refused, sizes are checked
while the bytes come, and whoever comes second waits for the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from atomsim.errors import AtomsimError
from atomsim.registry.trust import require_private

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that there will be, None if not known."""

CHUNK = 1 << 16
SNIFFED = 64
MAX_BYTES = 4 << 30
"""Most that is written for a file of unknown size."""


@dataclass(frozen=True)
class Patience:
    """Waiting times of a download, for a server or for another process that downloads the same file."""

    connect_s: float = 10.0
    read_s: float = 30.0
    """Longest silence."""
    window_s: float = 60.0
    least_bytes: int = CHUNK
    """Fewer in a window are a server that drips; fewer in an attempt are an attempt without progress."""
    attempts: int = 5
    """One after another without progress."""
    pause_s: float = 2.0
    """Between two attempts."""
    other_s: float = 600.0
    """Longest time in which another process's unfinished file does not grow."""


def _chunks(response: Any) -> Iterator[bytes]:
    """Bytes as they come, were it one at a time; the first piece is long enough to tell a web page by."""
    first = b""
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        if first is not None:
            first += chunk
            if len(first) < SNIFFED:
                continue
            chunk, first = first, None  # type: ignore[assignment]
        yield chunk
    if first:
        yield first


class _CutOffError(Exception):
    """The connection ended before the file did; another attempt may continue."""


class OtherFinishedError(Exception):
    """Another process held the unfinished file and is done with it."""


class Part:
    """An unfinished file beside its final place, and how to complete it."""

    def __init__(self, path: Path, pin: str, size_bytes: int, patience: Patience, progress: Progress) -> None:
        """Prepare.

        Args:
            path: of the unfinished file.
            pin: SHA-256 that is wanted; empty if not known.
            size_bytes: that is wanted; 0 if not known.
            patience: of the download.
            progress: receives the bytes so far.
        """
        self.path, self.pin, self.size_bytes = path, pin, size_bytes
        self.patience, self.progress = patience, progress
        self._notes = path.with_name(path.name + ".etag")
        self.continued = False
        """True if the file begins with what an earlier attempt had left."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Hold the unfinished file alone; wait for another process that does.

        Raises:
            OtherFinishedError: if another process had it first.
            AtomsimError: if that one does not get on.
        """
        with self.path.open("a+b") as file:
            if self._waited(file) or not self._still_there(file):
                raise OtherFinishedError
            try:
                yield file
            finally:
                with contextlib.suppress(OSError):
                    if self._still_there(file) and os.fstat(file.fileno()).st_size == 0:
                        self.forget()

    def complete(self, source: str, file: IO[bytes]) -> None:
        """Bring what is missing.

        Raises:
            AtomsimError: if it cannot be had.
        """
        self.continued = file.seek(0, os.SEEK_END) > 0
        if "://" in source:
            self._download(source, file)
        else:
            self._copy(Path(source), file)
        file.flush()
        os.fsync(file.fileno())

    def forget(self) -> None:
        """Remove the unfinished file."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def move(self, target: Path) -> None:
        """Give the finished file its name."""
        self.path.replace(target)
        self._notes.unlink(missing_ok=True)

    def _waited(self, file: IO[bytes]) -> bool:
        """Lock the file; return whether another process had it."""
        size, since, waited = -1, time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                now, waited = os.fstat(file.fileno()).st_size, True
                if now != size:
                    size, since = now, time.monotonic()
                    self.progress(now, self.size_bytes or None)
                elif time.monotonic() - since > self.patience.other_s:
                    raise AtomsimError(
                        f"another process holds {self.path} and has not got on for {self.patience.other_s:g} s; "
                        "end it, then run the same command again"
                    ) from error
                time.sleep(0.05)
            except OSError:  # a file system without locks
                return waited
            else:
                return waited

    def _still_there(self, file: IO[bytes]) -> bool:
        """True if the file that is locked still has its name; another process may have renamed or removed it."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        return False

    def _copy(self, source: Path, file: IO[bytes]) -> None:
        try:
            with source.open("rb") as original:
                self._require_size(os.fstat(original.fileno()).st_size, str(source))
                self._drop(file)
                shutil.copyfileobj(original, file, CHUNK)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise AtomsimError(f"no {source.name} in {source.parent}; wanted a folder that holds it") from error
        except PermissionError as error:
            raise AtomsimError(f"cannot read {source}: {error.strerror}; ask for the right to read it") from error

    def _download(self, url: str, file: IO[bytes]) -> None:
        if self.size_bytes and file.tell() > self.size_bytes:
            self._drop(file)
        if self.size_bytes and file.tell() == self.size_bytes:  # ended between the last byte and the rename
            return
        failures, most = 0, file.tell()
        while True:
            try:
                self._attempt(url, file)
            except _CutOffError as error:
                here = file.seek(0, os.SEEK_END)
                failures = 0 if here >= most + self.patience.least_bytes else failures + 1
                most = max(here, most)
                if failures >= self.patience.attempts:
                    raise self._given_up(url, here, error) from error
                time.sleep(self.patience.pause_s)
            else:
                return

    def _given_up(self, url: str, here: int, error: _CutOffError) -> AtomsimError:
        other = "use another --mirror, or 'atomsim potentials import' where there is no internet"
        again = f"run the same command again to continue from there, or {other}" if here else other
        return AtomsimError(f"download of {url} stopped at {here:,} bytes: {error}; {again}")

    def _attempt(self, url: str, file: IO[bytes]) -> None:
        import requests
        import urllib3

        offset = file.seek(0, os.SEEK_END)
        waits = (self.patience.connect_s, self.patience.read_s)
        try:
            with requests.get(url, stream=True, timeout=waits, headers=self._headers(offset)) as response:
                self._judge(response, offset)
                self._receive(response, file, self._begin(response, file, offset))
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise _CutOffError(f"no byte for {self.patience.read_s:g} s") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = "silence" if "timed out" in str(error) else "the connection broke or could not be made"
            raise _CutOffError(reason) from error
        finally:
            file.flush()

    def _known(self) -> tuple[str, str, int | None]:
        """Strong entity tag, date and size that the server gave to the file that begins here."""
        lines = self._notes.read_text(encoding="utf-8").split("\n") if self._notes.is_file() else []
        tag, date, size = (*lines, "", "", "")[:3]
        return tag, date, int(size) if size.isdecimal() else None

    def _headers(self, offset: int) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # a range counts bytes of the file, not of its compressed form
        tag, date, _ = self._known()
        if not offset or not (tag or date or self.pin):
            return plain
        return plain | {"Range": f"bytes={offset}-"} | ({"If-Range": tag or date} if tag or date else {})

    def _judge(self, response: Any, offset: int) -> None:
        """Refuse an answer that is not the file; what is here already stays."""
        if not self.pin:
            for hop in (*response.history, response):  # whoever sits at one of them may have chosen the next
                require_private(hop.url)
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise _CutOffError(f"the server answers {status}")
        kept = f"; {offset:,} bytes are kept, run the same command again to continue" if offset else ""
        if status not in (200, 206, 416):
            raise AtomsimError(f"{response.url} answers {status} {response.reason}{kept}; try another --mirror")
        if status != 416 and "html" in response.headers.get("Content-Type", ""):
            raise self._page(response.url, offset)

    def _begin(self, response: Any, file: IO[bytes], offset: int) -> int | None:
        """Find where the body belongs; return the size of the whole file, if it is told."""
        if response.status_code == 416:  # what is here is longer than the file: not a beginning of it
            self._drop(file)
            raise _CutOffError("the server has no bytes beyond these")
        start = offset if response.status_code == 206 else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdecimal() else None
        if response.status_code == 206 and not self._same_file(response.headers, offset, total):
            self._drop(file)
            raise _CutOffError("the server sent a part of another file, or another part")
        if total is not None:
            self._require_size(total, response.url)
        return total

    def _same_file(self, headers: Any, offset: int, total: int | None) -> bool:
        """True if a partial answer continues the file here: servers may ignore If-Range (RFC 9110, 15.3.7.3)."""
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != offset:
            return False
        size = int(found[3]) if found[3] != "*" else None
        tag, date, before = self._known()
        sizes = {n for n in (size, total, before, self.size_bytes or None) if n is not None}
        pairs = ((tag, headers.get("ETag", "")), (date, headers.get("Last-Modified", "")))
        unchanged = [known == now for known, now in pairs if known and now]
        return len(sizes) <= 1 and all(unchanged) and (bool(self.pin) or bool(unchanged))

    def _note(self, headers: Any, total: int | None) -> None:
        """Keep what tells this file from another of its address; a weak tag does not promise the same bytes."""
        tag = headers.get("ETag", "")
        tag = "" if tag.startswith("W/") else tag
        self._notes.write_text(f"{tag}\n{headers.get('Last-Modified', '')}\n{total or ''}", encoding="utf-8")

    def _drop(self, file: IO[bytes]) -> None:
        file.seek(0)
        file.truncate()
        self.continued = False
        self._notes.unlink(missing_ok=True)

    def _receive(self, response: Any, file: IO[bytes], total: int | None) -> None:
        offset = file.seek(0, os.SEEK_END)
        done = offset if response.status_code == 206 else 0
        most = self.size_bytes or total or MAX_BYTES
        window, before = time.monotonic(), done
        for chunk in _chunks(response):
            if done == 0:
                if chunk.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                    raise self._page(response.url, offset)
                self._drop(file)
                self._note(response.headers, total)
            done += len(chunk)
            if done > most:
                self._drop(file)
                raise AtomsimError(f"{response.url} sends more than {most:,} bytes; nothing kept; try another --mirror")
            file.write(chunk)
            self.progress(done, total)
            if time.monotonic() - window > self.patience.window_s:
                if done - before < self.patience.least_bytes:
                    raise _CutOffError(f"only {done - before:,} bytes came in {self.patience.window_s:g} s")
                window, before = time.monotonic(), done
        if done < (total or self.size_bytes or 1):
            raise _CutOffError(f"{done:,} of {total or self.size_bytes or 1:,} bytes came")
        if self.size_bytes and done != self.size_bytes:
            self._drop(file)
        self._require_size(done, response.url)

    def _require_size(self, size: int, source: str) -> None:
        wanted = self.size_bytes
        if wanted and size != wanted:
            raise AtomsimError(
                f"{source} is not the file that the card pins: found {size:,} bytes, wanted {wanted:,}; "
                "nothing of it kept; try another --mirror"
            )

    def _page(self, url: str, kept: int) -> AtomsimError:
        what = f"{kept:,} bytes from before are kept" if kept else "nothing kept"
        return AtomsimError(f"{url} answers with a web page, not with the file; {what}; try another --mirror")
