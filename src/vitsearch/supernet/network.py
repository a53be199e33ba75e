"""The body of both the supernet and an extracted network: layers for a set of plans, run by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitsearch.elastic import (
    Alignment,
    Axis,
    Context,
    ElasticBatchNorm,
    ElasticBlock,
    ElasticConvStem,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticModule,
    LinearSizes,
    active_state,
)
from vitsearch.elastic.base import PLAIN
from vitsearch.errors import ConfigError
from vitsearch.spaces.plan import HeadPlan, Plan, PlanCatalogue, SlotCatalogue, StageCatalogue
from vitsearch.supernet.build import make_layer

Note = Callable[[int, int, Tensor], None]
Classify = Callable[[ElasticLinear, Tensor], Tensor]
_DECAY_FREE = ("cls_token", "dist_token", "pos_embed", "relative_keys", "relative_values")


class HeadOutputs(NamedTuple):
    """What the classifiers say of a batch.

    Attributes:
        logits: (B, num_classes) of the pooled tokens.
        distillation: (B, num_classes) of the distillation token; `None` without one.
        patches: (B, patches, num_classes) of every patch token, row by row; `None` without a patch
            head.
        grid: Rows and columns of the patch tokens.
    """

    logits: Tensor
    distillation: Tensor | None
    patches: Tensor | None
    grid: tuple[int, int]

    @property
    def answer(self) -> Tensor:
        """(B, num_classes): what the network says; the mean where it has two classifiers."""
        if self.distillation is None:
            return self.logits
        return (self.logits + self.distillation) / 2


class ElasticStage(nn.Module):
    """A transition and blocks of one width, by slot; a slot that no architecture uses is empty."""

    def __init__(self, transition: ElasticModule[Any] | None, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.transition = transition
        self.blocks = nn.ModuleList(blocks)


class ElasticTransformer(nn.Module):
    """Stem, stages of blocks, final norm and classifiers, large enough for every plan given.

    Attributes:
        num_classes: Outputs of the classifier; 0 for none.
        num_features: Largest width of the final tokens.
        grad_checkpointing: Recompute blocks in the backward pass to save memory.
    """

    def __init__(
        self,
        catalogue: PlanCatalogue,
        *,
        num_classes: int,
        drop_path_rate: float = 0.0,
        patch_head: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 0:
            raise ConfigError(f"num_classes={num_classes} must be 0 (no classifier) or more")
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"drop_path_rate={drop_path_rate} must lie in [0, 1)")
        self.num_classes = num_classes
        self.grad_checkpointing = False
        self.stem: ElasticModule[Any] = make_layer(catalogue.stems)
        depth = sum(len(stage.slots) for stage in catalogue.stages)
        # DeiT: grows with depth. Plain numbers, so that networks can be built on the meta device.
        rates = iter([drop_path_rate * slot / max(depth - 1, 1) for slot in range(depth)])
        self.stages = nn.ModuleList(_make_stage(stage, rates) for stage in catalogue.stages)
        self._features = Axis([head.embed_dim for head in catalogue.heads])
        self.num_features = self._features.size
        head = catalogue.heads[0]
        self.norm: ElasticModule[int] = ElasticLayerNorm(self._features, head.norm_eps)
        self.head_drop: nn.Module = nn.Identity()
        self.head = self.make_classifier()
        self.head_dist = self.make_classifier() if head.distillation else None
        self.head_patch = self.make_classifier() if patch_head else None
        for name, module in self.named_modules():
            if isinstance(module, ElasticBatchNorm):
                module.path = name

    def make_classifier(self) -> ElasticLinear | None:
        """A fresh linear classifier of the final tokens; `None` for 0 classes."""
        return ElasticLinear(self._features, self.num_classes) if self.num_classes else None

    @property
    def has_batch_norm(self) -> bool:
        """Whether statistics have to be estimated for each architecture."""
        return any(isinstance(module, ElasticBatchNorm) for module in self.modules())

    def run_features(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> Tensor:
        """Images (B, C, H, W) to normalised tokens (B, N, C) of the last stage."""
        x = self.run_blocks(images, plan, context)
        return self.norm(x, plan.head.embed_dim, context)  # type: ignore[no-any-return]

    def run_blocks(
        self, images: Tensor, plan: Plan, context: Context = PLAIN, note: Note | None = None
    ) -> Tensor:
        """Images (B, C, H, W) to tokens (B, N, C) after the last block of a plan.

        Args:
            images: (B, C, H, W).
            plan: May end earlier than the network.
            context: What the call carries besides sizes.
            note: Told of the tokens at the beginning of each stage and after each block: which
                stage, how many of its blocks have run, and (B, N, C).
        """
        x = self.stem(images, plan.stem, context)
        for index, stage_plan in enumerate(plan.stages):
            stage = self.stages[index]
            assert isinstance(stage, ElasticStage)
            if stage.transition is not None:
                x = self.run_layer(stage.transition, x, stage_plan.transition, context)
            if note is not None:
                note(index, 0, x)
            for done, block_plan in enumerate(stage_plan.blocks, start=1):
                block = stage.blocks[block_plan.slot]
                assert isinstance(block, ElasticBlock)
                x = self.run_layer(block, x, block_plan, context)
                if note is not None:
                    note(index, done, x)
        return x  # type: ignore[no-any-return]

    def layers(self, plan: Plan) -> Iterator[tuple[ElasticModule[Any], Any]]:
        """Every layer from stem to final norm that a plan uses, in order, with its sizes."""
        for layer, sizes, _, _ in self._parts(plan):
            yield layer, sizes

    def all_layers(self) -> Iterator[ElasticModule[Any]]:
        """Every layer from stem to final norm, in order."""
        yield self.stem
        for stage in self.stages:
            assert isinstance(stage, ElasticStage)
            if stage.transition is not None:
                yield stage.transition
            yield from (block for block in stage.blocks if isinstance(block, ElasticBlock))
        yield self.norm

    def run_layer(
        self, layer: ElasticModule[Any], x: Tensor, sizes: Any, context: Context
    ) -> Tensor:
        """One layer; of transitions and blocks what they compute may be forgotten in between."""
        if not self.recomputes(layer):
            return layer(x, sizes, context)  # type: ignore[no-any-return]
        return run_twice(
            lambda x, again: layer(x, sizes, replace(context, recomputing=again)),
            x,
        )

    def recomputes(self, layer: ElasticModule[Any]) -> bool:
        """Whether the backward pass computes a layer again instead of remembering it."""
        at_all = self.grad_checkpointing and torch.is_grad_enabled()
        return at_all and layer is not self.stem and layer is not self.norm

    def run_norms(self, images: Tensor, plan: Plan, context: Context) -> None:
        """Pass images through as much of the network as has BatchNorm."""
        if any(isinstance(module, ElasticBatchNorm) for module in self.stages.modules()):
            self.run_features(images, plan, context)
        else:
            self.stem(images, plan.stem, context)

    def run_pool(self, tokens: Tensor, plan: HeadPlan) -> Tensor:
        """(B, N, C) to (B, C)."""
        if plan.pool == "avg":
            return tokens[:, plan.num_prefix_tokens :].mean(dim=1)
        return tokens[:, 0]

    def run_heads(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> HeadOutputs:
        """Images (B, C, H, W) to what each classifier says, those for training included."""
        return self.heads_of(self.run_features(images, plan, context), plan, context)

    def heads_of(
        self,
        tokens: Tensor,
        plan: Plan,
        context: Context = PLAIN,
        classify: Classify | None = None,
    ) -> HeadOutputs:
        """Normalised tokens (B, N, C) to what each classifier says.

        Args:
            tokens: (B, N, C).
            plan: Its sizes.
            context: What the call carries besides sizes.
            classify: Calls a classifier; by default at the sizes of the plan.
        """
        distillation = patches = None
        if self.head_dist is not None:
            distillation = self._classify(
                self.head_dist, tokens[:, 1], plan.head, context, classify
            )
        if self.head_patch is not None:
            after = tokens[:, plan.head.num_prefix_tokens :]
            patches = self._classify(self.head_patch, after, plan.head, context, classify)
        pooled = self.run_pool(tokens, plan.head)
        logits = self._classify(self.head, pooled, plan.head, context, classify)
        return HeadOutputs(logits, distillation, patches, plan.stages[-1].grid)

    def run_classifier(self, tokens: Tensor, plan: HeadPlan, context: Context = PLAIN) -> Tensor:
        """Normalised tokens (B, N, C) to logits (B, num_classes); (B, C) without a classifier.

        With a distillation token they are the mean of both classifiers' (DeiT, section 4).
        """
        logits = self._classify(self.head, self.run_pool(tokens, plan), plan, context)
        if self.head_dist is None:
            return logits
        return (logits + self._classify(self.head_dist, tokens[:, 1], plan, context)) / 2

    def _classify(
        self,
        head: ElasticLinear | None,
        features: Tensor,
        plan: HeadPlan,
        context: Context,
        classify: Classify | None = None,
    ) -> Tensor:
        features = self.head_drop(features)
        if head is None:
            return features
        if classify is not None:
            return classify(head, features)
        return head(features, self.classifier_sizes(plan), context)  # type: ignore[no-any-return]

    def classifiers(self) -> Iterator[ElasticLinear]:
        """Every classifier there is, those for training included."""
        for head in (self.head, self.head_dist, self.head_patch):
            if head is not None:
                yield head

    def classifier_sizes(self, plan: HeadPlan) -> LinearSizes:
        """The sizes of each classifier."""
        return LinearSizes((plan.embed_dim,), (self.num_classes,))

    def run(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes) through the sub-network of a plan."""
        return self.run_classifier(self.run_features(images, plan, context), plan.head, context)

    def _parts(self, plan: Plan) -> Iterator[tuple[ElasticModule[Any], Any, str, str]]:
        """Stem to final norm, as a plan uses them: layer, sizes, name here, name extracted."""
        yield self.stem, plan.stem, "stem", "stem"
        for index, stage_plan in enumerate(plan.stages):
            stage, name = self.stages[index], f"stages.{index}"
            assert isinstance(stage, ElasticStage)
            if stage.transition is not None:
                below = f"{name}.transition"
                yield stage.transition, stage_plan.transition, below, below
            for position, block_plan in enumerate(stage_plan.blocks):
                block = stage.blocks[block_plan.slot]
                assert isinstance(block, ElasticBlock)
                yield (
                    block,
                    block_plan,
                    f"{name}.blocks.{block_plan.slot}",
                    f"{name}.blocks.{position}",
                )
        yield self.norm, plan.head.embed_dim, "norm", "norm"

    def active_state(self, plan: Plan, alignment: Alignment = "prefix") -> dict[str, Tensor]:
        """The weights that a plan uses, named as in the network extracted for it."""
        state: dict[str, Tensor] = {}
        for layer, sizes, _, name in self._parts(plan):
            state |= active_state(layer, sizes, f"{name}.", alignment)
        for head, name in ((self.head, "head"), (self.head_dist, "head_dist")):
            if head is not None:
                sizes = self.classifier_sizes(plan.head)
                state |= active_state(head, sizes, f"{name}.", alignment)
        return state

    def norm_paths(self, plan: Plan) -> dict[str, str]:
        """For each BatchNorm of the layers that a plan uses, its name in the extracted network."""
        return {
            f"{own}.{name}": f"{extracted}.{name}"
            for layer, _, own, extracted in self._parts(plan)
            for name, module in layer.named_modules()
            if isinstance(module, ElasticBatchNorm)
        }

    def zero_init_residual(self, choice: bool | str = True) -> None:
        """Let every block begin as the identity; for a network with fresh weights.

        Args:
            choice: Whether to. `auto`: behind a convolutional stem, whose features are of use
                before any block is; patch embeddings learn faster with whole blocks
                (`docs/benchmarks.md`).

        Raises:
            ConfigError: None of these.
        """
        if not isinstance(choice, bool) and choice != "auto":
            raise ConfigError(f"zero_init_residual={choice} is unknown; legal: true, false, auto")
        if choice == "auto":
            choice = isinstance(self.stem, ElasticConvStem)
        if not choice:
            return
        for module in self.modules():
            if isinstance(module, ElasticBlock):
                module.zero_init_residual()

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave out of weight decay, besides vectors."""
        return {
            name
            for name, _ in self.named_parameters()
            if any(word in name.split(".") for word in _DECAY_FREE)
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.grad_checkpointing = enable


def run_twice(call: Callable[[Tensor, bool], Tensor], x: Tensor) -> Tensor:
    """Call something now and again in the backward pass, so that its insides can be forgotten.

    Args:
        call: Told whether it is called again: then statistics must not move again.
        x: What it is called with.
    """
    runs = count()
    return checkpoint(lambda x: call(x, next(runs) > 0), x, use_reentrant=False)


def _make_stage(stage: StageCatalogue, rates: Iterator[float]) -> ElasticStage:
    transition = make_layer(stage.transitions) if stage.transitions else None
    return ElasticStage(transition, [_make_block(slot, next(rates)) for slot in stage.slots])


def _make_block(slot: SlotCatalogue | None, drop_path: float) -> nn.Module:
    if slot is None:
        return nn.Identity()
    return ElasticBlock(
        Axis(slot.embed_dims),
        make_layer(slot.mixers),
        make_layer(slot.mlps),
        norm_eps=slot.norm_eps,
        drop_path=drop_path,
    )
