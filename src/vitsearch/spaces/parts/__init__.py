"""The parts that spaces are composed of, each with its choices, sizes and closed-form cost."""

from vitsearch.spaces.parts.attention import Attention, AttentionPlan
from vitsearch.spaces.parts.base import (
    MIXERS,
    MLPS,
    STEMS,
    TRANSITIONS,
    BlockPart,
    PartRegistry,
    StageContext,
    StemPart,
    TokenContext,
    TransitionPart,
)
from vitsearch.spaces.parts.conv_stem import ConvStem, ConvStemPlan
from vitsearch.spaces.parts.glit import GlitMixer, GlitMixerPlan
from vitsearch.spaces.parts.head import Head
from vitsearch.spaces.parts.mlp import Mlp, MlpPlan
from vitsearch.spaces.parts.reduction import Reduction, ReductionPlan
from vitsearch.spaces.parts.relative_attention import RelativeAttention, RelativeAttentionPlan
from vitsearch.spaces.parts.stem import PatchStem, PatchStemPlan
from vitsearch.spaces.parts.vitas import VitasAttention, VitasAttentionPlan

__all__ = [
    "MIXERS",
    "MLPS",
    "STEMS",
    "TRANSITIONS",
    "Attention",
    "AttentionPlan",
    "BlockPart",
    "ConvStem",
    "ConvStemPlan",
    "GlitMixer",
    "GlitMixerPlan",
    "Head",
    "Mlp",
    "MlpPlan",
    "PartRegistry",
    "PatchStem",
    "PatchStemPlan",
    "Reduction",
    "ReductionPlan",
    "RelativeAttention",
    "RelativeAttentionPlan",
    "StageContext",
    "StemPart",
    "TokenContext",
    "TransitionPart",
    "VitasAttention",
    "VitasAttentionPlan",
]
