"""A sampler: a step trains one random architecture and small changes of it."""

from dataclasses import dataclass

from vitsearch import Architecture, SearchSpace
from vitsearch.samplers import step_rng


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    prob: float = 0.1
    seed: int = 0

    def sample(
        self, space: SearchSpace, *, num_architectures: int, step: int, rank: int = 0
    ) -> list[Architecture]:
        rng = step_rng(self.seed, step, rank)  # nothing else may decide: runs go on exactly
        first = space.sample(rng)
        return [first] + [space.mutate(first, self.prob, rng) for _ in range(num_architectures - 1)]
