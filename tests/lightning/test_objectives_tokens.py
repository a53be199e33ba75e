"""Objectives where tokens become fewer: how many are kept, and who learns what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.lightning.objective_steps import dense_scores, make_module, run_step
from vitsearch.errors import ConfigError
from vitsearch.lightning.objectives.token_labelling import token_labels
from vitsearch.spaces import SearchSpace, build_space

PREDICT = {"kind": "predict", "keep": [0.5, 1], "slots": [0, 1]}


def space_with(tokens: dict[str, Any], **overrides: Any) -> SearchSpace:
    return build_space(
        "glit", mixer="attention", num_blocks=3, embed_dims=[24, 36], tokens=tokens, **overrides
    )


def kept(first: float, second: float) -> dict[str, Any]:
    return {"stages.0.keep.0": first, "stages.0.keep.1": second}


def test_keep_ratio_is_the_distance_from_the_shares_of_each_architecture() -> None:
    space = space_with(PREDICT)
    module = make_module({"keep_ratio": {"weight": 2.0}}, space=space)
    architectures = [space.restrict(kept(*pair)).largest() for pair in ((0.5, 0.5), (1, 0.5))]
    step = run_step(module, architectures)
    first, second = (heads.kept for heads in step.heads)
    assert [len(first), len(second)] == [2, 1]
    assert set(first[0].unique().tolist()) == {0.0, 1.0}
    assert (first[1] <= first[0]).all()  # who was dropped stays so
    loss, terms = module.objective(step)
    wanted = [(24 / 49, first[0]), (12 / 49, first[1])]
    one = torch.stack([(own.mean(1) - share).square().mean() for share, own in wanted]).mean()
    other = (second[0].mean(1) - 24 / 49).square().mean()
    torch.testing.assert_close(terms["keep_ratio"], (one + other).detach() / 2)
    loss.backward()
    for block in module.net.stages[0].blocks[:2]:
        assert all(p.grad is not None and p.grad.any() for p in block.predictor.last.parameters())


def test_labels_alone_teach_a_predictor_through_the_mask() -> None:
    space = space_with(PREDICT)
    module = make_module(None, space=space)
    step = run_step(module, [space.restrict(kept(0.5, 0.5)).largest()])
    module.objective(step)[0].backward()
    assert module.net.stages[0].blocks[0].predictor.first.weight.grad.any()


def test_an_architecture_that_keeps_all_has_nothing_to_learn() -> None:
    space = space_with(PREDICT)
    module = make_module({"keep_ratio": {}}, space=space)
    step = run_step(module, [space.restrict(kept(1, 1)).largest()])
    assert step.heads[0].kept == ()
    assert module.objective.terms[0].objective(step) == 0


def test_networks_without_predictors_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"keep_ratio: .* add space\.tokens\.kind=predict"):
        make_module({"keep_ratio": {}})


def labelled(tokens: dict[str, Any], values: dict[str, Any]) -> tuple[Any, Tensor, Tensor]:
    """A step with token labels: what was put out, its loss, and labels of all patches."""
    space = space_with(tokens, **{"head.patch_head": True})
    module = make_module({"token_labelling": {"scores": dense_scores}}, space=space)
    module.objective.terms[0].objective.dense = dense_scores
    step = run_step(module, [space.restrict(values).largest()])
    loss = module.objective(step)[0]
    return step, loss, token_labels(dense_scores(step.images), (7, 7))


def test_merged_tokens_learn_the_mean_of_their_patches_labels() -> None:
    tokens = {"kind": "merge", "merged": [0, 8]}
    step, loss, labels = labelled(tokens, {"stages.0.merged": 8})
    patches = step.heads[0].patches
    assert patches.shape == (len(step.images), 49, 10)
    total = 0.0
    for image in range(len(patches)):
        _, groups = patches[image].unique(dim=0, return_inverse=True)
        assert 25 <= len(groups.unique()) <= 49 - 3 * 8 + 1  # tokens that are left
        for group in groups.unique():
            own = groups == group
            said = F.log_softmax(patches[image, own][0], dim=0)
            total = total - own.sum() * (labels[image, own].mean(0) * said).sum()
    torch.testing.assert_close(loss, total / patches[..., 0].numel())


def test_dropped_patches_learn_no_labels() -> None:
    step, loss, labels = labelled(PREDICT, kept(0.5, 0.5))
    heads = step.heads[0]
    left = heads.kept[-1].bool()
    each = -(labels * heads.patches.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(loss, each[left].mean())
