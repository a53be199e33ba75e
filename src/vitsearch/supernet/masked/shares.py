"""The shares of a batch, and the weights of a layer that each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, TypeVar

from torch import Tensor

from vitsearch.elastic import Context, ElasticModule
from vitsearch.elastic.axis import Range
from vitsearch.elastic.region import Region
from vitsearch.supernet.masked.rows import Line, Row, line, stacked

Sizes = Sequence[Any | None]
Place = Callable[[int, Range], Row]
MadeT = TypeVar("MadeT")


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a batch in one pass.

    Attributes:
        contexts: What the calls of each share carry besides sizes.
        made: What stands where, made once for all layers of the pass; see `once`.
    """

    contexts: tuple[Context, ...]
    made: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.contexts)

    def again(self, recomputing: bool) -> Shares:
        """The same, in a call that may repeat one that was counted."""
        contexts = (replace(own, recomputing=recomputing) for own in self.contexts)
        return Shares(tuple(contexts), self.made)

    def once(self, key: Any, make: Callable[[], MadeT]) -> MadeT:
        """What goes by a key, made at the first request of the pass; it depends on sizes alone."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]  # type: ignore[no-any-return]

    def weights(
        self,
        layers: ElasticModule[Any] | Sequence[ElasticModule[Any]],
        sizes: Sizes,
        place: Place | None = None,
    ) -> dict[str, Tensor]:
        """Each share's own tensors of a layer, zero-padded, by name: (K, ...).

        Args:
            layers: The layer, or that of each share: several with the same largest sizes.
            sizes: Of each share; not all `None`.
            place: Where the channels that a share takes stand; by default first.
        """
        place = place or _first
        owners = [layers] if isinstance(layers, ElasticModule) else list(layers)
        several = owners * len(self) if isinstance(layers, ElasticModule) else owners
        own = [
            None if size is None else layer.regions(size, context.alignment)
            for layer, size, context in zip(several, sizes, self.contexts, strict=True)
        ]
        used = next(share for share, regions in enumerate(own) if regions is not None)
        found = {}
        for name, region in (own[used] or {}).items():
            rows = [
                [place(used, taken).empty() for taken in region.ranges]
                if regions is None
                else [place(share, taken) for taken in regions[name].ranges]
                for share, regions in enumerate(own)
            ]
            tensors = [getattr(layer, name) for layer in owners]
            found[name] = stacked(tensors, self._lines(rows, region, tensors[0]))
        return found

    def missing(self, widths: Sequence[int], length: int, like: Tensor) -> Tensor:
        """(K, 1, length) 1 where a channel is beyond a share's width, else 0; as `like` is."""
        rows = tuple((Row(Range(0, length, 0, width), length),) for width in widths)
        return line(rows, like.device, may_move=False).missing[:, None].to(like.dtype)

    def _lines(
        self, rows: Sequence[Sequence[Row]], region: Region, tensor: Tensor
    ) -> list[Line | None]:
        """One for each dimension of a tensor, which may be several of its region's grid."""
        may_move = any(context.alignment != "prefix" for context in self.contexts)
        grid, start = region.grid or tensor.shape, 0
        found: list[Line | None] = []
        for size in tensor.shape:
            stop = start + 1
            while prod(grid[start:stop]) < size:
                stop += 1
            key = tuple(
                tuple(row.anywhere() for row in own if start <= row.taken.dim < stop)
                for own in rows
            )
            make = partial(line, key, tensor.device, may_move=may_move)
            found.append(self.once((key, tensor.device), make) if key[0] else None)
            start = stop
        return found


def along(dim: int, row: Place) -> Place:
    """Rows of one dimension; along the others the channels stand first."""
    return lambda share, taken: (row if taken.dim == dim else _first)(share, taken)


def _first(share: int, taken: Range) -> Row:
    return Row(taken, taken.size)
