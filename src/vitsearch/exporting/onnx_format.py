"""ONNX: one file that onnxruntime and others run without PyTorch, with any batch size."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vitsearch.errors import ExportError, MissingExtraError
from vitsearch.errors.checks import check_whole
from vitsearch.exporting.base import INPUT, OUTPUT, Format, Job, Run
from vitsearch.exporting.checks import example_images

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OLDEST_OPSET = 18  # what PyTorch writes; older ones are made by conversion, which fails


class OnnxFormat(Format):
    """By `torch.onnx.export`, from a program captured by `torch.export`."""

    name = "onnx"
    target = "model.onnx"
    takes_pixels = True

    def check(self, job: Job) -> None:
        """All three packages, and an opset that they know."""
        check_packages()
        newest = _newest_opset()
        opset = job.opset
        if opset is None:
            return
        check_whole("opset", opset, _OLDEST_OPSET, newest)

    def write(self, job: Job, folder: Path) -> Path:
        """One file, weights inside; what it is stands in its metadata."""
        with _quiet():
            program = torch.onnx.export(
                job.module,
                (example_images(job.network, 2),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "batch"},),
                opset_version=job.opset,
                verbose=False,
            )
        assert program is not None
        model: Any = program.model
        written = model.opset_imports[""]
        if job.opset not in (None, written):
            raise ExportError(f"opset={job.opset} could not be had, only {written}")
        for node in model.graph:  # where in whose sources it came from
            node.metadata_props.clear()
        for name, value in job.facts.items():
            model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value)
        file = folder / self.target
        program.save(file)
        return file

    def load(self, path: Path) -> Run:
        """A session of onnxruntime on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many kinds
            raise ExportError(f"onnxruntime cannot load the file: {error}") from error

        def run(images: torch.Tensor) -> torch.Tensor:
            (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
            return torch.from_numpy(logits)

        return run

    def snippet(self, path: Path) -> str:
        """Without PyTorch."""
        return (
            f"session = onnxruntime.InferenceSession({str(path)!r})\n"
            f'logits = session.run(None, {{"{INPUT}": images}})[0]'
        )


def check_packages() -> None:
    """Refuse to begin without the packages that write and run ONNX files.

    Raises:
        MissingExtraError: One is not installed.
    """
    for package in _PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(
                f"format=onnx needs {package}, which is not installed: "
                f"pip install 'vitsearch[export]'"
            ) from error


def _newest_opset() -> int:
    """What onnx knows and onnxscript, which makes what PyTorch writes newer, can convert to."""
    newest: int = importlib.import_module("onnx").defs.onnx_opset_version()
    with contextlib.suppress(ImportError):  # of another version, which then says what it cannot
        converter = importlib.import_module("onnxscript.version_converter._version_converter")
        newest = min(newest, getattr(converter, "SUPPORTED_MAX_ONNX_OPSET", newest))
    return newest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter speaks of its own affairs; what goes wrong, it raises."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
