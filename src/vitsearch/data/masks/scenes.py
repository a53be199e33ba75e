"""Scenes: garments of Fashion-MNIST on textured ground, each with its mask.

A scene is a pure function of a seed and its index; see `vitsearch.data.randomness`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitsearch.data.randomness import Purpose, hashes, uniforms

Pixels = npt.NDArray[np.uint8]

_MOST_GARMENTS = 4
_MOST_DRAWS = 256  # 3 for each of 8 x 8 cells of the ground, and some more
_LEAST_SIDE, _LARGEST_SIDE = 0.3, 0.65  # of the scene's shorter side
_FABRIC = 24  # grey values above it are fabric, even in the shadow of a fold


@dataclass(frozen=True, slots=True, eq=False)
class Garments:
    """Cut-outs to choose from.

    Attributes:
        images: (N, 28, 28) uint8, light on black.
        labels: (N,) their classes, from 0.
    """

    images: Pixels
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, which: npt.NDArray[np.bool_]) -> Garments:
        """Those where `which` (N,) is True."""
        return Garments(self.images[which], self.labels[which])


class Scenes:
    """Scenes, each made when it is first asked for, and kept.

    Args:
        pools: Garments; a scene shows those of one pool.
        pool_of: (N,) the pool of each scene.
        numbers: (N,) the numbers of the scenes.
        size: Rows and columns of a scene.
        seed: Of all of them.
    """

    def __init__(
        self,
        pools: Sequence[Garments],
        pool_of: npt.NDArray[np.integer],
        numbers: npt.NDArray[np.int64],
        *,
        size: tuple[int, int],
        seed: int,
    ) -> None:
        self._pools, self._pool_of, self._numbers = pools, pool_of, numbers
        self._size, self._seed = size, seed
        self._made = np.zeros(len(numbers), dtype=np.bool_)
        self._images = np.empty((len(numbers), 3, *size), dtype=np.uint8)
        self._masks = np.empty((len(numbers), *size), dtype=np.uint8)

    def take(self, places: npt.NDArray[np.int64]) -> tuple[Pixels, Pixels]:
        """Images (B, 3, H, W) and masks (B, H, W): 0 is ground, garments count from 1.

        Args:
            places: (B,) in 0..N-1.
        """
        for place in places[~self._made[places]].tolist():
            image, mask = make_scene(
                self._pools[self._pool_of[place]],
                seed=self._seed,
                number=int(self._numbers[place]),
                size=self._size,
            )
            self._images[place], self._masks[place] = image.transpose(2, 0, 1), mask
            self._made[place] = True
        return self._images[places], self._masks[places]


def make_scene(
    garments: Garments, *, seed: int, number: int, size: tuple[int, int]
) -> tuple[Pixels, Pixels]:
    """Image (H, W, 3) and mask (H, W) of one scene.

    Args:
        garments: To choose from.
        seed: Of all scenes.
        number: Which scene.
        size: H and W.
    """
    key = np.array([number])
    drawn = uniforms(hashes(seed, Purpose.SCENE, key), _MOST_DRAWS)[0]
    grain = uniforms(hashes(seed, Purpose.SCENE, key, epoch=1), size[0] * size[1])
    draws = _Draws(iter(drawn.tolist()))
    image = _ground(draws, grain.reshape(*size, 1), size)
    mask = np.zeros(size, dtype=np.uint8)
    for _ in range(1 + draws.below(_MOST_GARMENTS)):
        _place(garments, draws, image, mask)
    return image.round().clip(0, 255).astype(np.uint8), mask


class _Draws:
    """Numbers in [0, 1), one after the other."""

    def __init__(self, numbers: Iterator[float]) -> None:
        self._numbers = numbers

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)

    def below(self, count: int) -> int:
        return int(next(self._numbers) * count)

    def colour(self, low: float, high: float) -> npt.NDArray[np.float64]:
        return np.array([self.between(low, high) for _ in range(3)])


def _ground(
    draws: _Draws, grain: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """(H, W, 3): a colour with blotches, stripes and grain."""
    colour = draws.colour(40, 215)
    cells = 3 + draws.below(6)
    spread = draws.between(10, 60)
    blotches = np.array([draws.colour(-spread, spread) + 128 for _ in range(cells**2)])
    coarse = Image.fromarray(blotches.round().astype(np.uint8).reshape(cells, cells, 3))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float64) - 128
    angle, period = draws.between(0, np.pi), draws.between(4, 16)
    rows, columns = np.indices(size)
    waves = np.sin(2 * np.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / period)
    stripes = (draws.between(0, 25) * waves)[:, :, None]
    found: npt.NDArray[np.float64] = colour + smooth + stripes
    return found + draws.between(4, 24) * (grain - 0.5)


def _place(garments: Garments, draws: _Draws, image: npt.NDArray[np.float64], mask: Pixels) -> None:
    """Lay one garment over what is there."""
    chosen = draws.below(len(garments))
    height, width = mask.shape
    side = round(draws.between(_LEAST_SIDE, _LARGEST_SIDE) * min(height, width))
    grey = garments.images[chosen]
    inside = _resized(255 * silhouette(grey), side) / 255
    fabric = _resized(grey, side) / 255
    if draws.between(0, 1) < 0.5:
        inside, fabric = inside[:, ::-1], fabric[:, ::-1]
    # At most a quarter of it lies outside of the scene.
    top = round(draws.between(-side / 4, height - 3 * side / 4))
    left = round(draws.between(-side / 4, width - 3 * side / 4))
    own = (slice(max(0, -top), height - top), slice(max(0, -left), width - left))
    inside, fabric = inside[own], fabric[own]
    rows = slice(max(0, top), max(0, top) + inside.shape[0])
    columns = slice(max(0, left), max(0, left) + inside.shape[1])
    shade = draws.between(0, 70) + draws.colour(90, 185) * fabric[:, :, None]
    image[rows, columns] += inside[:, :, None] * (shade - image[rows, columns])
    mask[rows, columns][inside > 0.5] = 1 + garments.labels[chosen]


def silhouette(grey: Pixels) -> Pixels:
    """(28, 28) of 0 and 1: where a garment is, dark parts inside of it included.

    Dark pixels count that lie between lighter ones both in their row and in their column.
    """
    light = grey > _FABRIC
    between = [
        np.maximum.accumulate(light, axis=axis)
        & np.flip(np.maximum.accumulate(np.flip(light, axis), axis=axis), axis)
        for axis in (0, 1)
    ]
    return (between[0] & between[1]).astype(np.uint8)


def _resized(grey: Pixels, side: int) -> npt.NDArray[np.float64]:
    image = Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64)
