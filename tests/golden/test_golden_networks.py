"""Weights of an earlier version: names, shapes and values of supernets; model folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vitsearch
from tests.golden.recipes import CLASS_NAMES, RECIPES, SPACES
from tests.golden.recording import (
    GOLDEN,
    assert_close,
    assert_same_logits,
    every_space,
    fresh_supernet,
    hash_of,
    is_same_machine,
    logits_of,
    recorded,
    shapes_of,
    sizes_of,
    unpack,
    without_format,
)


@pytest.mark.parametrize("name", SPACES)
def test_a_seeded_supernet_is_what_it_was(name: str) -> None:
    net, expected = fresh_supernet(name), recorded("supernets")[name]
    assert list(shapes_of(net).items()) == list(expected["shapes"].items())
    state = net.state_dict()
    for tensor, size in sizes_of(state).items():
        assert_close(size, expected["sizes"][tensor], tensor)
    if is_same_machine():
        assert hash_of(state) == expected["hash"]


def test_names_and_shapes_in_every_space() -> None:
    """Checkpoints of them are out there, among them those that were imported."""
    found, expected = every_space(), recorded("every_space")
    assert [name for name, value in expected.items() if found.get(name) != value] == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_folder_says_what_it_said(name: str) -> None:
    network = vitsearch.load_model(GOLDEN / "models" / name)
    assert_same_logits(logits_of(network), recorded("runs")[name]["model"])
    assert network.class_names == CLASS_NAMES


@pytest.mark.parametrize("name", RECIPES)
def test_the_best_of_a_run_says_what_it_said(name: str, tmp_path: Path) -> None:
    run = unpack(name, "finished", tmp_path)
    assert_same_logits(logits_of(vitsearch.load_model(run)), recorded("runs")[name]["best"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_folder_is_the_supernet_s_largest(name: str, tmp_path: Path) -> None:
    net = vitsearch.load_supernet(unpack(name, "finished", tmp_path))
    network = net.extract(net.space.largest())
    expected = vitsearch.load_model(GOLDEN / "models" / name)
    assert network.architecture == expected.architecture
    for key, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor), key
    vitsearch.save_model(network, tmp_path / "again", class_names=CLASS_NAMES)
    for file in ("architecture.json", "model.safetensors"):
        written = without_format(tmp_path / "again" / file)
        assert written == (GOLDEN / "models" / name / file).read_bytes(), file
