"""Random walks of ions in a vibrating framework, with known diffusivities or with none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

INTERVAL_FS = 50.0
INTERVALS_FS = {"rattling": 20.0}
"""Time from frame to frame where it is another."""
FRAMEWORK = 30
HOP_A = 3.0
Paths = NDArray[np.float64]
Walk = tuple[Paths, float]
"""Positions of ions, Å, (n_frames, n_ions, 3), and D, Å² per frame."""


def _directions(rng: np.random.Generator, *shape: int) -> Paths:
    drawn = rng.normal(size=(*shape, 3))
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def _hopping(rng: np.random.Generator, happens: NDArray[np.bool_]) -> Paths:
    """Hops of one length in random directions where they happen, (n_frames − 1, n_ions)."""
    steps = HOP_A * happens[..., None] * _directions(rng, *happens.shape)
    return np.concatenate([np.zeros((1, *steps.shape[1:])), np.cumsum(steps, axis=0)])


def gaussian(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Small steps at every frame."""
    sigma = 0.15
    return np.cumsum(rng.normal(scale=sigma, size=(frames, ions, 3)), axis=0), sigma**2 / 2


def four_hops(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Four hops for each ion, on average."""
    rate = 4.0 / frames
    return _hopping(rng, rng.random((frames - 1, ions)) < rate), rate * HOP_A**2 / 6


def triples(rng: np.random.Generator, frames: int = 1000, ions: int = 42) -> Walk:
    """Ions that hop in threes, in the same direction, eight times on average."""
    rate = 8.0 / frames
    single = _hopping(rng, rng.random((frames - 1, ions // 3)) < rate)
    return np.repeat(single, 3, axis=1), rate * HOP_A**2 / 6


def carriers(rng: np.random.Generator, frames: int = 1000, ions: int = 100) -> Walk:
    """One ion in twenty hops every ten frames; who does, changes after fifty frames on average."""
    share, fast, stay = 0.05, 0.1, 50.0
    mobile = np.empty((frames - 1, ions), dtype=bool)
    mobile[0] = rng.random(ions) < share
    for k in range(1, frames - 1):
        draw = rng.random(ions)
        leave = mobile[k - 1] & (draw < 1 / stay)
        enter = ~mobile[k - 1] & (draw < share / (1 - share) / stay)
        mobile[k] = (mobile[k - 1] & ~leave) | enter
    return _hopping(rng, mobile & (rng.random(mobile.shape) < fast)), share * fast * HOP_A**2 / 6


def caged(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """No hop, but slow motion within a cage of 0.4 Å."""
    return _relaxing(rng, frames, ions, 0.4, 20.0), 0.0


def rattling(rng: np.random.Generator, frames: int = 351, ions: int = 2, period_fs: float = 1000.0) -> Walk:
    """Langevin motion of Li at 1000 K in cages so large that a swing looks like a hop, 7 ps of frames each 20 fs."""
    step, friction, speed, omega = 5.0, 0.025, 0.0112, 2 * np.pi / period_fs
    kept = np.exp(-friction * step)
    x, v = rng.normal(size=(2, ions, 3)) * np.array([speed / omega, speed])[:, None, None]
    path = []
    for _ in range(frames):
        path.append(x)
        for _ in range(round(INTERVALS_FS["rattling"] / step)):  # BAOAB
            v = v - 0.5 * step * omega**2 * x
            x = x + 0.5 * step * v
            v = kept * v + speed * np.sqrt(1 - kept**2) * rng.normal(size=v.shape)
            x = x + 0.5 * step * v
            v = v - 0.5 * step * omega**2 * x
    return np.array(path), 0.0


def subdiffusive(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Fractional Brownian motion whose mean squared displacement grows as t^0.6 (Mandelbrot & Van Ness 1968)."""
    power = np.abs(np.arange(-frames, frames + 1)) ** 0.6
    k = np.arange(frames)
    increments = 0.5 * (power[frames + 1 + k] + power[frames - 1 + k] - 2 * power[frames + k])
    circle = np.concatenate([increments, [0.0], increments[:0:-1]])  # Davies & Harte 1987
    amplitude = np.sqrt(np.maximum(np.fft.fft(circle).real, 0.0))[:, None, None]
    noise = rng.normal(size=(len(circle), ions, 3)) + 1j * rng.normal(size=(len(circle), ions, 3))
    steps = np.fft.fft(amplitude * noise, axis=0).real[:frames] / np.sqrt(len(circle))
    return np.cumsum(0.5 * steps, axis=0), float("nan")


def few_hops(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Four hops in all, on average, but never ten."""
    happens = np.zeros((frames - 1, ions), dtype=bool)
    rate = 4.0 / frames / ions
    number = min(9, rng.poisson(4.0))
    happens[rng.integers(frames - 1, size=number), rng.integers(ions, size=number)] = True
    return _hopping(rng, happens), rate * HOP_A**2 / 6


def drifting(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Steps, and a velocity that all ions share."""
    path, _ = gaussian(rng, frames, ions)
    return path + 0.02 * np.arange(frames)[:, None, None] * _directions(rng), float("nan")


def ageing(rng: np.random.Generator, frames: int = 1000, ions: int = 40) -> Walk:
    """Steps that become smaller by a factor of three during the run."""
    scale = 0.15 * np.geomspace(1.0, 1 / 3, frames)[:, None, None]
    return np.cumsum(scale * rng.normal(size=(frames, ions, 3)), axis=0), float("nan")


def one_frame(rng: np.random.Generator) -> Walk:
    """A structure."""
    return rng.normal(size=(1, 40, 3)), float("nan")


def flowing(rng: np.random.Generator) -> tuple[Paths, NDArray[np.bool_]]:
    """Ions and a framework a fifth as mobile."""
    ions, rest = gaussian(rng)[0], gaussian(rng, ions=FRAMEWORK)[0] * np.sqrt(0.2)
    return _with_framework(rng, ions, rest)


def _relaxing(rng: np.random.Generator, frames: int, atoms: int, width: float, time: float) -> Paths:
    """Ornstein–Uhlenbeck motion of so many frames' memory."""
    kept = np.exp(-1 / time)
    path = np.empty((frames, atoms, 3))
    path[0] = rng.normal(scale=width, size=(atoms, 3))
    kicks = rng.normal(scale=width * np.sqrt(1 - kept**2), size=(frames, atoms, 3))
    for k in range(1, frames):
        path[k] = kept * path[k - 1] + kicks[k]
    return path


def _with_framework(rng: np.random.Generator, ions: Paths, rest: Paths) -> tuple[Paths, NDArray[np.bool_]]:
    together = np.concatenate([ions, rest], axis=1)
    mobile = np.arange(together.shape[1]) < ions.shape[1]
    return together + rng.normal(scale=0.15, size=together.shape), mobile  # vibrations


def crystal(rng: np.random.Generator, ions: Paths) -> tuple[Paths, NDArray[np.bool_]]:
    """Return ions and a framework that vibrates (0.15 Å along each direction), and which are mobile."""
    return _with_framework(rng, ions, np.zeros((len(ions), FRAMEWORK, 3)))


SOUND: dict[str, Callable[[np.random.Generator], Walk]] = {
    "gaussian": gaussian,
    "four hops": four_hops,
    "triples": triples,
    "5 % carriers": carriers,
}
UNSOUND: dict[str, Callable[[np.random.Generator], Walk]] = {
    "caged": caged,
    "rattling": rattling,
    "t^0.6": subdiffusive,
    "few hops": few_hops,
    "drifting": drifting,
    "ageing": ageing,
    "one frame": one_frame,
}
