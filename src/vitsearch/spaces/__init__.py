"""Search spaces, architectures and plans: pure Python, the start of the flow."""

from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.config import build_space, config_dir, list_spaces
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Map, Tokens
from vitsearch.spaces.parts.block import BlockPlan
from vitsearch.spaces.plan import HeadPlan, Node, Plan, StagePlan
from vitsearch.spaces.space import SearchSpace

__all__ = [
    "Architecture",
    "BlockPlan",
    "Choice",
    "Condition",
    "Cost",
    "HeadPlan",
    "Map",
    "Node",
    "Plan",
    "SearchSpace",
    "StagePlan",
    "Tokens",
    "Value",
    "build_space",
    "config_dir",
    "list_spaces",
]
