"""Tokens `merge`: in every block the r most similar pairs become one token each.

Source: Token Merging: Your ViT But Faster (Bolya et al., ICLR 2023), section 3. It needs no
training: a network merges as well with another r, or with none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import TOKENS, StageContext, Values
from vitsearch.spaces.parts.tokens.steps import MergeStep
from vitsearch.spaces.settings import Settings

SCHEDULES = ("constant", "falling")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeTokens:
    """The choice `merged`, r.

    Attributes:
        merged: Options for r.
        schedule: `constant`: r in every block. `falling`: from 2 r in the first block to none in
            the last, in equal steps (section 4.1).
        proportional: See `MergeStep`.
        in_order: See `MergeStep`.
    """

    merged: tuple[int, ...]
    schedule: str
    proportional: bool
    in_order: bool = False

    def beside(self, mixer: Any) -> MergeTokens:
        """Mixers that look at neighbours get tokens in order."""
        return replace(self, in_order=getattr(mixer, "sees_neighbours", False))

    def choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """`merged`."""
        return (Choice(name="merged", options=self.merged),)

    def steps(self, tokens: Tokens, values: Values, depth: int) -> Sequence[MergeStep | None]:
        """At most half of the patch tokens merge in a block, so few are left but never none."""
        wanted = int(values["merged"] or 0)
        if not wanted:
            return [None] * depth
        prefix, left = tokens.num_prefix_tokens, tokens.num_tokens
        found = []
        for block in range(depth):
            number = wanted if self.schedule == "constant" else _falling(wanted, block, depth)
            most = (left - prefix) // 2
            if not block and number > most:
                raise SpaceError(
                    f"space.tokens.merged={wanted} ({self.schedule}): the first block cannot merge "
                    f"{number} of {left - prefix} patch tokens; at most half of them, {most}"
                )
            merged = min(number, most)
            found.append(
                MergeStep(
                    num_tokens=left,
                    merged=merged,
                    num_prefix_tokens=prefix,
                    proportional=self.proportional,
                    in_order=self.in_order,
                    is_last=block == depth - 1,
                )
            )
            left -= merged
        return found


def _falling(number: int, block: int, depth: int) -> int:
    return 2 * number if depth == 1 else 2 * number * (depth - 1 - block) // (depth - 1)


@TOKENS.register("merge")
def _merge(settings: Settings, context: StageContext) -> MergeTokens:
    return MergeTokens(
        merged=settings.integers("merged", minimum=0),
        schedule=settings.word("schedule", SCHEDULES, "constant"),
        proportional=settings.flag("proportional", True),
    )
