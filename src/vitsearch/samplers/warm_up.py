"""Width warm-up: a supernet's training starts with the widest networks alone.

Source: Searching for Efficient Multi-Stage Vision Transformers (ViT-ResNAS, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.spaces import SearchSpace, Value
from vitsearch.spaces.restriction import is_named, unknown_choice

WIDTHS = (
    "*.embed_dim",
    "*.num_heads",
    "*.qkv_width",
    "*.mlp_hidden",
    "*.mlp_ratio",
    "*.*_expansion",
    "*.kernel[0-9]",
)


def warm_up_space(
    space: SearchSpace,
    epoch: int,
    warm_up_epochs: int,
    choices: str | Sequence[str] | None = None,
) -> SearchSpace:
    """The part of a space that an epoch trains: of each width the largest options.

    Of n options there are 1 + floor(epoch (n - 1) / warm_up_epochs), all of them once
    `warm_up_epochs` are over. Architectures of the part are architectures of the space.

    Args:
        space: The whole space.
        epoch: From 0.
        warm_up_epochs: How many epochs it takes; 0 for none.
        choices: The choices that take part, by names or patterns such as `*.mlp_hidden`; by default
            all widths (`WIDTHS`). Others have all their options from the start.

    Raises:
        ConfigError: `warm_up_epochs` is negative, or a pattern matches no choice of the space.
    """
    check_whole("warm_up_epochs", warm_up_epochs, 0)
    patterns = WIDTHS if choices is None else [choices] if isinstance(choices, str) else choices
    names = [choice.name for choice in space.choices]
    for pattern in () if choices is None else patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"warm_up_choices: {unknown_choice(pattern, space.name, names)}")
    if epoch >= warm_up_epochs:
        return space
    limits: dict[str, Sequence[Value]] = {}
    for choice in space.choices:
        if is_named(choice.name, patterns):
            count = 1 + epoch * (len(choice.options) - 1) // warm_up_epochs
            limits[choice.name] = choice.options[-count:]
    return space.restrict(limits)
