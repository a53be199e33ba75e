"""Each objective against its formula, written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.lightning.objective_steps import (
    Constant,
    dense_scores,
    make_batch,
    make_module,
    run_step,
    small_space,
)
from vitsearch.lightning import SearchableClassifier
from vitsearch.lightning.objectives import Objective, StepOutputs
from vitsearch.lightning.objectives.token_labelling import token_labels
from vitsearch.samplers import SandwichSampler
from vitsearch.spaces import Architecture
from vitsearch.supernet import VisionTransformer

PLAIN = {"head.patch_head": True}


def sandwich(module: SearchableClassifier, num: int = 4) -> list[Architecture]:
    return SandwichSampler(seed=2).sample(module.space, num_architectures=num, step=0)


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(N,): KL(teacher || logits), times the temperature squared."""
    p = (teacher / temperature).softmax(1)
    q = (logits / temperature).softmax(1)
    return (p * (p / q).log()).sum(1) * temperature**2


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2}, {"cutmix": 1.0}])
def test_cross_entropy_is_the_module_s_loss_of_the_logits(settings: dict[str, Any]) -> None:
    module = make_module(None, **settings)
    step = run_step(module, sandwich(module))
    assert step.heads == ()  # no more than the logits is asked of the network
    loss, terms = module.objective(step)
    logits = module(step.images, module.step_architectures)
    assert torch.equal(loss, module.compute_loss(logits, step.targets))
    assert list(terms) == ["cross_entropy"]
    assert torch.equal(terms["cross_entropy"], loss)
    if not settings:
        close(loss, -logits.log_softmax(1)[range(8), step.targets].mean())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("token", [False, True])
def test_in_place_distillation(token: bool, temperature: float) -> None:
    """The largest learns labels, the others what it says of their images; shares count alike."""
    space = small_space(**{"head.distillation": token})
    space = space.restrict({"*.global_heads": 3})  # without BatchNorm, one run says what many say
    module = make_module(
        {
            "cross_entropy": {"largest_only": True},
            "in_place_distillation": {"weight": 0.4, "temperature": temperature},
        },
        space=space,
    )
    architectures = sandwich(module)
    step = run_step(module, architectures)
    loss, terms = module.objective(step)
    with torch.no_grad():
        largest = module.net(step.images, space.largest())
        said = torch.cat(
            [module.net(x, a) for x, a in zip(step.images.chunk(4), architectures, strict=True)]
        )
    labels = F.cross_entropy(said[:2], step.targets[:2]) / 4
    students = divergence(said, largest, temperature)[2:].sum() / 8
    close(terms["cross_entropy"], labels)
    close(terms["in_place_distillation"], students)
    close(loss.detach(), labels + 0.4 * students)


def test_in_place_distillation_without_the_largest_in_the_step() -> None:
    space = small_space(**{"head.distillation": False}).restrict({"*.global_heads": 3})
    module = make_module({"in_place_distillation": {}}, space=space)
    smallest = space.smallest()
    step = run_step(module, [smallest, smallest])
    teacher = module.net(step.images, space.largest()).detach()
    expected = divergence(module.net(step.images, smallest), teacher, 1.0).mean()
    close(module.objective(step)[0], expected)


def test_in_place_distillation_of_the_largest_alone_is_nothing() -> None:
    module = make_module({"cross_entropy": {}, "in_place_distillation": {}})
    loss, terms = module.objective(run_step(module, [module.space.largest()]))
    assert terms["in_place_distillation"] == 0
    assert loss == terms["cross_entropy"]


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_teacher_distillation(kind: str, token: bool) -> None:
    """With a distillation token, DeiT: the class token learns labels, the other the teacher."""
    teacher = Constant()
    term = {"teacher": teacher, "kind": kind, "temperature": 2.0, "weight": 0.3}
    module = make_module(
        {"cross_entropy": {"weight": 0.7}, "teacher_distillation": term},
        space=small_space(**{"head.distillation": token}),
    )
    step = run_step(module, sandwich(module))
    loss, terms = module.objective(step)
    heads = module.net.forward_heads(step.images, module.step_architectures)
    logits = torch.cat([said.logits for said in heads])
    taught = torch.cat([said.distillation for said in heads]) if token else logits  # type: ignore[misc]
    answers = teacher(step.images).detach()
    expected = (
        divergence(taught, answers, 2.0).mean()
        if kind == "soft"
        else -taught.log_softmax(1)[range(8), answers.argmax(1)].mean()
    )
    labels = F.cross_entropy(logits, step.targets)
    close(terms["teacher_distillation"], expected)
    close(terms["cross_entropy"], labels)
    close(loss, 0.7 * labels + 0.3 * expected)


def test_a_distillation_token_without_a_teacher_learns_labels_with_the_class_token() -> None:
    module = make_module({"cross_entropy": {}, "patch_token_mixup": {}})
    step = run_step(module, sandwich(module))
    _, terms = module.objective(step)
    answers = torch.cat([(h.logits + h.distillation) / 2 for h in step.heads])  # type: ignore[operator]
    close(terms["cross_entropy"], F.cross_entropy(answers, step.targets))


@pytest.mark.parametrize(
    "settings", [{"cutmix": 1.0}, {"mixup": 0.8}, {}, {"label_smoothing": 0.1}], ids=str
)
def test_patch_token_mixup(settings: dict[str, float]) -> None:
    """Every patch counts alike within an image, every image alike, whatever their grids."""
    module = make_module({"patch_token_mixup": {}}, space=small_space(**PLAIN), **settings)
    space = module.space
    fine, coarse = (space.restrict({"stem.patch_size": s}).smallest() for s in (4, 7))
    step = run_step(module, [fine, coarse], seed=4)
    total = torch.zeros((), dtype=torch.float64)
    labels = make_batch(space, seed=4)[1]
    smoothing = settings.get("label_smoothing", 0.0)
    own = F.one_hot(labels, 10).double() * (1 - smoothing) + smoothing / 10
    for image in range(8):
        side, index = (7, 0) if image < 4 else (4, 1)
        patches = step.heads[index].patches[image % 4].log_softmax(1)  # type: ignore[index]
        for patch in range(side * side):
            partner = 0.0
            if step.mixing is not None and step.mixing.box is None:
                partner = 1 - step.mixing.lam
            elif step.mixing is not None and step.mixing.box is not None:
                cell = torch.zeros(28, 28)
                top, bottom, left, right = step.mixing.box
                cell[top:bottom, left:right] = 1
                size = 28 // side
                row, column = patch // side * size, patch % side * size
                partner = float(cell[row : row + size, column : column + size].mean())
            target = own[image] * (1 - partner) + own[7 - image] * partner
            total = total - (target * patches[patch]).sum() / (side * side) / 8
    torch.testing.assert_close(module.objective(step)[0], total, rtol=1e-6, atol=1e-6)


def test_the_mean_of_patches_learns_the_image_s_target() -> None:
    module = make_module({"patch_token_mixup": {"mean_of_patches": True}}, cutmix=1.0)
    step = run_step(module, sandwich(module))
    means = torch.cat([said.patches.mean(1) for said in step.heads])  # type: ignore[union-attr]
    close(module.objective(step)[0], F.cross_entropy(means, step.targets))


def test_a_mix_of_one_s_own_gives_every_patch_the_image_s_target() -> None:
    module = make_module({"patch_token_mixup": {}}, space=small_space(**PLAIN))
    soft = torch.rand(8, 10, dtype=torch.float64)
    module.mix = lambda images, targets: (images, soft)  # type: ignore[method-assign]
    step = run_step(module, sandwich(module))
    assert step.mixing is None
    expected = [
        -(soft[s.start : s.stop, None] * said.patches.log_softmax(2)).sum(2).mean()  # type: ignore[union-attr]
        for s, said in zip(step.shares, step.heads, strict=True)
    ]
    close(module.objective(step)[0], torch.stack(expected).mean())


@pytest.mark.parametrize("top_k", [None, 1, 5])
def test_token_labelling(top_k: int | None) -> None:
    term = {"scores": dense_scores, "top_k": top_k}
    module = make_module({"token_labelling": term}, space=small_space(**PLAIN))
    step = run_step(module, sandwich(module))
    losses = []
    for share, said in zip(step.shares, step.heads, strict=True):
        scores = dense_scores(step.images[share.start : share.stop])
        scores = F.interpolate(scores, size=said.grid, mode="bilinear", antialias=True)
        by_patch = scores.flatten(2).transpose(1, 2)
        if top_k is not None:
            least = by_patch.sort(2, descending=True).values[..., top_k - 1 : top_k]
            by_patch = by_patch.masked_fill(by_patch < least, -torch.inf)
        labels = by_patch.softmax(2)
        losses.append(-(labels * said.patches.log_softmax(2)).sum(2).mean())  # type: ignore[union-attr]
    close(module.objective(step)[0], torch.stack(losses).mean())


def test_token_labels_of_the_grid_s_own_size_are_the_scores() -> None:
    scores = torch.randn(2, 5, 3, 4)
    labels = token_labels(scores, (3, 4))
    assert labels.shape == (2, 12, 5)
    torch.testing.assert_close(labels[1, 7], scores[1, :, 1, 3].softmax(0))


def test_what_patches_learn_from_labels_and_from_a_teacher_adds_up() -> None:
    both = {"patch_token_mixup": {}, "token_labelling": {"weight": 2, "scores": dense_scores}}
    module = make_module(both, cutmix=1.0)
    step = run_step(module, sandwich(module))
    loss, terms = module.objective(step)
    close(loss.detach(), terms["patch_token_mixup"] + 2 * terms["token_labelling"])


def test_an_objective_of_one_s_own_and_one_network_instead_of_many() -> None:
    class Logits(Objective):
        def __init__(self, factor: float = 1.0) -> None:
            self.factor = factor

        def __call__(self, step: StepOutputs) -> Tensor:
            return self.factor * step.logits.square().mean()

    settings: dict[str, Any] = {
        "cross_entropy": {},
        "small": {"type": Logits, "factor": 3.0, "weight": 0.1},
        "smaller": Logits(0.0),
        "patch_token_mixup": {},
        "teacher_distillation": {"teacher": Constant()},
    }
    module = make_module(settings)
    net = VisionTransformer(module.space, module.space.smallest(), 10, patch_head=True).double()
    images, labels = make_batch(module.space)
    said = net.forward_heads(images)
    step = StepOutputs(
        net=net,
        images=images,
        targets=labels,
        mixing=None,
        architectures=(net.architecture,),
        shares=(range(8),),
        logits=said.answer,
        heads=(said,),
        token_taught=module.objective.teaches_token(net),
        compute_loss=module.compute_loss,
    )
    module.objective.check(net)
    loss, terms = module.objective(step)
    close(terms["small"], 3 * said.answer.square().mean().detach())
    assert terms["smaller"] == 0
    close(terms["cross_entropy"], F.cross_entropy(said.logits, labels).detach())
    loss.backward()
    assert net.head_patch.weight.grad.any()  # type: ignore[union-attr]
