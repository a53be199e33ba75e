"""What an objective is: a term of the training loss, as a function of what a step put out.

Terms look at values only, never at a module or trainer, so that they serve a supernet and a network
of its own alike. `weighted.py` reads them from a configuration and adds them up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.lightning.training.mixing import Mixing
from vitsearch.spaces import Architecture
from vitsearch.spaces.flow import ImageSize
from vitsearch.supernet.heads import HeadOutputs
from vitsearch.supernet.network import ElasticTransformer

PATCHES = "patches"
DISTILLATION = "distillation"
KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutputs:
    """What a training step put out, before any loss.

    Architectures see images of the batch, usually a share each; every image that one has seen is a
    row, and rows are in the order of the architectures.

    Attributes:
        net: Which network.
        images: (B, C, H, W), mixed.
        targets: (B,) labels, or (B, classes) mixed.
        mixing: How images were mixed, if they were and it is known.
        architectures: What the step trains.
        shares: Which images of the batch each of them has seen.
        logits: (rows, classes), what each architecture says of each of its images.
        heads: What every classifier of each architecture says; empty unless an objective uses it.
        layers: The blocks whose tokens are in `heads`, in their order.
        token_taught: Whether the distillation token learns from a teacher, so that labels are for
            the class token alone.
        compute_loss: The loss of logits (N, classes) for labels (N,) or targets (N, classes).
        learned: What the objective at hand learns beside the network, if it does; see
            `Objective.make_learned`. Of all objectives, by their names, before one is at hand.
    """

    net: ElasticTransformer
    images: Tensor
    targets: Tensor
    mixing: Mixing | None
    architectures: tuple[Architecture, ...]
    shares: tuple[range, ...]
    logits: Tensor
    heads: tuple[HeadOutputs, ...]
    layers: tuple[int, ...] = ()
    token_taught: bool
    compute_loss: Callable[[Tensor, Tensor], Tensor]
    learned: nn.Module | None = None

    @property
    def label_logits(self) -> Tensor:
        """(rows, classes): the logits that learn the labels."""
        return torch.cat([h.logits for h in self.heads]) if self.token_taught else self.logits

    def part(self, indices: Sequence[int]) -> float:
        """Share of the step's rows that belong to these architectures: their loss's weight."""
        rows = [len(share) for share in self.shares]
        return sum(rows[index] for index in indices) / sum(rows)

    def of_rows(self, rows: Tensor, index: int) -> Tensor:
        """Of (rows, ...), what belongs to one architecture."""
        before = sum(len(share) for share in self.shares[:index])
        return rows[before : before + len(self.shares[index])]

    def seen(self, images: Tensor, index: int) -> Tensor:
        """Of (B, ...), what belongs to the images that one architecture has seen."""
        share = self.shares[index]
        return images[share.start : share.stop]

    def tokens(self, index: int, layer: int) -> Tensor:
        """(b, N, C): normalised tokens of one architecture behind a block; see `layers`."""
        return self.heads[index].tokens[self.layers.index(layer)]

    def kept(self, index: int) -> Tensor | None:
        """(b, patches): which patch tokens of one architecture went on to the end, 1 or 0.

        `None` where all did, or were merged. Without gradients.
        """
        kept = self.heads[index].kept
        return kept[-1].detach() if kept else None

    def by_row(self, images: Tensor) -> Tensor:
        """(B, ...) to (rows, ...)."""
        ends = [share.stop for share in self.shares]
        starts = [share.start for share in self.shares]
        if starts == [0, *ends[:-1]] and ends[-1] == len(images):
            return images  # the batch is shared out
        return torch.cat([self.seen(images, index) for index in range(len(self.shares))])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a teacher must know of the training images.

    Attributes:
        num_classes: Of the labels.
        in_chans: Channels.
        image_size: Pixels: the side of a square, or height and width.
        mean: Of the pixels in [0, 1], which the images were normalised with, one or one for each
            channel; `None` if unknown.
        std: Likewise.
    """

    num_classes: int
    in_chans: int
    image_size: ImageSize
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def mean_of_kept(values: Tensor, kept: Tensor | None) -> Tensor:
    """The mean of values (b, patches), over those patches that went on where not all did."""
    return values.mean() if kept is None else (values * kept).sum() / kept.sum().clamp(min=1)


class Objective(ABC):
    """A term of the training loss.

    Attributes:
        uses: Which classifiers it teaches besides that of the logits: `patches`, `distillation`;
            `kept` for predictors of tokens.
        of_images: Whether it teaches answers for whole images only, not those of a dense head.
        layers: Blocks whose tokens it looks at, as indices into a network's blocks of tokens.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    of_images: ClassVar[bool] = False
    layers: tuple[int, ...] = ()

    @abstractmethod
    def __call__(self, step: StepOutputs) -> Tensor:
        """The term's value: a mean over the rows of the step, those left out counting as 0.

        So a step of several architectures has the gradient of its parts, each by its share.
        """

    def check(self, net: ElasticTransformer) -> None:
        """Refuse a network that this objective cannot train; called when the module is built.

        Raises:
            ConfigError: Says what is missing.
        """
        space: Any = net.space
        if self.of_images and space.head.dense:
            raise ConfigError(
                "it teaches answers for whole images, and the head answers for every pixel: take "
                "cross_entropy or in_place_distillation"
            )
        if PATCHES in self.uses and net.head_patch is None:
            raise ConfigError(
                "it needs a classifier of patch tokens, which the network has not: add "
                "space.head.patch_head=true"
            )

    def check_sampling(  # noqa: B027
        self, largest: Architecture, steps: Sequence[Sequence[Architecture]]
    ) -> None:
        """Refuse architectures that this objective cannot train; called before training.

        Args:
            largest: Of the space.
            steps: What the first steps train.

        Raises:
            ConfigError: Says which setting to change.
        """

    def begin_with(self, original: nn.Module) -> None:  # noqa: B027
        """Hear of the pretrained network that training begins with; called before `prepare`.

        Args:
            original: The network as it was, for this objective to keep; images are normalised as it
                expects them.
        """

    def prepare(self, images: ImageFacts) -> None:  # noqa: B027
        """Load what the term needs, such as a teacher; called before training.

        Raises:
            ConfigError: It does not fit the images.
        """

    def make_learned(self) -> nn.Module | None:
        """Layers that are trained with the network and are no part of it; after `prepare`.

        The module that trains keeps them (`TrainingModule.learned`), so they are optimised, moved
        and saved with it, and hands them back in `StepOutputs.learned`.
        """
        return None
