"""The trainings of an audit: which are missing, and how a process makes its share of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from vitsearch.lightning.audit.log import Key, TrainingLog
from vitsearch.lightning.audit.plan import AuditPlan
from vitsearch.lightning.retraining.train_alone import Recipe, train_alone
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Score
from vitsearch.runs import signals
from vitsearch.supernet import VisionTransformer, load_model, save_model


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTrainings:
    """Trains the architectures of a plan alone, and remembers what is done.

    Attributes:
        plan: Which architectures, with which seeds.
        scorer: Of the supernet; it scores the trained networks by the same rule.
        recipe: How to train.
        datamodule: The run's data, set up.
        log: Finished trainings.
        networks_folder: Where trained networks are kept; `None` keeps none.
    """

    plan: AuditPlan
    scorer: Scorer
    recipe: Recipe
    datamodule: pl.LightningDataModule
    log: TrainingLog
    networks_folder: Path | None

    def missing(self) -> list[Key]:
        """What is not trained yet; or its network, where that is wanted, is not there."""
        done = self.log.read()
        return [
            key
            for key in self.plan.keys
            if key not in done
            or (self.networks_folder is not None and not self._folder(key).is_dir())
        ]

    def run(self, share: Sequence[Key], say: Callable[..., None]) -> None:
        """Train one after another; each is written down when it is finished."""
        started = time.monotonic()
        for number, (digest, seed) in enumerate(share, start=1):
            signals.end_if_wished()
            begun = time.monotonic()
            network, score = self._train(digest, seed)
            seconds = time.monotonic() - begun
            self.log.add(self._record(network, seed, score, seconds))
            left = (time.monotonic() - started) / number * (len(share) - number)
            say(
                f"trained {number}/{len(share)}: {digest}, seed {seed}, "
                f"{self.scorer.task.figure.text(score.value)}, {seconds:.0f} s, {left:.0f} s left"
            )

    def test(self, batches: Iterable[Any]) -> dict[Key, float]:
        """The score of every trained network on the test split."""
        on_test = self.scorer.on(batches)
        return {
            key: on_test.score_network(load_model(self._folder(key))).value
            for key in self.plan.keys
        }

    def _train(self, digest: str, seed: int) -> tuple[VisionTransformer, Score]:
        device, net = self.scorer.device, self.scorer.net
        network = train_alone(
            net.space,
            self.plan.by_digest[digest],
            self.recipe,
            self.datamodule,
            num_classes=net.num_classes,
            seed=seed,
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
        )
        score = self.scorer.score_network(network)
        if self.networks_folder is not None:
            save_model(network.cpu(), self._folder((digest, seed)))
        return network, score

    def _record(
        self, network: VisionTransformer, seed: int, score: Score, seconds: float
    ) -> dict[str, Any]:
        cost = network.cost()
        return {
            "digest": network.architecture.digest,
            "seed": seed,
            **score.record(),
            "macs": cost.macs,
            "params": cost.params,
            "epochs": self.recipe.settings.get("epochs"),
            "recipe": self.recipe.digest,
            "seconds": round(seconds, 1),
            "architecture": network.architecture.to_dict(),
        }

    def _folder(self, key: Key) -> Path:
        assert self.networks_folder is not None
        return self.networks_folder / f"{key[0]}-{key[1]}"
