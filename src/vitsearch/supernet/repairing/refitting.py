"""The sequential repair: branch after branch, fitted on what the already cut network feeds it.

Both networks see the calibration images side by side. The last layer of each branch is fitted so
that the stream of tokens returns to that of the original network; the next branch sees the result,
so errors do not pile up. It takes one pass over the images for each sub-network, and one for the
original, however many are fitted beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic import ElasticLinear, ElasticModule
from vitsearch.elastic.calibration import CrossMoments, refit
from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.halves import reduction_of, score_bias
from vitsearch.elastic.layers.tokens.mixing import Mixed
from vitsearch.elastic.layers.tokens.reduction import Reduction
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention
from vitsearch.elastic.layers.vit.block import Branch, ElasticVitBlock
from vitsearch.elastic.layers.vit.mlp import ElasticVitMlp
from vitsearch.errors import ConfigError
from vitsearch.spaces.parts import ClassifierPlan
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.repairing.modules import ending_layer
from vitsearch.supernet.vision_transformer import VisionTransformer

if TYPE_CHECKING:
    from vitsearch.supernet.super_transformer import SuperTransformer

Stream = Tensor | FewTokens
RIDGE = 0.03
"""Of the mean variance of a layer's inputs."""
_MOST_KEPT = 2**30
"""Bytes of what enters a layer that are kept to be multiplied once more; beyond, computed again."""
_POOLED_SHARE = 4
"""Tokens that are classified count as much as a patch token for every so many patches."""


class Step(NamedTuple):
    """A branch of a network that is there.

    Attributes:
        block: The block that it is in.
        branch: The names of its modules there.
        sizes: The block's.
        inner: The sizes of what is inside.
    """

    block: ElasticVitBlock
    branch: Branch
    sizes: Any
    inner: Any

    @property
    def module(self) -> ElasticModule[Any]:
        """The attention or the MLP."""
        return self.block.module(self.branch.inner)

    @property
    def last(self) -> ElasticLinear:
        """The layer that ends it."""
        found = ending_layer(self.module)
        assert found is not None
        return found

    @property
    def scale(self) -> Tensor | None:
        """(C,) what its output is multiplied by."""
        return self.block.scale_of(self.branch.inner)

    def entering(self, x: Stream) -> Tensor:
        """What the last layer sees (B, N, d) where the stream is x (B, N, C)."""
        normed = self.block.normed(tokens_of(x), self.branch, self.sizes)
        module = self.module
        if isinstance(module, ElasticVitMlp):
            return module.hidden(normed, self.inner)
        assert isinstance(module, ElasticVitAttention)
        bias = score_bias(x, self.sizes.tokens)
        return module.attend(*module.project(normed, self.inner), self.inner, bias=bias)

    def compared(self, x: Stream) -> Mixed:
        """By what tokens are compared behind this branch, an attention."""
        module = self.module
        assert isinstance(module, ElasticVitAttention)
        tokens = tokens_of(x)
        normed = self.block.normed(tokens, self.branch, self.sizes)
        queries, keys, _ = module.project(normed, self.inner)
        return Mixed(tokens, queries, keys)

    def added(self, entering: Tensor) -> Tensor:
        """What the branch adds to the stream (B, N, C), from what its last layer sees."""
        last = self.last
        made = torch.nn.functional.linear(entering, last.weight, last.bias)
        return self.block.scaled(made, self.branch, self.sizes)


@torch.no_grad()
def refit_branches(
    supernet: SuperTransformer,
    networks: Sequence[VisionTransformer],
    batches: Iterable[Tensor],
    *,
    ridge: float = RIDGE,
    pause: Callable[[], None] | None = None,
) -> None:
    """Fit the last layer of every branch of networks taken out, in place.

    The original sees the images once for all of them.

    Args:
        supernet: Where they were taken out; its largest sub-network is the original.
        networks: Sub-networks at their full width C.
        batches: Calibration images (B, C, H, W).
        ridge: Of the mean variance of a layer's inputs; the fit stays near the weights at hand.
        pause: Called after each block; what it raises ends the fit.

    Raises:
        ConfigError: A network has other blocks than those of vit spaces, or fewer channels.
    """
    if not networks:
        return
    original = supernet.space.plan(supernet.largest)
    images = list(batches)
    cuts = [_Cut(supernet, original, network, images, ridge) for network in networks]
    target = [supernet.run_nodes(batch, original.until(1))["stem"] for batch in images]
    for node in original.nodes:
        steps = {step.branch.role: step for step in _steps(supernet, original, node.name)}
        for role in ("mixer", "mlp"):
            for cut in cuts:
                if role == "mlp":
                    cut.reduce(node.name, target)
                if role in steps:
                    cut.reach(node.name, role, target)
            if role in steps:
                step = steps[role]
                target = [x + step.added(step.entering(x)) for x in target]
        if pause is not None:
            pause()
    for cut in cuts:
        cut.finish(target)


class _Cut:
    """A network that is fitted, and its stream before the branch that waits for its fit."""

    def __init__(
        self,
        supernet: SuperTransformer,
        original: Plan,
        network: VisionTransformer,
        images: Sequence[Tensor],
        ridge: float,
    ) -> None:
        own = supernet.space.plan(network.architecture)
        _check(supernet, original, own)
        pairs = zip(own.nodes, network.plan.nodes, strict=True)
        self._steps = {
            (node.name, step.branch.role): step
            for node, renamed in pairs
            for step in _steps(network, network.plan, renamed.name)
        }
        self._reducing = own.token_steps
        self._stream: list[Stream] = [
            network.run_nodes(batch, network.plan.until(1))["stem"] for batch in images
        ]
        self._reductions: list[list[Reduction]] = [[] for _ in images]
        self._tokens = pooled_tokens(network.plan)
        self._ridge = ridge
        self._waiting: Step | None = None

    def reach(self, node: str, role: str, target: Sequence[Tensor]) -> None:
        """Come to a branch of the original, whose stream in front of it is the target.

        Branches that are gone since the last one that is there count towards its target.
        """
        following = self._steps.get((node, role))
        if following is not None:
            self.finish(target)
            self._waiting = following

    def reduce(self, node: str, target: Sequence[Tensor]) -> None:
        """Have fewer tokens between the halves of a block, if the network does.

        From then on the target is made of the original's tokens in the same way.
        """
        size = self._reducing.get(node)
        if size is None:
            return
        mixer = self._steps.get((node, "mixer"))
        seen = [None if mixer is None else mixer.compared(x) for x in self._stream]
        self.finish(target)
        for index, made in enumerate(seen):
            x = self._stream[index]
            flow = x if isinstance(x, FewTokens) else FewTokens.of(x)
            reduction = reduction_of(flow, made or Mixed(flow.tokens, None, None), size)
            if reduction is not None:
                flow = reduction(flow, counts=not reduction.fuses)
                self._reductions[index].append(reduction)
            self._stream[index] = flow

    def finish(self, target: Sequence[Tensor]) -> None:
        """Fit the branch that waits, if one does, so that the stream comes to the target."""
        if self._waiting is None:
            return
        wanted = []
        for x, reductions in zip(target, self._reductions, strict=True):
            for reduction in reductions:
                x = reduction.apply(x)
            wanted.append(x)
        self._stream = _fit(self._waiting, self._stream, wanted, self._tokens, self._ridge)
        self._waiting = None


def pooled_tokens(plan: Plan) -> tuple[int, int]:
    """How many of the first tokens are classified, and what each counts in a fit.

    A class token is one of many, and yet all that a classifier sees.
    """
    head = plan.head
    if not isinstance(head, ClassifierPlan) or head.pool != "token":
        return 0, 1
    patches = head.grid[0] * head.grid[1]
    return 1 + head.distillation, max(patches // _POOLED_SHARE, 1)


def _check(supernet: SuperTransformer, original: Plan, own: Plan) -> None:
    blocks = [supernet.layer(node.name) for node in original.nodes if node.slot is not None]
    if not all(isinstance(block, ElasticVitBlock) for block in blocks):
        raise ConfigError(
            f"images: space {supernet.space.name} has blocks of another kind than vit; they are "
            f"repaired from the calibration alone"
        )
    if any(step.in_front for step in own.token_steps.values()):
        raise ConfigError(
            "images: tokens that a predictor drops (space.tokens.kind=predict) have no stream to "
            "return to; the network is repaired from the calibration alone"
        )
    if original.token_steps:
        raise ConfigError(
            f"images: the largest network of space {supernet.space.name} has fewer tokens itself, "
            f"so there is no stream of all tokens to return to; let space.tokens offer all of them"
        )
    width, whole = own.nodes[0].shape.embed_dim, original.nodes[0].shape.embed_dim
    if width != whole:
        raise ConfigError(
            f"images: a network of {width} channels cannot return to the stream of {whole} "
            f"channels; it is repaired from the calibration alone"
        )


def _steps(network: ElasticTransformer, plan: Plan, name: str) -> Iterator[Step]:
    """The branches that are there in the block of a node."""
    block = network.layer(name)
    if isinstance(block, ElasticVitBlock):
        sizes: Any = next(node.plan for node in plan.nodes if node.name == name)
        for branch, inner in block.branches(sizes):
            yield Step(block, branch, sizes, inner)


def tokens_of(x: Stream) -> Tensor:
    """(B, N, C)."""
    return x.tokens if isinstance(x, FewTokens) else x


def _plus(x: Stream, added: Tensor) -> Stream:
    return x._replace(tokens=x.tokens + added) if isinstance(x, FewTokens) else x + added


def _fit(
    step: Step,
    stream: Sequence[Stream],
    target: Sequence[Tensor],
    pooled: tuple[int, int],
    ridge: float,
) -> list[Stream]:
    """Fit a branch so that the stream comes to the target behind it; returns that stream."""
    first, weight_of_first = pooled
    last, scale = step.last, step.scale
    seen = CrossMoments.empty(last.in_features, last.out_features, device=last.weight.device)
    factor = None if scale is None else torch.where(scale == 0, 1, scale)
    width = last.in_features
    tokens = [tokens_of(x) for x in stream]
    keeps = sum(x[..., 0].numel() * x.element_size() for x in tokens) * width <= _MOST_KEPT
    kept: list[Tensor] = []
    heads: list[tuple[Tensor, Tensor]] = []  # what enters and what is missing, of the first tokens
    for x, wanted in zip(stream, target, strict=True):
        missing = wanted - tokens_of(x)
        entering, missing = step.entering(x), missing if factor is None else missing / factor
        kept += [entering] if keeps else []
        seen.update(entering, missing)
        heads.append((entering[:, :first].clone(), missing[:, :first].clone()))
    if first and weight_of_first > 1:
        seen.update(*map(torch.cat, zip(*heads, strict=True)), weight=weight_of_first - 1)
    weight, bias = refit(last.weight, last.bias, seen, ridge=ridge)
    if scale is not None:
        idle = scale == 0  # nothing comes of these channels, whatever their weights
        weight = torch.where(idle[:, None], last.weight, weight)
        bias = None if bias is None or last.bias is None else torch.where(idle, last.bias, bias)
    last.weight.copy_(weight)
    if last.bias is not None and bias is not None:
        last.bias.copy_(bias)
    if keeps:
        return [_plus(x, step.added(entering)) for x, entering in zip(stream, kept, strict=True)]
    return [_plus(x, step.added(step.entering(x))) for x in stream]
