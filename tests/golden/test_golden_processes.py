"""Gradients of two processes: the mean of one, and those of an earlier version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.rank_gradients import (
    STEPS,
    gradients_of,
    norms_of,
    run_two_processes,
    single_process_mean,
)
from tests.golden.recipes import SPACES
from tests.golden.recording import OTHER_MACHINE, is_same_machine, recorded

pytestmark = pytest.mark.slow
STEP_NUMBERS = range(STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have written, of all spaces in one start."""
    made = tmp_path_factory.mktemp("gradients")
    run_two_processes(made)
    return made


@pytest.mark.parametrize("step", STEP_NUMBERS)
@pytest.mark.parametrize("name", SPACES)
def test_they_are_the_single_process_mean(name: str, step: int, folder: Path) -> None:
    expected = single_process_mean(folder, name, step)
    assert expected
    for rank in range(2):
        found = gradients_of(folder, name, rank, step)
        assert found.keys() == expected.keys()
        for parameter, gradient in found.items():
            assert (gradient - expected[parameter]).abs().max() < 1e-10, parameter


@pytest.mark.parametrize("step", STEP_NUMBERS)
@pytest.mark.parametrize("name", SPACES)
def test_they_are_as_recorded(name: str, step: int, folder: Path) -> None:
    expected = recorded("gradients")[name][step]
    tolerance = 1e-9 if is_same_machine() else OTHER_MACHINE
    found = norms_of(gradients_of(folder, name, 0, step))
    assert found == pytest.approx(expected, rel=tolerance, abs=1e-12)
