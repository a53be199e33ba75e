"""The parts of timm's plain vision transformers, with what their checkpoints vary in."""

from vitsearch.spaces.parts.vit.attention import VitAttention, VitAttentionPlan
from vitsearch.spaces.parts.vit.beit_attention import BeitAttention, BeitAttentionPlan
from vitsearch.spaces.parts.vit.block import BranchPlan, VitBlock, VitBlockPlan
from vitsearch.spaces.parts.vit.mlp import VitMlp, VitMlpPlan
from vitsearch.spaces.parts.vit.rope_attention import RopeAttention, RopeAttentionPlan, RopeKind
from vitsearch.spaces.parts.vit.stem import VitStem, VitStemPlan

__all__ = [
    "BeitAttention",
    "BeitAttentionPlan",
    "BranchPlan",
    "RopeAttention",
    "RopeAttentionPlan",
    "RopeKind",
    "VitAttention",
    "VitAttentionPlan",
    "VitBlock",
    "VitBlockPlan",
    "VitMlp",
    "VitMlpPlan",
    "VitStem",
    "VitStemPlan",
]
