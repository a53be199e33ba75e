from __future__ import annotations

import pathlib
import random

import pytest
import torch

import vitsearch
from vitsearch import load_supernet
from vitsearch.errors import CheckpointError, FormatError
from vitsearch.supernet.storage.checkpoint import (
    check_checkpoint,
    find_checkpoint,
    supernet_entry,
)


@pytest.fixture
def network(supernet):
    return supernet("small", dtype=torch.float32)


@pytest.fixture
def content(network):
    """What a training run writes."""
    return {
        "vitsearch": {"space": network.space.config, "num_classes": 5, "sharing": "prefix"},
        "state_dict": {
            **{f"net.{name}": tensor for name, tensor in network.state_dict().items()},
            "ema.weight": torch.ones(3),
        },
        "epoch": 3,
    }


@pytest.fixture
def file(tmp_path):
    return tmp_path / "supernet.ckpt"


@torch.no_grad()
def test_round_trip(network, content, file, images):
    torch.save(content, file)
    for path in (file, str(file), file.parent):
        loaded = load_supernet(path)
        assert not loaded.training
        assert loaded.space == network.space
        assert loaded.num_classes == 5
        architecture = network.space.sample(random.Random(0))
        x = images(network)
        assert torch.equal(loaded(x, architecture), network(x, architecture))


def test_entry_is_what_the_checkpoint_needs(network, content):
    assert supernet_entry(network) == {"format": 1, **content["vitsearch"]}


def test_a_newer_format_is_refused_and_none_is_the_first(content, file):
    torch.save(content, file)
    load_supernet(file)
    for check in (load_supernet, check_checkpoint):
        torch.save({**content, "vitsearch": {**content["vitsearch"], "format": 2}}, file)
        with pytest.raises(FormatError, match=r"supernet\.ckpt has format 2; .* reads format 1"):
            check(file)


def test_expected_space(network, content, file, damaged):
    torch.save(content, file)
    assert load_supernet(file, space=network.space).space == network.space
    other = vitsearch.build_space("glit_tiny")
    with damaged(file, "another space", "glit (28 px", "not glit_tiny (224 px, 3 channels"):
        load_supernet(file, space=other)
    with damaged(file, "another space"):
        load_supernet(file, space=network.space.restrict({"*.mlp_ratio": 4}))
    with damaged(file, "another space", "32 px"):
        load_supernet(file, space=network.space.resized(image_size=32))


def test_found_in_a_run_folder_or_by_name(file, content, damaged):
    with damaged(file.parent, "supernet.ckpt"):
        find_checkpoint(file.parent)
    torch.save(content, file)
    assert find_checkpoint(file.parent) == find_checkpoint(file) == file


@pytest.mark.parametrize("path", ["nowhere", "nowhere.ckpt", "."])
def test_missing(path, tmp_path, damaged):
    with damaged("no supernet", "supernet.ckpt"):
        load_supernet(tmp_path / path)


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.999])
def test_truncated(share, content, file, damaged):
    torch.save(content, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with damaged(file, "cannot be read"):
        load_supernet(file)


@pytest.mark.parametrize("junk", [b"", b"hello world", b"]", b"\x80\x02."], ids=repr)
def test_not_a_checkpoint(junk, file, damaged):
    file.write_bytes(junk)
    with damaged(file, "cannot be read"):
        load_supernet(file)


def test_random_bytes(file, damaged):
    file.write_bytes(b"\xff" * 100)
    with damaged(file, "cannot be read"):
        load_supernet(file)


def test_no_code_is_run(content, file, damaged):
    torch.save({**content, "hyper_parameters": pathlib.PurePosixPath("x")}, file)
    with damaged(file, "cannot be read"):
        load_supernet(file)


@pytest.mark.parametrize("other", [[1, 2], {"state_dict": {}}, torch.ones(3)], ids=lambda _: "")
def test_of_another_library(other, file, damaged):
    torch.save(other, file)
    with damaged(file, "no supernet of vitsearch", "'vitsearch'"):
        load_supernet(file)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"space": None}, "damaged"),
        ({"space": {}}, "image_size is missing"),
        ({"num_classes": -3}, "num_classes=-3"),
        ({"num_classes": None}, "damaged"),
    ],
)
def test_damaged_entry(changes, word, content, file, damaged):
    torch.save({**content, "vitsearch": {**content["vitsearch"], **changes}}, file)
    with damaged(file, word):
        load_supernet(file)


@pytest.mark.parametrize("entry", [None, [1], {}, {"num_classes": 5}], ids=str)
def test_entry_of_another_kind(entry, content, file, damaged):
    torch.save({**content, "vitsearch": entry}, file)
    with damaged(file, "damaged"):
        load_supernet(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"vitsearch": {"space": ["name"], "num_classes": 5}},
        {"state_dict": None},
        {"state_dict": [1]},
        {"vitsearch": {"space": {"num_blocks": 10**7}, "num_classes": 5}},
        {"state_dict": {"net.norm.weight": 1}},
    ],
    ids=str,
)
def test_rarely_damaged(changes, content, file, damaged):
    torch.save({**content, **changes}, file)
    with damaged(file):
        load_supernet(file)


def test_weights_that_do_not_fit(content, file, damaged):
    torch.save({"vitsearch": content["vitsearch"]}, file)
    with damaged(file, "damaged", "state_dict"):
        load_supernet(file)
    state = {k.removeprefix("net."): v for k, v in content["state_dict"].items()}
    torch.save({**content, "state_dict": state}, file)
    with damaged(file, "does not fit", "missing: stem."):
        load_supernet(file)
    torch.save({**content, "vitsearch": {**content["vitsearch"], "num_classes": 6}}, file)
    with damaged(file, "does not fit", "head.weight (5, 48) for (6, 48)"):
        load_supernet(file)
    more = {**content["state_dict"], "net.norm.scale": torch.ones(3)}
    torch.save({**content, "state_dict": more}, file)
    with damaged(file, "does not fit", "extra: norm.scale"):
        load_supernet(file)


def test_numbers_that_no_training_leaves(content, file, damaged):
    name = "net.head.weight"
    tensor = content["state_dict"][name]
    for numbers, words in (
        (torch.full_like(tensor, float("nan")), "NaN or infinite: head.weight"),
        (torch.full_like(tensor, float("inf")), "NaN or infinite: head.weight"),
        (tensor.to(torch.int64), "no floating-point numbers: head.weight (int64)"),
    ):
        torch.save({**content, "state_dict": {**content["state_dict"], name: numbers}}, file)
        with damaged(file, words):
            load_supernet(file)
    half = {**content["state_dict"], name: tensor.half()}
    torch.save({**content, "state_dict": half}, file)
    assert torch.equal(load_supernet(file).head.weight, tensor.half().float())


class Runs:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("ran"),)


def test_no_advice_to_run_code_is_passed_on(content, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "more": Runs()}, file)
    for check in (load_supernet, check_checkpoint):
        with pytest.raises(CheckpointError, match="only code can build") as caught:
            check(file)
        assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.1, 0.99])
def test_training_does_not_go_on_from_half_a_file(share, content, file):
    torch.save(content, file)
    check_checkpoint(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"it is damaged, or torch\.save did not"):
        check_checkpoint(file)
    torch.save({**content, "state_dict": [1]}, file)
    with pytest.raises(CheckpointError, match="no state_dict"):
        check_checkpoint(file)
