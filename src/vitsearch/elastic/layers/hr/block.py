"""A searching block: shortcut, MixConv and light transformer, added up.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic.axis import Alignment, as_axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule, TiedAxis
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.hr.light_transformer import ElasticLightTransformer
from vitsearch.elastic.layers.hr.mixconv import ACTIVATIONS, ElasticMixBranch, LayerKind, norm_of
from vitsearch.elastic.layers.norm import ElasticBatchNorm
from vitsearch.elastic.region import Region


class ElasticSearching(ElasticModule[Any]):
    """Map to map; `sizes` is a `SearchingPlan`."""

    def __init__(
        self,
        step: Any,
        branches: Mapping[str, ElasticMixBranch],
        transformer: ElasticLightTransformer | None,
        *,
        has_norm: bool,
        squeezed: int,
        kind: LayerKind,
    ) -> None:
        """Put the parts together.

        Args:
            step: From which map to which: a `MapStep`.
            branches: By name; those that no sub-network has are left out.
            transformer: `None` where no sub-network has tokens.
            has_norm: Whether there is a norm behind the branches.
            squeezed: Channels inside the squeeze-excitation; 0 for none.
            kind: What all layers of the network have in common.
        """
        super().__init__()
        self._names = tuple(branches)
        self._act = ACTIVATIONS[kind.activation]
        self.shortcut: ElasticConv2d | None = None
        if not step.is_plain:
            group = step.in_dim // step.groups
            self.shortcut = ElasticConv2d(
                group, step.embed_dim, 1, stride=step.stride, groups=step.groups, bias=False
            )
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.norm: ElasticBatchNorm | None = norm_of(step.embed_dim, kind) if has_norm else None
        if squeezed and branches:
            self.squeeze_bias: nn.Parameter | None = nn.Parameter(torch.zeros(squeezed))
        else:
            self.register_parameter("squeeze_bias", None)
        self.transformer = transformer

    def branches_of(self, sizes: Any) -> dict[str, Any]:
        """The sizes of each branch that is there, by name."""
        return {f"kernel{own.kernel_size}": own for own in sizes.branches if own.channels}

    def regions(self, sizes: Any, alignment: Alignment = "prefix") -> dict[str, Region]:
        """The biases of the squeezed channels, all of them, where there is a branch."""
        if self.squeeze_bias is None or not self.branches_of(sizes):
            return {}
        size = self.squeeze_bias.shape[0]
        return {"squeeze_bias": Region((as_axis(size).range(0, size, alignment),))}

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """Whatever is there."""
        step = sizes.step
        found: dict[str, Any] = {}
        if self.shortcut is not None:
            found["shortcut"] = ConvSizes(step.in_dim // step.groups, step.embed_dim)
        found |= self.branches_of(sizes)
        if self.norm is not None and sizes.behind.there:
            found["norm"] = step.embed_dim
        if sizes.transformer.num_tokens:
            found["transformer"] = sizes.transformer
        return found

    def tied_axes(self) -> tuple[TiedAxis, ...]:
        """The channels of every branch; what they leave behind the norm of their sum takes over."""
        found = []
        for name in self._names:
            branch = self.get_submodule(name)
            assert isinstance(branch, ElasticMixBranch)
            found.append(branch.channels(f"{name}.", "norm.running_mean"))
        return tuple(found)

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / stride, W / stride), rounded up."""
        of = self.children_sizes(sizes)
        y = x if self.shortcut is None else self.shortcut(x, of["shortcut"], context)
        if sizes.transformer.num_tokens:
            assert self.transformer is not None
            made = self.transformer(x, of["transformer"], context)
            # On a plain step the transformer has added the map itself.
            y = made if sizes.transformer.adds_input else y + made
        own = self.branches_of(sizes)
        if not own:
            return y
        branches: dict[str, Any] = {name: self.get_submodule(name) for name in own}
        hidden = {name: branch.hidden(x, own[name], context) for name, branch in branches.items()}
        if self.squeeze_bias is not None:
            hidden = self._excited(hidden, branches, sizes, context)
        mixed = None
        for name, branch in branches.items():
            part = branch.projected(hidden[name], own[name], context)
            mixed = part if mixed is None else mixed + part
        assert self.norm is not None
        return y + self.norm(mixed, of["norm"], context)  # type: ignore[no-any-return]

    def _excited(
        self, hidden: dict[str, Tensor], branches: dict[str, Any], sizes: Any, context: Context
    ) -> dict[str, Tensor]:
        """Every hidden channel scaled by what all channels' means say of it."""
        of = {
            name: branch.children_sizes(self.branches_of(sizes)[name])
            for name, branch in branches.items()
        }
        squeezed = self.tensors(sizes, context)["squeeze_bias"]
        for name, branch in branches.items():
            means = hidden[name].mean(dim=(2, 3))
            squeezed = squeezed + branch.squeeze(means, of[name]["squeeze"], context)
        squeezed = self._act(squeezed)
        found = {}
        for name, branch in branches.items():
            gates = branch.excite(squeezed, of[name]["excite"], context).sigmoid()
            found[name] = hidden[name] * gates[:, :, None, None]
        return found
