"""Which channels a width gets: the first, the last, or those after the next smaller width's."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from vitsearch.elastic import Alignment, Axis, Context, ElasticBatchNorm, active_state
from vitsearch.elastic.axis import cut, paste

ALIGNMENTS = ("prefix", "suffix", "cyclic")


@pytest.fixture(params=ALIGNMENTS)
def alignment(request: pytest.FixtureRequest) -> Alignment:
    return request.param


def channels(axis: Axis, width: int, alignment: Alignment) -> list[int]:
    return cut(torch.arange(axis.size), 0, axis, width, alignment).tolist()


def loaded(case, layer, sizes, alignment):
    """A layer of exactly these sizes with the weights that they have under an alignment."""
    exact = case.exact(sizes)
    exact.load_state_dict(active_state(layer, sizes, alignment=alignment))
    return exact


@pytest.mark.parametrize("training", [False, True])
def test_a_layer_of_exactly_that_size_computes_the_same(case, alignment, training):
    layer = case.layer().train(training)
    for sizes in case.sizes:
        exact = loaded(case, layer, sizes, alignment).train(training)
        x = case.input(sizes)
        expected = layer(x, sizes, Context(alignment=alignment))
        # A layer of one size has nothing to align.
        for any_alignment in ALIGNMENTS:
            found = exact(x, sizes, Context(alignment=any_alignment))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_running_statistics_are_written_back(case, alignment):
    layer = case.layer().train()
    context = Context(alignment=alignment)
    for sizes in case.sizes:
        exact = loaded(case, layer, sizes, alignment).train()
        before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        for seed in (1, 2):
            x = case.input(sizes, seed)
            layer(x, sizes, context)
            exact(x, sizes)
        for name, tensor in active_state(layer, sizes, alignment=alignment).items():
            torch.testing.assert_close(tensor, exact.state_dict()[name], rtol=1e-12, atol=1e-12)
        assert all("running_" in n for n, t in layer.state_dict().items() if (t != before[n]).any())


def test_gradients_reach_the_channels_of_the_alignment(case, alignment):
    for sizes in case.sizes:
        layer = case.layer().eval()
        exact = loaded(case, layer, sizes, alignment).eval()
        own = dict(layer.named_parameters())
        x = case.input(sizes)
        layer(x, sizes, Context(alignment=alignment)).square().sum().backward()
        exact(x, sizes).square().sum().backward()
        gradients = {n: p.grad for n, p in exact.named_parameters() if p.grad is not None}
        assert gradients
        for name, tensor in active_state(layer, sizes, alignment=alignment).items():
            if name not in gradients:
                continue
            # Where each active number lies: cut the same way from a tensor of places.
            (share,) = torch.autograd.grad(
                (tensor * gradients[name]).sum(), own[name], retain_graph=True
            )
            torch.testing.assert_close(own[name].grad, share, rtol=1e-9, atol=1e-9)


def test_the_alignments_differ(case):
    layer = case.layer().eval()
    outputs = [
        [layer(case.input(sizes), sizes, Context(alignment=alignment)) for sizes in case.sizes]
        for alignment in ALIGNMENTS
    ]
    assert any(not torch.equal(a, b) for a, b in zip(outputs[0], outputs[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(outputs[0], outputs[2], strict=True))


@pytest.mark.parametrize("widths", [(8,), (3, 8), (2, 4, 6, 8), (1, 5, 6, 8)], ids=str)
def test_channels(widths):
    axis = Axis(widths)
    end = 0
    for width in widths:
        assert channels(axis, width, "prefix") == list(range(width))
        assert channels(axis, width, "suffix") == list(range(8 - width, 8))
        if width == 8:
            assert channels(axis, width, "cyclic") == list(range(8))
        else:
            assert channels(axis, width, "cyclic") == [i % 8 for i in range(end, end + width)]
        end += width


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("count", range(1, 9))
def test_cyclic_covers_evenly_spaced_widths_equally(count, step):
    axis = Axis([step * (i + 1) for i in range(count)])
    covered = Counter()
    for width in axis._starts:
        taken = channels(axis, width, "cyclic")
        assert len(set(taken)) == width
        covered.update(taken)
    assert len(covered) == axis.size
    # All equally often if that is possible, or else some once more.
    assert max(covered.values()) - min(covered.values()) == (count % 2 == 0)


def test_tenths_of_the_papers_widths_are_covered_alike():
    axis = Axis([144 * i for i in range(1, 11)])
    by_alignment = {
        alignment: Counter(c for w in axis._starts for c in channels(axis, w, alignment))
        for alignment in ALIGNMENTS
    }
    assert sorted(set(by_alignment["cyclic"].values())) == [5, 6]
    assert sorted(set(by_alignment["prefix"].values())) == list(range(1, 11))
    both = by_alignment["prefix"] + by_alignment["suffix"]
    assert set(both.values()) == {11}  # first and last together: all equally often


@pytest.mark.parametrize("width", [3, 7, 8])
def test_paste_is_the_inverse_of_cut(width, alignment):
    axis, tensor = Axis((3, 7, 8)), torch.arange(8.0)
    changed = cut(tensor, 0, axis, width, alignment).clone() + 10
    paste(tensor, axis, width, alignment, changed)
    assert torch.equal(cut(tensor, 0, axis, width, alignment), changed)
    assert int((tensor >= 10).sum()) == width


def test_running_statistics_around_the_end(randomised):
    layer = randomised(ElasticBatchNorm(Axis((3, 7, 8)))).train()
    plain = nn.BatchNorm1d(7, dtype=torch.float64)
    places = [3, 4, 5, 6, 7, 0, 1]
    before = layer.running_mean.clone()
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(plain, name).copy_(getattr(layer, name)[places])
    x = torch.randn(4, 7, 5, dtype=torch.float64)
    found = layer(x, 7, Context(alignment="cyclic"))
    torch.testing.assert_close(found, plain(x), rtol=0, atol=1e-12)
    for name in ("running_mean", "running_var"):
        own, expected = getattr(layer, name)[places], getattr(plain, name)
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-12)
    assert layer.running_mean[2] == before[2]
    # A repeated call, as checkpointing makes it, moves nothing.
    after = layer.running_mean.clone()
    layer(x, 7, Context(alignment="cyclic", recomputing=True))
    assert torch.equal(layer.running_mean, after)
    with torch.inference_mode():
        layer(x, 7, Context(alignment="cyclic"))
    assert not torch.equal(layer.running_mean[places], after[places])
