from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl

from tests.metrics_of_ones_own import activations as activations
from tests.metrics_of_ones_own import cold_start as cold_start
from vitsearch.data import FashionMini
from vitsearch.lightning import SearchableClassifier
from vitsearch.spaces import SearchSpace, build_space

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


@pytest.fixture
def space() -> SearchSpace:
    return build_space("glit", num_blocks=2, embed_dims=[24])


@pytest.fixture
def data() -> FashionMini:
    return FashionMini(batch_size=16, eval_batch_size=50, search_per_class=10, statistics_images=40)


@pytest.fixture
def module(space: SearchSpace) -> SearchableClassifier:
    pl.seed_everything(0)
    return SearchableClassifier(space, num_classes=10)


def quiet_trainer(tmp_path: object, **settings: Any) -> pl.Trainer:
    defaults = {"max_epochs": 1, "limit_train_batches": 3, "default_root_dir": str(tmp_path)}
    return pl.Trainer(**{**QUIET, **defaults, **settings})
