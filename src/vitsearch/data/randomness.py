"""Randomness as a pure function of numbers: seed, purpose, epoch and the key of an image.

Splits, training order and augmentation of `vitsearch.data` come from here, never from a global
generator. A draw therefore does not depend on which worker, rank or batch asks for it, nor on what
was drawn before, and a training that is resumed in the middle of an epoch goes on with the same
images. The hash is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014); it is written out because the streams of NumPy and PyTorch generators may
change between their versions, and the members of a held-out split must not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


class Purpose(IntEnum):
    """What a hash is for; two purposes share no numbers. The values are part of the splits."""

    SEARCH = 1
    TEST = 2
    STATISTICS = 3
    ORDER = 4
    AUGMENTATION = 5
    REPLACEMENT = 6
    EMBEDDED = 7
    SCENE = 8


def _mixed(state: UInt64Array) -> UInt64Array:
    """The finalizer of SplitMix64; arrays only, because NumPy warns when a scalar wraps around."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _word(value: int | npt.NDArray[np.integer]) -> UInt64Array:
    if isinstance(value, np.ndarray):
        return np.atleast_1d(value).astype(np.uint64)
    return np.array([int(value) & _MASK], dtype=np.uint64)


def hashes(
    seed: int,
    purpose: Purpose,
    keys: npt.NDArray[np.integer],
    *,
    epoch: int | npt.NDArray[np.integer] = 0,
) -> UInt64Array:
    """One 64-bit hash for each key.

    Args:
        seed: Any integer; the lowest 64 bits count.
        purpose: What the hash is for.
        keys: (N,) the keys of the images.
        epoch: One epoch, or one for each key.

    Returns:
        (N,) hashes.
    """
    state = np.zeros(1, dtype=np.uint64)
    for value in (seed, int(purpose), epoch):
        state = _mixed((state ^ _word(value)) + np.uint64(_GOLDEN))
    return _mixed(_mixed(_word(keys) + np.uint64(_GOLDEN)) ^ state)


def uniforms(hashed: UInt64Array, count: int) -> npt.NDArray[np.float64]:
    """`count` independent numbers in [0, 1) for each hash: (N,) -> (N, count)."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    bits: UInt64Array = _mixed(hashed[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(size: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch visits `size` images."""
    hashed = hashes(seed, Purpose.ORDER, np.arange(size), epoch=epoch)
    return np.argsort(hashed, kind="stable").astype(np.int64)


@contextmanager
def global_generators_seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of Python, NumPy and PyTorch, and put them back afterwards.

    For libraries that draw from global generators (timm and torchvision transforms).
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    # `torch.manual_seed` would seed the accelerators too, and those states are not put back.
    torch_state = torch.default_generator.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)
