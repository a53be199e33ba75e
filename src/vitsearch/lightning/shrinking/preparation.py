"""Before a search: a classifier where none fits, calibration, order of units, the profile.

The first process does it once and writes what it has; the others, and a run that goes on, read the
same numbers, so that all of them score with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitsearch.errors import CheckpointError
from vitsearch.lightning.distributed import made_by_first
from vitsearch.lightning.resuming.timing import Stopwatch
from vitsearch.lightning.shrinking.targets import Targets
from vitsearch.lightning.tasks import Task
from vitsearch.lightning.tasks.batch import read_images
from vitsearch.lightning.training.calibrating import calibrate_for
from vitsearch.lightning.training.linear_head import fit_heads
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.runs.layout import ELASTIC_FOLDER, START_FILE
from vitsearch.shrinking import Elastic, UniformCuts, profile_branches, save_elastic
from vitsearch.shrinking.search import PROFILE_IMAGES, first_images
from vitsearch.shrinking.storage import read_elastic
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.repairing import Calibration

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is prepared, and from which images.

    Attributes:
        folder: The run folder.
        targets: The budgets.
        importance: By which units are put in order.
        task: What the network's classifier answers; `None` where scores compare features.
        fits_head: Whether the classifier is fresh, and is fitted to features.
        facts: What a start that goes on must know of the original, ready for JSON.
    """

    folder: Path
    targets: Targets
    importance: str
    task: Task | None
    fits_head: bool
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A network that is ready to be searched.

    Attributes:
        net: In order, on the device.
        calibration: Of it, with its images.
        initial: What the search begins with.
        uniform: Uniform cuts along the way, for comparison; they are among the initial ones.
    """

    net: SuperTransformer
    calibration: Calibration
    initial: tuple[Architecture, ...]
    uniform: tuple[Architecture, ...]


def prepare(
    settings: Preparation,
    net: SuperTransformer,
    images: Iterable[Any],
    head_images: Callable[[], Iterable[Any]],
    device: torch.device,
    say: Say,
) -> Prepared:
    """Make a converted network ready; a run that goes on reads what it has made before.

    Args:
        settings: What to do.
        net: The converted network; its weights are replaced by those in order.
        images: Batches of training images to calibrate on.
        head_images: Reads batches of training images and labels for a fresh classifier.
        device: Where to compute.
        say: Prints a line.

    Raises:
        CheckpointError: What an earlier start has left is damaged.
        ConfigError: The network cannot be calibrated, or the importance is unknown.
    """
    net.to(device).eval()
    like = next(net.parameters())
    batches = list(images)

    def first() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        if not (settings.folder / START_FILE).is_file():
            _make(settings, net, batches, head_images, say)
        found = read_elastic(settings.folder / ELASTIC_FOLDER)
        start = read_json(settings.folder / START_FILE, CheckpointError)
        return found.supernet.state_dict(), found.calibration.state_dict(), start

    state, sums, start = made_by_first(first)
    net.load_state_dict(state)
    calibration = Calibration.from_state(sums).to(device)
    calibration.images = tuple(read_images(batch).to(like) for batch in batches)
    return Prepared(
        net=net,
        calibration=calibration,
        initial=_read(start["initial"]),
        uniform=_read(start["uniform"]),
    )


def _make(
    settings: Preparation,
    net: SuperTransformer,
    batches: Sequence[Any],
    head_images: Callable[[], Iterable[Any]],
    say: Say,
) -> None:
    like = next(net.parameters())
    watch = Stopwatch(settings.folder, "preparation", like.device, goes_on=False)
    if settings.fits_head:
        assert settings.task is not None
        pairs = (settings.task.prepare(batch, net.space) for batch in head_images())
        fit_heads(net, ((x.to(like), y.to(like.device)) for x, y in pairs))
    watch.lap()
    before = watch.seconds
    calibration = calibrate_for(settings.importance, net, batches, settings.task, summed=False)
    net.order(calibration, settings.importance)
    watch.lap()
    seconds = watch.seconds - before
    say(f"calibrated on {calibration.num_images:,} training images in {seconds:.0f} s")
    profile = profile_branches(net, calibration, first_images(calibration, PROFILE_IMAGES))
    full = net.cost(net.largest)
    initial = settings.targets.initial(profile, full, net.largest)
    cuts = UniformCuts(net.space, net.num_classes)
    along = sorted({net.cost(architecture).macs for architecture in initial})
    uniform = [cut for macs in along if (cut := cuts.below(macs)) is not None]
    watch.lap()
    say(f"profiled {len(profile.branches)} branches; ready to search after {watch.seconds:.0f} s")
    elastic = Elastic(supernet=net, calibration=calibration, front=())
    save_elastic(elastic, settings.folder / ELASTIC_FOLDER)
    start = {**settings.facts, "initial": _plain(initial), "uniform": _plain(uniform)}
    write_json(settings.folder / START_FILE, with_format(start))


def _plain(architectures: Iterable[Architecture]) -> list[dict[str, Any]]:
    return [architecture.to_dict() for architecture in dict.fromkeys(architectures)]


def _read(records: Iterable[dict[str, Any]]) -> tuple[Architecture, ...]:
    return tuple(Architecture.from_dict(record) for record in records)
