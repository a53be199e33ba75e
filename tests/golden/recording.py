"""What is compared: the same seeded computations, once for the fixtures and in every test since.

Only public names of vitsearch stand here, so that modules inside may move.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

import vitsearch
from tests.commands.running import Outcome, read_history, run_here
from tests.golden.recipes import NUM_CLASSES, RECIPES, SEARCH_AGAIN
from vitsearch import SearchSpace, SuperTransformer, VisionTransformer
from vitsearch.costs import reachable_range
from vitsearch.data import FashionMini
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.samplers import (
    BalancedSampler,
    BucketSampler,
    IdentitySampler,
    Sampler,
    SandwichSampler,
    UniformSampler,
)
from vitsearch.searchers import EvolutionSearcher, Nsga2Searcher, RandomSearcher

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures" / "golden"
TRAINING_STEPS = 20
OTHER_MACHINE = 1e-5  # relative: it rounds differently


def recorded(name: str) -> Any:
    """One of the JSON files."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def this_machine() -> dict[str, str]:
    """What the last bit of a result depends on."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": _cpu_name(),
    }


def is_same_machine() -> bool:
    """Whether bits may be compared with the fixtures'."""
    return bool(this_machine() == recorded("machine"))


def unpack(name: str, state: str, folder: Path) -> Path:
    """The run folder of a recipe as it was left: `finished`, `in_training` or `in_search`."""
    with tarfile.open(GOLDEN / "runs" / f"{name}_{state}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
        return folder / archive.getnames()[0].partition("/")[0]


def hash_of(state: Mapping[str, Tensor]) -> str:
    """Of names, shapes, types and every bit."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def shapes_of(network: torch.nn.Module) -> dict[str, list[int]]:
    """The state by name."""
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def fresh_supernet(name: str) -> SuperTransformer:
    """A recipe's, with seeded weights."""
    torch.manual_seed(0)
    return SuperTransformer(RECIPES[name].space(), NUM_CLASSES)


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean absolute value of each tensor, for machines that round differently."""
    return {name: float(tensor.double().abs().mean()) for name, tensor in state.items()}


def every_space() -> dict[str, str]:
    """A hash of the names and shapes in the supernet of each space that has a name."""
    found = {}
    for name in vitsearch.list_spaces():
        with torch.device("meta"):
            shapes = shapes_of(SuperTransformer(vitsearch.build_space(name), NUM_CLASSES))
        found[name] = hashlib.sha256(json.dumps(shapes).encode()).hexdigest()
    return found


def logits_of(network: VisionTransformer) -> list[list[float]]:
    """What a network says of four seeded images."""
    plan = network.plan
    generator = torch.Generator().manual_seed(1)
    shape = (4, plan.in_chans, plan.image_size, plan.image_size)
    with torch.no_grad():
        logits = network.eval()(torch.randn(shape, generator=generator))
    return [[float(value) for value in row] for row in logits]


class _Losses(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.seen.append(float(outputs["loss"]).hex())


def train_and_search(name: str, folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Losses of a seeded training in Python, and the history of the search behind it."""
    pl.seed_everything(0, verbose=False)
    space = RECIPES[name].space()
    data = FashionMini(
        batch_size=16,
        search_per_class=5,
        statistics_images=40,
        image_size=space.image_size,
        in_chans=space.in_chans,
    )
    losses = _Losses()
    search = EvolutionarySearch(
        searcher={"population": 5, "generations": 3, "mutations": 2, "crossovers": 2},
        use_test_split=False,
        report=False,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        limit_train_batches=TRAINING_STEPS // 2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=str(folder),
        callbacks=[MultiArchitectureSampling(4, SandwichSampler()), losses, search],
    )
    trainer.fit(SearchableClassifier(space, NUM_CLASSES), datamodule=data)
    return losses.seen, read_history(folder)


def search_again(run: Path, folder: Path) -> tuple[Outcome, list[dict[str, Any]]]:
    """Search a finished run for another budget; what the command said, and its history."""
    low, high = reachable_range(vitsearch.load_supernet(run).space, "macs", NUM_CLASSES)
    window = f"constraint.macs=[{low},{(low + high) // 2}]"
    outcome = run_here(
        "search", f"checkpoint={run}", window, *SEARCH_AGAIN, "run_dir=again", folder=folder
    )
    return outcome.succeeded(), read_history(folder / "again")


def draws(name: str) -> dict[str, list[str]]:
    """What samplers and searchers choose, by digest; pure Python, so the same on every machine."""
    space = RECIPES[name].space()
    samplers: list[Sampler] = [
        UniformSampler(seed=2),
        SandwichSampler(seed=2),
        BalancedSampler(seed=2),
        BucketSampler(seed=2),
    ]
    if name == "vitas":  # the one that has identities
        samplers.append(IdentitySampler(identity_probability=0.5, sampler=UniformSampler(seed=2)))
    found = {type(sampler).__name__: list(_sampled(sampler, space)) for sampler in samplers}
    few: dict[str, Any] = {"seed": 2, "population": 5, "num_classes": NUM_CLASSES}
    bred: dict[str, Any] = {"generations": 3, "mutations": 2, "crossovers": 2}
    for searcher in (
        RandomSearcher(space, **few),
        EvolutionSearcher(space, **few, **bred),
        Nsga2Searcher(space, **few, **bred),
    ):
        found[type(searcher).__name__] = list(_searched(searcher))
    return found


def _sampled(sampler: Sampler, space: SearchSpace) -> Iterator[str]:
    for step in range(3):
        for rank in range(2):
            drawn = sampler.sample(space, num_architectures=4, step=step, rank=rank)
            yield " ".join(architecture.digest for architecture in drawn)


def _searched(searcher: Any) -> Iterator[str]:
    """One line for each generation; a digest decides how good an architecture is."""
    while candidates := searcher.ask():
        digests = [candidate.architecture.digest for candidate in candidates]
        yield " ".join(digests)
        searcher.tell([random.Random(digest).random() for digest in digests])


def without_format(file: Path) -> bytes:
    """A file to the letter, but for its format number, which the recorded files are older than."""
    return file.read_bytes().replace(b'{\n  "format": 1,\n', b"{\n", 1)


def assert_same_history(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Every field of every candidate; elsewhere only what no score decides."""
    if is_same_machine():
        assert found == expected
        return
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        if one["generation"] == 0:
            assert [one[key] for key in ("digest", "macs")] == [other["digest"], other["macs"]]


def assert_close(found: float, expected: float, name: str) -> None:
    assert found == pytest.approx(expected, rel=OTHER_MACHINE), name


def assert_same_logits(found: list[list[float]], expected: list[list[float]]) -> None:
    tolerance = 1e-6 if is_same_machine() else OTHER_MACHINE
    torch.testing.assert_close(
        torch.tensor(found), torch.tensor(expected), rtol=tolerance, atol=tolerance
    )


def _cpu_name() -> str:
    """Its name, family and model where the system says them."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    lines = info.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    facts = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    wanted = ("model name", "cpu family", "model")
    return ", ".join(facts[name] for name in wanted if name in facts) or platform.processor()
