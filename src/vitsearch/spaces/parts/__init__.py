"""The parts that spaces are composed of, each with its choices, sizes and closed-form cost."""

from vitsearch.spaces.parts.attention import Attention, AttentionPlan
from vitsearch.spaces.parts.base import (
    MIXERS,
    MLPS,
    STEMS,
    BlockPart,
    PartRegistry,
    StageContext,
    StemPart,
    TokenContext,
)
from vitsearch.spaces.parts.glit import GlitMixer, GlitMixerPlan
from vitsearch.spaces.parts.mlp import Mlp, MlpPlan
from vitsearch.spaces.parts.stem import PatchStem, PatchStemPlan

__all__ = [
    "MIXERS",
    "MLPS",
    "STEMS",
    "Attention",
    "AttentionPlan",
    "BlockPart",
    "GlitMixer",
    "GlitMixerPlan",
    "Mlp",
    "MlpPlan",
    "PartRegistry",
    "PatchStem",
    "PatchStemPlan",
    "StageContext",
    "StemPart",
    "TokenContext",
]
