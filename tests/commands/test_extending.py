"""What `docs/extend.md` shows, run: a part, space, sampler, searcher, objective and callback."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from tests.commands.running import (
    FEW_IMAGES,
    FEW_STEPS,
    REPOSITORY,
    TINY,
    Outcome,
    read_history,
    run_here,
)
from vitsearch.errors import SpaceError
from vitsearch.spaces.parts import MLPS

EXTEND = REPOSITORY / "examples" / "extend"
MODULES = ("confidence", "gated_mlp", "hill_climbing", "log_macs", "neighbours")


@pytest.fixture(scope="module")
def path_to_examples() -> Iterator[None]:
    """The examples as a package has them that is installed, entry point included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXTEND)
        yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def run(path_to_examples: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run with everything of one's own in it."""
    return run_here(
        "train",
        f"+space={EXTEND / 'two_stages.yaml'}",
        "sampler._target_=neighbours.Neighbours",
        "searcher=random",
        "searcher._target_=hill_climbing.HillClimbing",
        "~searcher.population",
        "+searcher.rounds=3",
        "+searcher.neighbours=3",
        "+objective.confidence.type=confidence.ConfidencePenalty",
        "+objective.confidence.weight=0.1",
        "+callbacks.macs._target_=log_macs.LogMacs",
        "constraint.macs=[2M,6M]",
        "trainer.devices=1",
        *FEW_STEPS,
        *FEW_IMAGES,
        folder=tmp_path_factory.mktemp("extended"),
    ).succeeded()


@pytest.mark.slow
def test_the_space_is_the_file_s(run: Outcome) -> None:
    network = vitsearch.load_model(run.run / "best")
    assert network.space.name == "two_stages"
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.slow
def test_the_searcher_climbs_inside_the_budget(run: Outcome) -> None:
    history = read_history(run.run)
    assert [record["generation"] for record in history] == [0, 1, 1, 1, 2, 2, 2]
    assert all(2e6 <= record["macs"] <= 6e6 for record in history)
    for record in history[1:]:
        before = {
            r["digest"]: r["correct"] for r in history if r["generation"] < record["generation"]
        }
        (parent,) = record["parents"]
        assert before[parent] == max(before.values())


@pytest.mark.slow
def test_objective_and_callback_are_logged(run: Outcome) -> None:
    with open(run.run / "metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    parts = float(row["train/cross_entropy"]) + 0.1 * float(row["train/confidence"])
    assert float(row["train/loss"]) == pytest.approx(parts, rel=1e-5)
    assert 1.5e6 < float(row["train/macs"]) < 9.2e6


def test_a_step_trains_neighbours(path_to_examples: None) -> None:
    from neighbours import Neighbours

    space = vitsearch.build_space("glit")
    drawn = Neighbours(prob=0.1).sample(space, num_architectures=4, step=3, rank=1)
    assert drawn == Neighbours(prob=0.1).sample(space, num_architectures=4, step=3, rank=1)
    first, *others = drawn
    shared = [sum(first.get(name) == value for name, value in a.items()) / len(a) for a in others]
    assert min(shared) > 0.5
    assert len(set(drawn)) > 1


@pytest.fixture
def offered_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part as a package offers it: by entry point, not imported yet."""
    offer(tmp_path, "gated = gated_mlp")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXTEND)


def offer(site: Path, line: str) -> None:
    """Write what an installed package leaves of its entry points."""
    folder = site / "extended-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Name: extended\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[vitsearch.parts]\n{line}\n")


def test_the_part_is_as_exact_as_ours(offered_part: None) -> None:
    space = vitsearch.build_space(str(EXTEND / "gated_glit.yaml"))
    torch.manual_seed(0)
    net = vitsearch.SuperTransformer(space, 5).double().eval()
    images = torch.randn(1, 1, 28, 28, dtype=torch.float64)
    rng = random.Random(0)
    for architecture in [space.smallest(), space.largest(), *(space.sample(rng) for _ in "abcd")]:
        network = net.extract(architecture)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = network(images)
        assert (logits - net(images, architecture)).abs().max() < 1e-12
        assert counter.get_total_flops() == 2 * network.cost().macs
        assert sum(p.numel() for p in network.parameters()) == network.cost().params


def test_a_part_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "folded = nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpaceError, match=r"part folded \(nowhere_to_be_found\) cannot be loaded"):
        MLPS.build({"kind": "folded"}, None)  # type: ignore[arg-type]


TWO_OPTIMIZERS = """
import torch
from vitsearch.lightning import SearchableClassifier

class Automatic(SearchableClassifier):
    def configure_optimizers(self):
        head = list(self.net.head.parameters())
        others = [p for n, p in self.net.named_parameters() if not n.startswith("head.")]
        return [torch.optim.AdamW(others, 1e-3), torch.optim.SGD(head, 0.1)]

class Manual(Automatic):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
"""


@pytest.mark.parametrize(
    ("name", "clips", "words"),
    [
        ("Automatic", False, "multiple optimizers is only supported with manual optimization"),
        ("Manual", True, "gradient clipping is not supported for manual optimization"),
        ("Manual", False, None),
    ],
)
def test_what_lightning_refuses_is_one_line(
    name: str, clips: bool, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two_optimizers.py").write_text(TWO_OPTIMIZERS)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = run_here(
        "train",
        "+space=glit",
        "space.num_blocks=1",
        *TINY,
        f"model._target_=two_optimizers.{name}",
        f"trainer.gradient_clip_val={1.0 if clips else 'null'}",
        folder=tmp_path / "run",
    )
    sys.modules.pop("two_optimizers", None)
    if words is None:
        outcome.succeeded()
        return
    assert outcome.code == 2
    assert outcome.err.startswith("vitsearch: Lightning refuses it: ")
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
