"""The images that a trainer's scores rest on: its data module's splits, or its plain loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor

from vitsearch.errors import DataError
from vitsearch.lightning.distributed import from_first
from vitsearch.lightning.resuming.lightning_internals import given_loaders
from vitsearch.lightning.tasks.batch import read_images

_STATISTICS_IMAGES = 512  # as many as data modules take by default


def statistics_batches(trainer: pl.Trainer) -> list[Tensor]:
    """Training images for BatchNorm statistics, on the CPU; the same on every process.

    A data module says which (`statistics_dataloader`: a fixed, unaugmented subset). Without one,
    the first batches of the training loader serve.
    """
    loader_of = getattr(trainer.datamodule, "statistics_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is not None:
        return [read_images(batch) for batch in loader_of()]
    batches = []
    seen = 0
    handed_over = training_loaders(trainer, hooks=False)  # not cut into parts for processes
    for batch in handed_over[0] if handed_over else trainer.train_dataloader or []:
        images = read_images(batch)
        batches.append(images)
        seen += len(images)
        if seen >= _STATISTICS_IMAGES:
            break
    return from_first(batches)


def sample_batches(trainer: pl.Trainer, count: int) -> Iterable[Any]:
    """Batches of some training images, at most `count`, as a loader gives them.

    A data module says which (`sample_dataloader`: fixed, not augmented, the same on every process).
    Without one, the first batches of the training loader serve.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    loader_of = getattr(data, "sample_dataloader", None)
    if loader_of is not None:
        yield from loader_of(count)
        return
    handed_over = training_loaders(trainer)  # not cut into parts for processes
    seen = 0
    for batch in handed_over[0] if handed_over else ():
        yield batch
        seen += len(read_images(batch))
        if seen >= count:
            return


def search_batches(trainer: pl.Trainer) -> Iterable[Any]:
    """The whole search split on every process: the data module's, else the validation loader's.

    Raises:
        DataError: There is neither, or there are several.
    """
    loader_of = getattr(trainer.datamodule, "search_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is not None:
        return loader_of(shard=False)  # type: ignore[no-any-return]
    check_search_split(trainer)
    return validation_loaders(trainer)[0]


def first_of(batches: Iterable[Any], count: int) -> Iterator[Any]:
    """The first images of a split, batch by batch; the last batch is cut.

    Args:
        batches: As a loader gives them.
        count: How many images, at most.
    """
    left = count
    for batch in batches:
        if left <= 0:
            return
        size = len(read_images(batch))
        yield batch if size <= left else _cut(batch, left)
        left -= size


def _cut(batch: Any, count: int) -> Any:
    if isinstance(batch, Mapping):
        return {name: value[:count] for name, value in batch.items()}
    if isinstance(batch, Tensor):
        return batch[:count]
    return [value[:count] for value in batch]


def check_search_split(trainer: pl.Trainer) -> None:
    """Refuse to train what cannot be searched then.

    Raises:
        DataError: There are no images held out of training, or in several loaders.
    """
    if hasattr(trainer.datamodule, "search_dataloader"):  # type: ignore[attr-defined]
        return
    count = len(validation_loaders(trainer))
    if not count:
        raise DataError(
            "searching needs images held out of training: use a data module with a search split, "
            "or give the trainer a validation loader"
        )
    if count > 1:
        raise DataError(
            f"the trainer was given {count} validation loaders; searching takes one: join the data "
            f"sets with torch.utils.data.ConcatDataset"
        )


def test_batches(trainer: pl.Trainer) -> Iterable[Any] | None:
    """The whole test split of the data module, if it has one."""
    loader_of = getattr(trainer.datamodule, "test_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is None or not hasattr(trainer.datamodule, "search_dataloader"):  # type: ignore[attr-defined]
        return None
    return loader_of(shard=False)  # type: ignore[no-any-return]


def validation_loaders(trainer: pl.Trainer, *, hooks: bool = True) -> list[Iterable[Any]]:
    """The validation loaders as a user gave them: whole on every process, used or not.

    `trainer.val_dataloaders` is empty until validation first runs, and holds a process's own part
    where there are several processes.

    Args:
        trainer: In `fit`.
        hooks: Whether to ask a module or data module, which may take its time, or to list loaders
            that were handed over only.
    """
    return _listed(given_loaders(trainer, "validation", hooks))


def training_loaders(trainer: pl.Trainer, *, hooks: bool = True) -> list[Iterable[Any]]:
    """The training loaders as a user gave them, likewise."""
    return _listed(given_loaders(trainer, "train", hooks))


def _listed(loaders: Any) -> list[Iterable[Any]]:
    """Loaders out of the lists and dictionaries that they may be in."""
    found, left = [], [loaders]
    while left:
        one = left.pop(0)
        if isinstance(one, list | tuple):
            left = [*one, *left]
        elif isinstance(one, CombinedLoader):
            left = [*one.flattened, *left]
        elif isinstance(one, dict):
            left = [*one.values(), *left]
        elif one is not None:
            found.append(one)
    return found
