"""int8 weights and activations in an ONNX file, by onnxruntime's static quantisation (QDQ).

Convolutions and products with weights are quantised, and no other operators, so LayerNorm, Softmax
and GELU stay in float. So do the products of two activations in attention and the outputs of
products with weights: quantising both, too, made the differences of the logits of `vit_fashion`
larger (0.019 instead of 0.012 on average) and its file slower than the float file.

Weights use 7 of 8 bits. With 8, sums saturate on x86 processors without VNNI instructions: on one,
962 instead of 995 of 1,000 predictions of `vit_fashion` stayed as in float.

Activations range from the smallest to the largest calibration value. onnxruntime's entropy method
gives exactly these ranges with its own 128 bins, at more expense; with 1,024 bins 993 predictions
stayed, and the differences of the logits grew to 0.017.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_one_of
from vitsearch.exporting.base import INPUT
from vitsearch.exporting.onnx_format import check_packages

QUANTISATIONS = ("int8",)
"""What weights and activations can be written in."""

SCHEME = {
    "weights": "int8, 7 bits used, symmetric, one scale for each output channel",
    "activations": "uint8, asymmetric, range from the smallest to the largest calibration value",
    "in_float": "LayerNorm, Softmax, GELU, products of two activations",
}
"""The quantisation in words, for the description of the file."""

_PRODUCTS = ("MatMul", "Gemm")
_QUANTISED = (*_PRODUCTS, "Conv")
_OWN_KEYS = ("onnx.infer", "onnx.quant.pre_process")  # notes of onnxruntime to itself


def check_quantise(quantise: object, format: str) -> str:
    """Refuse a quantisation that cannot be written, before images are read for it.

    Raises:
        ConfigError: It is unknown, or the format does not have it.
        MissingExtraError: A package that it needs is not installed.
    """
    chosen = check_one_of("quantise", quantise, [*QUANTISATIONS, "null"])
    if format != "onnx":
        raise ConfigError(f"quantise={chosen} goes with format=onnx, not with format={format}")
    check_packages()
    return chosen


def quantise_file(
    source: Path, target: Path, images: Iterable[Tensor], facts: Mapping[str, Any]
) -> None:
    """Write the int8 form of an ONNX file.

    Args:
        source: The float file; a prepared copy is written beside it.
        target: The int8 file.
        images: Batches (B, C, H, W) that the file takes; activations are calibrated on them.
        facts: What the metadata of the file says besides that of the source, as plain data.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = source.with_name(f"prepared-{source.name}")
    with _quiet():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantize_static(
            model,
            target,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_quantize=_nodes_with_weights(model),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": list(_PRODUCTS)},
        )
    _describe(target, facts)


def _nodes_with_weights(model: Any) -> list[str]:
    """Convolutions and products with a constant matrix, by name."""
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    found = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"  # the name selects it
        rank = ranks.get(node.input[1]) if node.op_type in _QUANTISED else None
        if rank is not None and (node.op_type == "Conv" or rank == 2):
            found.append(node.name)
    return found


def _reader(images: Iterable[Tensor]) -> Any:
    """Batches in the form in which onnxruntime asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """One batch at each call, then none."""

        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            """The next batch by the name of the input."""
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch.numpy()}

    return Reader()


def _describe(file: Path, facts: Mapping[str, Any]) -> None:
    """Put facts into the metadata; drop domains of operators that the file does not use."""
    import onnx

    model = onnx.load(file)
    used = {"", *(node.domain for node in model.graph.node)}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata |= {name: json.dumps(value) for name, value in facts.items()}
    kept = {name: value for name, value in metadata.items() if name not in _OWN_KEYS}
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, file)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop the advice that onnxruntime logs through the root logger; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
