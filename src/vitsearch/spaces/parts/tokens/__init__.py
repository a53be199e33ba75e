"""How many tokens go on: merging and dropping them between the halves of a block."""

from vitsearch.spaces.parts.tokens.keep import KeepTokens
from vitsearch.spaces.parts.tokens.kind import FewerTokens, fewer_tokens
from vitsearch.spaces.parts.tokens.merge import MergeTokens
from vitsearch.spaces.parts.tokens.steps import KeepStep, MergeStep, TokenStep

__all__ = [
    "FewerTokens",
    "KeepStep",
    "KeepTokens",
    "MergeStep",
    "MergeTokens",
    "TokenStep",
    "fewer_tokens",
]
