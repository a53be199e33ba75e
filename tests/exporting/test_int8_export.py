"""An int8 file runs, predicts what the float file predicts, and says how both compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.exporting.test_exporting import answer, images_for, make_network
from torch import Tensor

from vitsearch import VisionTransformer
from vitsearch.errors import DataError, ExportError
from vitsearch.exporting import Accuracy, Run, export_int8, int8_export

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FILES = ["model.int8.onnx", "model.int8.onnx.json"]


def calibration(network: VisionTransformer) -> list[Tensor]:
    """Batches, the last one smaller."""
    return list(images_for(network, 20).split(8))


def run_file(file: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize("name", ["glit", "autoformer"])
def test_an_int8_file(name: str, tmp_path: Path) -> None:
    network = make_network(name)
    batches = calibration(network)
    labels = answer(network, torch.cat(batches)).argmax(dim=1)
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}

    def score(run: Run) -> Accuracy:
        right = run(torch.cat(batches)).argmax(dim=1) == labels
        return Accuracy(correct=int(right.sum()), images=len(labels))

    found = export_int8(network, tmp_path, images=iter(batches), score=score)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert found.calibration_images == 20
    assert found.accuracies is not None
    full, small = found.accuracies
    assert (full.correct, full.images) == (20, 20)
    assert small.correct == found.same_predictions  # the labels are the network's predictions
    assert small.correct >= 16
    for count in (1, 3, 8):
        images = images_for(network, 20)[:count]
        logits, expected = run_file(found.path, images), answer(network, images)
        assert logits.shape == expected.shape
        scale = float(expected.abs().max())
        assert float((logits - expected).abs().max()) < 0.25 * scale

    report = json.loads((tmp_path / FILES[1]).read_text(encoding="utf-8"))
    assert report["quantise"] == "int8"
    assert report["accuracy"]["correct"] == {"float32": 20, "int8": small.correct}
    assert report["same_predictions"] == small.correct
    assert report["megabytes"]["int8"] == found.path.stat().st_size / 1e6
    assert report["latency_ms"]["int8"] > 0 < report["latency_ms"]["float32"]
    assert report["digest"] == network.architecture.digest


def test_what_is_in_int8_and_what_is_not(tmp_path: Path) -> None:
    network = make_network("autoformer")
    file = export_int8(network, tmp_path, images=calibration(network)).path
    model = onnx.load(file)
    metadata = {
        entry.key: json.loads(entry.value)
        for entry in model.metadata_props
        if entry.key in ("quantisation", "class_names")
    }
    assert metadata["class_names"] == list(network.class_names or ())
    assert "uint8" in metadata["quantisation"]["activations"]
    assert {entry.domain for entry in model.opset_import} == {
        "",
        *(node.domain for node in model.graph.node),
    }
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    in_int8 = [node for node in products if made_by.get(node.input[1]) == "DequantizeLinear"]
    assert len(in_int8) >= 10
    assert all(made_by[node.input[0]] == "DequantizeLinear" for node in in_int8)
    for node in products:  # no matrix of weights is left in float
        tensor = constants.get(node.input[1])
        assert tensor is None or len(tensor.dims) != 2
    for node in model.graph.node:
        if node.op_type in ("LayerNormalization", "Softmax", "Gelu"):
            assert made_by.get(node.input[0]) != "DequantizeLinear"


def test_from_pixels(tmp_path: Path) -> None:
    network = make_network()
    pixels = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    normalised = (pixels - 0.2) / 0.7
    seen = []

    def score(run: Run) -> Accuracy:
        seen.append(run(normalised))
        return Accuracy(correct=0, images=20)

    found = export_int8(network, tmp_path, images=[normalised], score=score, from_pixels=True)
    torch.testing.assert_close(run_file(found.path, pixels), seen[1], rtol=0, atol=0.05)
    torch.testing.assert_close(seen[0], answer(network, normalised), rtol=0, atol=1e-4)
    report = json.loads((tmp_path / FILES[1]).read_text(encoding="utf-8"))
    assert report["input"]["pixels"] == "in [0, 1]"


def test_what_fails_leaves_an_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network()
    batches = calibration(network)
    file = export_int8(network, tmp_path, images=batches).path
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert file.name in before

    def check_kept() -> None:
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    with pytest.raises(DataError, match="no image to calibrate"):
        export_int8(network, tmp_path, images=[])
    check_kept()

    def fails(run: Run) -> Accuracy:
        raise DataError("an image is damaged")

    with pytest.raises(DataError, match="damaged"):
        export_int8(network, tmp_path, images=batches, score=fails)
    check_kept()

    monkeypatch.setattr(int8_export, "quantise_file", _broken_by("Neg"))
    with pytest.raises(ExportError, match="of 20 calibration images, which must be more than half"):
        export_int8(network, tmp_path, images=batches)
    check_kept()
    monkeypatch.setattr(int8_export, "quantise_file", _broken_by("Log"))
    with pytest.raises(ExportError, match="not finite, so it was not kept"):
        export_int8(network, tmp_path / "new", images=batches)
    assert not list((tmp_path / "new").iterdir())


def _broken_by(operator: str) -> Callable[[Path, Path, object, object], None]:
    """A quantisation whose file has one operator more, behind the logits."""

    def write(source: Path, target: Path, images: object, facts: object) -> None:
        model = onnx.load(source)
        (output,) = model.graph.output
        for node in model.graph.node:
            names = ["unbroken" if name == output.name else name for name in node.output]
            node.output[:] = names
        model.graph.node.append(onnx.helper.make_node(operator, ["unbroken"], [output.name]))
        onnx.save(model, target)

    return write
