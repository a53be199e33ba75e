"""Layers whose sizes are arguments of the call; one function cuts out the active weights."""

from vitsearch.elastic.attention import AttentionSizes, ElasticAttention
from vitsearch.elastic.axis import Alignment, Axis
from vitsearch.elastic.base import Context, ElasticModule, TiedAxis, active_state, take_together
from vitsearch.elastic.block import ElasticBlock
from vitsearch.elastic.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.conv_stem import ElasticConvStem
from vitsearch.elastic.glit import ElasticGlitMixer
from vitsearch.elastic.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.local import ElasticDepthwise, ElasticLocal
from vitsearch.elastic.mlp import ElasticMlp
from vitsearch.elastic.norm import ElasticBatchNorm, ElasticLayerNorm
from vitsearch.elastic.private_attention import ElasticPrivateAttention
from vitsearch.elastic.reduction import ElasticReduction
from vitsearch.elastic.relative_attention import ElasticRelativeAttention
from vitsearch.elastic.rewiring import Reordering, rewire
from vitsearch.elastic.statistics import NormEstimator, NormStatistics
from vitsearch.elastic.stem import ElasticPatchEmbed, ElasticPatchStem

__all__ = [
    "Alignment",
    "AttentionSizes",
    "Axis",
    "Context",
    "ConvSizes",
    "ElasticAttention",
    "ElasticBatchNorm",
    "ElasticBlock",
    "ElasticConv2d",
    "ElasticConvStem",
    "ElasticDepthwise",
    "ElasticGlitMixer",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticLocal",
    "ElasticMlp",
    "ElasticModule",
    "ElasticPatchEmbed",
    "ElasticPatchStem",
    "ElasticPrivateAttention",
    "ElasticReduction",
    "ElasticRelativeAttention",
    "LinearSizes",
    "NormEstimator",
    "NormStatistics",
    "Reordering",
    "TiedAxis",
    "active_state",
    "rewire",
    "take_together",
]
