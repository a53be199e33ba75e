"""A search that is ready to run: what it is given, once for all that carries it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.searchers import Searcher
from vitsearch.supernet.storage.model_folder import checked_class_names
from vitsearch.supernet.timm.preprocessing import checked_preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchJob:
    """A search of a trained supernet.

    Attributes:
        scorer: Scores architectures of the supernet.
        searcher: Proposes them.
        folder: The run folder.
        constraint: The budget, for the record.
        class_names: Written beside the network.
        preprocessing: How images are prepared, written beside the network; see
            `vitsearch.data.preprocessing_of`.
        halving: Whether the worse half of a generation is dropped after a part of the images.
        measurements: Measures costs for the searcher, if it asks for any.

    Raises:
        ConfigError: Names or preprocessing do not fit the network.
    """

    scorer: Scorer
    searcher: Searcher
    folder: Path
    constraint: Constraint
    class_names: Sequence[str] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    halving: bool = False
    measurements: Measurements | None = None

    def __post_init__(self) -> None:
        if self.class_names is not None:
            checked_class_names(self.class_names, self.scorer.net.num_classes)
        checked_preprocessing(self.preprocessing, self.scorer.net.space.in_chans)
