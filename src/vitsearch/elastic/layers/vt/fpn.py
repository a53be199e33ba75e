"""Feature pyramids over the maps of all stages, with convolutions or with tokens.

Sources: Feature Pyramid Networks (Lin et al., 2017); Visual Transformers (Wu et al., ICCV 2021),
section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic.axis import Axis
from vitsearch.elastic.base import PLAIN, Context, ElasticModule
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.vt.heads import VtAxes
from vitsearch.elastic.layers.vt.projector import ElasticProjector
from vitsearch.elastic.layers.vt.token_layer import ElasticTokenLayer
from vitsearch.elastic.layers.vt.tokenizer import ElasticTokenizer


class ElasticFpn(ElasticModule[Any]):
    """Maps (B, C_i, H_i, W_i), the finest first, to scores of the finest one's pixels.

    Levels are added up, resized to the finest; with 0 classes that sum is the answer.
    """

    def __init__(self, in_dims: Sequence[Axis], width: int, num_classes: int) -> None:
        super().__init__()
        self._width, self._num_classes = width, num_classes
        self.lateral = nn.ModuleList(ElasticConv2d(dim, width, 1) for dim in in_dims)
        self._make_outputs(len(in_dims))
        self.classifier = ElasticConv2d(width, num_classes, 1) if num_classes else None

    def _make_outputs(self, count: int) -> None:
        self.output = nn.ModuleList(
            ElasticConv2d(self._width, self._width, 3) for _ in range(count)
        )

    def children_sizes(self, sizes: Any) -> dict[str, Any]:
        """The channels of each stage's map, and the width of the pyramid."""
        width = self._width
        own: dict[str, Any] = {
            f"lateral.{i}": ConvSizes(level.in_dim, width) for i, level in enumerate(sizes.levels)
        }
        own |= self._output_sizes(sizes)
        if self.classifier is not None:
            own["classifier"] = ConvSizes(width, self._num_classes)
        return own

    def _output_sizes(self, sizes: Any) -> dict[str, Any]:
        same = ConvSizes(self._width, self._width)
        return {f"output.{i}": same for i in range(len(sizes.levels))}

    def forward(self, *maps_and_sizes: Any) -> Tensor:
        """Maps, sizes and perhaps the context, to (B, num_classes, H, W) of the finest map."""
        *maps, sizes, context = _with_context(maps_and_sizes)
        of = self.children_sizes(sizes)
        levels: list[Tensor] = [
            lateral(x, of[f"lateral.{i}"], context)
            for i, (lateral, x) in enumerate(zip(self.lateral, maps, strict=True))
        ]
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:])
        levels = self._outputs(levels, sizes, of, context)
        size = levels[0].shape[-2:]
        total = levels[0]
        for level in levels[1:]:
            total = total + F.interpolate(level, size=size, mode="bilinear")
        if self.classifier is None:
            return total
        return self.classifier(total, of["classifier"], context)  # type: ignore[no-any-return]

    def _outputs(
        self, levels: list[Tensor], sizes: Any, of: dict[str, Any], context: Context
    ) -> list[Tensor]:
        """Each level behind its 3x3 convolution."""
        return [
            output(x, of[f"output.{i}"], context)
            for i, (output, x) in enumerate(zip(self.output, levels, strict=True))
        ]


class ElasticVtFpn(ElasticFpn):
    """The same with tokens in the place of 3x3 convolutions; one transformer for all levels."""

    def __init__(
        self,
        in_dims: Sequence[Axis],
        width: int,
        num_classes: int,
        *,
        axes: VtAxes,
        pixel_group: int,
        token_group: int,
        normed: bool,
    ) -> None:
        self._of_tokens = axes, pixel_group, token_group, normed
        super().__init__(in_dims, width, num_classes)

    def _make_outputs(self, count: int) -> None:
        axes, pixel_group, token_group, normed = self._of_tokens
        self.tokenizers = nn.ModuleList(
            ElasticTokenizer(axes, {"filter"}, pixel_group, normed=normed) for _ in range(count)
        )
        self.relation = ElasticTokenLayer(axes, token_group, normed=normed)
        self.projectors = nn.ModuleList(
            ElasticProjector(axes, normed=normed, has_shortcut=False) for _ in range(count)
        )

    def _output_sizes(self, sizes: Any) -> dict[str, Any]:
        own: dict[str, Any] = {"relation": sizes.relation}
        for i, module in enumerate(sizes.tokens):
            own |= {f"tokenizers.{i}": module, f"projectors.{i}": module}
        return own

    def _outputs(
        self, levels: list[Tensor], sizes: Any, of: dict[str, Any], context: Context
    ) -> list[Tensor]:
        """Each level with what all levels' tokens say of its own."""
        made = [
            tokenizer(x, None, of[f"tokenizers.{i}"], context)
            for i, (tokenizer, x) in enumerate(zip(self.tokenizers, levels, strict=True))
        ]
        related = self.relation(torch.cat(made, dim=1), of["relation"], context)
        parts = related.split([own.shape[1] for own in made], dim=1)
        return [
            projector(x, tokens, of[f"projectors.{i}"], context)
            for i, (projector, x, tokens) in enumerate(
                zip(self.projectors, levels, parts, strict=True)
            )
        ]


def _with_context(given: tuple[Any, ...]) -> tuple[Any, ...]:
    return given if isinstance(given[-1], Context) else (*given, PLAIN)
