"""Layers whose sizes are arguments of the call; one function cuts out the active weights."""

from vitsearch.elastic.attention import AttentionSizes, ElasticAttention
from vitsearch.elastic.base import Context, ElasticModule, active_state, leading
from vitsearch.elastic.block import ElasticBlock
from vitsearch.elastic.glit import ElasticGlitMixer
from vitsearch.elastic.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.local import ElasticDepthwise, ElasticLocal
from vitsearch.elastic.mlp import ElasticMlp
from vitsearch.elastic.norm import ElasticBatchNorm, ElasticLayerNorm
from vitsearch.elastic.statistics import NormEstimator, NormStatistics
from vitsearch.elastic.stem import ElasticPatchEmbed, ElasticPatchStem

__all__ = [
    "AttentionSizes",
    "Context",
    "ElasticAttention",
    "ElasticBatchNorm",
    "ElasticBlock",
    "ElasticDepthwise",
    "ElasticGlitMixer",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticLocal",
    "ElasticMlp",
    "ElasticModule",
    "ElasticPatchEmbed",
    "ElasticPatchStem",
    "LinearSizes",
    "NormEstimator",
    "NormStatistics",
    "active_state",
    "leading",
]
