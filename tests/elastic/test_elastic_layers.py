"""What every elastic layer promises, whichever it is."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from vitsearch.elastic import active_state


def snapshot(module):
    """Everything a module and its children hold besides tensors, and copies of the tensors."""
    held = {
        name: {k: v for k, v in vars(child).items() if not k.startswith("_")}
        for name, child in module.named_modules()
    }
    return copy.deepcopy(held), {k: v.clone() for k, v in module.state_dict().items()}


def same_snapshot(one, other):
    return one[0] == other[0] and all(torch.equal(one[1][k], other[1][k]) for k in other[1])


def test_no_call_leaves_a_trace(case):
    layer = case.layer().eval()
    before, attributes = snapshot(layer), {n: set(vars(m)) for n, m in layer.named_modules()}
    expected = [layer(case.input(sizes), sizes) for sizes in case.sizes]
    for sizes, output in zip(reversed(case.sizes), reversed(expected), strict=True):
        assert torch.equal(layer(case.input(sizes), sizes), output)
    assert same_snapshot(before, snapshot(layer))
    assert {n: set(vars(m)) for n, m in layer.named_modules()} == attributes


def test_training_changes_nothing_but_running_statistics(case):
    layer = case.layer().train()
    before = snapshot(layer)
    for sizes in case.sizes:
        layer(case.input(sizes), sizes)
    after = snapshot(layer)
    assert before[0] == after[0]
    for name in before[1]:
        if "running_" not in name:
            assert torch.equal(before[1][name], after[1][name])


@pytest.mark.parametrize("way", ["deepcopy", "state_dict", "pickle", "file"])
def test_copies_compute_the_same(case, way):
    layer = case.layer().eval()
    layer(case.input(case.sizes[0]), case.sizes[0])
    if way == "deepcopy":
        other = copy.deepcopy(layer)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(layer))
    else:
        other, state = case.make(case.sizes).double().eval(), layer.state_dict()
        if way == "file":
            buffer = io.BytesIO()
            torch.save(state, buffer)
            buffer.seek(0)
            state = torch.load(buffer, weights_only=True)
        other.load_state_dict(state)
    for sizes in case.sizes:
        x = case.input(sizes)
        assert torch.equal(other(x, sizes), layer(x, sizes))
    with torch.no_grad():  # and share nothing
        for tensor in other.state_dict().values():
            tensor.zero_()
    assert any(tensor.abs().sum() > 0 for tensor in layer.state_dict().values())


def test_only_active_weights_get_gradients(case):
    for sizes in case.sizes:
        layer = case.layer().train()
        own = dict(layer.named_parameters())
        # Where a weight is active: mark the active part through the same views.
        active = {}
        for name, tensor in active_state(layer, sizes).items():
            if name in own:
                (active[name],) = torch.autograd.grad(tensor.sum(), own[name], retain_graph=True)
        x = case.input(sizes).requires_grad_()
        output = layer(x, sizes)
        (output * torch.randn_like(output)).sum().backward()
        for name, parameter in own.items():
            mask = active.get(name)
            if mask is None:
                assert parameter.grad is None or not parameter.grad.any(), name
                continue
            assert parameter.grad is not None, name
            assert not parameter.grad[mask == 0].any(), name
            if not name.endswith("qkv.bias"):
                assert parameter.grad[mask == 1].any(), name
        assert x.grad.abs().sum() > 0


def test_active_weights_are_views_of_the_layers_own_or_cut_from_them(case):
    layer = case.layer()
    names = set(layer.state_dict())
    for sizes in case.sizes:
        state = active_state(layer, sizes)
        assert set(state) <= names
        for name, tensor in state.items():
            own = layer.state_dict()[name]
            assert tensor.numel() <= own.numel()
            assert torch.isin(tensor, own).all()


def test_largest_sizes_take_the_tensors_themselves(case):
    layer, sizes = case.layer(), case.sizes[-1]
    own = layer.state_dict(keep_vars=True)
    for name, tensor in active_state(layer, sizes).items():
        if tensor.shape == own[name].shape:
            assert tensor.data_ptr() == own[name].data_ptr(), name


def test_call_with_sizes_is_independent_of_the_other_weights(case):
    for sizes in case.sizes:
        layer = case.layer().eval()
        x = case.input(sizes)
        expected = layer(x, sizes)
        kept = {name: tensor.clone() for name, tensor in active_state(layer, sizes).items()}
        with torch.no_grad():
            for tensor in layer.state_dict().values():
                tensor.fill_(torch.nan)
            for name, tensor in active_state(layer, sizes).items():
                # Cut weights may be copies; write through the mask of what was cut.
                own = layer.state_dict()[name]
                if tensor.shape == own.shape:
                    own.copy_(kept[name])
                else:
                    restore(layer, sizes, name, kept[name])
        assert torch.equal(layer(x, sizes), expected)


def restore(layer, sizes, name, values):
    """Write the active part of one weight back into the layer."""
    own = layer.state_dict()[name]
    places = torch.arange(own.numel(), dtype=torch.float64).view(own.shape)
    backup = own.clone()
    own.copy_(places)
    where = active_state(layer, sizes)[name].detach().flatten().long()
    own.copy_(backup)
    own.view(-1)[where] = values.flatten()
