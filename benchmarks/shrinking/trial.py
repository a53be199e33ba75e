"""What every method is given, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shrinking.head import fit_head
from benchmarks.shrinking.pictures import Pictures
from vitsearch.shrinking.fidelity import features_of

BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A network of timm with its classifier, and the images of one seed.

    Attributes:
        network: In eval mode; nobody changes it.
        pictures: The images.
        macs: Of the network for one image.
        seed: Of random orders.
        steps: Seconds of the steps that serve several budgets, by name; methods add theirs.
    """

    network: nn.Module
    pictures: Pictures
    macs: float
    seed: int
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def batches(self) -> list[Tensor]:
        """The calibration images."""
        return list(self.pictures.calibration[0].split(BATCH))

    @property
    def image(self) -> Tensor:
        """(1, 3, H, W): what networks are traced and counted with."""
        return self.pictures.calibration[0][:1]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step that serves several budgets."""
        began = time.perf_counter()
        yield
        self.steps[name] = time.perf_counter() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network that a method made for a budget.

    Attributes:
        method: Who made it.
        budget: Share of the full network's MACs that it may cost.
        network: From images to logits; `None` where the method cannot make one.
        seconds: For this network alone.
        note: Why there is none, or what to know of it.
    """

    method: str
    budget: float
    network: nn.Module | None
    seconds: float
    note: str = ""


Method = Callable[[Trial, tuple[float, ...]], Iterator[Candidate]]


def start_trial(backbone: nn.Module, pictures: Pictures, seed: int) -> Trial:
    """A trial on a backbone of timm without a classifier, which gets one here."""
    steps = {}
    began = time.perf_counter()
    features = outputs(features_of(backbone), pictures.training[0])
    steps["features of training images"] = time.perf_counter() - began
    began = time.perf_counter()
    head = fit_head(features, pictures.training[1], pictures.num_classes)
    steps["classifier"] = time.perf_counter() - began
    backbone.reset_classifier(pictures.num_classes)  # type: ignore[operator]
    backbone.head.load_state_dict(head.state_dict())  # type: ignore[union-attr, operator]
    network = backbone.eval()
    return Trial(
        network=network,
        pictures=pictures,
        macs=macs_of(network, pictures.calibration[0][:1]),
        seed=seed,
        steps=steps,
    )


@torch.inference_mode()
def outputs(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a network gives for many images, (n, ...)."""
    return torch.cat([network(batch) for batch in images.split(BATCH)])


def correct(network: nn.Module, images: Tensor, labels: Tensor) -> list[bool]:
    """Whether each image is classified correctly."""
    answers: list[bool] = (outputs(network, images).argmax(1) == labels).tolist()
    return answers


def macs_of(network: nn.Module, image: Tensor) -> float:
    """Multiply-accumulates of one image, as `FlopCounterMode` sees them.

    It counts attention's products on a CPU because vitsearch registers their formula.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() / 2
