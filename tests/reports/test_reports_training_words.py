"""How long a training is, in words."""

from __future__ import annotations

import pytest

from vitsearch.reports.words.training import length_in_words


@pytest.mark.parametrize(
    ("epochs", "steps", "words"),
    [
        (1, -1, "1 epoch"),
        (20, None, "20 epochs"),
        (-1, 300, "300 steps"),
        (20, 1, "20 epochs or 1 step"),
        (-1, -1, "no end"),
    ],
)
def test_the_length_of_a_training_in_words(epochs: int, steps: int | None, words: str) -> None:
    assert length_in_words(epochs, steps) == words
