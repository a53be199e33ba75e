"""`python -m vitsearch.export model=<folder> format=onnx`: a finished network for other programs.

Thin: it reads the configuration and hands the network, and for `quantise=int8` images and a way to
score, to `exporting/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig
from rich.panel import Panel
from torch import Tensor

from vitsearch.commands import data_section
from vitsearch.commands.command import command
from vitsearch.commands.finished_model import (
    given_model,
    make_fitting_datamodule,
    refuse_other_tasks,
)
from vitsearch.commands.session import Session
from vitsearch.errors import ConfigError, DataError
from vitsearch.errors.checks import check_flag, check_one_of, check_whole
from vitsearch.exporting import (
    FORMATS,
    Accuracy,
    Exported,
    Int8Exported,
    Run,
    check_quantise,
    export_int8,
    export_model,
)
from vitsearch.lightning.scoring.answers import count_answers
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.lightning.tasks.classification import Classification
from vitsearch.reports.terminal.panels import facts_panel
from vitsearch.supernet.storage.given import GivenModel


@command("export", no_sweep="is not for exports; export one network at a time", takes_model=True)
def main(config: DictConfig, session: Session) -> None:
    """Load a network, write it in another format, compare, say how to load it."""
    check_one_of("format", config.format, list(FORMATS))
    from_pixels = check_flag("from_pixels", config.from_pixels)
    if config.quantise is not None:
        check_quantise(config.quantise, config.format)
        check_whole("calibration_images", config.calibration_images, 1)
    elif config.get("data") is not None:
        raise ConfigError("data is a setting of quantise=int8, and quantise is null")
    given = given_model(config)
    datamodule = None if config.quantise is None else _make_data(config, given)
    model = f"{given.name} {given.network.architecture.digest}"
    folder, opset = session.folder, config.opset
    try:
        if datamodule is None:
            exported = export_model(
                given.network, folder, format=config.format, from_pixels=from_pixels, opset=opset
            )
            panel, snippet = export_panel(exported, model), exported.snippet
        else:
            int8 = export_int8(
                given.network,
                folder,
                images=_calibration_images(datamodule, config.calibration_images),
                score=lambda run: _accuracy(run, datamodule),
                from_pixels=from_pixels,
                opset=opset,
            )
            panel, snippet = int8_panel(int8, model), int8.snippet
    except OSError as error:
        raise ConfigError(
            f"run_dir={session.folder} cannot be written: {error.strerror}"
        ) from error
    session.console.print(panel)
    session.say(snippet)


def _make_data(config: DictConfig, given: GivenModel) -> Any:
    """The data to calibrate and to score on, set up.

    Raises:
        CheckpointError: The data is unknown, or has other classes than the network.
        ConfigError: The network is no classifier, or the images are not of its kind.
    """
    refuse_other_tasks(given, "quantise=int8")
    section = data_section.of_network(config.get("data"), given)
    datamodule = make_fitting_datamodule(section, given.network)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def _calibration_images(datamodule: Any, count: int) -> Iterator[Tensor]:
    """Training images, without augmentation; read when they are asked for."""
    for batch in datamodule.sample_dataloader(count):
        yield read_images(batch)


def _accuracy(run: Run, datamodule: Any) -> Accuracy:
    """On the test split.

    Raises:
        DataError: It has no image.
    """
    task = Classification(num_classes=datamodule.num_classes)
    batches = map(task.prepare, datamodule.test_dataloader(shard=False))
    tally = count_answers(task, run, batches, convert=lambda images: images)
    if tally is None:
        raise DataError("the test split has no image to score the int8 file on")
    return Accuracy(correct=int(tally.counts["correct"]), images=tally.total)


def export_panel(exported: Exported, model: str) -> Panel:
    """What was written, how large it is, and how near."""
    sizes = ", ".join(map(str, exported.batch_sizes))
    return facts_panel(
        {
            "model": model,
            "written to": str(exported.path),
            "size": f"{exported.megabytes:.2f} MB",
            "largest difference": f"{exported.difference:.1e}, on random images in batches of "
            f"{sizes}",
        },
        title="vitsearch export",
    )


def int8_panel(exported: Int8Exported, model: str) -> Panel:
    """What was written, and the int8 file beside the float file."""
    sizes = ", ".join(map(str, exported.batch_sizes))
    megabytes, latency = exported.megabytes, exported.latency_ms
    facts = {
        "model": model,
        "written to": str(exported.path),
        "size": f"{megabytes.int8:.2f} MB, in float {megabytes.float32:.2f} MB",
        "same predictions": f"{exported.same_predictions} of {exported.calibration_images} "
        f"calibration images; runs in batches of {sizes}",
        "latency": f"{latency.int8:.2f} ms, in float {latency.float32:.2f} ms; batch 1, "
        f"{exported.threads} thread(s) of onnxruntime on this CPU",
    }
    if exported.accuracies is not None:
        full, small = exported.accuracies
        facts["accuracy"] = (
            f"{100 * small.share:.1f} %, in float {100 * full.share:.1f} %; test split, "
            f"{full.images} images"
        )
    return facts_panel(facts, title="vitsearch export, int8")


if __name__ == "__main__":
    main()
