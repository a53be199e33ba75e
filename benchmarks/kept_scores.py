"""Scores of a run's architectures on its search split: each computed once, kept in a file.

Searchers, seeds and later starts of a benchmark share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from vitsearch import SuperTransformer
from vitsearch.commands import data_section
from vitsearch.commands.pieces import make_datamodule, make_fabric, make_scorer
from vitsearch.errors import CheckpointError
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.search.fingerprint import weights_digest
from vitsearch.runs.files import write_json
from vitsearch.spaces import Architecture
from vitsearch.supernet.storage.checkpoint import find_checkpoint, load_supernet

_AT_ONCE = 10  # scores between two writes


def open_run(run: str | Path) -> tuple[SuperTransformer, Scorer]:
    """The supernet of a run and what scores it, on the CPU."""
    checkpoint = find_checkpoint(str(run))
    net = load_supernet(checkpoint)
    trainer = OmegaConf.create({"accelerator": "cpu", "devices": 1})
    data = data_section.of_supernet(None, checkpoint, net.space)
    datamodule = make_datamodule(data, checkpoint, net)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return net, make_scorer(make_fabric(trainer), net, datamodule)


class KeptScores:
    """Correct answers by digest, of one supernet on one split.

    Attributes:
        num_computed: Scores that this process has computed.
    """

    def __init__(self, scorer: Scorer, file: Path, say: Callable[[str], None] = print) -> None:
        """Read what is there.

        Raises:
            CheckpointError: The file has scores of other weights or images.
        """
        self.num_computed = 0
        self._scorer, self._file, self._say = scorer, file, say
        self._of = {"weights": weights_digest(scorer.net), "images": scorer.num_images}
        self._correct: dict[str, int] = {}
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["of"] != self._of:
                raise CheckpointError(f"{file} holds scores of another supernet: delete it")
            self._correct = found["correct"]

    def __call__(self, architectures: Sequence[Architecture]) -> list[float]:
        """Accuracies in [0, 1], in order."""
        unknown = {a.digest: a for a in architectures if a.digest not in self._correct}
        for number, (digest, architecture) in enumerate(unknown.items(), start=1):
            self._correct[digest] = self._scorer.score(architecture).counts["correct"]
            self.num_computed += 1
            if number % _AT_ONCE == 0 or number == len(unknown):
                write_json(self._file, {"of": self._of, "correct": self._correct})
                self._say(f"{len(self._correct)} architectures scored")
        return [self._correct[a.digest] / self._scorer.num_images for a in architectures]
