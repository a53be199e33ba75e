from __future__ import annotations

import pytest
import torch
from torch import nn

from vitsearch.elastic import Context, ElasticBatchNorm, ElasticLayerNorm, NormEstimator


def plain_batch_norm(layer, channels):
    plain = nn.BatchNorm1d(channels, eps=layer.eps, momentum=layer.momentum, dtype=torch.float64)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(plain, name).copy_(getattr(layer, name)[:channels])
    return plain


@pytest.mark.parametrize("eps", [1e-6, 1e-3])
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_layer_norm_equals_plain(channels, eps, randomised):
    layer = randomised(ElasticLayerNorm(8, eps))
    plain = nn.LayerNorm(channels, eps=eps, dtype=torch.float64)
    with torch.no_grad():
        plain.weight.copy_(layer.weight[:channels])
        plain.bias.copy_(layer.bias[:channels])
    x = torch.randn(3, 4, channels, dtype=torch.float64)
    torch.testing.assert_close(layer(x, channels), plain(x), rtol=0, atol=1e-12)


def test_default_eps():
    assert ElasticLayerNorm(4).eps == 1e-6
    assert ElasticBatchNorm(4).eps == 1e-5
    assert ElasticBatchNorm(4).momentum == 0.1


@pytest.mark.parametrize("shape", [(6,), (6, 5)], ids=["(B, C)", "(B, C, N)"])
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_batch_norm_equals_plain_in_training(channels, shape, randomised):
    layer = randomised(ElasticBatchNorm(8)).train()
    plain = plain_batch_norm(layer, channels).train()
    untouched = layer.running_mean[channels:].clone(), layer.running_var[channels:].clone()
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(shape[0], channels, *shape[1:], dtype=torch.float64) * 3 + 2
        torch.testing.assert_close(layer(x, channels), plain(x), rtol=0, atol=1e-12)
    for name in ("running_mean", "running_var"):
        own = getattr(layer, name)[:channels]
        torch.testing.assert_close(own, getattr(plain, name), rtol=0, atol=1e-12)
    assert torch.equal(layer.running_mean[channels:], untouched[0])
    assert torch.equal(layer.running_var[channels:], untouched[1])


@pytest.mark.parametrize("channels", [1, 5, 8])
def test_batch_norm_equals_plain_in_eval(channels, randomised):
    layer = randomised(ElasticBatchNorm(8)).eval()
    plain = plain_batch_norm(layer, channels).eval()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    x = torch.randn(6, channels, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x, channels), plain(x), rtol=0, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_batch_norm_gradients_equal_plain(randomised):
    layer = randomised(ElasticBatchNorm(8)).train()
    plain = plain_batch_norm(layer, 5).train()
    x = torch.randn(6, 5, 4, dtype=torch.float64)
    own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(own, 5).pow(3).sum().backward()
    plain(other).pow(3).sum().backward()
    torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.weight.grad[:5], plain.weight.grad, rtol=0, atol=1e-12)
    assert not layer.weight.grad[5:].any()
    assert not layer.bias.grad[5:].any()


def test_given_statistics_replace_the_layers_own_in_eval(randomised):
    layer = randomised(ElasticBatchNorm(8)).eval()
    layer.path = "here"
    mean, var = torch.randn(5).double(), torch.rand(5).double() + 0.5
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    plain = plain_batch_norm(layer, 5).eval()
    with torch.no_grad():
        plain.running_mean.copy_(mean)
        plain.running_var.copy_(var)
    found = layer(x, 5, Context({"here": (mean, var)}))
    torch.testing.assert_close(found, plain(x), rtol=0, atol=1e-12)
    # Statistics of another layer do not matter, nor do any in training.
    assert torch.equal(layer(x, 5, Context({"there": (mean, var)})), layer(x, 5))
    layer.train()
    fresh = plain_batch_norm(layer, 5).train()
    found = layer(x, 5, Context({"here": (mean, var)}))
    torch.testing.assert_close(found, fresh(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_estimating_normalises_by_the_batch_and_leaves_the_layer_alone(training, randomised):
    layer = randomised(ElasticBatchNorm(8)).train(training)
    layer.path = "here"
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    plain = plain_batch_norm(layer, 5).train()
    estimator = NormEstimator()
    x = torch.randn(6, 5, 3, dtype=torch.float64) * 2 + 1
    found = layer(x, 5, Context(estimator=estimator))
    torch.testing.assert_close(found, plain(x), rtol=0, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    mean, var = estimator.statistics()["here"]
    torch.testing.assert_close(mean, x.mean((0, 2)), rtol=0, atol=1e-12)
    torch.testing.assert_close(var, x.var((0, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["estimator", "statistics"])
def test_half_precision_layer_takes_statistics(way):
    layer = ElasticBatchNorm(8).to(torch.bfloat16).eval()
    layer.path = "here"
    x = torch.randn(6, 5, 3, dtype=torch.bfloat16)
    context = Context(estimator=NormEstimator())
    if way == "statistics":
        context = Context({"here": (torch.zeros(5), torch.ones(5))})
    output = layer(x, 5, context)
    assert output.dtype == torch.bfloat16
    assert output.isfinite().all()
