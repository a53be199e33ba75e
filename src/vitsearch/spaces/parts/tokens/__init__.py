"""How many tokens go on: merging and dropping them between the halves of a block."""

from vitsearch.spaces.parts.tokens.keep import KeepTokens
from vitsearch.spaces.parts.tokens.kind import FewerTokens, fewer_tokens
from vitsearch.spaces.parts.tokens.merge import MergeTokens
from vitsearch.spaces.parts.tokens.predict import PredictTokens
from vitsearch.spaces.parts.tokens.steps import KeepStep, MergeStep, PredictStep, TokenStep

__all__ = [
    "FewerTokens",
    "KeepStep",
    "KeepTokens",
    "MergeStep",
    "MergeTokens",
    "PredictStep",
    "PredictTokens",
    "TokenStep",
    "fewer_tokens",
]
