"""What networks cost where they run; nothing here looks at how long something took."""

from __future__ import annotations

import random

import pytest
import torch

from vitsearch import SuperTransformer, build_space
from vitsearch.errors import ConstraintError
from vitsearch.supernet.measuring import latency
from vitsearch.supernet.measuring.latency import latency_ms, make_run
from vitsearch.supernet.measuring.peak_memory import cpu_memory_mb

SPACE = build_space("glit", num_blocks=2)
CPU = torch.device("cpu")


def run_of(architecture, space=SPACE, **settings):
    defaults = {"num_classes": 10, "batch_size": 2, "device": CPU, "dtype": torch.float32}
    return make_run(space, architecture, **{**defaults, **settings})


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas", "autoformer"])
def test_what_runs_is_the_network_that_would_be_taken_out(name):
    space = build_space(name)
    architecture = space.sample(random.Random(0))
    net = SuperTransformer(space, 10)
    logits = run_of(architecture, space, batch_size=3)()
    extracted = net.extract(architecture)
    expected = extracted(torch.zeros(3, space.in_chans, space.image_size, space.image_size))
    assert logits.shape == expected.shape
    assert not logits.requires_grad


def test_runs_in_the_number_format_asked_for():
    logits = run_of(SPACE.smallest(), dtype=torch.bfloat16)()
    assert logits.dtype == torch.bfloat16


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    run_of(SPACE.largest())()
    assert torch.equal(torch.get_rng_state(), state)


def test_latency_is_the_median_after_warming_up(monkeypatch):
    clock = iter([0.0, 0.009, 1.0, 1.002, 2.0, 2.003])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock))
    runs = []
    found = latency_ms(lambda: runs.append(1), CPU, warmup=4, repeats=3)
    assert found == pytest.approx(3.0)
    assert len(runs) == 7


def test_peak_memory_on_a_cpu_grows_with_the_network_and_the_batch():
    space = build_space("glit", embed_dims=[192], num_blocks=3)
    settings = {"num_classes": 10, "dtype": "float32"}
    small = cpu_memory_mb(space, space.smallest(), batch_size=1, **settings)
    large = cpu_memory_mb(space, space.largest(), batch_size=1, **settings)
    batch = cpu_memory_mb(space, space.largest(), batch_size=64, **settings)
    again = cpu_memory_mb(space, space.smallest(), batch_size=1, **settings)
    weights = 4 * space.plan(space.largest()).cost(10).params / 1e6
    assert 0 < small < large < batch
    assert large > weights
    assert again == pytest.approx(small, abs=1)


def test_a_network_that_does_not_run_says_why():
    other = build_space("glit", num_blocks=3).smallest()
    settings = {"num_classes": 10, "batch_size": 1, "dtype": "float32"}
    with pytest.raises(ConstraintError, match=r"could not be measured: .*SpaceError: .*") as info:
        cpu_memory_mb(SPACE, other, **settings)
    assert other.digest in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_memory_counts_tensors_and_repeats_exactly():
    device = torch.device("cuda")

    def memory(batch_size):
        def make():
            return run_of(SPACE.largest(), device=device, batch_size=batch_size)

        return latency.gpu_memory_mb(make, device)

    weights = 4 * SPACE.plan(SPACE.largest()).cost(10).params / 1e6
    assert weights < memory(1) < memory(64)
    assert memory(64) == memory(64)
