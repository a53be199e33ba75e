from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from vitsearch.data import FashionMini
from vitsearch.errors import DataError

CLASSES = ("ant", "bee", "cat")


def draw(path: Path, label: int, number: int, mode: str = "RGB") -> Path:
    """Write a noisy image whose hue says its class and whose size its number."""
    rng = np.random.default_rng([label, number])
    size = (20 + 3 * (number % 4), 24 + 2 * (number % 3))
    pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    pixels[..., label] += 150
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "P":
        image = image.quantize(16)
        image.info["transparency"] = 0
    elif mode != "RGB":
        image = image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def fill() -> Callable[..., Path]:
    """Fill a folder with folders of images of many modes; returns it."""

    def write(folder: Path, per_class: int = 8, classes: tuple[str, ...] = CLASSES) -> Path:
        kinds = (("RGB", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("L", "png"))
        kinds += (("P", "png"), ("I;16", "png"), ("CMYK", "jpg"), ("LA", "png"))
        for label, name in enumerate(classes):
            for number in range(per_class):
                mode, end = kinds[number % len(kinds)]
                draw(
                    folder / name / f"{number:02d}_{mode.replace(';', '')}.{end}",
                    label,
                    number,
                    mode,
                )
        return folder

    return write


@pytest.fixture
def one_line_error() -> Callable[..., Any]:
    """Expect a `DataError` of one line that holds all the given words."""

    class Expected:
        def __init__(self, *words: str) -> None:
            self.words = words

        def __enter__(self) -> None:
            self.context = pytest.raises(DataError)
            self.info = self.context.__enter__()

        def __exit__(self, *exc: Any) -> bool:
            caught = self.context.__exit__(*exc)
            message = str(self.info.value)
            assert "\n" not in message
            for word in self.words:
                assert word in message, message
            return bool(caught)

    return Expected


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What the user was told since the last call: one line of vitsearch, or nothing."""

    def line() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") <= 1, text
        assert not text or text.startswith("vitsearch: ")
        return text

    return line


@pytest.fixture(scope="session")
def fashion() -> FashionMini:
    module = FashionMini(batch_size=500, statistics_images=100)
    module.setup()
    return module


class Recorder(pl.LightningModule):
    """A trivial classifier that remembers what it was given."""

    def __init__(self, in_chans: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(in_chans * image_size**2, num_classes)
        self.batches: list[tuple[int, int, float]] = []
        self.seen = {"validate": 0, "test": 0}

    def _loss(self, batch: Any) -> torch.Tensor:
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.head(images.flatten(1)), labels)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        total = batch[0].double().sum().item()
        self.batches.append((self.current_epoch, batch_idx, total))
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["validate"] += len(batch[1])
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["test"] += len(batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    def make(**options: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return pl.Trainer(**{**defaults, **options})

    return make
