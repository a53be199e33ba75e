"""The parts of timm's plain vision transformers, with what their checkpoints vary in."""

from vitsearch.spaces.parts.vit.attention import VitAttention, VitAttentionPlan
from vitsearch.spaces.parts.vit.block import BranchPlan, VitBlock, VitBlockPlan
from vitsearch.spaces.parts.vit.mlp import VitMlp, VitMlpPlan
from vitsearch.spaces.parts.vit.stem import VitStem, VitStemPlan

__all__ = [
    "BranchPlan",
    "VitAttention",
    "VitAttentionPlan",
    "VitBlock",
    "VitBlockPlan",
    "VitMlp",
    "VitMlpPlan",
    "VitStem",
    "VitStemPlan",
]
