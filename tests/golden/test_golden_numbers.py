"""Seeded trainings and searches repeat those of an earlier version: to the bit on its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.recipes import SPACES
from tests.golden.recording import (
    TRAINING_STEPS,
    assert_close,
    assert_same_history,
    draws,
    is_same_machine,
    recorded,
    this_machine,
    train_and_search,
)


def test_bits_can_be_compared_here() -> None:
    """Says in the summary that the other tests of this folder are weaker on this machine."""
    if not is_same_machine():
        pytest.skip(f"bits were recorded on {recorded('machine')}, this is {this_machine()}")


@pytest.mark.parametrize("name", SPACES)
def test_a_seeded_training_and_its_search_repeat(name: str, tmp_path: Path) -> None:
    losses, history = train_and_search(name, tmp_path)
    expected = recorded("trainings")[name]
    assert len(losses) == len(expected["losses"]) == TRAINING_STEPS
    for step, (loss, other) in enumerate(zip(losses, expected["losses"], strict=True)):
        assert_close(float.fromhex(loss), float.fromhex(other), f"step {step}")
    if is_same_machine():
        assert losses == expected["losses"]
    assert_same_history(history, expected["history"])


@pytest.mark.parametrize("name", SPACES)
def test_samplers_and_searchers_draw_what_they_drew(name: str) -> None:
    assert draws(name) == recorded("draws")[name]
