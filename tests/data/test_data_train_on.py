"""After a search its images may train: `train_on=all`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.lightning.conftest import quiet_trainer

from vitsearch.data import FashionMini
from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning import EvolutionarySearch, SearchableClassifier
from vitsearch.spaces import SearchSpace, build_space


def as_numbers(indices: torch.Tensor) -> set[int]:
    return set(indices.tolist())


def test_all_images_but_the_test_split() -> None:
    held, everything = (
        FashionMini(search_per_class=10, statistics_images=40, train_on=which)  # type: ignore[arg-type]
        for which in ("train", "all")
    )
    together = as_numbers(held.split_indices("train")) | as_numbers(held.split_indices("search"))
    assert as_numbers(everything.split_indices("train")) == together == set(range(6000))
    assert len(held.split_indices("search")) == 100
    assert len(everything.split_indices("search")) == 0
    assert torch.equal(everything.split_indices("statistics"), held.split_indices("statistics"))
    assert torch.equal(everything.split_indices("test"), held.split_indices("test"))
    assert everything.val_dataloader() == []
    assert len(list(held.val_dataloader())) == 1
    labels = everything.split_labels("statistics")
    assert labels.bincount().tolist() == [4] * 10


def test_no_class_is_too_small_where_nothing_is_held_out() -> None:
    with pytest.raises(DataError, match="too few to hold out"):
        FashionMini(search_per_class=600).setup()
    everything = FashionMini(search_per_class=600, train_on="all")
    assert len(everything.split_indices("train")) == 6000


def test_another_word_is_refused() -> None:
    with pytest.raises(DataError, match="train_on=test is unknown; legal: train, all"):
        FashionMini(train_on="test")  # type: ignore[arg-type]


def test_a_search_refuses_images_that_were_trained_on(tmp_path: Path) -> None:
    space: SearchSpace = build_space("glit", num_blocks=2, embed_dims=[24])
    trainer = quiet_trainer(tmp_path, callbacks=[EvolutionarySearch()])
    with pytest.raises(ConfigError, match="train_on=all leaves no image to score"):
        trainer.fit(SearchableClassifier(space, 10), datamodule=FashionMini(train_on="all"))
