"""Processes that start at once: forks of this one where a fresh interpreter would import torch for seconds.

Pipes, exit codes, signals and deaths are those of real processes, so tests of what happens to processes can
start as many as they like. That fresh interpreters start too is tested where nothing here is used.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import pytest


class Forked:
    """What ``subprocess.Popen`` gives, of a Python function in a fork.

    Args:
        action: what the fork does; its return value is the exit code.
        stdin: None, or ``subprocess.PIPE``.
        stdout: None, ``subprocess.PIPE``, ``subprocess.DEVNULL``, a file or a descriptor.
        stderr: likewise, or ``subprocess.STDOUT``.
        env: the fork's environment; this process's own if None.
        cwd: the fork's folder.
        start_new_session: whether Ctrl-C of this process is not for the fork.
        pass_fds: descriptors that stay open.
        text: whether pipes carry text.
    """

    def __init__(
        self,
        action: Callable[[], object],
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        text: bool = False,
    ) -> None:
        self.returncode: int | None = None
        read, self.stdin = _pipe(stdin, "w", text)
        write, self.stdout = _pipe(stdout, "r", text)
        error, self.stderr = (write, None) if stderr is subprocess.STDOUT else _pipe(stderr, "r", text)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                if start_new_session:
                    os.setsid()
                _become([read, write, error], env, cwd, pass_fds)
                code = int(action() or 0)
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else bool(stop.code)
            except BaseException:
                traceback.print_exc()
                code = 1
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        ends = ((read, stdin), (write, stdout), (error, stderr))
        for end in {end for end, asked in ends if asked in (subprocess.PIPE, subprocess.DEVNULL)}:
            os.close(end)

    def poll(self) -> int | None:
        """Return the exit code, or None while it lives."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended."""
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fork", timeout or 0.0)
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def popen(command: Sequence[str], **options: Any) -> Forked:
    """Start ``python [-P] -m MODULE ...`` as a fork."""
    assert command[0] == sys.executable
    words = list(command[command.index("-m") + 1 :])

    def action() -> None:
        if os.environ.get("PYTHONWARNINGS") == "ignore":  # read where an interpreter starts
            warnings.simplefilter("ignore")
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)

    return Forked(action, **options)


def start_quickly(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let a module that starts Python processes fork them."""
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": popen}))


def _pipe(asked: Any, mode: str, text: bool) -> tuple[int | None, IO[Any] | None]:
    """Return the fork's end as a descriptor (None: that of this process), and this process's end of a pipe."""
    if asked is None:
        return None, None
    if asked is subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    if asked is not subprocess.PIPE:
        return asked if isinstance(asked, int) else asked.fileno(), None
    reader, writer = os.pipe()
    theirs, own = (reader, writer) if mode == "w" else (writer, reader)
    buffering = -1 if text or mode == "r" else 0
    return theirs, open(own, mode if text else mode + "b", buffering)  # noqa: PTH123 - a descriptor, for as long as it lives


def _become(
    ends: Sequence[int | None], env: Mapping[str, str] | None, cwd: Path | None, pass_fds: Sequence[int]
) -> None:
    """Take on what a new process would start with."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    safe = [None if end is None else os.dup(end) for end in ends]
    for target, end in enumerate(safe):
        if end is not None:
            os.dup2(end, target)
    first = 3
    for kept in [*sorted(set(pass_fds)), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(first, min(kept, 4096))
        first = kept + 1
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
