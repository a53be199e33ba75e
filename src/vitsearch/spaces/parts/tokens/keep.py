"""Tokens `keep`: in some blocks the patches that the class token looks at most stay.

Source: Not All Patches are What You Need: Expediting Vision Transformers via Token Reorganizations
(EViT; Liang et al., ICLR 2022), section 3. It has no weights of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import TOKENS, StageContext, Values
from vitsearch.spaces.parts.tokens.steps import KeepStep
from vitsearch.spaces.settings import Settings

PAPER_SLOTS = (3, 6, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepTokens:
    """The choices `keep.0`, `keep.1`, ...: what share of its tokens a block keeps.

    Attributes:
        shares: Options, above 0; 1 keeps all.
        slots: The blocks that keep and fuse, from 0; the paper's are 3, 6, 9.
    """

    shares: tuple[Value, ...]
    slots: tuple[int, ...]

    def beside(self, mixer: Any) -> KeepTokens:
        """Every block has to have attention, by which tokens are ranked."""
        if not getattr(mixer, "always_attends", False):
            raise SpaceError(
                "space.tokens.kind=keep ranks tokens by attention, and some blocks of this space "
                "have none; choose space.tokens.kind=merge, or let attention always be there"
            )
        return self

    def choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """A share for each of the blocks that are there."""
        return share_choices(self.shares, self.slots, depths)

    def steps(self, tokens: Tokens, values: Values, depth: int) -> Sequence[KeepStep | None]:
        """Where tokens were fused before, the fused one is ranked like a patch."""
        prefix, left = tokens.num_prefix_tokens, tokens.num_tokens
        shares = {slot: values.get(f"keep.{number}") for number, slot in enumerate(self.slots)}
        changed = [
            slot for slot, share in shares.items() if slot < depth and share not in (None, 1)
        ]
        if not changed:
            return [None] * depth
        found: list[KeepStep | None] = []
        for slot in range(depth):
            if slot < changed[0]:
                found.append(None)
                continue
            kept = self._kept(left - prefix, shares[slot]) if slot in changed else 0
            found.append(
                KeepStep(
                    num_tokens=left,
                    kept=kept,
                    num_prefix_tokens=prefix,
                    is_last=slot == depth - 1,
                )
            )
            left = found[-1].num_left  # type: ignore[union-attr]
        return found

    def _kept(self, patches: int, share: Value | None) -> int:
        numbers = {option: ceil(float(option) * patches) for option in self.shares if option != 1}
        for option, number in numbers.items():
            if patches - number < 2:
                raise SpaceError(
                    f"space.tokens.keep={list(self.shares)}: {option} of {patches} patch tokens "
                    f"leaves {patches - number} to be fused; that needs 2, so choose smaller shares"
                )
        if len(set(numbers.values())) < len(numbers):
            raise SpaceError(
                f"space.tokens.keep={list(self.shares)}: of {patches} patch tokens two of these "
                f"keep the same number; choose shares further apart"
            )
        assert share is not None
        return numbers[share]


def share_choices(
    shares: tuple[Value, ...], slots: tuple[int, ...], depths: tuple[int, ...], *, behind: int = 0
) -> tuple[Choice, ...]:
    """The choices `keep.0`, `keep.1`, ... of some blocks.

    Args:
        shares: Options of each.
        slots: The blocks.
        depths: Options of the stage's depth; empty where it has none.
        behind: How many blocks must stand behind one, or it has nothing to choose.
    """
    found = []
    for number, slot in enumerate(slots):
        deeper = tuple(depth for depth in depths if depth > slot + behind)
        condition = (Condition("depth", deeper),) if deeper != depths else ()
        found.append(Choice(name=f"keep.{number}", options=shares, active_when=condition))
    return tuple(found)


def read_shares(settings: Settings) -> tuple[Value, ...]:
    """The setting `keep`.

    Raises:
        SpaceError: One is no share.
    """
    shares = settings.numbers("keep")
    if float(shares[-1]) > 1:
        raise SpaceError(f"{settings.path}.keep={list(shares)} must be shares, at most 1")
    return shares


def read_slots(settings: Settings, context: StageContext) -> tuple[tuple[int, ...], int]:
    """The setting `slots`, and how many blocks the stage has; by default every third block.

    Raises:
        SpaceError: There is no such block, or no class token.
    """
    stem = Settings(context.config.get("stem") or {}, "space.stem")
    if not stem.flag("class_token", True):
        raise SpaceError(
            f"{settings.path}.kind={settings.section('kind')} needs a class token, which this "
            f"space has not; choose kind=merge, or set space.stem.class_token=true"
        )
    own = Settings(context.config, "space", stage=context.index, num_stages=context.num_stages)
    blocks = own.integer("num_blocks")
    default = [slot for slot in PAPER_SLOTS if slot < blocks - 1] or [max(blocks // 2 - 1, 0)]
    slots = settings.positions("slots", blocks) if settings.has("slots") else tuple(default)
    return slots, blocks


@TOKENS.register("keep")
def _keep(settings: Settings, context: StageContext) -> KeepTokens:
    slots, _ = read_slots(settings, context)
    return KeepTokens(shares=read_shares(settings), slots=slots)
