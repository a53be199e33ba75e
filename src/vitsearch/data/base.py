"""The base class of all data modules: three splits, their loaders, and the images for statistics.

Training reads `train`; candidates of a search are scored on `search`, which is held out of the
training images by construction; `test` is read once, at the end. A subclass says how to read the
images (`load`, `make_dataset`); everything else is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, get_args

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, default_collate

from vitsearch.data.datasets import EpochDataset, as_is
from vitsearch.data.loader import ImageLoader, ResumableLoader, usable_cores
from vitsearch.data.randomness import Purpose
from vitsearch.data.samplers import EpochSampler, ExactDistributedSampler, process_group
from vitsearch.data.splits import ImageTable, Int64Array, hold_out, mixed_order
from vitsearch.errors import DataError
from vitsearch.errors.checks import check_number, check_one_of, check_size, check_whole

if TYPE_CHECKING:
    from torch.utils.data import Sampler

Split = Literal["train", "search", "test", "statistics"]
Part = Literal["train", "test"]
TrainOn = Literal["train", "all"]


class DataOptions(TypedDict, total=False):
    """The keyword arguments that every data module accepts; see `SearchDataModule`."""

    batch_size: int
    eval_batch_size: int | None
    image_size: int | Sequence[int] | None
    in_chans: int | None
    search_fraction: float
    search_per_class: int | None
    train_on: TrainOn
    seed: int
    num_workers: int
    pin_memory: bool | None
    statistics_images: int


class SearchDataModule(pl.LightningDataModule, ABC):
    """Images for training a supernet and for searching it.

    Subclass it with a `load` that returns the labels, and a `make_dataset` that returns the images.
    If the data set is an `EpochDataset`, its augmentation is reproducible; any other map-style data
    set of `(image, label)` works too.

    Args:
        batch_size: Images in a training batch of one process.
        eval_batch_size: Images in any other batch; four times `batch_size` where None.
        image_size: Height and width of the images, one number where they are equal; those of the
            stored images where None.
        in_chans: Number of channels; that of the stored images where None.
        search_fraction: Part of the training images that is held out for the search.
        search_per_class: Exact number of held-out images for each class, instead of the fraction.
        train_on: `train`, or `all` for networks that are trained when the search is over: nothing
            is held out, the search split is empty, and there is no validation.
        seed: Seed of the splits, of the training order and of the augmentation.
        num_workers: Worker processes of each loader; at most as many as there are cores.
        pin_memory: Whether batches are page-locked; None means if CUDA is available.
        statistics_images: Number of training images for re-estimating BatchNorm statistics.

    Attributes:
        class_names: Names of the classes, in the order of the labels.
        image_size: Height and width of the images, one number where they are equal.
        takes_any_shape: Whether they may differ.
        in_chans: Number of channels of the images.
        mean: Of the pixels in [0, 1], by channel, which images have been normalised with; `None`
            if a subclass does not say.
        std: Their standard deviation, likewise.
        interpolation: How images are resized in evaluation, likewise.
        crop_pct: Part of the resized image that is evaluated, likewise.

    Raises:
        DataError: If an argument is out of range.
    """

    native_image_size: ClassVar[int | None] = None
    takes_any_shape: ClassVar[bool] = False
    native_in_chans: ClassVar[int | None] = None

    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None

    def __init__(
        self,
        *,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        image_size: int | Sequence[int] | None = None,
        in_chans: int | None = None,
        search_fraction: float = 1 / 6,
        search_per_class: int | None = None,
        train_on: TrainOn = "train",
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool | None = None,
        statistics_images: int = 512,
    ) -> None:
        super().__init__()
        self.batch_size = check_whole("batch_size", batch_size, 1, error=DataError)
        if eval_batch_size is None:
            eval_batch_size = 4 * batch_size
        self.eval_batch_size = check_whole("eval_batch_size", eval_batch_size, 1, error=DataError)
        if not isinstance(image_size, Sequence):
            image_size = self._native("image_size", image_size, self.native_image_size)
        any_shape = self.takes_any_shape
        self.image_size = check_size("image_size", image_size, any_shape=any_shape, error=DataError)
        self.in_chans = self._native("in_chans", in_chans, self.native_in_chans)
        if search_per_class is not None:
            check_whole("search_per_class", search_per_class, 1, error=DataError)
        self.search_fraction = check_number(
            "search_fraction", search_fraction, "(0, 1)", error=DataError
        )
        self.search_per_class = search_per_class
        check_one_of("train_on", train_on, get_args(TrainOn), error=DataError)
        self.train_on = train_on
        self.seed = seed
        self.num_workers = check_whole("num_workers", num_workers, 0, error=DataError)
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.statistics_images = check_whole(
            "statistics_images", statistics_images, 1, error=DataError
        )
        # Shards are exact, so a process may have nothing to read of a tiny split.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._tables: dict[Part, ImageTable] = {}
        self._indices: dict[Split, Int64Array] = {}
        self._mixed: Int64Array = np.zeros(0, dtype=np.int64)

    # What a subclass provides.

    @abstractmethod
    def load(self) -> tuple[ImageTable, ImageTable]:
        """Read what is needed to make data sets, and set `class_names`; called once in a process.

        Returns:
            The labels of all training images (the search split is cut from them) and of all test
            images: `ImageTable.of(labels)`.
        """

    @abstractmethod
    def make_dataset(self, part: Part, indices: torch.Tensor, *, augment: bool) -> Dataset[Any]:
        """The images at `indices` of the training or test images, in this order.

        Args:
            part: Which of the two tables of `load` the indices belong to.
            indices: (N,) int64.
            augment: Whether the images are augmented for training.
        """

    def sample_ids(self, split: Split) -> list[str]:
        """A name for each image of a split, unique among all images: a path, or part and index."""
        return [f"{_part(split)}/{index}" for index in self.split_indices(split).tolist()]

    # Splits.

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def num_classes(self) -> int:
        """Number of classes; known when `class_names` is."""
        return len(self.class_names)

    @property
    def groups(self) -> tuple[str, ...]:
        """What the labels of `load` count, by which splits are balanced: the classes."""
        return self.class_names

    def setup(self, stage: str | None = None) -> None:
        """Read the data and cut the splits; a second call does nothing.

        Args:
            stage: Ignored; all splits are set up together.

        Raises:
            DataError: If the images are missing, unreadable, or too few for the splits.
        """
        if self._indices:
            return
        train, test = self.load()
        self._check_classes("training", train)
        self._check_classes("test", test)
        held_out = self._held_out(train)
        kept, held = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        # Of the same images whatever trains, so that scores of one network agree.
        mixed = mixed_order(train, kept, purpose=Purpose.STATISTICS, seed=self.seed)
        if self.train_on == "all":
            kept, held = np.arange(len(train)), held[:0]
        self._tables = {"train": train, "test": test}
        self._check_batch(len(kept), 1)
        self._indices = {
            "train": kept,
            "search": mixed_order(train, held, purpose=Purpose.SEARCH, seed=self.seed),
            "test": np.arange(len(test)),
            "statistics": mixed[: self.statistics_images],
        }
        self._mixed = mixed

    def _held_out(self, train: ImageTable) -> NDArray[np.bool_]:
        """What a search holds out; `train_on=all` leaves it out of the statistics alone."""
        try:
            return hold_out(
                train,
                class_names=self.groups,
                split="search",
                purpose=Purpose.SEARCH,
                seed=self.seed,
                fraction=self.search_fraction,
                per_class=self.search_per_class,
            )
        except DataError:
            if self.train_on == "train":
                raise
            return np.zeros(len(train), dtype=np.bool_)

    def split_indices(self, split: Split) -> torch.Tensor:
        """The images of a split: (N,) indices of the training images, or of the test images.

        Args:
            split: `train`, `search`, `test`, or `statistics` (a part of `train`).
        """
        if split not in get_args(Split):
            raise DataError(f"split {split!r} is not one of {', '.join(get_args(Split))}")
        self.setup()
        return torch.from_numpy(self._indices[split])

    def split_labels(self, split: Split) -> torch.Tensor:
        """The class of each image of a split, or its group: (N,) int64."""
        indices = self.split_indices(split)
        return torch.from_numpy(self._tables[_part(split)].labels)[indices]

    # Loaders.

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented training images in a new order each epoch, full batches only, sharded.

        Raises:
            DataError: If this process gets less than one batch.
        """
        dataset = self._dataset("train", augment=True)
        num_replicas, rank = self._shard()
        self._check_batch(len(self._indices["train"]), num_replicas)
        sampler = EpochSampler(dataset, num_replicas=num_replicas, rank=rank, seed=self.seed)
        return self._loader(
            ResumableLoader, dataset, sampler, batch_size=self.batch_size, drop_last=True
        )

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """The search split, each image on exactly one process; no loader if nothing is held out."""
        return [] if self.train_on == "all" else self.search_dataloader(shard=True)

    def search_dataloader(self, *, shard: bool = False) -> DataLoader[Any]:
        """The search split: whole on every process, or sharded without padding.

        Args:
            shard: Whether each process gets its own part.
        """
        return self._evaluation("search", shard=shard)

    def test_dataloader(self, *, shard: bool = True) -> DataLoader[Any]:
        """The test split: sharded without padding, or whole on every process.

        Args:
            shard: Whether each process gets its own part.
        """
        return self._evaluation("test", shard=shard)

    def statistics_dataloader(self) -> DataLoader[Any]:
        """A fixed, class-balanced part of the training images for BatchNorm statistics.

        Not augmented, never sharded, the same in every run with the same seed.
        """
        return self._evaluation("statistics", shard=False)

    def sample_dataloader(self, count: int) -> DataLoader[Any]:
        """The first of the same training images, `count` of them or all that there are.

        Args:
            count: How many.
        """
        self.setup()
        indices = torch.from_numpy(self._mixed[:count])
        dataset = self.make_dataset("train", indices, augment=False)
        sampler = ExactDistributedSampler(dataset, num_replicas=1, rank=0)
        return self._loader(ImageLoader, dataset, sampler, batch_size=self.eval_batch_size)

    def evaluation_dataloader(self, split: Split, *, shard: bool = True) -> DataLoader[Any]:
        """Any split as it is, without augmentation, in its order (see `sample_ids`).

        Args:
            split: `train`, `search`, `test`, or `statistics`.
            shard: Whether each process gets its own part, without padding.
        """
        return self._evaluation(split, shard=shard)

    def unreadable_ids(self) -> set[str]:
        """The `sample_ids` of images that this process failed to read, and left out, so far."""
        return set()

    def _evaluation(self, split: Split, *, shard: bool) -> DataLoader[Any]:
        dataset = self._dataset(split, augment=False)
        num_replicas, rank = self._shard() if shard else (1, 0)
        sampler = ExactDistributedSampler(dataset, num_replicas=num_replicas, rank=rank)
        return self._loader(ImageLoader, dataset, sampler, batch_size=self.eval_batch_size)

    def _dataset(self, split: Split, *, augment: bool) -> Dataset[Any]:
        return self.make_dataset(_part(split), self.split_indices(split), augment=augment)

    def _loader(
        self,
        loader: type[DataLoader[Any]],
        dataset: Dataset[Any],
        sampler: Sampler[int],
        *,
        batch_size: int,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        num_workers = min(self.num_workers, usable_cores())
        return loader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=num_workers > 0,
            collate_fn=as_is if isinstance(dataset, EpochDataset) else default_collate,
            # Without a generator of its own every pass of a loader draws from the global one.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _shard(self) -> tuple[int, int]:
        """Number of data-parallel processes and this process."""
        if self.trainer is None:
            return process_group()
        shard = self.trainer.distributed_sampler_kwargs or {}
        return shard.get("num_replicas", 1), shard.get("rank", 0)

    # Checks.

    @staticmethod
    def _native(name: str, value: int | None, native: int | None) -> int:
        value = native if value is None else value
        if value is None:
            raise DataError(f"{name}=None: this data set has no {name} of its own, give one")
        return check_whole(name, value, 1, error=DataError)

    def _check_classes(self, part: str, table: ImageTable) -> None:
        if self.num_classes < 2:
            raise DataError(
                f"the data set has {self.num_classes} class(es) "
                f"({', '.join(self.class_names) or 'none'}); a classifier needs at least 2"
            )
        labels = table.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.groups):
            raise DataError(
                f"the {part} labels range from {labels.min()} to {labels.max()}; "
                f"legal are 0 to {len(self.groups) - 1}"
            )
        if not len(labels):
            raise DataError(f"there are no {part} images")
        absent = sorted(set(range(len(self.groups))) - set(labels.tolist()))
        if absent and part == "training":
            raise DataError(f"no training image of class {self._names(absent)}")

    def _names(self, classes: Sequence[int], limit: int = 10) -> str:
        names = ", ".join(repr(self.class_names[index]) for index in classes[:limit])
        return names if len(classes) <= limit else f"{names} and {len(classes) - limit} more"

    def _check_batch(self, images: int, num_replicas: int) -> None:
        if images // num_replicas < self.batch_size:
            where = "" if num_replicas == 1 else f" ({images} on {num_replicas} processes)"
            raise DataError(
                f"the training split has {images // num_replicas} images{where}, fewer than one "
                f"batch of batch_size={self.batch_size}"
            )


def _part(split: Split) -> Part:
    return "test" if split == "test" else "train"
