from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.running import SMALL_SPACE, TINY, Outcome, run_here


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A tiny run of `vitsearch.train`, to be read and searched, not changed."""
    folder = tmp_path_factory.mktemp("trained")
    report = "callbacks.search.report=true"
    return run_here("train", *SMALL_SPACE, *TINY, report, folder=folder).succeeded()


@pytest.fixture
def colour_folders(tmp_path: Path) -> Callable[..., Path]:
    """Write `<name>/<class>/*.png`: noise around the class's own colour."""

    def write(
        name: str, classes: Sequence[str] = ("ant", "bee", "cat"), per_class: int = 24
    ) -> Path:
        for label, class_name in enumerate(classes):
            folder = tmp_path / name / class_name
            folder.mkdir(parents=True)
            for number in range(per_class):
                rng = np.random.default_rng([label, number])
                pixels = rng.integers(0, 90, (36, 40, 3), dtype=np.uint8)
                pixels[..., label % 3] += 120
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        return tmp_path / name

    return write
