"""What answers: the classifiers, which stand at the root of a network, and heads of other kinds.

A head of another kind is a module of its own under the name `head`; see `head_for`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic import (
    Axis,
    Context,
    ElasticFinalNorm,
    ElasticLinear,
    ElasticModule,
    LinearSizes,
)
from vitsearch.elastic.base import PLAIN
from vitsearch.elastic.layers.attention_pool import ElasticAttentionPool
from vitsearch.spaces.flow import ImageSize, sides
from vitsearch.spaces.parts import ClassifierPlan
from vitsearch.spaces.plan import HeadPlan, Plan

Features = tuple[Tensor, ...]
"""What a head sees: the outputs of the nodes that it reads."""

_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda seen: seen.mean(dim=1),
    "max": lambda seen: seen.amax(dim=1),
    "avgmax": lambda seen: 0.5 * (seen.amax(dim=1) + seen.mean(dim=1)),
}


def as_tokens(x: Tensor) -> Tensor:
    """A map (B, C, H, W) as tokens (B, H * W, C), row by row; tokens as they are."""
    return x.flatten(2).mT if x.dim() == 4 else x


HeadMaker = Callable[[Sequence[Any], int], ElasticModule[Any]]
_MAKERS: dict[type, HeadMaker] = {}


class HeadOutputs(NamedTuple):
    """What the classifiers say of a batch.

    Attributes:
        logits: (B, num_classes) of the pooled tokens; what another kind of head returns, such as
            (B, num_classes, h, w).
        distillation: (B, num_classes) of the distillation token; `None` without one.
        patches: (B, patches, num_classes) of every patch token, row by row; `None` without a patch
            head, or where nobody asked.
        grid: Rows and columns of the patch tokens.
        tokens: (B, N, C) normalised tokens behind each of the blocks that were asked for.
        kept: (B, patches) for each predictor of tokens, in training: 1 where a patch goes on, 0
            where it does not, with gradients.
    """

    logits: Tensor
    distillation: Tensor | None
    patches: Tensor | None
    grid: tuple[int, int]
    tokens: tuple[Tensor, ...] = ()
    kept: tuple[Tensor, ...] = ()

    @property
    def answer(self) -> Tensor:
        """(B, num_classes): what the network says; the mean where it has two classifiers."""
        if self.distillation is None:
            return self.logits
        return (self.logits + self.distillation) / 2


def resized(answers: Tensor, size: Sequence[int]) -> Tensor:
    """Dense answers (B, classes, h, w) at another size, bilinearly; as they are at their own."""
    if tuple(answers.shape[2:]) == tuple(size):
        return answers
    return F.interpolate(answers, size=tuple(size), mode="bilinear")


def joined_answers(parts: Sequence[Tensor], image_size: ImageSize) -> Tensor:
    """Answers of several architectures as one batch.

    Dense ones on different grids are resized to the images, as whoever compares them with masks
    does it, so each is what it would be alone.

    Args:
        parts: (b, classes), or dense ones (b, classes, h, w).
        image_size: Of the images, pixels: the side of a square, or height and width.
    """
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[2:] for part in parts}) > 1:
        parts = [resized(part, sides(image_size)) for part in parts]
    return torch.cat(list(parts))


def head_for(plan_class: type) -> Callable[[HeadMaker], HeadMaker]:
    """Decorator: this function makes the head for plans of `plan_class` and a number of classes.

    What it makes is called with the outputs of the nodes that the plan's part reads, its sizes and
    the context.
    """

    def add(maker: HeadMaker) -> HeadMaker:
        assert plan_class not in _MAKERS, plan_class
        _MAKERS[plan_class] = maker
        return maker

    return add


class NetworkWithHead(nn.Module):
    """Classifiers at the root of a network, under timm's names; or one head of another kind.

    With 0 classes there is no classifier, and what would be classified is the answer.

    Attributes:
        num_classes: Outputs of a classifier; 0 for none.
        num_features: Largest width of what is classified.
        head: Of the pooled tokens, or the head of another kind.
        head_dist: Of the distillation token (DeiT, section 4).
        head_patch: Of every patch token, for training.
        fc_norm: Of what is pooled, before it is classified; `None` where the norm stands before.
        attn_pool: A pool by attention; `None` for another.
    """

    num_classes: int

    def make_heads(self, heads: Sequence[HeadPlan], *, patch_head: bool) -> None:
        """Make what serves all of these plans, which are of one class."""
        self._features = Axis([head.embed_dim for head in heads])
        self.num_features = self._features.size
        self.head_drop: nn.Module = nn.Identity()
        self.head: ElasticModule[Any] | None
        self.head_dist: ElasticLinear | None = None
        self.head_patch: ElasticLinear | None = None
        self.fc_norm: ElasticFinalNorm | None = None
        self.attn_pool: ElasticAttentionPool | None = None
        first = heads[0]
        if not isinstance(first, ClassifierPlan):
            assert type(first) in _MAKERS, f"no head is registered for {type(first).__name__}"
            self.head = _MAKERS[type(first)](heads, self.num_classes)
            return
        if first.pool_norm is not None:
            norm = first.pool_norm
            self.fc_norm = ElasticFinalNorm(self._features, norm.norm_eps, kind=norm.kind)
        if first.attention_pool is not None:
            pool = first.attention_pool
            self.attn_pool = ElasticAttentionPool(
                pool.embed_dim,
                pool.num_heads,
                pool.hidden_dim,
                activation=pool.activation,
                norm=(pool.norm.kind, pool.norm.eps),
            )
        self.head = self.make_classifier()
        self.head_dist = self.make_classifier() if first.distillation else None
        self.head_patch = self.make_classifier() if patch_head else None

    def make_classifier(self) -> ElasticLinear | None:
        """A fresh linear classifier; `None` for 0 classes."""
        return ElasticLinear(self._features, self.num_classes) if self.num_classes else None

    def run_head(
        self,
        features: Features,
        plan: Plan,
        context: Context = PLAIN,
        *,
        patches: bool = False,
    ) -> HeadOutputs:
        """What the head says.

        Args:
            features: The outputs of the nodes that it reads, such as normalised tokens (B, N, C).
            plan: The sizes of the network.
            context: What the call carries besides sizes.
            patches: Whether to ask the patch head, too.
        """
        head = plan.head
        if not isinstance(head, ClassifierPlan):
            assert self.head is not None
            return HeadOutputs(self.head(*features, head, context), None, None, (0, 0))
        tokens = as_tokens(*features)
        prefix = head.num_prefix_tokens

        def said(by: ElasticModule[Any] | None, seen: Tensor) -> Tensor:
            return self.classify(by, seen, head, context)

        distilled = said(self.head_dist, tokens[:, 1]) if head.distillation else None
        asked = patches and self.head_patch is not None
        each = said(self.head_patch, tokens[:, prefix:]) if asked else None
        logits = said(self.head, self.run_pool(tokens, head, context))
        return HeadOutputs(logits, distilled, each, head.grid)

    def run_pool(self, tokens: Tensor, plan: ClassifierPlan, context: Context = PLAIN) -> Tensor:
        """(B, N, C), or a map, to (B, C), normalised where the norm stands behind the pool."""
        tokens = as_tokens(tokens)
        seen = tokens if plan.pool_prefix else tokens[:, plan.num_prefix_tokens :]
        pooled: Tensor
        if self.attn_pool is not None:
            pooled = self.attn_pool(seen, plan.attention_pool, context)
        else:
            pooled = tokens[:, 0] if plan.pool == "token" else _POOLS[plan.pool](seen)
        return self.normalise_pooled(pooled, plan, context)

    def normalise_pooled(
        self, pooled: Tensor, plan: ClassifierPlan, context: Context = PLAIN
    ) -> Tensor:
        """(..., C) normalised, where the norm stands behind the pool; as it is where before."""
        if self.fc_norm is None:
            return pooled
        return self.fc_norm(pooled, plan.pool_norm, context)  # type: ignore[no-any-return]

    def classify(
        self,
        head: ElasticModule[Any] | None,
        features: Tensor,
        plan: ClassifierPlan,
        context: Context = PLAIN,
    ) -> Tensor:
        """Features (..., C) to logits (..., num_classes); as they are without a classifier."""
        features = self.head_drop(features)
        if head is None:
            return features
        return head(features, self.head_sizes(plan), context)  # type: ignore[no-any-return]

    def pooling(self, plan: HeadPlan) -> Iterator[tuple[str, ElasticModule[Any], Any]]:
        """What has weights between the features and the classifiers: name, layer, sizes."""
        for name, sizes in (("fc_norm", "pool_norm"), ("attn_pool", "attention_pool")):
            layer = getattr(self, name, None)
            if layer is not None:
                yield name, layer, getattr(plan, sizes)

    def heads(self) -> Iterator[tuple[str, ElasticModule[Any]]]:
        """Every classifier there is, those for training included, by its name."""
        for name in ("head", "head_dist", "head_patch"):
            head = getattr(self, name)
            if head is not None:
                yield name, head

    def head_sizes(self, plan: HeadPlan) -> Any:
        """The sizes of each classifier, or of the head of another kind."""
        if isinstance(plan, ClassifierPlan):
            return LinearSizes((plan.embed_dim,), (self.num_classes,))
        return plan
