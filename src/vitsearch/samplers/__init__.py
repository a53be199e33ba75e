"""Which architectures a step trains, and draws inside a budget."""

from vitsearch.samplers.balanced import BalancedSampler
from vitsearch.samplers.base import (
    Sampler,
    SandwichSampler,
    UniformSampler,
    Unsettled,
    settle,
    step_rng,
)
from vitsearch.samplers.buckets import BucketSampler
from vitsearch.samplers.growth import growth_space
from vitsearch.samplers.identity import IdentitySampler, find_identity_probability
from vitsearch.samplers.measured import draw_measured
from vitsearch.samplers.strata import sample_strata
from vitsearch.samplers.stratified import StratifiedSampler
from vitsearch.samplers.warm_up import warm_up_space
from vitsearch.samplers.within import draw_within, sample_within

__all__ = [
    "BalancedSampler",
    "BucketSampler",
    "IdentitySampler",
    "Sampler",
    "SandwichSampler",
    "StratifiedSampler",
    "UniformSampler",
    "Unsettled",
    "draw_measured",
    "draw_within",
    "find_identity_probability",
    "growth_space",
    "sample_strata",
    "sample_within",
    "settle",
    "step_rng",
    "warm_up_space",
]
