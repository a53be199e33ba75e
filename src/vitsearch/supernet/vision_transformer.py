"""One architecture as a network of its own, with the face of a timm model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic import Context, ElasticBatchNorm, NormEstimator
from vitsearch.errors import ConfigError
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.spaces.plan import PlanCatalogue
from vitsearch.supernet.network import ElasticTransformer, HeadOutputs
from vitsearch.supernet.preprocessing import checked_preprocessing, make_pretrained_cfg


class VisionTransformer(ElasticTransformer):
    """A vision transformer of fixed sizes: `forward(images)`, nothing elastic about it.

    It is made of the same layers as the supernet, each exactly as large as its one plan.

    Attributes:
        space: The space that the architecture belongs to.
        architecture: What this network is.
        plan: The same in sizes.
        embed_dim: Width of the final tokens (as timm names it; also `num_features`).
        global_pool: `token` or `avg`.
        num_prefix_tokens: Tokens in front of the patches.
        pretrained_cfg: What timm reads of a model: `input_size` (C, H, W), `mean`, `std`,
            `interpolation`, `crop_pct`, `num_classes` and names of modules; plain data. Also
            `default_cfg`.
        has_stated_preprocessing: Whether `set_preprocessing` was told how images are prepared; if
            not, `pretrained_cfg` has ImageNet's values.
        class_names: Of the classifier's outputs, in order, if they are known.
    """

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        num_classes: int = 1000,
        *,
        drop_path_rate: float = 0.0,
        patch_head: bool = False,
    ) -> None:
        """Build the network with fresh weights.

        Args:
            space: Where the architecture is legal; it says the image size and channels.
            architecture: What to build.
            num_classes: Outputs of the classifier; 0 for none.
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
        self.space = space
        self.architecture = architecture
        self.plan = plan
        self.embed_dim = self.num_features
        self.global_pool = plan.head.pool
        self.num_prefix_tokens = plan.head.num_prefix_tokens
        self.class_names: tuple[str, ...] | None = None
        self.has_stated_preprocessing = False
        self.pretrained_cfg = make_pretrained_cfg(
            image_size=plan.image_size,
            in_chans=plan.in_chans,
            num_classes=num_classes,
            first_conv=next(
                name.rpartition(".")[0]
                for name, p in self.stem.named_parameters("stem")
                if p.dim() == 4
            ),
            classifiers=["head", "head_dist"] if plan.head.distillation else ["head"],
        )

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The same as `pretrained_cfg`, under timm's older name."""
        return self.pretrained_cfg

    def set_preprocessing(self, preprocessing: Mapping[str, Any]) -> None:
        """Say how the images are prepared that this network is trained on.

        Args:
            preprocessing: `mean` and `std` of pixels in [0, 1] (one number, or one for each
                channel), `interpolation`, `crop_pct`; what is absent stays.
                `vitsearch.data.preprocessing_of` reads them from a data module.

        Raises:
            ConfigError: A key is unknown, or a value is not legal.
        """
        stated = checked_preprocessing(preprocessing, self.plan.in_chans)
        self.pretrained_cfg |= stated
        self.has_stated_preprocessing |= bool(stated)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to normalised tokens (B, N, C)."""
        return self.run_features(images, self.plan)

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, C) to logits (B, num_classes), or to features (B, C)."""
        if pre_logits:
            return self.run_pool(tokens, self.plan.head)
        return self.run_classifier(tokens, self.plan.head)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_heads(self, images: Tensor) -> HeadOutputs:
        """Images (B, C, H, W) to what each classifier says, the patch head included."""
        return self.run_heads(images, self.plan)

    def get_classifier(self) -> nn.Module:
        """The classifier; an identity if there is none."""
        return nn.Identity() if self.head is None else self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace every classifier by a fresh one, or drop them with 0 classes.

        Raises:
            ConfigError: A negative number.
        """
        if num_classes < 0:
            raise ConfigError(f"num_classes={num_classes} must be 0 (no classifier) or more")
        reference = next(self.parameters())
        self.num_classes = self.pretrained_cfg["num_classes"] = num_classes
        self.class_names = None
        self.head = self.make_classifier()
        self.head_dist = self.make_classifier() if self.plan.head.distillation else None
        self.head_patch = None if self.head_patch is None else self.make_classifier()
        self.to(device=reference.device, dtype=reference.dtype)

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

    def cost(self) -> Cost:
        """MACs of one image, and parameters."""
        return self.plan.cost(self.num_classes)
