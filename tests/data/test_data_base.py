from __future__ import annotations

import pytest
import torch
from torch.utils.data import DistributedSampler, TensorDataset

from vitsearch.data import ExactDistributedSampler, FashionMini, SearchDataModule
from vitsearch.data.splits import ImageTable


class Dots(SearchDataModule):
    """A user's data module around an ordinary data set."""

    class_names = ("a", "b")

    def __init__(self, labels=(0, 1) * 12, test_labels=(0, 1), **options):
        super().__init__(**{"image_size": 2, "in_chans": 1, "batch_size": 4, **options})
        self.labels = {"train": torch.tensor(labels), "test": torch.tensor(test_labels)}

    def load(self):
        return ImageTable.of(self.labels["train"]), ImageTable.of(self.labels["test"])

    def make_dataset(self, part, indices, *, augment):
        images = indices.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        return TensorDataset(images, self.labels[part][indices])


def test_a_plain_data_set_will_do():
    module = Dots()
    seen = []
    loader = module.train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        seen.append([image.item() for images, _ in loader for image in images[:, 0, 0, 0]])
    assert sorted(seen[0]) == sorted(seen[1]) == module.split_indices("train").tolist()
    assert seen[0] != seen[1]
    assert len(module.split_indices("search")) == 4


def test_every_sampler_is_left_in_place_by_lightning():
    module = Dots()
    for loader in (
        module.train_dataloader(),
        module.val_dataloader(),
        module.search_dataloader(),
        module.test_dataloader(),
        module.statistics_dataloader(),
    ):
        assert isinstance(loader.sampler, DistributedSampler)


@pytest.mark.parametrize("world", [2, 3])
def test_shards(world, monkeypatch):
    search, train = [], []
    for rank in range(world):
        monkeypatch.setattr("vitsearch.data.base.process_group", lambda rank=rank: (world, rank))
        module = FashionMini(batch_size=250, search_per_class=5)
        assert len(module.search_dataloader().sampler) == 50
        assert len(module.test_dataloader(shard=False).sampler) == 2000
        assert len(module.statistics_dataloader().sampler) == 512
        assert isinstance(module.val_dataloader().sampler, ExactDistributedSampler)
        search += list(module.val_dataloader().sampler)
        train += list(module.train_dataloader().sampler)
    assert sorted(search) == list(range(50))
    assert len(set(train)) == len(train) == 5950 // world * world


def test_a_shard_smaller_than_a_batch(monkeypatch, one_line_error):
    monkeypatch.setattr("vitsearch.data.base.process_group", lambda: (3, 0))
    module = Dots(batch_size=10)
    with one_line_error("6 images", "20 on 3 processes", "batch_size=10"):
        module.train_dataloader()


def test_errors(one_line_error):
    with one_line_error("image_size=None"):
        Dots(image_size=None)
    with one_line_error("training labels", "0 to 2", "0 to 1"):
        Dots(labels=(0, 1, 2) * 9).setup()
    with one_line_error("no training image", "'b'"):
        Dots(labels=(0,) * 9).setup()
    with one_line_error("no test images"):
        Dots(test_labels=()).setup()
    with one_line_error("4 images", "batch_size=8"):
        Dots(labels=(0, 1) * 4, search_fraction=0.4, batch_size=8).setup()

    class Single(Dots):
        class_names = ("only",)

    with one_line_error("1 class", "only", "at least 2"):
        Single(labels=(0,) * 9).setup()


def test_setup_reads_once():
    module = Dots()
    module.setup("fit")
    table = module._tables["train"]
    module.setup("test")
    assert module._tables["train"] is table
