"""One architecture as a network of its own, with the face of a timm model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic import Context, ElasticBatchNorm, NormEstimator
from vitsearch.elastic.base import PLAIN
from vitsearch.errors.checks import check_number
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.spaces.parts import ClassifierPlan
from vitsearch.spaces.plan import PlanCatalogue
from vitsearch.supernet.execution import sliced
from vitsearch.supernet.execution.block_tokens import deciding_blocks
from vitsearch.supernet.execution.sliced import Run
from vitsearch.supernet.heads import HeadOutputs
from vitsearch.supernet.timm.face import TimmNetwork


class VisionTransformer(TimmNetwork):
    """A vision transformer of fixed sizes: `forward(images)`, nothing elastic about it.

    It is made of the same layers as the supernet, each exactly as large as its one plan. What
    timm's tools ask of a model is in `TimmNetwork`.

    Attributes:
        space: The space that the architecture belongs to.
        architecture: What this network is.
        plan: The same in sizes.
    """

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        num_classes: int = 1000,
        *,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        patch_head: bool = False,
    ) -> None:
        """Build the network with fresh weights.

        Args:
            space: Where the architecture is legal; it says the image size and channels.
            architecture: What to build.
            num_classes: Outputs of the classifier; 0 for none.
            drop_rate: Dropout in front of the classifier.
            drop_path_rate: Stochastic depth of the last block; grows linearly from 0.
            patch_head: Add a classifier of patch tokens, for training with token labels.

        Raises:
            SpaceError: The architecture is not legal in the space.
            ConfigError: A number is out of range.
        """
        plan = space.plan(architecture).renumbered()
        super().__init__(
            PlanCatalogue.of(plan),
            num_classes=num_classes,
            drop_path_rate=drop_path_rate,
            patch_head=patch_head,
        )
        check_number("drop_rate", drop_rate, "[0, 1)")
        self.head_drop = nn.Dropout(drop_rate)
        self.space = space
        self.architecture = architecture
        self.plan = plan
        self.global_pool = getattr(plan.head, "pool", "")
        self.features_by_block = len(plan.stages) == 1 and bool(plan.stages[0].blocks)
        self.class_names = None
        self.has_stated_preprocessing = False
        self.pretrained_cfg = self.default_cfg = self.describe_to_timm()
        self._model_args = {"space": space.config, "architecture": architecture.to_dict()}

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to normalised tokens (B, N, C): the first that the head reads."""
        return self.run_features(images, self.plan)[0]

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        if isinstance(self.plan.head, ClassifierPlan):
            return self.forward_head(self.forward_features(images))
        return self.run(images, self.plan).answer

    def forward_heads(self, images: Tensor, *, layers: Sequence[int] = ()) -> HeadOutputs:
        """Images (B, C, H, W) to what each classifier says, the patch head included.

        Args:
            images: (B, C, H, W).
            layers: Blocks whose normalised tokens are wanted, as indices into the blocks of tokens.

        Raises:
            ConfigError: A layer is no block.
        """
        if not layers and not (self.training and deciding_blocks(self.plan)):
            return self.run(images, self.plan, patches=True)
        run = Run(images, self.plan, PLAIN)
        return sliced.run(self, [run], patches=True, layers=layers)[0]

    @torch.no_grad()
    def reestimate_statistics(self, batches: Iterable[Tensor]) -> None:
        """Replace the running BatchNorm statistics by those of training images, in eval mode.

        The same rule as `SuperTransformer.estimate_statistics`: they equal those of one large
        batch. A network trained by itself and one that inherits weights can so be compared.

        Args:
            batches: Tensors (B, in_chans, H, W), on the network's device.
        """
        self.eval()
        if not self.has_batch_norm:
            return
        estimator = NormEstimator()
        for images in batches:
            self.run_norms(images, self.plan, Context(estimator=estimator))
        for path, (mean, var) in estimator.statistics().items():
            layer = self.get_submodule(path)
            assert isinstance(layer, ElasticBatchNorm)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(var)

    # timm's own class and the Hugging Face Hub, whose modules stand above this one.

    def to_timm(self) -> nn.Module:
        """A copy as timm's own `VisionTransformer`, with the same outputs.

        For networks of spaces that `from_timm` makes; see `vitsearch.supernet.converting.to_timm`.

        Raises:
            ConfigError: A part has no counterpart in timm's class (the message names it), or the
                network was cut to its features.
        """
        from vitsearch.supernet.converting.to_timm import to_timm

        return to_timm(self)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write a folder as a repository on the Hub has it; see `vitsearch.save_pretrained`."""
        from vitsearch.supernet.storage.hub import save_pretrained

        return save_pretrained(self, folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to a repository on the Hub; see `vitsearch.push_to_hub`."""
        from vitsearch.supernet.storage.hub import push_to_hub

        return push_to_hub(self, repo_id, **options)

    @staticmethod
    def from_pretrained(source: str | Path, **options: Any) -> VisionTransformer:
        """A network from the Hub or a folder; see `vitsearch.from_pretrained`."""
        from vitsearch.supernet.storage.hub import from_pretrained

        return from_pretrained(source, **options)

    def cost(self) -> Cost:
        """MACs of one image, and parameters."""
        return self.plan.cost(self.num_classes)
