"""`vitsearch.export`: a finished network for other programs, and how it says so."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from docs.outputs import blocks_of, shape

import vitsearch
from tests.commands.running import (
    REPOSITORY,
    Outcome,
    files_below,
    run_here,
    run_module,
    run_program,
)
from tests.commands.test_command_errors import refused
from vitsearch.data import FashionMini


@pytest.fixture
def run(trained: Outcome, tmp_path: Path) -> Path:
    """A copy of what a run leaves of its best network."""
    target = tmp_path / "run"
    shutil.copytree(trained.run / "best", target / "best")
    shutil.copy(trained.run / "config.yaml", target)
    return target


@pytest.mark.slow
def test_onnx_in_processes_of_their_own(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    outcome = run_module("vitsearch.export", "model=run", folder=tmp_path).succeeded()
    assert outcome.err == ""
    file = run / "export" / "model.onnx"
    assert files_below(run / "export") == {"model.onnx", "model.onnx.json"}
    for words in (str(file), "MB", "largest difference", "batches of 1, 3, 8"):
        assert words in outcome.out
    snippet = outcome.out[outcome.out.index("session =") :]
    before = "import numpy, onnxruntime; images = numpy.zeros((2, 1, 28, 28), numpy.float32)\n"
    shown = run_program([sys.executable, "-c", f"{before}{snippet}\nprint(logits.tolist())"], run)
    with torch.inference_mode():
        expected = vitsearch.load_model(run)(torch.zeros(2, 1, 28, 28))
    torch.testing.assert_close(torch.tensor(json.loads(shown)), expected, rtol=0, atol=1e-4)


def test_a_folder_beside_and_elsewhere(run: Path, tmp_path: Path) -> None:
    outcome = run_here("export", "model=run", "format=safetensors", folder=tmp_path).succeeded()
    assert files_below(run / "export" / "model") == {"architecture.json", "model.safetensors"}
    assert "vitsearch.load_model(" in outcome.out
    assert "0.0e+00" in outcome.out
    one, other = vitsearch.load_model(run), vitsearch.load_model(run / "export" / "model")
    assert one.class_names == other.class_names
    options = ("model=run/export/model", "format=safetensors")
    run_here("export", *options, folder=tmp_path).succeeded()
    assert (tmp_path / "outputs" / "export" / "model" / "model").is_dir()  # it lies in no run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), ("no model", "model=<run folder")),
        (("model=nowhere",), ("model=nowhere", "no folder", "glit_tiny")),
        (("model=glit_tiny",), ("model=glit_tiny", "checkpoint=")),
        (("model={run}", "format=tflite"), ("format=tflite", "onnx, torch_export")),
        (("model={run}", "format=onnx", "opset=7"), ("opset=7", "18 to")),
        (("model={run}", "format=safetensors", "opset=20"), ("opset=20", "format=onnx")),
        (("model={run}", "from_pixels=1"), ("from_pixels=1", "true or false")),
        (("model={run}", "format=safetensors", "from_pixels=true"), ("from_pixels", "safetensors")),
        (("model={run}", "run_dir=/proc/here"), ("/proc/here", "cannot be written")),
        (("model={run}", "nonsense=1"), ("nonsense=1", "format")),
        (("model={run}", "quantise=int4"), ("quantise=int4", "legal: int8, null")),
        (
            ("model={run}", "quantise=int8", "format=safetensors"),
            ("quantise=int8", "format=onnx", "format=safetensors"),
        ),
        (
            ("model={run}", "quantise=int8", "calibration_images=0"),
            ("calibration_images=0", "1 or more"),
        ),
        (("model={run}", "data=fashion_mini"), ("data", "quantise=int8")),
        (("model={alone}", "quantise=int8"), ("data of", "unknown", "add data=<name>")),
        (("-m", "model=a,b"), ("--multirun", "one network")),
    ],
)
def test_what_is_refused(
    overrides: tuple[str, ...], words: tuple[str, ...], trained: Outcome, tmp_path: Path
) -> None:
    if "opset=7" in overrides:
        pytest.importorskip("onnxruntime")
    alone = tmp_path / "alone"
    shutil.copytree(trained.run / "best", alone)
    named = [text.format(run=trained.run, alone=alone) for text in overrides]
    refused(run_here("export", *named, folder=tmp_path / "work"), *words)
    assert not (trained.run / "export").exists()


@pytest.mark.parametrize("options", [(), ("quantise=int8",)])
def test_a_missing_extra(
    options: tuple[str, ...], trained: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = run_here("export", f"model={trained.run}", *options, folder=tmp_path / "work")
    refused(outcome, "onnxruntime", "pip install 'vitsearch[export]'")


def test_int8_by_the_data_of_its_run(run: Path, tmp_path: Path) -> None:
    """The figures of the report are those of the file; another export takes its place."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = ("model=run", "quantise=int8", "calibration_images=40")
    outcome = run_here("export", *options, folder=tmp_path).succeeded()
    assert outcome.err == ""
    assert files_below(run / "export") == {"model.int8.onnx", "model.int8.onnx.json"}
    report = json.loads((run / "export" / "model.int8.onnx.json").read_text(encoding="utf-8"))
    assert report["calibration_images"] == 40
    assert report["megabytes"]["int8"] < report["megabytes"]["float32"]

    session = onnxruntime.InferenceSession(run / "export" / "model.int8.onnx")
    network, data = vitsearch.load_model(run), FashionMini()
    data.setup()
    correct = {"float32": 0, "int8": 0}
    for images, labels in data.test_dataloader():
        (logits,) = session.run(None, {"images": images.numpy()})
        correct["int8"] += int((torch.from_numpy(logits).argmax(dim=1) == labels).sum())
        with torch.inference_mode():
            correct["float32"] += int((network(images).argmax(dim=1) == labels).sum())
    accuracy = report["accuracy"]
    assert accuracy["images"] == 2000
    assert accuracy["correct"]["int8"] == correct["int8"]
    assert abs(accuracy["correct"]["float32"] - correct["float32"]) <= 2  # ties of rounding
    assert abs(accuracy["int8"] - accuracy["float32"]) < 0.05
    for words in (
        f"{report['same_predictions']} of 40 calibration images",
        f"{100 * accuracy['int8']:.1f} %, in float {100 * accuracy['float32']:.1f} %",
        "test split, 2000 images",
        f"{report['megabytes']['int8']:.2f} MB",
        "ms, in float",
    ):
        assert words in outcome.out
    page = [b for b in blocks_of(REPOSITORY / "docs" / "after.md") if "quantise=" in b.command]
    assert len(page) == 1
    assert shape(page[0].text) == shape(outcome.out)

    (run / "export" / "model.int8.onnx").write_bytes(b"damaged")
    run_here("export", *options, folder=tmp_path).succeeded()
    assert (run / "export" / "model.int8.onnx").stat().st_size / 1e6 == report["megabytes"]["int8"]
    assert len(files_below(run / "export")) == 2


def test_the_embedded_network_as_a_model_folder(tmp_path: Path) -> None:
    example = REPOSITORY / "examples" / "embedded.py"
    printed = run_program([sys.executable, example, "net"], tmp_path)
    assert printed == "written to net\n"
    assert files_below(tmp_path / "net") == {"architecture.json", "model.safetensors"}
    assert vitsearch.load_model(tmp_path / "net").class_names == FashionMini().class_names
