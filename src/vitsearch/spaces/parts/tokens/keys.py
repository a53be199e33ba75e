"""The queries and keys of attention, by which tokens are compared and ranked."""

from __future__ import annotations

from typing import Any, NamedTuple


class Keys(NamedTuple):
    """The queries and keys of a mixer.

    Attributes:
        num_heads: Attention heads.
        dim: Channels of a head's queries and keys.
        scale_dim: Scores are scaled by its root.
    """

    num_heads: int
    dim: int
    scale_dim: int


def keys_of(mixer: Any) -> Keys | None:
    """Those of a mixer's plan, which says so as `keys`; `None` where it has no attention.

    A branch has those of what is inside.
    """
    inner = getattr(mixer, "inner", mixer)
    found: Keys | None = getattr(inner, "keys", None)
    return found
