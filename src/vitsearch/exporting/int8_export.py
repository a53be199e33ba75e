"""An int8 export from network to file: write, run, compare, and only then keep it.

An int8 file differs from the network by design, so what counts is not the largest difference of a
logit but how often both predict the same class. The float ONNX file is the one to compare with; it
is made and checked like that of `export_model`, and not kept.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitsearch.errors import DataError, ExportError
from vitsearch.exporting.base import Run
from vitsearch.exporting.checks import BATCH_SIZES, example_images, largest_difference
from vitsearch.exporting.export import FORMATS, FromPixels, check_weights, make_job
from vitsearch.exporting.quantiser import SCHEME, quantise_file
from vitsearch.runs.files import staged, write_json
from vitsearch.supernet import VisionTransformer

TARGET = "model.int8.onnx"
LATENCY_RUNS = 50
_WARM_UP_RUNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Right predictions on images with labels.

    Attributes:
        correct: Images whose label is the prediction.
        images: All images.
    """

    correct: int
    images: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same figure of both files."""

    float32: float
    int8: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Exported:
    """What an int8 export has left, beside the float file of the same network.

    Attributes:
        path: The file.
        calibration_images: Number of images that activations were calibrated on.
        same_predictions: Those of them for which both files predict the same class.
        batch_sizes: Those that the file was run with.
        megabytes: Sizes, 10^6 bytes.
        latency_ms: Medians of `LATENCY_RUNS` runs each, batch 1, one file after the other.
        threads: Of onnxruntime, for the latency.
        accuracies: Of the float file and of the int8 file; `None` without images to score.
        snippet: Python that loads and runs it.
    """

    path: Path
    calibration_images: int
    same_predictions: int
    batch_sizes: tuple[int, ...]
    megabytes: Pair
    latency_ms: Pair
    threads: int
    accuracies: tuple[Accuracy, Accuracy] | None
    snippet: str

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; accuracies as shares of the images."""
        accuracy = None
        if self.accuracies is not None:
            full, small = self.accuracies
            accuracy = {
                "images": full.images,
                "correct": {"float32": full.correct, "int8": small.correct},
                "float32": full.share,
                "int8": small.share,
            }
        return {
            "calibration_images": self.calibration_images,
            "same_predictions": self.same_predictions,
            "accuracy": accuracy,
            "latency_ms": {
                "float32": self.latency_ms.float32,
                "int8": self.latency_ms.int8,
                "batch_size": 1,
                "runs": LATENCY_RUNS,
                "threads": self.threads,
            },
            "megabytes": {"float32": self.megabytes.float32, "int8": self.megabytes.int8},
        }


def export_int8(
    network: VisionTransformer,
    folder: str | Path,
    *,
    images: Iterable[Tensor],
    score: Callable[[Run], Accuracy] | None = None,
    from_pixels: bool = False,
    opset: int | None = None,
) -> Int8Exported:
    """Write a network as an int8 ONNX file, `model.int8.onnx`; the batch size stays free.

    Args:
        network: What to export; in eval mode and float32, whatever it is now.
        folder: Where the file goes; beside it, `<file>.json` describes it and holds the report.
        images: Batches (B, C, H, W) to calibrate activations on, normalised as the network takes
            them, also with `from_pixels`. They are held in memory.
        score: The accuracy of a function from normalised images to logits.
        from_pixels: Make normalisation a part of the file, which then takes pixels in [0, 1].
        opset: Version of ONNX's operators; PyTorch's choice by default.

    Raises:
        ConfigError: A setting is not legal.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        DataError: There is no image to calibrate on.
        ExportError: Weights are NaN or infinite, the float file differs from the network, or the
            int8 file does not run, gives NaN, or predicts another class than the float file for
            half of the calibration images or more.
    """
    onnx_format = FORMATS["onnx"]
    job = make_job(network, onnx_format, from_pixels=from_pixels, opset=opset)
    onnx_format.check(job)
    check_weights(job.network)
    to_input = _to_input(job.module)
    examples = [example_images(job.network, size, pixels=from_pixels) for size in BATCH_SIZES]
    target = Path(folder) / TARGET
    with staged(Path(folder)) as temporary:
        with tempfile.TemporaryDirectory(dir=temporary) as scratch:
            full_file = onnx_format.write(job, Path(scratch))
            full_run = onnx_format.load(full_file)
            largest_difference(job.module, full_run, examples, what="the float file in onnx format")
            batches = [to_input(batch) for batch in images]
            if not any(map(len, batches)):
                raise DataError("there is no image to calibrate activations on")
            small_file = temporary / TARGET
            quantise_file(full_file, small_file, batches, {"quantisation": SCHEME})
            small_run = onnx_format.load(small_file)
            same = _same_predictions(full_run, small_run, torch.cat(batches))
            latency = _latency_ms(full_run, small_run, batches[0][:1])
            accuracies = None
            if score is not None:
                accuracies = (
                    score(lambda batch: full_run(to_input(batch))),
                    score(lambda batch: small_run(to_input(batch))),
                )
            megabytes = Pair(
                float32=full_file.stat().st_size / 1e6, int8=small_file.stat().st_size / 1e6
            )
        exported = Int8Exported(
            path=target,
            calibration_images=sum(map(len, batches)),
            same_predictions=same,
            batch_sizes=BATCH_SIZES,
            megabytes=megabytes,
            latency_ms=latency,
            threads=torch.get_num_threads(),
            accuracies=accuracies,
            snippet=onnx_format.snippet(target),
        )
        report = {"format": "onnx", "file": TARGET, "quantise": "int8", "quantisation": SCHEME}
        write_json(temporary / f"{TARGET}.json", report | exported.to_dict() | dict(job.facts))
    return exported


def _to_input(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """From normalised images to the input of the file."""
    if not isinstance(module, FromPixels):
        return lambda images: images.float().contiguous()
    return lambda images: (images.float() * module.std + module.mean).contiguous()


def _same_predictions(full: Run, small: Run, images: Tensor) -> int:
    """For how many images both files predict the same class.

    The int8 file runs with each of `BATCH_SIZES`, and with all images once.

    Raises:
        ExportError: It does not run, gives NaN or infinity, or for half of the images or more
            another class.
    """
    for size in BATCH_SIZES:
        repeats = -(-size // len(images))
        _checked_logits(full, small, images.repeat(repeats, 1, 1, 1)[:size])
    same = 0
    for batch in torch.split(images, max(BATCH_SIZES)):
        expected, found = _checked_logits(full, small, batch)
        same += int((expected.argmax(dim=1) == found.argmax(dim=1)).sum())
    if 2 * same <= len(images):
        raise ExportError(
            f"the int8 file predicts the class of the float file for {same} of {len(images)} "
            f"calibration images, which must be more than half, so it was not kept"
        )
    return same


def _checked_logits(full: Run, small: Run, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of both files."""
    expected = full(images)
    try:
        found = small(images)
    except Exception as error:  # onnxruntime raises many kinds
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"the int8 file does not run with {len(images)} images, so it was not kept: {reason}"
        ) from error
    if found.shape != expected.shape:
        raise ExportError(
            f"the int8 file gives {tuple(found.shape)} for {tuple(expected.shape)}, so it was not "
            f"kept"
        )
    if not torch.isfinite(found).all():
        raise ExportError("the logits of the int8 file are not finite, so it was not kept")
    return expected, found


def _latency_ms(full: Run, small: Run, image: Tensor) -> Pair:
    """Medians of runs that take turns, so that what else the machine does slows both alike."""
    seconds: Sequence[list[float]] = ([], [])
    for number in range(_WARM_UP_RUNS + LATENCY_RUNS):
        for run, found in zip((full, small), seconds, strict=True):
            begin = time.perf_counter()
            run(image)
            if number >= _WARM_UP_RUNS:
                found.append(time.perf_counter() - begin)
    full_ms, small_ms = (1000 * statistics.median(found) for found in seconds)
    return Pair(float32=full_ms, int8=small_ms)
