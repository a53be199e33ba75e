"""What a network knows on the way to its logits: maps of features, as timm hands them out.

An index names a block where all blocks see one width and one grid, as in timm's plain vision
transformers; it names a stage, after its last block, where there are several stages, as in timm's
hierarchical networks; it names a branch, the finest first, where there are several resolutions side
by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from vitsearch.elastic import ElasticModule
from vitsearch.elastic.base import PLAIN, Context
from vitsearch.elastic.layers.tokens.flow import spread
from vitsearch.elastic.layers.vt.heads import MapWithTokens
from vitsearch.errors import ConfigError
from vitsearch.spaces.flow import Shape, sides
from vitsearch.spaces.plan import Node, Plan
from vitsearch.supernet.network import ElasticTransformer

FORMATS = ("NCHW", "NLC")


class NoNorm(ElasticModule[Any]):
    """In place of a final norm that was cut off."""

    def forward(self, x: Tensor, sizes: Any, context: Context = PLAIN) -> Tensor:
        """The tokens as they are."""
        return x


class FeatureNetwork(ElasticTransformer):
    """A network of one plan whose intermediate features can be asked for.

    Attributes:
        plan: What the network is, in sizes.
        features_by_block: Whether an index names a block; if not, a stage.
        global_pool: timm's name of the pool; empty for none.
    """

    plan: Plan
    features_by_block: bool
    global_pool: str

    @property
    def feature_points(self) -> list[int]:
        """How many nodes have run where the features of each index are."""
        own = [(number, node) for number, node in enumerate(self.plan.nodes, start=1)]
        if self.plan.feature_names:
            return [number for number, node in own if node.name in self.plan.feature_names]
        if self.features_by_block:
            return [number for number, node in own if node.slot is not None]
        ends = {0: 1} | {node.stage: number for number, node in own if node.stage is not None}
        return [
            max(end for stage, end in ends.items() if stage <= index)
            for index in range(len(self.plan.stages))
        ]

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """For each index its channels, its stride in pixels (`reduction`) and its module."""
        found = []
        for index, point in enumerate(self.feature_points):
            node = self.plan.nodes[point - 1]
            found.append(
                {
                    "num_chs": node.shape.embed_dim,
                    "reduction": self._reduction(node.shape),
                    "module": f"stages.{index}" if self._by_stage else node.name,
                }
            )
        return found

    @property
    def _by_stage(self) -> bool:
        return not self.features_by_block and not self.plan.feature_names

    def _reduction(self, shape: Shape) -> int:
        """Pixels from one patch to the next; where patches leave pixels over, the patch size."""
        height, _ = sides(self.plan.image_size)
        if not getattr(shape, "placed", True):
            return height
        rows = shape.grid[0]
        first = self.plan.nodes[0]
        patch_size = getattr(first.plan, "patch_size", None)
        if patch_size is not None and rows == first.shape.grid[0]:
            return int(patch_size)
        return height // rows

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The features of some indices, and the normalised tokens of the last block.

        Args:
            x: Images (B, C, H, W).
            indices: The last n if an integer, all if `None`; negative ones count from the end.
            return_prefix_tokens: Also return the tokens in front of the patches: each feature is
                then a pair, of the map and of (B, prefix, C).
            norm: Whether the final norm is applied to features of its width.
            stop_early: Whether to stop at the last index that is asked for; what is returned
                beside the features is then taken there.
            output_fmt: `NCHW` for maps (B, C, rows, columns), `NLC` for tokens (B, N, C). Tokens
                without places are (B, N, C) in both.
            intermediates_only: Whether to return the features alone.

        Returns:
            A list of features, or the final tokens (B, N, C) and that list.

        Raises:
            ConfigError: An index or the format is not legal.
        """
        if output_fmt not in FORMATS:
            raise ConfigError(f"output_fmt={output_fmt} is none of {', '.join(FORMATS)}")
        points = self.feature_points
        taken, last = self._taken(indices)
        wanted = [self.plan.nodes[points[index] - 1].name for index in sorted(set(taken))]
        found: dict[str, Any] = {}

        def note(node: Node, tokens: Tensor) -> None:
            if node.name in wanted:
                tokens = spread(tokens)
                own = self._normed(tokens) if norm else tokens
                found[node.name] = self._as_feature(
                    own, node.shape, output_fmt, return_prefix_tokens
                )

        end = points[last] if stop_early else self._end
        plan = self.plan.until(end)
        tokens = spread(self.run_nodes(x, plan, note=note)[plan.head_reads[0]])
        features = [found[name] for name in wanted]
        return features if intermediates_only else (self._normed(tokens), features)

    def get_intermediate_layers(
        self,
        x: Tensor,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
    ) -> list[Any]:
        """The features of the last `n` indices, or of those listed, under DINO's name.

        Args:
            x: Images (B, C, H, W).
            n: How many, or which.
            reshape: Whether features are maps (B, C, rows, columns), not tokens (B, N, C).
            return_prefix_tokens: Also return the tokens in front of the patches.
            norm: Whether the final norm is applied.
        """
        features: list[Any] = self.forward_intermediates(
            x,
            n,
            return_prefix_tokens=return_prefix_tokens,
            norm=norm,
            output_fmt="NCHW" if reshape else "NLC",
            intermediates_only=True,
        )
        return features

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Cut off what the features of these indices do not need; returns the indices, counted.

        The final norm goes, too, where it has not the width of what is left. A network that was
        cut is no architecture of its space any more: it cannot be written by `save_model`.

        Args:
            indices: As in `forward_intermediates`.
            prune_norm: Whether the final norm goes.
            prune_head: Whether the classifiers go.

        Raises:
            ConfigError: An index is not legal.
        """
        taken, last = self._taken(indices)
        self.plan = self._shortened(self.feature_points[last])
        self.stages: Any = self.stages[: len(self.plan.stages)]
        self.stages[-1].blocks = self.stages[-1].blocks[: len(self.plan.stages[-1].blocks)]
        width = self.plan.nodes[self._end - 1].shape.embed_dim
        if prune_norm or width != self.plan.head.embed_dim:
            self.norm = NoNorm()
        self.num_features = width
        if prune_head:
            self.num_classes = 0
            self.head = self.head_dist = self.head_patch = self.fc_norm = None
            if self.attn_pool is not None:
                self.attn_pool, self.global_pool = None, ""
        return taken

    def _taken(self, indices: int | Sequence[int] | None) -> tuple[list[int], int]:
        """The indices from 0, and the largest of them."""
        count = len(self.feature_points)
        wanted = count if indices is None else indices
        listed = list(range(-wanted, 0) if isinstance(wanted, int) else wanted)
        if not listed or not all(-count <= index < count for index in listed):
            raise ConfigError(f"indices={indices}: this network has features 0 to {count - 1}")
        taken = [index % count for index in listed]
        return taken, max(taken)

    def _normed(self, tokens: Tensor) -> Tensor:
        if self._end == len(self.plan.nodes):
            return tokens
        plan = self.plan.nodes[-1].plan
        fits = tokens.dim() == 3 and tokens.shape[-1] == plan.embed_dim
        return self.norm(tokens, plan) if fits else tokens

    def _as_feature(self, x: Any, shape: Shape, output_fmt: str, with_prefix: bool) -> Any:
        if isinstance(x, MapWithTokens):
            x = x.map
        count, is_map = shape.num_prefix_tokens, x.dim() == 4
        patches, prefix = (x, x.flatten(2).mT[:, :0]) if is_map else (x[:, count:], x[:, :count])
        if is_map and output_fmt == "NLC":
            patches = x.flatten(2).mT
        elif not is_map and output_fmt == "NCHW" and getattr(shape, "placed", True):
            patches = patches.transpose(1, 2).reshape(patches.shape[0], -1, *shape.grid)
        return (patches, prefix) if with_prefix else patches

    @property
    def _end(self) -> int:
        """How many nodes there are in front of the final norm."""
        nodes = self.plan.nodes
        return len(nodes) - (nodes[-1].name == "norm")

    def _shortened(self, end: int) -> Plan:
        """The plan up to a point; final norm and head stay."""
        short = self.plan.until(end)
        norms = tuple(
            replace(norm, reads=short.head_reads) for norm in self.plan.nodes[self._end :]
        )
        stages = short.nodes[-1].stage
        flows = self.plan.stage_flows[: 1 + (stages or 0)]
        reads = (norms or short.nodes)[-1].name
        names = {node.name for node in short.nodes}
        return replace(
            self.plan,
            nodes=(*short.nodes, *norms),
            stage_flows=flows,
            head_reads=(reads,),
            feature_names=tuple(name for name in self.plan.feature_names if name in names),
        )
