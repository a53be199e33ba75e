"""The body of both the supernet and an extracted network: layers for a set of plans, run by one.

Everything here walks the nodes of a plan: forward, extraction, statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitsearch.elastic import (
    Alignment,
    Context,
    ElasticBatchNorm,
    ElasticConvStem,
    ElasticModule,
    ElasticResNetStem,
    active_state,
)
from vitsearch.elastic.base import PLAIN
from vitsearch.elastic.layers.tokens.flow import spread
from vitsearch.elastic.layers.tokens.predictor import ElasticTokenPredictor
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number
from vitsearch.spaces.plan import IMAGE, Node, Plan, PlanCatalogue
from vitsearch.supernet.build import make_layer
from vitsearch.supernet.checks import check_images, check_num_classes
from vitsearch.supernet.heads import Features, HeadOutputs, NetworkWithHead

Note = Callable[[Node, Tensor], None]
_DECAY_FREE = (
    "cls_token",
    "dist_token",
    "reg_token",
    "pos_embed",
    "relative_keys",
    "relative_values",
    "relative_position_bias_table",
    "freqs",
    "latent",
)


class ElasticStage(nn.Module):
    """What leads to a stage, and its blocks by slot; an unused slot is an identity."""

    def __init__(self) -> None:
        super().__init__()
        self.transition: ElasticModule[Any] | None
        self.register_module("transition", None)  # it comes before the blocks in a state_dict
        self.blocks = nn.ModuleList()


class ElasticTransformer(NetworkWithHead):
    """The layers of all nodes and a head, large enough for every plan given.

    Attributes:
        num_classes: Outputs of the classifier; 0 for none.
        num_features: Largest width of the final tokens.
        drop_path_rate: Stochastic depth of the last block.
        grad_checkpointing: Recompute transitions and blocks in the backward pass to save memory.
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
        check_num_classes(num_classes)
        check_number("drop_path_rate", drop_path_rate, "[0, 1)")
        self.num_classes = num_classes
        self.drop_path_rate = drop_path_rate
        self.grad_checkpointing = False
        for name, plans in catalogue.nodes.items():
            self._add(name, make_layer(plans) if plans else nn.Identity())
        self._names = tuple(catalogue.nodes)
        if catalogue.num_stages:
            self._add_stages(catalogue.num_stages)
        self._set_drop_path(drop_path_rate)
        self.make_heads(catalogue.heads, patch_head=patch_head)
        for name, module in self.named_modules():
            if isinstance(module, ElasticBatchNorm):
                module.path = name

    def _add(self, name: str, layer: nn.Module) -> None:
        """Put a layer under its dotted name."""
        parent: nn.Module = self
        path = name.split(".")
        for part, following in pairwise(path):
            if isinstance(parent, nn.ModuleList):
                _fill(parent, int(part) + 1)
            elif part not in parent._modules:
                is_list = parent is self and following.isdigit()
                parent.add_module(part, nn.ModuleList() if is_list else nn.Module())
            parent = parent.get_submodule(part)
        if isinstance(parent, nn.ModuleList):
            parent.append(layer)
        else:
            parent.add_module(path[-1], layer)

    def _add_stages(self, count: int) -> None:
        """Let there be a group of layers for each stage, where no node of it is used, too."""
        if "stages" not in self._modules:
            self.stages = nn.ModuleList()
        _fill(self.stages, count)

    def _set_drop_path(self, rate: float) -> None:
        """Stochastic depth that grows linearly from 0 over all block slots (DeiT)."""
        blocks = [name for name in self._names if ".blocks." in name]
        for number, name in enumerate(blocks):
            block: Any = self.get_submodule(name)
            if hasattr(block, "set_drop_path"):
                block.set_drop_path(rate * number / max(len(blocks) - 1, 1))

    def layer(self, name: str) -> ElasticModule[Any]:
        """The layer of a node."""
        found = self.get_submodule(name)
        assert isinstance(found, ElasticModule), name
        return found

    def all_layers(self) -> dict[str, ElasticModule[Any]]:
        """Every layer but the head, by name, in an order in which they can be computed."""
        found = {name: self.get_submodule(name) for name in self._names}
        return {name: own for name, own in found.items() if isinstance(own, ElasticModule)}

    @property
    def has_batch_norm(self) -> bool:
        """Whether statistics have to be estimated for each architecture."""
        return any(isinstance(module, ElasticBatchNorm) for module in self.modules())

    @property
    def has_predictors(self) -> bool:
        """Whether some architecture has a predictor of the tokens that go on."""
        return any(isinstance(module, ElasticTokenPredictor) for module in self.modules())

    # Forward

    def run(
        self, images: Tensor, plan: Plan, context: Context = PLAIN, *, patches: bool = False
    ) -> HeadOutputs:
        """Images (B, C, H, W) to what the head says; `patches` asks the patch head, too."""
        return self.run_head(
            self.run_features(images, plan, context), plan, context, patches=patches
        )

    def run_features(self, images: Tensor, plan: Plan, context: Context = PLAIN) -> Features:
        """Images (B, C, H, W) to what the head reads, such as normalised tokens (B, N, C)."""
        outputs = self.run_nodes(images, plan, context)
        return tuple(spread(outputs[name]) for name in plan.head_reads)

    def run_nodes(
        self,
        images: Tensor,
        plan: Plan,
        context: Context = PLAIN,
        *,
        note: Note | None = None,
    ) -> dict[str, Tensor]:
        """Compute the nodes of a plan, in order.

        Args:
            images: (B, C, H, W).
            plan: May end earlier than the network.
            context: What the call carries besides sizes.
            note: Told of each node and what came out.

        Returns:
            The outputs that nothing has read, and those that the head reads, by name.

        Raises:
            ConfigError: Images are of another size or other channels.
        """
        check_images(images, plan)
        outputs = {IMAGE: images}
        for node, forgotten in zip(plan.nodes, plan.last_reads, strict=True):
            inputs = [outputs[name] for name in node.reads]
            for name in forgotten:
                del outputs[name]
            x = self.run_layer(self.layer(node.name), inputs, node.plan, context)
            outputs[node.name] = x
            if note is not None:
                note(node, x)
        return outputs

    def run_layer(
        self, layer: ElasticModule[Any], inputs: Sequence[Tensor], sizes: Any, context: Context
    ) -> Tensor:
        """One layer; of transitions and blocks what they compute may be forgotten in between."""
        if not self.recomputes(layer):
            return layer(*inputs, sizes, context)  # type: ignore[no-any-return]
        return run_twice(
            lambda *inputs, again: layer(*inputs, sizes, replace(context, recomputing=again)),
            *inputs,
        )

    def recomputes(self, layer: ElasticModule[Any]) -> bool:
        """Whether the backward pass computes a layer again instead of remembering it."""
        at_all = self.grad_checkpointing and torch.is_grad_enabled()
        return at_all and layer is not self.stem and layer is not self._modules.get("norm")

    def run_norms(self, images: Tensor, plan: Plan, context: Context) -> None:
        """Pass images through as much of the network as has BatchNorm."""
        last = max(
            (
                number
                for number, node in enumerate(plan.nodes)
                if has_batch_norm(self.layer(node.name))
            ),
            default=-1,
        )
        self.run_nodes(images, plan.until(last + 1), context)

    # Weights

    def _parts(self, plan: Plan) -> Iterator[tuple[ElasticModule[Any], Any, str, str]]:
        """The nodes of a plan: layer, sizes, name here, name extracted."""
        for node, extracted in zip(plan.nodes, plan.renumbered().nodes, strict=True):
            yield self.layer(node.name), node.plan, node.name, extracted.name

    def active_state(self, plan: Plan, alignment: Alignment = "prefix") -> dict[str, Tensor]:
        """The weights that a plan uses, named as in the network extracted for it."""
        state: dict[str, Tensor] = {}
        for layer, sizes, _, name in self._parts(plan):
            state |= active_state(layer, sizes, f"{name}.", alignment)
        for name, layer, sizes in self.pooling(plan.head):
            state |= active_state(layer, sizes, f"{name}.", alignment)
        for name, head in self.heads():
            if name != "head_patch":
                state |= active_state(head, self.head_sizes(plan.head), f"{name}.", alignment)
        return state

    def norm_paths(self, plan: Plan) -> dict[str, str]:
        """For each BatchNorm of the layers that a plan uses, its name in the extracted network."""
        return {
            f"{own}.{name}": f"{extracted}.{name}"
            for layer, _, own, extracted in self._parts(plan)
            for name, module in layer.named_modules()
            if isinstance(module, ElasticBatchNorm)
        }

    # Training

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
            choice = isinstance(self.stem, ElasticConvStem | ElasticResNetStem)
        if not choice:
            return
        layers: dict[str, Any] = {**self.all_layers()}
        for layer in layers.values():
            if hasattr(layer, "zero_init_residual"):
                layer.zero_init_residual()

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers leave out of weight decay, besides vectors."""
        return {
            name
            for name, _ in self.named_parameters()
            if any(word in name.split(".") for word in _DECAY_FREE)
        }

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters form a layer, from the stem up; for learning rates that decay by layer.

        The stem is the first layer, each transition and block one, and the classifiers the last;
        the final norm belongs to the last block.

        Args:
            coarse: Whether all of a stage is one layer, where there are several stages.
        """
        if coarse and len(getattr(self, "stages", ())) > 1:
            layers = [(r"^stages\.(\d+)", None)]
        else:
            # The numbers sort a stage's transition before its first block.
            layers = [
                (r"^stages\.(\d+)\.blocks\.(\d+)", None),
                (r"^stages\.(\d+)\.transition", None),
            ]
        return {"stem": r"^stem", "blocks": [*layers, (r"^norm", (99999,))]}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        self.grad_checkpointing = enable


def _fill(stages: nn.ModuleList, count: int) -> None:
    stages.extend(ElasticStage() for _ in range(len(stages), count))


def has_batch_norm(module: nn.Module, *, in_training: bool = False) -> bool:
    """Whether a module has BatchNorm in it, of whatever mode or in training mode."""
    norms = (own for own in module.modules() if isinstance(own, ElasticBatchNorm))
    return any(norm.training or not in_training for norm in norms)


def run_twice(call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Call something now and again in the backward pass, so that its insides can be forgotten.

    Args:
        call: Told by `again` whether it is called again: then statistics must not move again.
        inputs: What it is called with.
    """
    runs = count()
    found: Tensor = checkpoint(
        lambda *inputs: call(*inputs, again=next(runs) > 0), *inputs, use_reentrant=False
    )
    return found
