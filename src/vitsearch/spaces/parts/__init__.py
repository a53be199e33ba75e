"""The parts that spaces are composed of, each with its choices, sizes and closed-form cost."""

from vitsearch.spaces.parts.attention import Attention, AttentionPlan
from vitsearch.spaces.parts.base import (
    BLOCKS,
    HEADS,
    MIXERS,
    MLPS,
    STEMS,
    TOKENS,
    TRANSITIONS,
    BlockKind,
    BlockPart,
    HeadPart,
    PartRegistry,
    StageContext,
    StemPart,
    TokenContext,
    TransitionPart,
)
from vitsearch.spaces.parts.block import BlockPlan, TransformerBlock
from vitsearch.spaces.parts.conv_stem import ConvStem, ConvStemPlan
from vitsearch.spaces.parts.glit import GlitMixer, GlitMixerPlan
from vitsearch.spaces.parts.head import ClassifierPlan, Head, NormPlan
from vitsearch.spaces.parts.heads.dense import DenseHead, DensePlan
from vitsearch.spaces.parts.mlp import Mlp, MlpPlan
from vitsearch.spaces.parts.norms import NormKind
from vitsearch.spaces.parts.pooling import AttentionPoolPlan
from vitsearch.spaces.parts.reduction import Reduction, ReductionPlan
from vitsearch.spaces.parts.relative_attention import RelativeAttention, RelativeAttentionPlan
from vitsearch.spaces.parts.residual import ResidualKind, ResidualPlan
from vitsearch.spaces.parts.resnet_stem import ResNetStem, ResNetStemPlan
from vitsearch.spaces.parts.stem import PatchStem, PatchStemPlan
from vitsearch.spaces.parts.vit import (
    BeitAttention,
    BeitAttentionPlan,
    BranchPlan,
    RopeAttention,
    RopeAttentionPlan,
    RopeKind,
    VitAttention,
    VitAttentionPlan,
    VitBlock,
    VitBlockPlan,
    VitMlp,
    VitMlpPlan,
    VitStem,
    VitStemPlan,
)
from vitsearch.spaces.parts.vitas import VitasAttention, VitasAttentionPlan
from vitsearch.spaces.parts.vt import Fpn, FpnPlan, VtKind, VtPlan, VtSizes

__all__ = [
    "BLOCKS",
    "HEADS",
    "MIXERS",
    "MLPS",
    "STEMS",
    "TOKENS",
    "TRANSITIONS",
    "Attention",
    "AttentionPlan",
    "AttentionPoolPlan",
    "BeitAttention",
    "BeitAttentionPlan",
    "BlockKind",
    "BlockPart",
    "BlockPlan",
    "BranchPlan",
    "ClassifierPlan",
    "ConvStem",
    "ConvStemPlan",
    "DenseHead",
    "DensePlan",
    "Fpn",
    "FpnPlan",
    "GlitMixer",
    "GlitMixerPlan",
    "Head",
    "HeadPart",
    "Mlp",
    "MlpPlan",
    "NormKind",
    "NormPlan",
    "PartRegistry",
    "PatchStem",
    "PatchStemPlan",
    "Reduction",
    "ReductionPlan",
    "RelativeAttention",
    "RelativeAttentionPlan",
    "ResNetStem",
    "ResNetStemPlan",
    "ResidualKind",
    "ResidualPlan",
    "RopeAttention",
    "RopeAttentionPlan",
    "RopeKind",
    "StageContext",
    "StemPart",
    "TokenContext",
    "TransformerBlock",
    "TransitionPart",
    "VitAttention",
    "VitAttentionPlan",
    "VitBlock",
    "VitBlockPlan",
    "VitMlp",
    "VitMlpPlan",
    "VitStem",
    "VitStemPlan",
    "VitasAttention",
    "VitasAttentionPlan",
    "VtKind",
    "VtPlan",
    "VtSizes",
]
