"""A block of two residual branches with norms and LayerScale; either branch may be absent."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, AxisLike, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.halves import with_fewer_tokens
from vitsearch.elastic.layers.tokens.mixing import Mixed
from vitsearch.elastic.layers.tokens.predictor import (
    ElasticTokenPredictor,
    predicting,
    predictor_sizes,
)
from vitsearch.elastic.region import Region


class BranchSizes(Protocol):
    """What is inside a branch; see `vitsearch.spaces.parts.BranchPlan`."""

    @property
    def inner(self) -> Any:
        """Sizes of the attention or the MLP; `None` where the branch is absent."""


class VitBlockSizes(Protocol):
    """C and the two branches; see `vitsearch.spaces.parts.VitBlockPlan`."""

    @property
    def embed_dim(self) -> int:
        """C."""

    @property
    def mixer(self) -> BranchSizes:
        """The branch that mixes tokens."""

    @property
    def mlp(self) -> BranchSizes:
        """The branch that mixes channels."""


class ElasticLayerScale(ElasticModule[int]):
    """x * gamma, a number for each channel; `sizes` is C (CaiT, 2021, section 2.1)."""

    def __init__(self, dim: AxisLike) -> None:
        super().__init__()
        self._axis = as_axis(dim)
        self.gamma = nn.Parameter(torch.ones(self._axis.size))

    def regions(self, sizes: int, alignment: Alignment = "prefix") -> dict[str, Region]:
        """C entries."""
        return {"gamma": Region((self._axis.range(0, sizes, alignment),))}

    def forward(self, x: Tensor, sizes: int, context: Context = PLAIN) -> Tensor:
        """(B, N, C) to the same shape."""
        return x * self.tensors(sizes, context)["gamma"]


class Branch(NamedTuple):
    """One branch of a block, by the names of its modules in the block.

    Attributes:
        role: `mixer` or `mlp`, as the sizes of a block name it.
        norm: In front.
        inner: The attention or the MLP.
        scale: LayerScale, if there is one.
    """

    role: str
    norm: str
    inner: str
    scale: str


BRANCHES = (Branch("mixer", "norm1", "attn", "ls1"), Branch("mlp", "norm2", "mlp", "ls2"))


class ElasticVitBlock(ElasticModule[VitBlockSizes]):
    """x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x))), under timm's names."""

    def __init__(
        self,
        dim: AxisLike,
        inner: dict[str, ElasticModule[Any]],
        *,
        norm: tuple[str, float] = ("layer", 1e-6),
        layer_scale: Collection[str] = (),
        predictor: ElasticTokenPredictor | None = None,
    ) -> None:
        """Build the block.

        Args:
            dim: C.
            inner: Attention and MLP by role (`mixer`, `mlp`); a role that nothing uses is left out.
            norm: Kind and epsilon of the norms.
            layer_scale: Roles of the branches that are scaled.
            predictor: Of the tokens that go on, where an architecture has one here.
        """
        super().__init__()
        dim = as_axis(dim)
        kind, eps = norm
        self._branches = tuple(branch for branch in BRANCHES if branch.role in inner)
        self._scaled = frozenset(layer_scale)
        for branch in self._branches:
            self.add_module(branch.norm, ElasticLayerNorm(dim, eps, kind=kind))
            self.add_module(branch.inner, inner[branch.role])
            if branch.role in self._scaled:
                self.add_module(branch.scale, ElasticLayerScale(dim))
        self.predictor = predictor
        self.set_drop_path(0.0)

    def set_drop_path(self, rate: float) -> None:
        """Leave out a branch with this probability, for each image, in training."""
        self.drop_path: nn.Module = DropPath(rate) if rate else nn.Identity()

    @torch.no_grad()
    def zero_init_residual(self) -> None:
        """Let the block begin as the identity; see `ElasticBlock.zero_init_residual`."""
        for branch in self._branches:
            for layer in self.module(branch.inner).last_layers():
                layer.weight.zero_()

    def module(self, name: str) -> ElasticModule[Any]:
        """A module of the block by its name."""
        found = self.get_submodule(name)
        assert isinstance(found, ElasticModule), name
        return found

    @property
    def all_branches(self) -> tuple[Branch, ...]:
        """The branches that some sub-network has."""
        return self._branches

    def scale_of(self, inner: str) -> Tensor | None:
        """(C,) what the branch with this module inside is scaled by; `None` for nothing."""
        for branch in self._branches:
            if branch.inner == inner and branch.role in self._scaled:
                scale = self.module(branch.scale)
                assert isinstance(scale, ElasticLayerScale)
                return scale.gamma
        return None

    def branches(self, sizes: VitBlockSizes) -> Iterator[tuple[Branch, Any]]:
        """The branches that are there, with the sizes of what is inside."""
        for branch in self._branches:
            inner = getattr(sizes, branch.role).inner
            if inner is not None:
                yield branch, inner

    def children_sizes(self, sizes: VitBlockSizes) -> dict[str, Any]:
        """Norms and scales see C, what is inside its own sizes."""
        own: dict[str, Any] = {}
        for branch, inner in self.branches(sizes):
            own |= {branch.norm: sizes.embed_dim, branch.inner: inner}
            if branch.role in self._scaled:
                own[branch.scale] = sizes.embed_dim
        return own | predictor_sizes(sizes)

    def forward(
        self, x: Tensor | FewTokens, sizes: VitBlockSizes, context: Context = PLAIN
    ) -> Tensor | FewTokens:
        """(B, N, C) to the same shape, or to fewer tokens."""
        there = {branch.role: (branch, inner) for branch, inner in self.branches(sizes)}
        step = getattr(sizes, "tokens", None)
        if step is not None:
            return with_fewer_tokens(
                x,
                step,
                lambda x, bias: self._mixed(x, there.get("mixer"), sizes, context, bias),
                lambda x: self._added(x, there.get("mlp"), sizes, context),
                predicting(self.predictor, sizes, context),
                training=self.training,
            )
        assert isinstance(x, Tensor)
        tokens = x
        for own in there.values():
            tokens = tokens + self._added(tokens, own, sizes, context)
        return tokens

    def _added(
        self, x: Tensor, own: tuple[Branch, Any] | None, sizes: VitBlockSizes, context: Context
    ) -> Tensor:
        """What a branch adds to tokens (B, N, C)."""
        if own is None:
            return torch.zeros_like(x)
        branch, inner = own
        made = self.module(branch.inner)(self.normed(x, branch, sizes, context), inner, context)
        return self.drop_path(self.scaled(made, branch, sizes, context))  # type: ignore[no-any-return]

    def _mixed(
        self,
        x: Tensor,
        own: tuple[Branch, Any] | None,
        sizes: VitBlockSizes,
        context: Context,
        bias: Tensor | None,
    ) -> Mixed:
        """What the mixer adds, and by what tokens are compared."""
        if own is None:
            return Mixed(torch.zeros_like(x), None, None)
        branch, inner = own
        mixer: Any = self.module(branch.inner)
        made: Mixed = mixer.mix(self.normed(x, branch, sizes, context), inner, context, bias)
        return made._replace(added=self.drop_path(self.scaled(made.added, branch, sizes, context)))

    def normed(
        self, x: Tensor, branch: Branch, sizes: VitBlockSizes, context: Context = PLAIN
    ) -> Tensor:
        """The tokens (B, N, C) that a branch sees."""
        return self.module(branch.norm)(x, sizes.embed_dim, context)  # type: ignore[no-any-return]

    def scaled(
        self, x: Tensor, branch: Branch, sizes: VitBlockSizes, context: Context = PLAIN
    ) -> Tensor:
        """What a branch adds to the tokens, from what its last layer gives."""
        if branch.role not in self._scaled:
            return x
        return self.module(branch.scale)(x, sizes.embed_dim, context)  # type: ignore[no-any-return]
