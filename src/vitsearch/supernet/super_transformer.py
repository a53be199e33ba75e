"""The weight-sharing network of a space: every architecture of it is a part of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import Alignment, Context, NormEstimator, NormStatistics, Reordering
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_one_of
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.supernet.checks import check_images
from vitsearch.supernet.execution import sliced
from vitsearch.supernet.execution.sliced import Run
from vitsearch.supernet.heads import HeadOutputs, joined_answers
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.repairing.collecting import Batch, Loss, calibrate
from vitsearch.supernet.repairing.folding import folded_state
from vitsearch.supernet.repairing.ordering import order
from vitsearch.supernet.repairing.refitting import refit_branches
from vitsearch.supernet.vision_transformer import VisionTransformer

ALIGNMENTS: dict[str, tuple[Alignment, ...]] = {
    "prefix": ("prefix",),
    "bilateral": ("prefix", "suffix"),
    "cyclic": ("cyclic",),
}
"""How a step runs an architecture under each rule of sharing."""

TensorT = TypeVar("TensorT", Tensor, Tensor | None)


class SuperTransformer(ElasticTransformer):
    """All sub-networks of a search space in one set of weights.

    How many channels, heads and hidden units of each layer a sub-network takes is an argument of
    the call; which ones is the network's rule of sharing.

    Attributes:
        space: What can be chosen.
        sharing: `prefix`: the first ones. `bilateral`: the first and the last, the same sizes run
            both ways, logits added in training and averaged in eval mode (bilaterally coupled:
            BCNet, section 3; ViTAS, section 3). `cyclic`: those that follow on the next smaller
            width's, so that all are trained equally often (ViTAS).
        preprocessing: How the images are prepared that it was trained on (`mean`, `std`,
            `interpolation`, `crop_pct`), if that is known; networks taken out keep it.
        class_names: Of the classifier's outputs, if they are known.
    """

    preprocessing: dict[str, Any] | None = None
    class_names: tuple[str, ...] | None = None

    def __init__(
        self,
        space: SearchSpace,
        num_classes: int = 1000,
        *,
        drop_path_rate: float = 0.0,
        sharing: str = "prefix",
    ) -> None:
        """Build the layers, as large as the largest option of each choice.

        Args:
            space: The search space; it says the image size and channels.
            num_classes: Outputs of the classifier; 0 for none.
            drop_path_rate: Stochastic depth of the last block; grows linearly from 0.
            sharing: `prefix`, `bilateral` or `cyclic`.

        Raises:
            ConfigError: A number is out of range, or sharing unknown.
        """
        check_one_of("sharing", sharing, list(ALIGNMENTS))
        super().__init__(
            space.catalogue(),
            num_classes=num_classes,
            drop_path_rate=drop_path_rate,
            patch_head=space.head.patch_head,
        )
        self.space = space
        self.sharing = sharing

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
            Logits (B, num_classes) in the order of the images; of a dense head
            (B, num_classes, h, w), on the images' own size where architectures have other grids.

        Raises:
            ConfigError: The batch does not divide by the number of architectures, or images are of
                another size or other channels.
            SpaceError: An architecture is not legal in the space.
        """
        found = sliced.run(self, self._runs(images, architectures, statistics))
        answers = [outputs.answer for outputs in self._by_share(found)]
        return joined_answers(answers, self.space.image_size)

    def forward_heads(
        self,
        images: Tensor,
        architectures: Architecture | Sequence[Architecture] | None = None,
        *,
        layers: Sequence[int] = (),
    ) -> list[HeadOutputs]:
        """What each classifier says, for objectives that teach more than the logits.

        One entry for each architecture, because their numbers of patches may differ. Logits of the
        two ways of bilateral sharing add up as in `forward`.

        Args:
            images: (B, in_chans, H, W).
            architectures: As in `forward`.
            layers: Blocks whose normalised tokens are wanted (`HeadOutputs.tokens`), as indices
                into each architecture's own blocks of tokens. Not with bilateral sharing, where an
                architecture has two kinds of each.

        Raises:
            ConfigError: The batch does not divide by the number of architectures, or a layer is no
                block.
            SpaceError: An architecture is not legal in the space.
        """
        if layers and len(ALIGNMENTS[self.sharing]) > 1:
            raise ConfigError(
                f"sharing={self.sharing} has two ways of every block; tokens of blocks need "
                f"sharing=prefix or cyclic"
            )
        runs = self._runs(images, architectures, None)
        return self._by_share(sliced.run(self, runs, patches=True, layers=layers))

    def _runs(
        self,
        images: Tensor,
        architectures: Architecture | Sequence[Architecture] | None,
        statistics: Sequence[NormStatistics | None] | None,
    ) -> list[Run]:
        """Images, sizes and statistics of each architecture, once for each way it is run."""
        chosen = self._listed(architectures)
        if images.shape[0] % len(chosen):
            raise ConfigError(
                f"a batch of {images.shape[0]} images cannot be shared evenly by {len(chosen)} "
                f"architectures; make the batch a multiple of {len(chosen)}"
            )
        contexts = [Context(given) for given in statistics or [None] * len(chosen)]
        shares = images.chunk(len(chosen)) if len(chosen) > 1 else (images,)
        plans = [self.space.plan(architecture) for architecture in chosen]
        check_images(images, plans[0])
        return [
            Run(share, plan, way)
            for share, plan, context in zip(shares, plans, contexts, strict=True)
            for way in self._ways(context)
        ]

    def _by_share(self, found: Sequence[HeadOutputs]) -> list[HeadOutputs]:
        """The outputs of each share, those of an architecture's ways added up."""
        ways = len(ALIGNMENTS[self.sharing])
        if ways == 1:
            return list(found)
        shares = [found[start : start + ways] for start in range(0, len(found), ways)]
        return [
            HeadOutputs(
                self._added([way.logits for way in share]),
                self._added([way.distillation for way in share]),
                self._added([way.patches for way in share]),
                share[0].grid,
            )
            for share in shares
        ]

    def _ways(self, context: Context) -> list[Context]:
        return [replace(context, alignment=way) for way in ALIGNMENTS[self.sharing]]

    def _added(self, ways: Sequence[TensorT]) -> TensorT:
        first, second = ways
        if first is None or second is None:
            return first
        return first + second if self.training else (first + second) / 2

    def _listed(self, architectures: Any) -> Sequence[Architecture]:
        if architectures is None:
            return [self.largest]
        is_one = isinstance(architectures, str) or not isinstance(architectures, Sequence)
        chosen: Sequence[Architecture] = [architectures] if is_one else architectures
        if not chosen:
            raise ConfigError("no architecture to run; give one, several, or None for the largest")
        return chosen  # `plan` refuses by its type what is none

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
                for way in self._ways(Context(estimator=estimator)):
                    self.run_norms(images, plan, way)
        finally:
            self.train(was_training)
        return estimator.statistics()

    def extract(
        self,
        architecture: Architecture,
        *,
        statistics: NormStatistics | None = None,
        alignment: Alignment | None = None,
        calibration: Calibration | None = None,
        images: Iterable[Tensor] | None = None,
    ) -> VisionTransformer:
        """The sub-network as a network of its own, with copies of its weights, in eval mode.

        In eval mode its logits equal the supernet's for this architecture; those of a bilateral
        supernet are the mean of two networks', of which this is one. With a calibration it is
        repaired instead: what the architecture lacks is folded into what it keeps, by least
        squares (`docs/shrinking.md`).

        Args:
            architecture: Which one.
            statistics: Its BatchNorm statistics; without them it inherits the supernet's running
                ones, which mix all architectures.
            alignment: `prefix`, `suffix` or `cyclic`: which channels it takes; by default the
                first way in which the supernet runs it.
            calibration: Of this network, to repair the sub-network from; see `calibrate`.
            images: Calibration images (B, in_chans, H, W), batch by batch, to repair it further:
                branch after branch is fitted through the already cut network, in one pass over
                the images.

        Raises:
            SpaceError: The architecture is not legal in the space.
            ConfigError: It cannot be repaired, or the calibration is of another network.
        """
        plan = self.space.plan(architecture)
        context = Context(statistics, alignment=alignment or ALIGNMENTS[self.sharing][0])
        if calibration is None:
            state = self.active_state(plan, context.alignment)
        else:
            state = folded_state(self, plan, calibration)
        for own, extracted in self.norm_paths(plan).items():
            found = (statistics or {}).get(context.norm_key(own))
            if found is not None:
                state[f"{extracted}.running_mean"], state[f"{extracted}.running_var"] = found
        reference = next(self.parameters())
        network = VisionTransformer(self.space, architecture, num_classes=self.num_classes)
        network.to(device=reference.device, dtype=reference.dtype)
        network.load_state_dict(state)
        if self.preprocessing is not None:
            network.set_preprocessing(self.preprocessing)
        network.class_names = self.class_names
        network.eval()
        if images is not None:
            refit_branches(self, [network], images)
        return network

    def calibrate(
        self,
        batches: Iterable[Batch],
        *,
        gradients: bool = False,
        loss: Loss = F.cross_entropy,
        summed: bool = True,
    ) -> Calibration:
        """Look once at unlabelled images: what every layer sees in the largest sub-network.

        From it units are put in order (`order`) and sub-networks repaired (`extract`). In a
        distributed run each process gives images of its own, all processes have to call, and each
        gets the sums of all.

        Args:
            batches: Images (B, in_chans, H, W), on the network's device; some 1,000 in all.
            gradients: Whether to record what importance `taylor` needs, in a backward pass for
                each batch. Batches may then be pairs of images and labels (B,); without labels
                the loss is the cosine distance between the answers to an image and to its mirror
                image.
            loss: Of answers and labels, a mean over the images; with `gradients` alone.
            summed: Whether a distributed run adds up what its processes have seen; without it each
                keeps its own, and one alone may call.

        Returns:
            Sums, in memory that `Calibration.nbytes` tells, and the batches of this process.

        Raises:
            ConfigError: There are no images.
        """
        return calibrate(self, batches, gradients=gradients, loss=loss, summed=summed)

    def order(
        self, calibration: Calibration | None = None, importance: str = "variance"
    ) -> list[Reordering]:
        """Put the most important units of every layer first; the largest sub-network stays as is.

        Sub-networks take the first heads and hidden channels, so they then keep what matters.

        Args:
            calibration: Of this network; it is reordered along with the network.
            importance: `variance`: what a unit adds to the variance of its layer's output.
                `forward`: each next unit is the one that helps the repaired layer most.
                `backward`: each last one is that which the repaired layer misses least.
                `taylor`: the squared first-order change of the loss without it. `activation`: its
                mean square. `l1`, `l2`: the weights alone, without a calibration.

        Returns:
            What was reordered, so that an optimiser's moments can follow (`Reordering.apply`).

        Raises:
            ConfigError: The importance is unknown, or needs a calibration that is not there.
        """
        return order(self, calibration, importance)

    def cost(self, architecture: Architecture) -> Cost:
        """MACs of one image and parameters of a sub-network, this classifier included."""
        return self.space.plan(architecture).cost(self.num_classes)
