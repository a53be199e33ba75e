"""Tokens `predict`: in front of some blocks small networks say which patches go on.

Source: DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification (Rao et al.,
NeurIPS 2021), section 3. In training dropped tokens are masked, so that a predictor learns; the
objective `keep_ratio` teaches it how many to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import TOKENS, StageContext, Values
from vitsearch.spaces.parts.tokens.keep import read_shares, read_slots, share_choices
from vitsearch.spaces.parts.tokens.steps import PredictStep
from vitsearch.spaces.settings import Settings

_PARTS = 4  # of C, that a predictor's layers have


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTokens:
    """The choices `keep.0`, `keep.1`, ...: what share of the tokens before it a block keeps.

    Attributes:
        shares: Options, above 0; 1 keeps all and needs no predictor.
        slots: The blocks with predictors, from 0; the paper's are 3, 6, 9.
    """

    shares: tuple[Value, ...]
    slots: tuple[int, ...]

    def beside(self, mixer: Any) -> PredictTokens:
        """Only attention can be masked."""
        if getattr(mixer, "sees_neighbours", False) or not getattr(mixer, "always_attends", False):
            raise SpaceError(
                "space.tokens.kind=predict masks attention in training, and some blocks of this "
                "space mix tokens otherwise; choose space.tokens.kind=merge, or a mixer that is "
                "attention alone"
            )
        return self

    def choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """A share for each of the blocks that are there and followed by another."""
        return share_choices(self.shares, self.slots, depths, behind=1)

    def steps(self, tokens: Tokens, values: Values, depth: int) -> Sequence[PredictStep | None]:
        """Of N0 patch tokens floor(N0 * product of shares so far) go on."""
        if tokens.embed_dim % _PARTS:
            raise SpaceError(
                f"space.embed_dims: a predictor of tokens (space.tokens.kind=predict) needs a "
                f"multiple of {_PARTS} channels, not {tokens.embed_dim}"
            )
        prefix, patches = tokens.num_prefix_tokens, tokens.num_tokens - tokens.num_prefix_tokens
        shares = {slot: values.get(f"keep.{number}") for number, slot in enumerate(self.slots)}
        changed = {s: float(v) for s, v in shares.items() if s < depth - 1 and v not in (None, 1)}
        if not changed:
            return [None] * depth
        left, share = patches, 1.0
        found: list[PredictStep | None] = []
        for slot in range(depth):
            if slot < min(changed):
                found.append(None)
                continue
            kept = 0
            if slot in changed:
                self._check(patches, left, share)
                share *= changed[slot]
                kept = _floor(patches, share)
            found.append(
                PredictStep(
                    num_tokens=prefix + left,
                    kept=kept,
                    num_patches=patches,
                    num_prefix_tokens=prefix,
                    is_last=slot == depth - 1,
                    embed_dim=tokens.embed_dim,
                )
            )
            left = kept or left
        return found

    def _check(self, patches: int, left: int, share: float) -> None:
        numbers = [_floor(patches, share * float(option)) for option in self.shares if option != 1]
        if min(numbers) < 1 or len({*numbers, left}) <= len(numbers):
            raise SpaceError(
                f"space.tokens.keep={list(self.shares)}: of {left} patch tokens these keep "
                f"{', '.join(map(str, numbers))}, which must be 1 or more, fewer than all and "
                f"different; choose shares further apart, or smaller patches"
            )


def _floor(patches: int, share: float) -> int:
    return int(patches * share + 1e-9)  # 0.7 * 0.7 is not quite 0.49


@TOKENS.register("predict")
def _predict(settings: Settings, context: StageContext) -> PredictTokens:
    slots, blocks = read_slots(settings, context)
    if slots[-1] >= blocks - 1:
        raise SpaceError(
            f"{settings.path}.slots={list(slots)}: behind the last of {blocks} blocks there is "
            f"none that would have fewer tokens"
        )
    return PredictTokens(shares=read_shares(settings), slots=slots)
