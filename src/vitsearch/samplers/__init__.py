"""Which architectures a step trains, and draws inside a budget."""

from vitsearch.samplers.base import Sampler, SandwichSampler, UniformSampler, step_rng
from vitsearch.samplers.identity import find_identity_probability
from vitsearch.samplers.measured import draw_measured
from vitsearch.samplers.within import draw_within, sample_within

__all__ = [
    "Sampler",
    "SandwichSampler",
    "UniformSampler",
    "draw_measured",
    "draw_within",
    "find_identity_probability",
    "sample_within",
    "step_rng",
]
