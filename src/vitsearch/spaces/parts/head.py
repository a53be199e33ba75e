"""The head: final LayerNorm, pooling, classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitsearch.spaces.plan import HeadPlan
from vitsearch.spaces.settings import Settings

POOLS = ("token", "avg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What follows the last stage.

    Attributes:
        pool: `token` (class token) or `avg` (mean of the patch tokens).
        norm_eps: Of the final LayerNorm.
        distillation: A second token with a classifier of its own; the logits are the mean of both
            (DeiT, section 4).
        patch_head: A classifier of patch tokens in the supernet, for training (ViT-ResNAS,
            section 3.3); networks taken out do without.
    """

    pool: str
    norm_eps: float
    distillation: bool
    patch_head: bool

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Head:
        """The head that a space's section `head` describes.

        Raises:
            SpaceError: A setting is unknown or out of range.
        """
        settings = Settings(section, "space.head")
        head = cls(
            pool=settings.word("pool", POOLS, "token"),
            norm_eps=settings.number("norm_eps", 1e-6),
            distillation=settings.flag("distillation", False),
            patch_head=settings.flag("patch_head", False),
        )
        settings.finish()
        return head

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""
        return 1 + self.distillation

    def plan(self, embed_dim: int) -> HeadPlan:
        """The sizes for one architecture."""
        return HeadPlan(
            embed_dim=embed_dim,
            pool=self.pool,
            norm_eps=self.norm_eps,
            num_prefix_tokens=self.num_prefix_tokens,
            distillation=self.distillation,
            patch_head=self.patch_head,
        )
