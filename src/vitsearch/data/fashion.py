"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): the embedded subset and the whole data set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vitsearch.data.base import DataOptions, Part, SearchDataModule
from vitsearch.data.idx import read_idx
from vitsearch.data.preprocessing import per_channel
from vitsearch.data.splits import ImageTable
from vitsearch.data.tensors import TensorAugmentation, TensorImages, resized
from vitsearch.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Of the 60,000 training images, as pixels in [0, 1].
MEAN, STD = (0.2860,), (0.3530,)

_EMBEDDED = Path(__file__).parent / "fashion_mini"
_PREFIXES: dict[Part, str] = {"train": "train", "test": "t10k"}
_STEMS = tuple(
    f"{prefix}-{kind}-ubyte"
    for prefix in _PREFIXES.values()
    for kind in ("images-idx3", "labels-idx1")
)


def embedded_files(part: Part) -> tuple[Path, Path]:
    """Images and labels of a part of the data set inside the package."""
    images, labels = (stem for stem in _STEMS if stem.startswith(_PREFIXES[part]))
    return _EMBEDDED / f"{images}.gz", _EMBEDDED / f"{labels}.gz"


class _Fashion(SearchDataModule):
    """What both data modules share: the classes, the augmentation, the images in one tensor."""

    native_image_size = 28
    native_in_chans = 1
    class_names = CLASS_NAMES
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    interpolation, crop_pct = "bilinear", 1.0  # whole images, see `tensors.resized`

    def __init__(
        self,
        *,
        crop_padding: int = 2,
        horizontal_flip: bool = True,
        erase_prob: float = 0.0,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(**options)
        if self.in_chans not in (1, 3):
            raise DataError(f"in_chans={self.in_chans} must be 1 or 3 for Fashion-MNIST")
        self.mean = per_channel("mean", mean, MEAN, self.in_chans)
        self.std = per_channel("std", std, STD, self.in_chans)
        self.augmentation = TensorAugmentation(
            crop_padding=crop_padding, horizontal_flip=horizontal_flip, erase_prob=erase_prob
        )
        self._images: dict[Part, torch.Tensor] = {}

    @abstractmethod
    def _files(self) -> dict[str, Path]:
        """Where the four files are, by their names without `.gz`."""

    def load(self) -> tuple[ImageTable, ImageTable]:
        """Read the four files, and resize the images once."""
        files = self._files()
        return self._load_part("train", files), self._load_part("test", files)

    def _load_part(self, part: Part, files: dict[str, Path]) -> ImageTable:
        images_path = files[f"{_PREFIXES[part]}-images-idx3-ubyte"]
        labels_path = files[f"{_PREFIXES[part]}-labels-idx1-ubyte"]
        images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels"
            )
        self._images[part] = resized(torch.from_numpy(images)[:, None], self.size[0])
        return ImageTable.of(labels)

    def make_dataset(self, part: Part, indices: torch.Tensor, *, augment: bool) -> TensorImages:
        """The images at `indices`, as views of one tensor."""
        table = self._tables[part]
        return TensorImages(
            self._images[part],
            torch.from_numpy(table.labels),
            table.keys,
            indices=indices,
            in_chans=self.in_chans,
            mean=self.mean,
            std=self.std,
            augmentation=self.augmentation if augment else None,
            seed=self.seed,
        )


class FashionMini(_Fashion):
    """The data set inside the package: 6,000 training and 2,000 test images of Fashion-MNIST.

    It needs no download; `fashion_mini/README.md` says how it was drawn.

    Args:
        crop_padding: Zeros around a training image, from which a random crop is cut; 0: none.
        horizontal_flip: Whether half of the training images are mirrored.
        erase_prob: Probability that a random rectangle of a training image is erased.
        mean: Mean of the pixels in [0, 1] that images are normalised with, one or one for each
            channel; that of Fashion-MNIST where None.
        std: Their standard deviation, likewise.
        **options: See `SearchDataModule`; images are 28 x 28 and grey unless `image_size` or
            `in_chans` (1 or 3) say otherwise.

    Raises:
        DataError: If an argument is out of range.
    """

    def _files(self) -> dict[str, Path]:
        return {stem: _EMBEDDED / f"{stem}.gz" for stem in _STEMS}


class FashionMNIST(_Fashion):
    """All 60,000 training and 10,000 test images of Fashion-MNIST.

    Args:
        root: Folder with the four IDX files, plain or gzipped, directly, under `raw`, or under
            `FashionMNIST/raw` as torchvision lays them out.
        download: Whether torchvision downloads the files into `root` if they are not there.
        crop_padding: Zeros around a training image, from which a random crop is cut; 0: none.
        horizontal_flip: Whether half of the training images are mirrored.
        erase_prob: Probability that a random rectangle of a training image is erased.
        mean: Mean of the pixels in [0, 1] that images are normalised with, one or one for each
            channel; that of Fashion-MNIST where None.
        std: Their standard deviation, likewise.
        **options: See `SearchDataModule`; images are 28 x 28 and grey unless `image_size` or
            `in_chans` (1 or 3) say otherwise.

    Raises:
        DataError: If an argument is out of range; in `setup`, if the files are not there.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        download: bool = False,
        crop_padding: int = 2,
        horizontal_flip: bool = True,
        erase_prob: float = 0.0,
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(
            crop_padding=crop_padding,
            horizontal_flip=horizontal_flip,
            erase_prob=erase_prob,
            mean=mean,
            std=std,
            **options,
        )
        self.root = Path(root).expanduser()
        self.download = download

    def prepare_data(self) -> None:
        """Download the files, if they are wanted and absent; called once on each machine."""
        if not self.download or len(self._found()) == len(_STEMS):
            return
        from torchvision.datasets import FashionMNIST as Downloader

        try:
            Downloader(self.root, download=True)
        except Exception as error:  # torchvision raises whatever the network stack raises
            reason = " ".join(str(error).split())
            raise DataError(f"{self._missing()} (the download failed: {reason[:300]})") from None

    def _found(self) -> dict[str, Path]:
        folders = (self.root, self.root / "raw", self.root / "FashionMNIST" / "raw")
        found = {}
        for stem in _STEMS:
            for path in (folder / f"{stem}{end}" for folder in folders for end in ("", ".gz")):
                if path.is_file():
                    found[stem] = path
                    break
        return found

    def _missing(self) -> str:
        absent = [stem for stem in _STEMS if stem not in self._found()]
        return (
            f"Fashion-MNIST is not complete in root={self.root}: expected {', '.join(absent)} "
            "(plain or .gz) in it, in its raw or in its FashionMNIST/raw; get them with "
            "download=True or from https://github.com/zalandoresearch/fashion-mnist"
        )

    def _files(self) -> dict[str, Path]:
        self.prepare_data()
        found = self._found()
        if len(found) < len(_STEMS):
            raise DataError(self._missing())
        return found
