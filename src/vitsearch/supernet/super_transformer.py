"""The weight-sharing network of a space: every architecture of it is a part of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from vitsearch.elastic import Context, NormEstimator, NormStatistics
from vitsearch.errors import ConfigError
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer


class SuperTransformer(ElasticTransformer):
    """All sub-networks of a search space in one set of weights.

    Sub-networks take the first channels, heads and hidden units of each layer; which ones is an
    argument of the call.

    Attributes:
        space: What can be chosen.
    """

    def __init__(
        self, space: SearchSpace, num_classes: int = 1000, *, drop_path_rate: float = 0.0
    ) -> None:
        """Build the layers, as large as the largest option of each choice.

        Args:
            space: The search space; it says the image size and channels.
            num_classes: Outputs of the classifier; 0 for none.
            drop_path_rate: Stochastic depth of the last block; grows linearly from 0.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__init__(space.catalogue(), num_classes=num_classes, drop_path_rate=drop_path_rate)
        self.space = space

    @cached_property
    def largest(self) -> Architecture:
        """The architecture that runs if none is named."""
        return self.space.largest()

    def forward(
        self,
        images: Tensor,
        architectures: Architecture | Sequence[Architecture] | None = None,
        *,
        statistics: Sequence[NormStatistics | None] | None = None,
    ) -> Tensor:
        """Classify images with one sub-network, or each share of the batch with one of its own.

        Args:
            images: (B, in_chans, H, W).
            architectures: One architecture for all images; or K, each for its own contiguous B/K
                images in order; by default the largest.
            statistics: BatchNorm statistics for each architecture, used in eval mode; see
                `estimate_statistics`.

        Returns:
            Logits (B, num_classes) in the order of the images.

        Raises:
            ConfigError: The batch does not divide by the number of architectures.
            SpaceError: An architecture is not legal in the space.
        """
        chosen = self._listed(architectures)
        if images.shape[0] % len(chosen):
            raise ConfigError(
                f"a batch of {images.shape[0]} images cannot be shared evenly by {len(chosen)} "
                f"architectures; make the batch a multiple of {len(chosen)}"
            )
        contexts = [Context(given) for given in statistics or [None] * len(chosen)]
        shares = images.chunk(len(chosen)) if len(chosen) > 1 else (images,)
        logits = [
            self.run(share, self.space.plan(architecture), context)
            for share, architecture, context in zip(shares, chosen, contexts, strict=True)
        ]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def _listed(
        self, architectures: Architecture | Sequence[Architecture] | None
    ) -> Sequence[Architecture]:
        if architectures is None:
            return [self.largest]
        if isinstance(architectures, Architecture):
            return [architectures]
        if not architectures:
            raise ConfigError("no architecture to run; give one, several, or None for the largest")
        return architectures

    @torch.no_grad()
    def estimate_statistics(
        self, architecture: Architecture, batches: Iterable[Tensor]
    ) -> NormStatistics:
        """The BatchNorm statistics of one architecture over batches of training images.

        They equal those of one large batch. The supernet's own statistics are left alone. Spaces
        without BatchNorm need none, and no image is looked at.

        Args:
            architecture: Whose statistics.
            batches: Tensors (B, in_chans, H, W), on the network's device.
        """
        if not self.has_batch_norm:
            return {}
        estimator = NormEstimator()
        plan = self.space.plan(architecture)
        was_training = self.training
        self.eval()
        try:
            for images in batches:
                self.run_features(images, plan, Context(estimator=estimator))
        finally:
            self.train(was_training)
        return estimator.statistics()

    def extract(
        self, architecture: Architecture, *, statistics: NormStatistics | None = None
    ) -> VisionTransformer:
        """The sub-network as a network of its own, with copies of its weights, in eval mode.

        In eval mode its logits equal the supernet's for this architecture.

        Args:
            architecture: Which one.
            statistics: Its BatchNorm statistics; without them it inherits the supernet's running
                ones, which mix all architectures.

        Raises:
            SpaceError: The architecture is not legal in the space.
        """
        plan = self.space.plan(architecture)
        state = self.active_state(plan)
        names = self.norm_paths(plan)
        for own, (mean, var) in (statistics or {}).items():
            state[f"{names[own]}.running_mean"] = mean
            state[f"{names[own]}.running_var"] = var
        reference = next(self.parameters())
        network = VisionTransformer(self.space, architecture, num_classes=self.num_classes)
        network.to(device=reference.device, dtype=reference.dtype)
        network.load_state_dict(state)
        return network.eval()

    def cost(self, architecture: Architecture) -> Cost:
        """MACs of one image and parameters of a sub-network, this classifier included."""
        return self.space.plan(architecture).cost(self.num_classes)
