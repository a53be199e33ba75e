"""A step of several architectures has the gradient of its parts, whatever the objective."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.lightning.objective_steps import (
    Constant,
    dense_scores,
    gradients,
    make_module,
    one_share,
    run_step,
    small_space,
)
from vitsearch.samplers import SandwichSampler, UniformSampler

TEACHER = {"teacher": Constant()}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "labels": {"cross_entropy": {}},
    "labels of the largest": {"cross_entropy": {"largest_only": True}},
    "in place": {"in_place_distillation": {"temperature": 2.0}},
    "soft": {"teacher_distillation": {"kind": "soft", **TEACHER}},
    "hard": {"teacher_distillation": {"kind": "hard", **TEACHER}},
    "patches": {"patch_token_mixup": {}},
    "mean of patches": {"patch_token_mixup": {"mean_of_patches": True}},
    "tokens": {"token_labelling": {"scores": dense_scores, "top_k": 3}},
    "all": {
        "cross_entropy": {"weight": 0.5},
        "in_place_distillation": {"weight": 0.3},
        "teacher_distillation": {"weight": 0.5, **TEACHER},
        "patch_token_mixup": {"weight": 2},
        "token_labelling": {"weight": 0.7, "scores": dense_scores},
    },
}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Weights that only those use who learn nothing may have a gradient of zeros, or none."""
    assert any(gradient.any() for gradient in found.values())
    assert expected.keys() <= found.keys()
    for name, gradient in found.items():
        other = expected.get(name, torch.zeros(()).expand_as(gradient))
        torch.testing.assert_close(gradient, other.to(gradient), rtol=1e-9, atol=1e-10, msg=name)


def check_sum(objective: dict[str, Any], sampler: Any, num: int, **settings: Any) -> None:
    module = make_module(objective, cutmix=1.0, label_smoothing=0.1, **settings)
    architectures = sampler.sample(module.space, num_architectures=num, step=0)
    largest_only = objective.get("cross_entropy", {}).get("largest_only", False)
    step = run_step(module, architectures)
    together, terms = module.objective(step)
    found = gradients(module, together)

    weighted = []
    for index, architecture in enumerate(architectures):
        if largest_only and architecture != module.net.largest:
            continue
        alone = one_share(module, step, index)
        parts = [
            term.weight * module.objective.value(term, alone) for term in module.objective.terms
        ]
        weighted.append(sum(parts) * step.part([index]))  # type: ignore[arg-type]
    expected = gradients(module, *weighted)
    assert_same(found, expected)
    torch.testing.assert_close(together, torch.stack(weighted).sum())
    sums = sum(term.weight * terms[term.name] for term in module.objective.terms)
    torch.testing.assert_close(together.detach(), sums)


@pytest.mark.parametrize("sharing", ["prefix", "bilateral", "cyclic"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_of_a_sandwich(name: str, sharing: str) -> None:
    check_sum(OBJECTIVES[name], SandwichSampler(seed=2), 4, sharing=sharing)


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n != "labels of the largest"])
def test_of_uniform_draws(name: str, num: int) -> None:
    check_sum(OBJECTIVES[name], UniformSampler(seed=1), num)


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n != "hard"])
def test_of_stages_with_odd_grids(name: str) -> None:
    check_sum(OBJECTIVES[name], SandwichSampler(), 4, space=small_space("vit_resnas"))


@pytest.mark.parametrize("sharing", ["prefix", "bilateral"])
def test_with_other_heads(sharing: str) -> None:
    space = small_space(**{"head.patch_head": True})
    check_sum(OBJECTIVES["all"], SandwichSampler(), 4, space=space, sharing=sharing)
    space = small_space(**{"head.distillation": True})
    check_sum(OBJECTIVES["soft"], SandwichSampler(), 4, space=space, sharing=sharing)


def test_the_largest_learns_nothing_from_its_students() -> None:
    module = make_module({"in_place_distillation": {}}, drop_path_rate=0.0)
    largest, smallest = module.space.largest(), module.space.smallest()
    step = run_step(module, [largest, smallest])
    found = gradients(module, module.objective(step)[0])
    alone = one_share(module, step, 1)
    students = gradients(module, module.objective(alone)[0] / 2)
    assert_same(found, students)


def test_the_teacher_s_run_leaves_gradients_alone_under_autocast() -> None:
    """Autocast keeps copies of weights; those of a run without gradient must not be used again."""
    module = make_module({"cross_entropy": {}}).float()
    taught = make_module({"cross_entropy": {}, "in_place_distillation": {"weight": 1e-9}}).float()
    found = []
    for each in (module, taught):
        architectures = SandwichSampler().sample(each.space, num_architectures=4, step=0)
        each.step_architectures = architectures
        images = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = each.objective(each.run_step(images, torch.arange(8)))
        found.append(gradients(each, loss))
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-2, atol=1e-4)


def test_whole_batches_need_no_second_run_of_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where architectures see the same images, the largest has answered already."""
    module = make_module(
        {"in_place_distillation": {}}, space=small_space(**{"head.patch_head": True})
    )
    largest, smallest = module.space.largest(), module.space.smallest()
    step = run_step(module, [largest, smallest])
    images = step.images
    whole = range(len(images))
    logits = torch.cat([module.net(images, a) for a in (largest, smallest)])
    both = replace(step, shares=(whole, whole), logits=logits)
    torch.testing.assert_close(both.by_row(images), torch.cat([images, images]))
    monkeypatch.setattr(module.net, "forward", None)
    loss, _ = module.objective(both)
    teacher, student = logits.chunk(2)
    expected = torch.nn.functional.kl_div(
        student.log_softmax(1), teacher.softmax(1), reduction="batchmean"
    )
    torch.testing.assert_close(loss, expected / 2)
