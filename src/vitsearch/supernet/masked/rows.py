"""Weights of several shares as one tensor: each share's part, zero-padded to the largest sizes.

Which channels go where is written in tensors of whole numbers, so that the same operations on the
same shapes make the weights of any sub-networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic.axis import Range


class Row(NamedTuple):
    """Where the channels that a share takes of a weight stand along one dimension of its own.

    Attributes:
        taken: The channels, and the dimension.
        length: How many places there are; those without a channel are zero.
        first: The place of the first channel.
        heads: Into how many equal runs the channels divide.
        step: Places from the start of a run to that of the next.
    """

    taken: Range
    length: int
    first: int = 0
    heads: int = 1
    step: int = 0

    @property
    def moves(self) -> bool:
        """Whether a channel stands at another place than in the weight."""
        stays = self.first == self.taken.start and self.heads == 1
        return not stays or self.length != self.taken.size

    def anywhere(self) -> Row:
        """The same row of whichever dimension, so that it is made once for all."""
        return self._replace(taken=self.taken._replace(dim=0))

    def empty(self) -> Row:
        """The same places without a channel."""
        return Row(self.taken._replace(start=0, width=0), self.length)


class Line(NamedTuple):
    """The rows of all shares, of one dimension of a tensor or of several that it has as one.

    Attributes:
        missing: (K, places) where there is no channel.
        channels: (K, places) the channel at each place, any where there is none; `None` if all of
            them stand where they stood.
    """

    missing: Tensor
    channels: Tensor | None


def line(shares: Sequence[tuple[Row, ...]], device: torch.device, *, may_move: bool) -> Line:
    """The line of each share's rows: of one dimension, or of a grid that is one dimension.

    Args:
        shares: The rows of each share.
        device: Where it is wanted.
        may_move: Name the channels even if all of them stand where they stood.
    """
    channels, missing = zip(*(_places(rows, device) for rows in shares), strict=True)
    moved = may_move or any(row.moves for rows in shares for row in rows)
    return Line(torch.stack(missing), torch.stack(channels) if moved else None)


def stacked(tensors: Sequence[Tensor], lines: Sequence[Line | None]) -> Tensor:
    """The parts of K shares as one tensor (K, ...), one dimension for each line.

    Args:
        tensors: What all shares take from, or what each does, of one shape.
        lines: Of each dimension; `None` for whole.
    """
    whole = torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0][None]
    missing: Tensor | None = None
    for dim, one in enumerate(lines, start=1):
        if one is None:
            continue
        shape = [1] * whole.dim()
        shape[0], shape[dim] = one.missing.shape
        if one.channels is not None:
            whole = torch.take_along_dim(whole, one.channels.view(shape), dim)
        here = one.missing.view(shape)
        missing = here if missing is None else missing | here
    return whole if missing is None else whole.masked_fill(missing, 0)


@lru_cache(maxsize=2**14)
def _places(rows: tuple[Row, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(places,) the channel at each place, and whether there is none."""
    with torch.inference_mode(False):  # they will be asked for in training, too
        channels = torch.zeros(1, dtype=torch.int64, device="cpu")
        missing = torch.zeros(1, dtype=torch.bool, device="cpu")
        for row in rows:
            order = torch.arange(row.taken.width, device="cpu")
            run = max(row.taken.width // row.heads, 1)
            places = row.first + order // run * row.step + order % run
            own = torch.zeros(row.length, dtype=torch.int64, device="cpu")
            own[places] = (row.taken.start + order) % row.taken.size
            none = torch.ones(row.length, dtype=torch.bool, device="cpu")
            none[places] = False
            channels = (channels[:, None] * row.taken.size + own).flatten()
            missing = (missing[:, None] | none).flatten()
        return channels.to(device), missing.to(device)
