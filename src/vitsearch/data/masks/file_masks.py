"""What data modules of images and masks in files share: settings, transforms, the data set."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch

from vitsearch.data.base import DataOptions, Part, Split
from vitsearch.data.datasets import Batch, EpochDataset, UnreadableImage
from vitsearch.data.image_folder import MEAN, STD, pair_of
from vitsearch.data.masks.base import IGNORED, MaskDataModule, table_of
from vitsearch.data.masks.mask_files import MaskFiles, MaskReading, further, read_pair
from vitsearch.data.masks.transforms import INTERPOLATIONS, MaskTransform, mask_transform
from vitsearch.data.preprocessing import per_channel
from vitsearch.data.randomness import Purpose, global_generators_seeded, hashes
from vitsearch.data.splits import ImageTable, Int64Array
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_number, check_one_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class FileMaskOptions(DataOptions, total=False):
    """The keyword arguments that data modules of masks in files accept; see `FileMasks`."""

    scale: Iterable[float]
    ratio: Iterable[float]
    hflip: float
    color_jitter: float
    interpolation: str
    check_files: bool


class FileMasks(MaskDataModule):
    """Images and masks that are decoded when they are read.

    A subclass says in `load` which files there are, and passes them through `take`.

    Args:
        scale: Smallest and largest area of a random crop, as a part of the image.
        ratio: Smallest and largest width / height of a random crop.
        hflip: Probability that a training image is mirrored, with its mask.
        color_jitter: Strength of the change of brightness, contrast and saturation; 0: none.
        interpolation: Of resized images; masks take the nearest pixel.
        mean: Mean of the pixels in [0, 1], one or one for each channel; ImageNet's where None.
        std: Standard deviation of the pixels, likewise.
        check_files: Whether every file is opened in `setup`.
        **options: See `SearchDataModule`; images are 224 x 224 RGB unless `image_size` or
            `in_chans` (1 or 3) say otherwise. In evaluation the whole image is resized.

    Raises:
        DataError: If an argument is out of range.
    """

    native_image_size = 224
    native_in_chans = 3
    crop_pct = 1.0

    def __init__(
        self,
        *,
        scale: Iterable[float] = (0.25, 1.0),
        ratio: Iterable[float] = (3 / 4, 4 / 3),
        hflip: float = 0.5,
        color_jitter: float = 0.0,
        interpolation: str = "bilinear",
        mean: float | Iterable[float] | None = None,
        std: float | Iterable[float] | None = None,
        check_files: bool = True,
        **options: Unpack[DataOptions],
    ) -> None:
        super().__init__(**options)
        if self.in_chans not in MEAN:
            raise DataError(f"in_chans={self.in_chans} must be 1 or 3 for images in files")
        check_one_of("interpolation", interpolation, INTERPOLATIONS, error=DataError)
        self.interpolation = interpolation
        self.check_files = check_files
        self.mean = per_channel("mean", mean, MEAN[self.in_chans], self.in_chans)
        self.std = per_channel("std", std, STD[self.in_chans], self.in_chans)
        make = partial(
            mask_transform,
            size=self.size,
            interpolation=interpolation,
            mean=self.mean,
            std=self.std,
            hflip=check_number("hflip", hflip, "[0, 1]", error=DataError),
            color_jitter=check_number("color_jitter", color_jitter, "[0, inf)", error=DataError),
            scale=pair_of("scale", scale),
            ratio=pair_of("ratio", ratio),
        )
        self._transforms = {augment: make(augment=augment) for augment in (True, False)}
        self._files: dict[Part, MaskFiles] = {}

    def reading(self) -> MaskReading:
        """What the values of masks mean."""
        return MaskReading.of_classes(self.num_classes, IGNORED)

    def take(self, train: MaskFiles, test: MaskFiles) -> tuple[ImageTable, ImageTable]:
        """Check the files, keep them, and return what `load` returns.

        Raises:
            DataError: A file is damaged, or no mask of its image.
        """
        self._files = {"train": train, "test": test}
        if self.check_files:
            lines = [line for files in (train, test) for line in files.problems(self.reading())]
            if lines:
                raise DataError(f"{lines[0]}{further(len(lines), 'such files')}")
        return table_of(train.keys), table_of(test.keys)

    def make_dataset(self, part: Part, indices: torch.Tensor, *, augment: bool) -> FolderMasks:
        """The images and masks at `indices`, decoded when they are read."""
        return FolderMasks(
            self._files[part],
            indices.numpy(),
            reading=self.reading(),
            transform=self._transforms[augment],
            in_chans=self.in_chans,
            seed=self.seed,
        )

    def sample_ids(self, split: Split) -> list[str]:
        """The paths of the images of a split."""
        files = self._files["test" if split == "test" else "train"]
        return [files.images[index] for index in self.split_indices(split).tolist()]


class FolderMasks(EpochDataset):
    """A split of images and masks in files.

    Args:
        files: All files of the training or test images.
        indices: (N,) the files of this split.
        reading: What the values of masks mean.
        transform: From an image and a mask to tensors; may draw from global generators.
        in_chans: 1 or 3.
        seed: Seed of the transforms.
    """

    def __init__(
        self,
        files: MaskFiles,
        indices: Int64Array,
        *,
        reading: MaskReading,
        transform: MaskTransform,
        in_chans: int,
        seed: int,
    ) -> None:
        self._images = [files.images[index] for index in indices.tolist()]
        self._masks = [files.masks[index] for index in indices.tolist()]
        self._keys = files.keys[indices]
        self._reading, self._transform = reading, transform
        self._in_chans, self._seed = in_chans, seed

    def __len__(self) -> int:
        return len(self._images)

    def fetch(self, positions: Int64Array, epochs: Int64Array) -> Batch:
        """Read a batch: images (B, C, H, W) float32, masks (B, H, W).

        A file that cannot be read ends it; it is named in the batch, and `report` raises.
        """
        seeds = hashes(self._seed, Purpose.AUGMENTATION, self._keys[positions], epoch=epochs)
        images, masks = [], []
        for position, seed in zip(positions.tolist(), seeds.tolist(), strict=True):
            path = self._images[position]
            try:
                image, mask = read_pair(path, self._masks[position], self._in_chans, self._reading)
            except DataError as error:  # raised in the main process, where it is one line
                return Batch(
                    torch.empty(0), torch.empty(0), unreadable=(UnreadableImage(path, str(error)),)
                )
            with global_generators_seeded(seed):
                image_chw, mask_hw = self._transform(image, mask)
            images.append(image_chw)
            masks.append(mask_hw)
        return Batch(torch.stack(images), torch.stack(masks))

    def report(self, batch: Batch) -> None:
        """Refuse the batch of a file that cannot be read.

        Raises:
            DataError: Names the file.
        """
        for image in batch.unreadable:
            raise DataError(image.reason)
