"""Growth: a supernet that begins with a trained network gets its options in steps.

What a trained network bears best comes first: narrower MLPs, then fewer heads and channels of
heads, then blocks and branches that are left out, and narrower tokens last, because they change
what every norm sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.restriction import is_named, unknown_choice

GROWTH = (
    ("*.mlp_hidden", "*.mlp_ratio", "*.*_expansion"),
    ("*.num_heads", "*.qk_dim", "*.v_dim", "*.qkv_width"),
    ("*.keep_*", "depth", "*.depth"),
    ("*.embed_dim",),
)
"""The choices of each step, by patterns."""

Steps = Sequence[str | Sequence[str]]


def growth_space(
    space: SearchSpace, epoch: int, growth_epochs: int, steps: Steps | None = None
) -> SearchSpace:
    """The part of a space that an epoch trains: choices of later steps are at their largest.

    The first of n steps is open from the start, step k from epoch `growth_epochs * k // (n - 1)`
    on, so that everything is open once `growth_epochs` are over. Architectures of the part are
    architectures of the space.

    Args:
        space: The whole space.
        epoch: From 0.
        growth_epochs: How many epochs it takes; 0 for none.
        steps: Names or patterns of the choices of each step; `GROWTH` by default. Choices of no
            step have all their options from the start.

    Raises:
        ConfigError: `growth_epochs` is negative, or a pattern of one's own matches no choice.
    """
    check_whole("growth_epochs", growth_epochs, 0)
    listed = [[step] if isinstance(step, str) else list(step) for step in steps or GROWTH]
    names = [choice.name for choice in space.choices]
    for pattern in [pattern for step in listed for pattern in step] if steps else ():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"growth: {unknown_choice(pattern, space.name, names)}")
    if epoch >= growth_epochs:
        return space
    later = [
        pattern
        for number, step in enumerate(listed)
        for pattern in step
        if number and epoch < growth_epochs * number // (len(listed) - 1)
    ]
    limits = {
        choice.name: choice.options[-1:] for choice in space.choices if is_named(choice.name, later)
    }
    return space.restrict(limits)
