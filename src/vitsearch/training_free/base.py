"""What a training-free score is, and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitsearch.costs import Cost, cost
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture that is to be scored without training.

    Attributes:
        space: Where it is legal.
        architecture: What is scored.
        num_classes: Outputs of the classifier.
        seed: Of the weights and of whatever else is drawn; the same for all candidates.
        images: (B, C, H, W) without labels, the same for all candidates.
    """

    space: SearchSpace
    architecture: Architecture
    num_classes: int
    seed: int
    images: Tensor

    def cost(self) -> Cost:
        """MACs of one image, parameters and all other closed forms."""
        return cost(self.space, self.architecture, self.num_classes)

    def network(self, dtype: torch.dtype = torch.float32) -> VisionTransformer:
        """The network alone, with fresh weights, in evaluation mode.

        BatchNorm has seen nothing: it leaves what comes in as it is, but for its epsilon.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # those of GPUs stay as they are
            network = VisionTransformer(self.space, self.architecture, self.num_classes)
        return network.to(dtype).eval()

    def network_on_images(self) -> VisionTransformer:
        """The same network with BatchNorm statistics of the images."""
        network = self.network()
        network.reestimate_statistics([self.images])
        return network

    def ones(self, dtype: torch.dtype) -> Tensor:
        """(1, C, H, W): an image of ones."""
        return torch.ones(1, *self.space.input_shape, dtype=dtype)

    def generator(self) -> torch.Generator:
        """For what else a score draws."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What networks must have for a score to be defined.

    Attributes:
        words: The same for messages: `attention layers`.
        holds: Whether a network has it.
    """

    words: str
    holds: Callable[[nn.Module], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFreeScore:
    """A number that says how good a network will be, before it is trained; more is better.

    Attributes:
        name: In settings and files.
        title: Its full name, for reports.
        paper: Where it comes from.
        needs: What has to be computed.
        compute: From a candidate to its score; `None` for one that ranks a set.
        proxies: The scores by whose ranks in the set it is made.
        combine: From the scores of each proxy (n,) to the score of each candidate (n,).
        requires: What networks must have; `None` for nothing.
    """

    name: str
    title: str
    paper: str
    needs: str
    compute: Callable[[Candidate], float] | None = None
    proxies: tuple[str, ...] = ()
    combine: Callable[[Sequence[Sequence[float]]], list[float]] | None = None
    requires: Requirement | None = None
