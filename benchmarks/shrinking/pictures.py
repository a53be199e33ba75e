"""The images that networks are compared on: training, calibration and test images, by seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

import vitsearch
from vitsearch.data.idx import read_idx
from vitsearch.errors import DataError

CLIPART = Path("/usr/share/openclipart/png")
# Folders of the package, and words in paths that would give the class away or are no pictures.
CATEGORIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "animals": ("animals", ()),
    "food": ("food", ()),
    "people": ("people", ()),
    "vehicles": ("transportation", ("aiga", "roadsigns")),
    "tools": ("tools", ()),
    "plants": ("plants", ()),
    "buildings": ("buildings", ()),
    "recreation": ("recreation", ()),
    "flags": ("signs_and_symbols/flags", ()),
    "computers": ("computer/hardware", ()),
    "office": ("office", ()),
}
_PER_CLASS = 330
_LARGEST = 2500  # pixels; a few pictures are far larger, and slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A data set before it is divided.

    Attributes:
        images: (n, 3, size, size), uint8.
        labels: (n,).
        num_test: How many of them are test images: the last ones, or drawn where `drawn`.
        drawn: Whether each seed draws its own test images.
    """

    images: Tensor
    labels: Tensor
    num_test: int
    drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """A data set, divided.

    Attributes:
        training: Normalised images and labels; the classifier is fitted on them.
        calibration: The first of the training images.
        test: Images on which accuracies are counted.
        test_ids: Which images of the data set the test images are.
    """

    training: tuple[Tensor, Tensor]
    calibration: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    test_ids: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        """Classes of the training images."""
        return int(self.training[1].max()) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many images; where there are fewer, all.

    Attributes:
        training: For the classifier.
        calibration: Of these.
        test: The whole test split where it is `None`.
    """

    training: int = 3000
    calibration: int = 1000
    test: int | None = None


def divide(pool: Pool, seed: int, amounts: Amounts) -> Pictures:
    """Training, calibration and test images of one seed.

    Raises:
        DataError: There are no training images.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(pool.labels) - pool.num_test
    if pool.drawn:
        order = torch.randperm(len(pool.labels), generator=generator)
    else:
        order = torch.arange(len(pool.labels))
    training, test = order[:count], order[count:]
    training = training[torch.randperm(count, generator=generator)][: amounts.training]
    if amounts.test is not None:  # the same ones for every seed, unless they are drawn
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
        test = test[chosen[: amounts.test]]
    if not len(training):
        raise DataError("there are no images left to fit a classifier on")
    images, labels = normalised(pool.images[training]), pool.labels[training]
    return Pictures(
        training=(images, labels),
        calibration=(images[: amounts.calibration], labels[: amounts.calibration]),
        test=(normalised(pool.images[test]), pool.labels[test]),
        test_ids=tuple(test.tolist()),
    )


def normalised(images: Tensor) -> Tensor:
    """(n, 3, H, W), float32, as DINOv2 expects them, from bytes."""
    mean = torch.tensor(IMAGENET_DEFAULT_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGENET_DEFAULT_STD).view(3, 1, 1)
    return (images.float() / 255 - mean) / std


@cache
def fashion(image_size: int) -> Pool:
    """The Fashion-MNIST images that vitsearch ships, enlarged; its 2,000 test images are the test.

    Args:
        image_size: Pixels.
    """
    folder = Path(vitsearch.__file__).parent / "data" / "fashion_mini"
    images, labels = [], []
    for part in ("train", "t10k"):
        small = torch.from_numpy(read_idx(folder / f"{part}-images-idx3-ubyte.gz", ndim=3))
        large = F.interpolate(
            small[:, None].float(), size=image_size, mode="bilinear", align_corners=False
        )
        images.append(large.round().to(torch.uint8).expand(-1, 3, -1, -1))
        labels.append(torch.from_numpy(read_idx(folder / f"{part}-labels-idx1-ubyte.gz", ndim=1)))
    return Pool(
        images=torch.cat(images),
        labels=torch.cat(labels).long(),
        num_test=len(labels[1]),
        drawn=False,
    )


@cache
def clipart(image_size: int, num_test: int = 1000) -> Pool:
    """Pictures of Debian's package openclipart-png on white, by subject; each seed divides them.

    Args:
        image_size: Pixels.
        num_test: Test images.

    Raises:
        DataError: The package is not installed.
    """
    if not CLIPART.is_dir():
        raise DataError(f"{CLIPART} does not exist: apt-get install openclipart-png")
    generator = torch.Generator().manual_seed(0)
    images: dict[bytes, Tensor] = {}
    labels: dict[bytes, int] = {}
    for label, (folder, without) in enumerate(CATEGORIES.values()):
        files = sorted(
            path
            for path in (CLIPART / folder).rglob("*.png")
            if not any(word in str(path) for word in without)
        )
        order = torch.randperm(len(files), generator=generator).tolist()
        drawn = _pictures((files[i] for i in order), image_size)
        taken = 0
        for picture in drawn:
            key = picture.numpy().tobytes()
            if key in images:  # the same picture would stand in training and test images
                continue
            images[key], labels[key] = picture, label
            taken += 1
            if taken == _PER_CLASS:
                break
    return Pool(
        images=torch.stack(list(images.values())),
        labels=torch.tensor(list(labels.values())),
        num_test=num_test,
        drawn=True,
    )


def _pictures(files: Iterator[Path], image_size: int) -> Iterator[Tensor]:
    """(3, size, size) bytes of every file that is a picture: whole, in the middle of a square."""
    for path in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # passed over below
                opened = Image.open(path)
            with opened:
                if max(opened.size) > _LARGEST:
                    continue
                whole = opened.convert("RGBA")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue
        small = ImageOps.contain(whole, (image_size, image_size), Image.Resampling.BICUBIC)
        white = Image.new("RGBA", (image_size, image_size), "white")
        place = ((image_size - small.width) // 2, (image_size - small.height) // 2)
        white.alpha_composite(small, place)
        yield pil_to_tensor(white.convert("RGB"))


POOLS: dict[str, Callable[[int], Pool]] = {"fashion": fashion, "clipart": clipart}
