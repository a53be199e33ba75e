from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.lightning import two_processes
from tests.lightning.two_processes import KINDS, SAMPLER, STEPS

SCRIPT = Path(two_processes.__file__)


def single_process_gradients(kind: str) -> list[dict[str, torch.Tensor]]:
    """The mean over both ranks' batches and architectures, step by step, without any Trainer."""
    module = two_processes.make_module(kind).train()
    data = two_processes.make_data(kind)
    data.setup("fit")
    order = [rank_order(data, rank) for rank in range(2)]
    optimizer = torch.optim.SGD(module.net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    found = []
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        for rank in range(2):
            images, labels = order[rank][step]
            module.step_architectures = SAMPLER.sample(
                module.space, num_architectures=KINDS[kind][0], step=step, rank=rank
            )
            if kind == "labels":
                logits = module(images.double(), module.step_architectures)
                loss = module.compute_loss(logits, labels)
            else:
                loss, _ = module.objective(module.run_step(images.double(), labels))
            (loss / 2).backward()
        found.append(
            {n: p.grad.clone() for n, p in module.net.named_parameters() if p.grad is not None}
        )
        optimizer.step()
    return found


def rank_order(data: object, rank: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The first batches that a rank of two reads in epoch 0."""
    from vitsearch.data.samplers import EpochSampler

    loader = data.train_dataloader()  # type: ignore[attr-defined]
    sampler = loader.sampler
    assert isinstance(sampler, EpochSampler)
    sampler.num_replicas, sampler.rank = 2, rank
    sampler.num_samples = len(sampler.dataset) // 2
    sampler.total_size = sampler.num_samples * 2
    batches = []
    for batch in loader:
        batches.append(batch)
        if len(batches) == STEPS:
            break
    return batches


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_gradients_of_two_processes_are_the_single_process_mean(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), kind]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    expected = single_process_gradients(kind)
    for step in range(STEPS):
        ranks = [torch.load(tmp_path / f"{rank}_{step}.pt") for rank in range(2)]
        assert ranks[0].keys() == ranks[1].keys() == expected[step].keys()
        for name, gradient in expected[step].items():
            assert torch.equal(ranks[0][name], ranks[1][name]), (step, name)
            assert (ranks[0][name] - gradient).abs().max() < 1e-10, (step, name)
    used = [set(gradients) for gradients in expected]
    everything = {name for name, _ in two_processes.make_module().net.named_parameters()}
    if kind == "labels":
        assert any(names < everything for names in used)  # some weights rest in some step
