"""The runs that are kept: one of each family, one composed space, one search in phases.

Each has something of its own (averaged weights, another sharing, another objective, ...), so that
six small runs meet most of what a run folder can hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitsearch import SearchSpace, build_space

NUM_CLASSES = 10
NUM_STEPS = 10
CLASS_NAMES = tuple(f"class {number}" for number in range(NUM_CLASSES))
COMMON = (
    "callbacks.checkpoint.every_n_steps=1",
    "callbacks.search.use_test_split=false",
    "data.batch_size=16",
    "data.statistics_images=40",
    "++data.search_per_class=5",
    "searcher.generations=3",
    "searcher.mutations=2",
    "searcher.crossovers=2",
    "searcher.population=5",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=1",
    "trainer.devices=1",
    "trainer.max_epochs=2",
    f"+trainer.limit_train_batches={NUM_STEPS // 2}",
)
# A search of a finished run, inside the lower half of its range of MACs.
SEARCH_AGAIN = (
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "report=false",
    "seed=3",
    "searcher.generations=2",
    "searcher.mutations=2",
    "searcher.crossovers=2",
    "searcher.population=5",
)
# A retraining of what a run has found; of the same length as a run's training.
RETRAINED = "vit_resnas_with_glit"
RETRAINING = (
    "callbacks.checkpoint.every_n_steps=1",
    "callbacks.save.use_test_split=false",
    "model.drop_path_rate=0.2",
    "train_on=train",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=1",
    "trainer.devices=1",
    "trainer.max_epochs=2",
    f"+trainer.limit_train_batches={NUM_STEPS // 2}",
)
HEADS = "{name:heads,free:*.global_heads,hold:{*.local_expansion:1},constraint:{macs:null}}"
DETAILS = "{name:details,free:[*.kernel_size,*.*_expansion,*.mlp_ratio]}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A small space, and how a run trains and searches it.

    Attributes:
        base: The space that it starts from.
        changes: What is smaller or other there, as `build_space` takes it.
        settings: Overrides of the command.
        phase: The folder of the first phase inside the run folder, if there are phases.
    """

    base: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    phase: str = ""

    def space(self) -> SearchSpace:
        return build_space(self.base, **self.changes)

    def overrides(self) -> tuple[str, ...]:
        """What stands behind `python -m vitsearch.train`, `run_dir` aside."""
        chosen = [
            f"space/{name}={value}"
            if isinstance(value, str)
            else f"space.{name}={json.dumps(value, separators=(',', ':'))}"
            for name, value in self.changes.items()
        ]
        return (f"+space={self.base}", *chosen, *COMMON, *self.settings)


RECIPES = {
    "glit": Recipe(
        base="glit",
        changes={"num_blocks": 2, "embed_dims": [12], "mixer.local_expansions": [1, 2]},
        settings=("callbacks=with_ema", "model.drop_path_rate=0.2"),
    ),
    "vitas": Recipe(
        base="vitas",
        changes={
            "num_blocks": 2,
            "min_depth": 1,
            "embed_dims": [8, 16],
            "patch_sizes": [8, 16],
            "mixer.qkv_widths": [12, 24],
            "mlp.hidden": [8, 16],
        },
        settings=("sampler=identity", "model.sharing=bilateral"),
    ),
    "vit_resnas": Recipe(
        base="vit_resnas",
        changes={
            "num_stages": 2,
            "num_blocks": [1, 2],
            "skippable": [[], [1]],
            "embed_dims": [[8, 12], [16]],
            "stem.mid_chans": 4,
            "mixer.num_heads": [[1, 2], [2, 3]],
            "mixer.head_dim": [4, 8],
            "mlp.hidden": [[8, 16], [16, 32]],
        },
        settings=(
            "callbacks=rewiring",
            "callbacks.rewiring.epochs=1",
            "callbacks.search.halving=true",
        ),
    ),
    "autoformer": Recipe(
        base="autoformer",
        changes={
            "num_blocks": 2,
            "depths": [1, 2],
            "embed_dims": [8, 16],
            "mixer.num_heads": [1, 2],
            "mixer.head_dim": 4,
            "mixer.max_distance": 3,
        },
        settings=("sampler=balanced", "model.mixup=0.3", "model.label_smoothing=0.1"),
    ),
    "vit_resnas_with_glit": Recipe(
        base="vit_resnas",
        changes={
            "num_stages": 2,
            "num_blocks": [1, 2],
            "skippable": [[], [1]],
            "embed_dims": [[6, 12], [12]],
            "stem.mid_chans": 4,
            "mixer": "glit_demo",
            "mixer.kernel_sizes": [3, 5],
            "mixer.local_expansions": [1, 2],
            "mlp.hidden": [[8, 16], [16, 32]],
        },
        settings=("objective=in_place_distillation", "callbacks.sampling.whole_batch=true"),
    ),
    "glit_in_phases": Recipe(
        base="glit",
        changes={"num_blocks": 2, "embed_dims": [12], "mixer.local_expansions": [1, 2]},
        settings=(
            "sampler=uniform",
            "callbacks.sampling.num_architectures=1",
            "callbacks.sampling.same_on_all_ranks=true",
            "constraint.macs=[null,300K]",
            f"searcher.phases=[{HEADS},{DETAILS}]",
        ),
        phase="phases/heads",
    ),
}
SPACES = [name for name, recipe in RECIPES.items() if not recipe.phase]  # each of them once
