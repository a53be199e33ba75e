"""The body of both the supernet and an extracted network: layers for a set of plans, run by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitsearch.elastic import (
    Context,
    ElasticBatchNorm,
    ElasticBlock,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticModule,
    LinearSizes,
    active_state,
)
from vitsearch.elastic.base import PLAIN
from vitsearch.errors import ConfigError
from vitsearch.spaces.plan import BlockPlan, HeadPlan, Plan, PlanCatalogue
from vitsearch.supernet.build import make_layer


class ElasticStage(nn.Module):
    """Blocks of one width, by slot; a slot that no architecture uses is empty."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class ElasticTransformer(nn.Module):
    """Stem, stages of blocks, final norm and classifier, large enough for every plan given.

    Attributes:
        num_classes: Outputs of the classifier; 0 for none.
        num_features: Largest width of the final tokens.
        grad_checkpointing: Recompute blocks in the backward pass to save memory.
    """

    def __init__(
        self, catalogue: PlanCatalogue, *, num_classes: int, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        if num_classes < 0:
            raise ConfigError(f"num_classes={num_classes} must be 0 (no classifier) or more")
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"drop_path_rate={drop_path_rate} must lie in [0, 1)")
        self.num_classes = num_classes
        self.num_features = max(head.embed_dim for head in catalogue.heads)
        self.grad_checkpointing = False
        self.stem: ElasticModule[Any] = make_layer(catalogue.stems)
        depth = sum(len(stage.blocks) for stage in catalogue.stages)
        # DeiT: grows with depth. Plain numbers, so that networks can be built on the meta device.
        rates = iter([drop_path_rate * slot / max(depth - 1, 1) for slot in range(depth)])
        self.stages = nn.ModuleList(
            ElasticStage([_make_block(plans, next(rates)) for plans in stage.blocks])
            for stage in catalogue.stages
        )
        self.norm = ElasticLayerNorm(self.num_features, catalogue.heads[0].norm_eps)
        self.head: ElasticLinear | None = (
            ElasticLinear(self.num_features, num_classes) if num_classes else None
        )
        for name, module in self.named_modules():
            if isinstance(module, ElasticBatchNorm):
                module.path = name

    @property
    def has_batch_norm(self) -> bool:
        """Whether statistics have to be estimated for each architecture."""
        return any(isinstance(module, ElasticBatchNorm) for module in self.modules())

    def run_features(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> Tensor:
        """Images (B, C, H, W) to normalised tokens (B, N, C) of the last stage."""
        x = self.stem(images, plan.stem, context)
        for stage, stage_plan in zip(self.stages, plan.stages, strict=True):
            assert isinstance(stage, ElasticStage)
            for block_plan in stage_plan.blocks:
                block = stage.blocks[block_plan.slot]
                if self.grad_checkpointing and torch.is_grad_enabled():
                    x = _run_checkpointed(block, x, block_plan, context)
                else:
                    x = block(x, block_plan, context)
        return self.norm(x, plan.head.embed_dim, context)  # type: ignore[no-any-return]

    def run_pool(self, tokens: Tensor, plan: HeadPlan) -> Tensor:
        """(B, N, C) to (B, C)."""
        if plan.pool == "avg":
            return tokens[:, plan.num_prefix_tokens :].mean(dim=1)
        return tokens[:, 0]

    def run_classifier(self, features: Tensor, plan: HeadPlan) -> Tensor:
        """(B, C) to logits (B, num_classes); unchanged without a classifier."""
        if self.head is None:
            return features
        return self.head(  # type: ignore[no-any-return]
            features, LinearSizes((plan.embed_dim,), (self.num_classes,))
        )

    def run(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes) through the sub-network of a plan."""
        tokens = self.run_features(images, plan, context)
        return self.run_classifier(self.run_pool(tokens, plan.head), plan.head)

    def active_state(self, plan: Plan) -> dict[str, Tensor]:
        """The weights that a plan uses, named as in the network extracted for it."""
        state = active_state(self.stem, plan.stem, "stem.")
        for index, stage_plan in enumerate(plan.stages):
            stage = self.stages[index]
            assert isinstance(stage, ElasticStage)
            for position, block_plan in enumerate(stage_plan.blocks):
                block = stage.blocks[block_plan.slot]
                assert isinstance(block, ElasticBlock)
                state |= active_state(block, block_plan, f"stages.{index}.blocks.{position}.")
        state |= active_state(self.norm, plan.head.embed_dim, "norm.")
        if self.head is not None:
            sizes = LinearSizes((plan.head.embed_dim,), (self.num_classes,))
            state |= active_state(self.head, sizes, "head.")
        return state

    def norm_paths(self, plan: Plan) -> dict[str, str]:
        """For each BatchNorm of this network that a plan uses, its name in the extracted one."""
        paths = {}
        for index, stage_plan in enumerate(plan.stages):
            for position, block_plan in enumerate(stage_plan.blocks):
                own = f"stages.{index}.blocks.{block_plan.slot}"
                paths[own] = f"stages.{index}.blocks.{position}"
        found = {}
        for name, module in self.named_modules():
            if isinstance(module, ElasticBatchNorm):
                block = ".".join(name.split(".")[:4])
                found[name] = name.replace(block, paths[block], 1) if block in paths else name
        return found

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave out of weight decay, besides vectors."""
        return {n for n, _ in self.named_parameters() if n.endswith(("cls_token", "pos_embed"))}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.grad_checkpointing = enable


def _run_checkpointed(block: nn.Module, x: Tensor, plan: BlockPlan, context: Context) -> Tensor:
    """Run a block that is run again in the backward pass, where statistics must not move again."""
    runs = count()

    def run(x: Tensor) -> Tensor:
        again = next(runs) > 0
        return block(x, plan, replace(context, recomputing=again))  # type: ignore[no-any-return]

    return checkpoint(run, x, use_reentrant=False)


def _make_block(plans: tuple[BlockPlan, ...], drop_path: float) -> nn.Module:
    if not plans:
        return nn.Identity()
    return ElasticBlock(
        max(plan.embed_dim for plan in plans),
        make_layer([plan.mixer for plan in plans]),
        make_layer([plan.mlp for plan in plans]),
        norm_eps=plans[0].norm_eps,
        drop_path=drop_path,
    )
