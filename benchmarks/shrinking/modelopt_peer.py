"""NVIDIA ModelOpt's FastNAS on a vision transformer of timm, of which it can cut MLP widths.

Its sensitivity map scores every width of every MLP alone; a budget takes for each MLP the smallest
width whose score falls by no more than a common limit.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.shrinking.trial import Candidate, Trial, outputs

MODULES, NAME = ("modelopt", "torchprofile"), "ModelOpt"
FASTNAS = "ModelOpt, FastNAS (MLP widths)"
SCORE_IMAGES = 128
OUT_OF_REACH = "out of reach: heads and embedding stay"


def fastnas(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """A network for each budget that MLP widths alone can meet."""
    with tempfile.TemporaryDirectory() as folder:
        for budget in budgets:
            made, seconds = _search(trial, budget, Path(folder) / "search.pth")
            note = OUT_OF_REACH if made is None else ""
            yield Candidate(method=FASTNAS, budget=budget, network=made, seconds=seconds, note=note)


def _search(trial: Trial, budget: float, checkpoint: Path) -> tuple[nn.Module | None, float]:
    """A network, and the seconds beside the sensitivity map, which the first call makes."""
    with _silence():  # it prints tables and progress
        import modelopt.torch.nas as mtn
        from modelopt.torch.nas.utils import inference_flops

        converted = mtn.convert(copy.deepcopy(trial.network), mode="fastnas")
        score = _Score(trial)
        began = time.perf_counter()
        # It counts no products inside of attention, so the limit is what has to go.
        own = inference_flops(converted, trial.image, unit=1)
        limit = own - 2 * (1 - budget) * trial.macs
        reachable, _ = mtn.profile(
            converted, trial.image, constraints={"flops": limit}, use_centroid=True
        )
        if not reachable:
            return None, time.perf_counter() - began
        made, _ = mtn.search(
            converted,
            constraints={"flops": limit},
            dummy_input=trial.image,
            config={"score_func": score, "checkpoint": str(checkpoint), "verbose": False},
        )
    ended = time.perf_counter()
    if score.last is not None:
        trial.steps["ModelOpt: sensitivity map"] = score.last - began
        began = score.last
    return made.eval(), ended - began


class _Score:
    """Minus the cross-entropy of labelled calibration images; finer than accuracy on so few."""

    def __init__(self, trial: Trial) -> None:
        images, labels = trial.pictures.calibration
        self._images, self._labels = images[:SCORE_IMAGES], labels[:SCORE_IMAGES]
        self.last: float | None = None  # when it was asked last

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        score = -float(F.cross_entropy(outputs(network, self._images), self._labels))
        self.last = time.perf_counter()
        return score


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
