"""Bodies: what makes the nodes of a network out of its settings."""

from vitsearch.spaces.bodies import high_resolution as high_resolution  # registers the body
from vitsearch.spaces.bodies import stages as stages
from vitsearch.spaces.bodies.base import Body

__all__ = ["Body"]
